package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// addVM makes one VM: the simulator creates it with its disks and cards, then
// everything that the simulator has no call for is set, then power and
// snapshots bring it into its state.
func (d *double) addVM(c *vmConfig) error {
	ctx := context.Background()
	if c.Name == "" {
		return fmt.Errorf("name is missing")
	}
	s, err := d.site(ctx)
	if err != nil {
		return err
	}
	m := &machine{config: c, snapshots: map[types.ManagedObjectReference]map[int32]*frozenDisk{}}
	spec, err := d.createSpec(ctx, s, m)
	if err != nil {
		return err
	}
	if m.ref, err = d.create(ctx, s, c, spec); err != nil {
		return err
	}
	vm := d.vm(m)
	if err := d.finish(m, vm); err != nil {
		return err
	}
	d.vms.Lock()
	d.machines[m.ref], d.byName[c.Name] = m, m
	d.vms.Unlock()
	if err := d.setCustomValues(ctx, m); err != nil {
		return err
	}
	if err := d.bringIntoState(ctx, m); err != nil {
		return err
	}
	d.service.Context.WithLock(vm, func() { setGuest(vm, c) })
	return nil
}

func (d *double) createSpec(ctx context.Context, s *site, m *machine) (*types.VirtualMachineConfigSpec, error) {
	c := m.config
	devices, err := d.devices(ctx, s, m)
	if err != nil {
		return nil, err
	}
	change, err := devices.ConfigSpec(types.VirtualDeviceConfigSpecOperationAdd)
	if err != nil {
		return nil, err
	}
	for _, dc := range change {
		spec := dc.GetVirtualDeviceConfigSpec()
		if v, ok := spec.Device.(*types.VirtualDisk); ok {
			spec.FileOperation = types.VirtualDeviceConfigSpecFileOperationCreate
			if c.Disks[-300-v.Key].SharedWith != "" {
				spec.FileOperation = ""
			}
		}
	}
	home := "LocalDS_0"
	if len(m.disks) > 0 && c.Disks[0].SharedWith == "" {
		home = m.disks[0].datastore
	}
	for _, dk := range m.disks {
		if dk.datastore == home { // the simulator only creates the VM's home folder
			continue
		}
		ds, err := s.finder.Datastore(ctx, dk.datastore)
		if err != nil {
			return nil, err
		}
		root := d.service.Context.Map.Get(ds.Reference()).(*simulator.Datastore).Summary.Url
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(dk.path)), 0o700); err != nil {
			return nil, err
		}
	}
	cores := max(c.CoresPerSocket, 1)
	spec := &types.VirtualMachineConfigSpec{
		Name:                  fileName(c.Name), // finish sets the real one, which need not be a file's
		Uuid:                  c.UUID,
		InstanceUuid:          c.InstanceUUID,
		Version:               c.Version,
		GuestId:               orDefault(c.GuestID, "otherGuest64"),
		Annotation:            c.Annotation,
		NumCPUs:               max(c.CPUs, 1),
		NumCoresPerSocket:     &cores,
		MemoryMB:              max(c.MemoryMB, 4),
		Firmware:              orDefault(c.Firmware, "bios"),
		ChangeTrackingEnabled: &c.ChangeTracking,
		DeviceChange:          change,
		Files:                 &types.VirtualMachineFileInfo{VmPathName: "[" + home + "]"},
	}
	return spec, nil
}

func (d *double) create(ctx context.Context, s *site, c *vmConfig, spec *types.VirtualMachineConfigSpec) (types.ManagedObjectReference, error) {
	var none types.ManagedObjectReference
	pool, err := d.pool(ctx, s, c)
	if err != nil {
		return none, err
	}
	var host *object.HostSystem
	if c.Host != "" {
		if host, err = s.finder.HostSystem(ctx, "*/"+c.Host); err != nil {
			return none, err
		}
		if c.Pool == "" {
			if pool, err = host.ResourcePool(ctx); err != nil {
				return none, err
			}
		}
	}
	folder, err := d.vmFolder(ctx, s, c.Folder)
	if err != nil {
		return none, err
	}
	task, err := folder.CreateVM(ctx, *spec, pool, host)
	if err != nil {
		return none, err
	}
	info, err := task.WaitForResult(ctx)
	if err != nil {
		return none, err
	}
	return info.Result.(types.ManagedObjectReference), nil
}

func (d *double) pool(ctx context.Context, s *site, c *vmConfig) (*object.ResourcePool, error) {
	root := "DC0_C0/Resources"
	if d.service.Context.Map.IsESX() {
		root = "*/Resources"
	}
	pool, err := s.finder.ResourcePool(ctx, root)
	if err != nil || c.Pool == "" {
		return pool, err
	}
	if found, err := s.finder.ResourcePool(ctx, root+"/"+c.Pool); err == nil {
		return found, nil
	}
	return pool.Create(ctx, c.Pool, types.DefaultResourceConfigSpec())
}

func (d *double) vmFolder(ctx context.Context, s *site, path string) (*object.Folder, error) {
	folder := s.folders.VmFolder
	for _, name := range strings.Split(path, "/") {
		if name == "" {
			continue
		}
		parent := d.service.Context.Map.Get(folder.Reference()).(*simulator.Folder)
		if found := d.service.Context.Map.FindByName(name, parent.ChildEntity); found != nil {
			folder = object.NewFolder(d.client, found.Reference())
			continue
		}
		made, err := folder.CreateFolder(ctx, name)
		if err != nil {
			return nil, err
		}
		folder = made
	}
	return folder, nil
}

// finish sets what the simulator does not take from a specification.
func (d *double) finish(m *machine, vm *simulator.VirtualMachine) error {
	c := m.config
	settled(vm)
	config := vm.Config
	vm.Name = strings.NewReplacer("%", "%25", "/", "%2f", "\\", "%5c").Replace(c.Name) // as vSphere keeps names
	config.Name, vm.Summary.Config.Name = vm.Name, vm.Name
	config.GuestFullName = orDefault(c.GuestFullName, orDefault(c.GuestID, "otherGuest64"))
	config.CpuHotAddEnabled, config.CpuHotRemoveEnabled = &c.CPUHotAdd, &c.CPUHotRemove
	config.MemoryHotAddEnabled, config.NestedHVEnabled = &c.MemoryHotAdd, &c.NestedHV
	config.Flags.DiskUuidEnabled = &c.DiskEnableUUID
	if len(c.CPUAffinity) > 0 {
		config.CpuAffinity = &types.VirtualMachineAffinityInfo{AffinitySet: c.CPUAffinity}
	}
	if c.Encrypted {
		config.KeyId = encryptionKey()
	}
	for key, value := range c.ExtraConfig {
		config.ExtraConfig = append(config.ExtraConfig, &types.OptionValue{Key: key, Value: value})
	}
	if c.FaultTolerance {
		vm.Runtime.FaultToleranceState = types.VirtualMachineFaultToleranceStateRunning
	}
	if c.Connection != "" {
		vm.Runtime.ConnectionState = types.VirtualMachineConnectionState(c.Connection)
	}
	vm.Runtime.ConsolidationNeeded = c.Consolidation
	vm.Summary.QuickStats.BalloonedMemory = c.BalloonedMB
	if err := d.finishDevices(m, vm); err != nil {
		return err
	}
	order, err := bootOrder(c, config.Hardware.Device)
	config.BootOptions = &types.VirtualMachineBootOptions{
		EfiSecureBootEnabled: &c.SecureBoot, BootDelay: c.BootDelayMs, BootOrder: order,
	}
	return err
}

// settled sets the enumerations that the simulator leaves empty, which no client can parse.
func settled(vm *simulator.VirtualMachine) {
	vm.Runtime.FaultToleranceState = types.VirtualMachineFaultToleranceStateNotConfigured
	vm.Runtime.RecordReplayState = types.VirtualMachineRecordReplayStateInactive
	vm.Summary.Runtime.FaultToleranceState = vm.Runtime.FaultToleranceState
	vm.Summary.Runtime.RecordReplayState = vm.Runtime.RecordReplayState
}

func encryptionKey() *types.CryptoKeyId {
	return &types.CryptoKeyId{KeyId: "key-1", ProviderId: &types.KeyProviderId{Id: "kms-1"}}
}

func (d *double) setCustomValues(ctx context.Context, m *machine) error {
	if len(m.config.CustomValues) == 0 {
		return nil
	}
	manager, err := object.GetCustomFieldsManager(d.client)
	if err != nil {
		return err
	}
	for name, value := range m.config.CustomValues {
		key, err := manager.FindKey(ctx, name)
		if err != nil {
			field, err := manager.Add(ctx, name, "VirtualMachine", nil, nil)
			if err != nil {
				return err
			}
			key = field.Key
		}
		if err := manager.Set(ctx, m.ref, key, value); err != nil {
			return err
		}
	}
	return nil
}

func (d *double) bringIntoState(ctx context.Context, m *machine) error {
	vm := object.NewVirtualMachine(d.client, m.ref)
	c := m.config
	for _, name := range c.Snapshots {
		if err := wait(ctx)(vm.CreateSnapshot(ctx, name, "", false, false)); err != nil {
			return err
		}
	}
	if c.PoweredOn || c.Suspended {
		if err := wait(ctx)(vm.PowerOn(ctx)); err != nil {
			return err
		}
	}
	if c.Suspended {
		if err := wait(ctx)(vm.Suspend(ctx)); err != nil {
			return err
		}
	}
	if c.Template {
		return vm.MarkAsTemplate(ctx)
	}
	return nil
}

// wait returns a function that takes the two results of a call that starts a task.
func wait(ctx context.Context) func(*object.Task, error) error {
	return func(task *object.Task, err error) error {
		if err != nil {
			return err
		}
		return task.Wait(ctx)
	}
}
