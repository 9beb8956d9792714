package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"

	"github.com/vmware/govmomi/vapi/rest"
	"github.com/vmware/govmomi/vapi/tags"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/soap"
)

// attachTags makes the tags of the VMs, over the REST API of the running server.
func (d *double) attachTags(server *url.URL) error {
	ctx := context.Background()
	var manager *tags.Manager
	categories, made := map[string]string{}, map[string]string{}
	for _, m := range d.allMachines() {
		for _, name := range m.config.Tags {
			if manager == nil {
				client, err := vim25.NewClient(ctx, soap.NewClient(server, true))
				if err != nil {
					return err
				}
				login := rest.NewClient(client)
				if err := login.Login(ctx, url.UserPassword(d.user, d.password)); err != nil {
					return err
				}
				manager = tags.NewManager(login)
			}
			category, tag, found := strings.Cut(name, "/")
			if !found {
				return fmt.Errorf("VM %q: the tag %q is not category/name", m.config.Name, name)
			}
			var err error
			if categories[category] == "" {
				if categories[category], err = manager.CreateCategory(ctx, &tags.Category{Name: category, Cardinality: "MULTIPLE"}); err != nil {
					return err
				}
			}
			if made[name] == "" {
				if made[name], err = manager.CreateTag(ctx, &tags.Tag{Name: tag, CategoryID: categories[category]}); err != nil {
					return err
				}
			}
			if err := manager.AttachTag(ctx, made[name], m.ref); err != nil {
				return err
			}
		}
	}
	return nil
}

// serveAPI answers /api, which the simulator lacks for sessions and tags, by
// its /rest: other paths, and no {"value": ...} around what is asked for.
func serveAPI(w http.ResponseWriter, r *http.Request, next http.Handler) {
	inner := r.Clone(r.Context())
	inner.RequestURI = ""
	rest := strings.TrimPrefix(r.URL.Path, "/api")
	created := r.Method == http.MethodPost && rest == "/session"
	switch {
	case rest == "/session":
		rest = "/com/vmware/cis/session"
	case strings.HasPrefix(rest, "/cis/tagging/"):
		rest = "/com/vmware" + rest
		if parts := strings.SplitN(rest, "/", 7); len(parts) == 7 {
			parts[6] = "id:" + parts[6]
			rest = strings.Join(parts, "/")
		}
	default:
		next.ServeHTTP(w, r)
		return
	}
	inner.URL.Path, inner.URL.RawPath = "/rest"+rest, ""
	inner.URL.RawQuery = strings.Replace(r.URL.RawQuery, "action=", "~action=", 1)
	recorded := httptest.NewRecorder()
	next.ServeHTTP(recorded, inner)
	body := recorded.Body.Bytes()
	var wrapped struct {
		Value json.RawMessage `json:"value"`
	}
	if recorded.Code == http.StatusOK && json.Unmarshal(body, &wrapped) == nil && wrapped.Value != nil {
		body = wrapped.Value
	}
	w.Header().Set("Content-Type", "application/json")
	if created && recorded.Code == http.StatusOK {
		recorded.Code = http.StatusCreated
	}
	w.WriteHeader(recorded.Code)
	_, _ = w.Write(bytes.TrimSpace(body))
}
