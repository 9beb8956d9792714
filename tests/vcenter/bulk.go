package main

import (
	"fmt"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// addBulk adds VMs for tests of size. The simulator takes 35 ms to create one;
// these are copies of one that it created, with names and ids of their own. They
// can be read and renamed, and are not meant for more.
func (d *double) addBulk(count, options int) error {
	if count == 0 {
		return nil
	}
	pattern := &vmConfig{
		Name: "extra-0000", CPUs: 2, MemoryMB: 4096, GuestID: "rhel9_64Guest", Hostname: "extra.example",
		GuestFullName: "Red Hat Enterprise Linux 9 (64-bit)", IP: "10.0.0.1", Tools: true, PoweredOn: true,
		Disks: []diskConfig{{SizeMB: 16}, {SizeMB: 16, Datastore: "LocalDS_0"}},
		NICs:  []nicConfig{{Network: "VM Network"}}, ExtraConfig: map[string]string{},
	}
	for i := range options {
		pattern.ExtraConfig[fmt.Sprintf("vmx.option%03d.present", i)] = "TRUE"
	}
	if err := d.addVM(pattern); err != nil {
		return err
	}
	m := d.machineNamed(pattern.Name)
	for i := 1; i < count; i++ {
		d.copyVM(d.vm(m), i)
	}
	return nil
}

// copyVM registers a copy of a VM and makes the objects around it know it.
func (d *double) copyVM(from *simulator.VirtualMachine, i int) {
	name := fmt.Sprintf("extra-%04d", i)
	registry := d.service.Context.Map
	vm := &simulator.VirtualMachine{VirtualMachine: from.VirtualMachine}
	config, summary, guest := *from.Config, from.Summary, *from.Guest
	config.Name, config.Uuid, config.InstanceUuid = name, uuid.NewString(), uuid.NewString()
	devices := make([]types.BaseVirtualDevice, len(config.Hardware.Device))
	for n, dev := range config.Hardware.Device {
		devices[n] = dev
		if disk, ok := dev.(*types.VirtualDisk); ok {
			copied := *disk
			backing := *disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
			backing.FileName = fmt.Sprintf("[LocalDS_0] %s/disk-%d.vmdk", name, *disk.UnitNumber)
			backing.Uuid = uuid.NewString()
			copied.Backing = &backing
			devices[n] = &copied
		}
	}
	config.Hardware.Device = devices
	vm.Name, vm.Config, vm.Summary, vm.Guest = name, &config, summary, &guest
	vm.Self = types.ManagedObjectReference{Type: "VirtualMachine", Value: "vm-" + fmt.Sprint(100000+i)}
	vm.Summary.Vm = &vm.Self
	vm.Summary.Config.Name = name
	registry.Put(vm)
	if folder, ok := registry.Get(*vm.Parent).(*simulator.Folder); ok {
		folder.ChildEntity = append(folder.ChildEntity, vm.Self)
	}
	if host, ok := registry.Get(*vm.Runtime.Host).(*simulator.HostSystem); ok {
		host.Vm = append(host.Vm, vm.Self)
	}
	if pool, ok := registry.Get(*vm.ResourcePool).(*simulator.ResourcePool); ok {
		pool.Vm = append(pool.Vm, vm.Self)
	}
	for _, ref := range vm.Datastore {
		ds := registry.Get(ref).(*simulator.Datastore)
		ds.Vm = append(ds.Vm, vm.Self)
	}
}
