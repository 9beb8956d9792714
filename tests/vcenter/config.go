package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// The JSON description of what the double holds; README.md explains each field.
type configFile struct {
	Networks          []networkConfig   `json:"networks"`
	Datastores        []datastoreConfig `json:"datastores"`
	Hosts             []hostConfig      `json:"hosts"`
	Clusters          []clusterConfig   `json:"clusters"`
	MissingPrivileges []string          `json:"missingPrivileges"`
	VMs               []*vmConfig       `json:"vms"`
}

type networkConfig struct {
	Name string `json:"name"`
	Kind string `json:"kind"` // portgroup (default), standard
	VLAN string `json:"vlan"` // "100", or "1-100,200-300" for a trunk
}

type datastoreConfig struct {
	Name        string `json:"name"`
	Type        string `json:"type"`
	Maintenance string `json:"maintenance"`
	Accessible  *bool  `json:"accessible"`
	NASHost     string `json:"nasHost"`
	NASPath     string `json:"nasPath"`
}

type hostConfig struct {
	Name            string `json:"name"`
	InMaintenance   bool   `json:"inMaintenance"`
	ConnectionState string `json:"connectionState"`
	Status          string `json:"status"`
	TimeZone        string `json:"timeZone"`
	Address         string `json:"address"` // of its management interface
}

type clusterConfig struct {
	Name     string   `json:"name"`
	DRS      bool     `json:"drs"`
	DPM      bool     `json:"dpm"`
	HA       bool     `json:"ha"`
	Behavior string   `json:"drsBehavior"`
	BoundVMs []string `json:"boundVMs"` // bound to hosts by a rule
}

type vmConfig struct {
	Name           string            `json:"name"`
	Folder         string            `json:"folder"` // "Prod/Web", made as needed
	Host           string            `json:"host"`
	Pool           string            `json:"pool"` // below Resources, made as needed
	UUID           string            `json:"uuid"`
	InstanceUUID   string            `json:"instanceUuid"`
	CPUs           int32             `json:"cpus"`
	CoresPerSocket int32             `json:"coresPerSocket"`
	MemoryMB       int64             `json:"memoryMB"`
	Version        string            `json:"hardwareVersion"`
	GuestID        string            `json:"guestId"`
	GuestFullName  string            `json:"guestFullName"`
	Annotation     string            `json:"annotation"`
	Firmware       string            `json:"firmware"`
	SecureBoot     bool              `json:"secureBoot"`
	BootOrder      []string          `json:"bootOrder"` // disk:0, net:1, cdrom, floppy
	BootDelayMs    int64             `json:"bootDelayMs"`
	VTPM           bool              `json:"vtpm"`
	ChangeTracking bool              `json:"changeTracking"`
	CPUHotAdd      bool              `json:"cpuHotAdd"`
	CPUHotRemove   bool              `json:"cpuHotRemove"`
	MemoryHotAdd   bool              `json:"memoryHotAdd"`
	CPUAffinity    []int32           `json:"cpuAffinity"`
	NestedHV       bool              `json:"nestedHV"`
	FaultTolerance bool              `json:"faultTolerance"`
	DiskEnableUUID bool              `json:"diskEnableUuid"`
	Encrypted      bool              `json:"encrypted"`
	Consolidation  bool              `json:"consolidationNeeded"`
	Connection     string            `json:"connectionState"`
	BalloonedMB    int32             `json:"balloonedMB"`
	ExtraConfig    map[string]string `json:"extraConfig"`
	CustomValues   map[string]string `json:"customValues"`
	Tags           []string          `json:"tags"` // category/name
	Devices        []string          `json:"devices"`
	Template       bool              `json:"template"`
	PoweredOn      bool              `json:"poweredOn"`
	Suspended      bool              `json:"suspended"`
	Snapshots      []string          `json:"snapshots"` // taken in this order, each on the one before
	Disks          []diskConfig      `json:"disks"`
	NICs           []nicConfig       `json:"nics"`

	Tools         bool           `json:"tools"`
	ToolsVersion  string         `json:"toolsVersionStatus"`
	ShutdownSecs  float64        `json:"shutdownSeconds"` // negative: never
	Hostname      string         `json:"hostname"`
	IP            string         `json:"ip"` // of the first NIC
	GuestNetworks []guestNetwork `json:"guestNetworks"`
	GuestDisks    []guestDisk    `json:"guestDisks"`
}

type guestNetwork struct {
	NIC     int      `json:"nic"`
	IP      string   `json:"ip"`
	Prefix  int32    `json:"prefix"`
	Origin  string   `json:"origin"`
	Gateway string   `json:"gateway"`
	DNS     []string `json:"dns"`
}

type guestDisk struct {
	Path       string `json:"path"`
	Capacity   int64  `json:"capacity"`
	Free       int64  `json:"free"`
	Filesystem string `json:"filesystem"`
	Disk       *int   `json:"disk"`
}

type diskConfig struct {
	File        string `json:"file"`
	SizeMB      int64  `json:"sizeMB"`     // without file: an empty disk
	Controller  string `json:"controller"` // pvscsi, lsilogic, lsilogic-sas, buslogic, sata, nvme, ide; "pvscsi:1" is the second
	Unit        *int32 `json:"unit"`
	BusSharing  string `json:"busSharing"` // of the controller: physicalSharing, virtualSharing
	Datastore   string `json:"datastore"`
	Mode        string `json:"mode"`
	Independent bool   `json:"independent"`
	RDM         bool   `json:"rdm"`
	RDMMode     string `json:"rdmMode"` // physicalMode (default), virtualMode
	Multiwriter bool   `json:"multiwriter"`
	SharedWith  string `json:"sharedWith"` // "web1:0": the same file as that VM's disk
	Thick       bool   `json:"thick"`
	UUID        string `json:"uuid"`
	Encrypted   bool   `json:"encrypted"`
	Extents     int    `json:"extents"` // files the disk consists of; default 1
}

type nicConfig struct {
	Network      string `json:"network"`
	Type         string `json:"type"` // vmxnet3, vmxnet2, e1000e, e1000, pcnet32, sriov
	MAC          string `json:"mac"`
	PCISlot      int32  `json:"pciSlot"`
	Disconnected bool   `json:"disconnected"`
}

func readConfig(file string) (*configFile, error) {
	c := new(configFile)
	if file == "" {
		return c, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := decodeStrict(f, c); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return c, nil
}

// decodeStrict refuses fields that it does not know, so that a typing error in
// a test's configuration is not silently without effect.
func decodeStrict(r io.Reader, into any) error {
	dec := json.NewDecoder(r)
	dec.DisallowUnknownFields()
	return dec.Decode(into)
}

func orDefault(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}
