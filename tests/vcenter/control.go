package main

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"
)

// postVM adds a VM while the server runs.
func (d *double) postVM(w http.ResponseWriter, r *http.Request) {
	c := new(vmConfig)
	if err := decodeStrict(r.Body, c); err != nil {
		reply(w, http.StatusBadRequest, err.Error())
		return
	}
	if err := d.addVM(c); err != nil {
		reply(w, http.StatusBadRequest, err.Error())
		return
	}
	answer(w, map[string]string{"moref": d.machineNamed(c.Name).ref.Value})
}

// changeVM does to a VM what its administrator would do in the vSphere client.
func (d *double) changeVM(w http.ResponseWriter, r *http.Request) {
	m := d.machineNamed(r.URL.Query().Get("vm"))
	if m == nil {
		reply(w, http.StatusNotFound, "no such VM")
		return
	}
	var c struct {
		Power      string `json:"power"` // on, off, suspended
		Annotation string `json:"annotation"`
		MemoryMB   int64  `json:"memoryMB"`
		Destroy    bool   `json:"destroy"`
	}
	if err := decodeStrict(r.Body, &c); err != nil {
		reply(w, http.StatusBadRequest, err.Error())
		return
	}
	ctx := context.Background()
	vm := object.NewVirtualMachine(d.client, m.ref)
	var err error
	switch c.Power {
	case "on":
		err = wait(ctx)(vm.PowerOn(ctx))
	case "off":
		err = wait(ctx)(vm.PowerOff(ctx))
	case "suspended":
		err = wait(ctx)(vm.Suspend(ctx))
	}
	if err == nil && (c.Annotation != "" || c.MemoryMB != 0) {
		spec := types.VirtualMachineConfigSpec{Annotation: c.Annotation, MemoryMB: c.MemoryMB}
		err = wait(ctx)(vm.Reconfigure(ctx, spec))
	}
	if err == nil && c.Destroy {
		if err = wait(ctx)(vm.Destroy(ctx)); err == nil {
			d.vms.Lock()
			delete(d.machines, m.ref)
			delete(d.byName, m.config.Name)
			d.vms.Unlock()
		}
	}
	if err != nil {
		reply(w, http.StatusConflict, err.Error())
	}
}

// changePassword makes the old password wrong, for those who log in from now on.
func (d *double) changePassword(w http.ResponseWriter, r *http.Request) {
	var c struct {
		Password string `json:"password"`
	}
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil || c.Password == "" {
		reply(w, http.StatusBadRequest, "password is missing")
		return
	}
	d.mu.Lock()
	d.password = c.Password
	d.mu.Unlock()
}

func (d *double) validLogin(user, password string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return user == d.user && password == d.password
}
