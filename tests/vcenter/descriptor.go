package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"
)

// A part is one file of a disk as the datastore shows it: its descriptor, or an
// extent with data.
type part struct {
	path string
	live bool   // the VM writes to it while it runs
	text []byte // of a descriptor

	file          string
	start, length int64
}

type readSeekCloser interface {
	io.ReadSeeker
	io.Closer
}

type section struct {
	*io.SectionReader
	io.Closer
}

type inMemory struct{ *bytes.Reader }

func (inMemory) Close() error { return nil }

func (p *part) open() (readSeekCloser, time.Time, error) {
	if p.text != nil {
		return inMemory{bytes.NewReader(p.text)}, time.Time{}, nil
	}
	f, err := os.Open(p.file)
	if err != nil {
		return nil, time.Time{}, err
	}
	info, err := f.Stat()
	return section{io.NewSectionReader(f, p.start, p.length), f}, info.ModTime(), err
}

// parts returns the files of the disk. With snapshots the base is as of the
// first one; what lies above it are descriptors of delta disks, whose data only vSphere can read.
func (d *disk) parts() []part {
	d.mu.Lock()
	defer d.mu.Unlock()
	file, live := d.frozen[d.path], false
	if d.top == d.path {
		file, live = d.live, true
	}
	list := d.base(file, live)
	for frozen := range d.frozen {
		if frozen != d.path {
			list = append(list, d.delta(frozen))
		}
	}
	if d.top != d.path {
		list = append(list, d.delta(d.top))
	}
	return list
}

func (d *disk) base(file string, live bool) []part {
	name := strings.TrimSuffix(d.path, ".vmdk")
	sectors := d.capacity / 512
	var extents strings.Builder
	var data []part
	switch {
	case d.kind != "vmfs":
		suffix := map[string]string{"vmfsRawDeviceMap": "-rdm.vmdk", "vmfsPassthroughRawDeviceMap": "-rdmp.vmdk"}[d.kind]
		fmt.Fprintf(&extents, "RW %d VMFSRDM \"%s%s\"\n", sectors, path.Base(name), suffix)
	case d.extents == 1:
		fmt.Fprintf(&extents, "RW %d VMFS \"%s-flat.vmdk\"\n", sectors, path.Base(name))
		data = append(data, part{path: name + "-flat.vmdk", live: live, file: file, length: d.capacity})
	default:
		each := (sectors + int64(d.extents) - 1) / int64(d.extents)
		for i, at := 1, int64(0); at < sectors; i, at = i+1, at+each {
			count := min(each, sectors-at)
			extent := fmt.Sprintf("%s-f%03d.vmdk", name, i)
			fmt.Fprintf(&extents, "RW %d FLAT \"%s\" 0\n", count, path.Base(extent))
			data = append(data, part{path: extent, live: live, file: file, start: at * 512, length: count * 512})
		}
	}
	kind := d.kind
	if d.extents > 1 {
		kind = "twoGbMaxExtentFlat"
	}
	text := descriptor(kind, "ffffffff", "", extents.String(), d.capacity)
	return append(data, part{path: d.path, live: live, text: []byte(text)})
}

func (d *disk) delta(name string) part {
	stem := strings.TrimSuffix(path.Base(name), ".vmdk")
	extents := fmt.Sprintf("RW %d SESPARSE \"%s-sesparse.vmdk\"\n", d.capacity/512, stem)
	text := descriptor("seSparse", "7b3f2c11", path.Base(d.path), extents, d.capacity)
	return part{path: name, text: []byte(text)}
}

func descriptor(kind, parentCID, parent, extents string, capacity int64) string {
	hint := ""
	if parent != "" {
		hint = fmt.Sprintf("parentFileNameHint=\"%s\"\n", parent)
	}
	return fmt.Sprintf(`# Disk DescriptorFile
version=4
encoding="UTF-8"
CID=7b3f2c11
parentCID=%s
createType="%s"
%s
# Extent description
%s
# The Disk Data Base
#DDB

ddb.adapterType = "lsilogic"
ddb.geometry.cylinders = "%d"
ddb.geometry.heads = "255"
ddb.geometry.sectors = "63"
ddb.thinProvisioned = "1"
ddb.virtualHWVersion = "19"
`, parentCID, kind, hint, extents, capacity/512/255/63)
}
