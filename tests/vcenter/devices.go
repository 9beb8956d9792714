package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// devices builds the devices that the simulator is asked to create. Keys are
// negative: -100-i is NIC i, -300-i is disk i.
func (d *double) devices(ctx context.Context, s *site, m *machine) (object.VirtualDeviceList, error) {
	var devices object.VirtualDeviceList
	if m.config.VTPM {
		devices = append(devices, &types.VirtualTPM{VirtualDevice: types.VirtualDevice{Key: -10}})
	}
	for i, c := range m.config.NICs {
		card, err := networkCard(ctx, s, i, c)
		if err != nil {
			return nil, err
		}
		devices = append(devices, card)
	}
	controllers := map[string]int32{}
	units := map[string]int32{}
	for i, c := range m.config.Disks {
		dk, err := d.openDisk(m, i, c)
		if err != nil {
			return nil, err
		}
		m.disks = append(m.disks, dk)
		name := orDefault(c.Controller, "pvscsi")
		if controllers[name] == 0 {
			controller, err := newController(devices, name, c.BusSharing)
			if err != nil {
				return nil, err
			}
			controllers[name] = int32(-200 - len(controllers))
			controller.(types.BaseVirtualController).GetVirtualController().Key = controllers[name]
			devices = append(devices, controller)
		}
		unit := nextUnit(name, units[name])
		if c.Unit != nil {
			unit = *c.Unit
		}
		units[name] = unit + 1
		devices = append(devices, &types.VirtualDisk{
			VirtualDevice: types.VirtualDevice{
				Key:           int32(-300 - i),
				ControllerKey: controllers[name],
				UnitNumber:    &unit,
				Backing:       diskBacking(dk, c),
				DeviceInfo:    &types.Description{Label: fmt.Sprintf("Hard disk %d", i+1)},
			},
			CapacityInKB:    dk.capacity / 1024,
			CapacityInBytes: dk.capacity,
		})
	}
	return devices, nil
}

// nextUnit leaves out the number that the SCSI controller has itself.
func nextUnit(controller string, unit int32) int32 {
	kind, _, _ := strings.Cut(controller, ":")
	if unit == 7 && kind != "sata" && kind != "nvme" && kind != "ide" {
		return 8
	}
	return unit
}

func networkCard(ctx context.Context, s *site, i int, c nicConfig) (types.BaseVirtualDevice, error) {
	network, err := s.finder.Network(ctx, c.Network)
	if err != nil {
		return nil, err
	}
	backing, err := network.EthernetCardBackingInfo(ctx)
	if err != nil {
		return nil, err
	}
	card, err := object.VirtualDeviceList{}.CreateEthernetCard(orDefault(c.Type, "vmxnet3"), backing)
	if err != nil {
		return nil, err
	}
	e := card.(types.BaseVirtualEthernetCard).GetVirtualEthernetCard()
	e.Key = int32(-100 - i)
	e.DeviceInfo = &types.Description{Label: fmt.Sprintf("Network adapter %d", i+1)}
	e.Connectable = &types.VirtualDeviceConnectInfo{StartConnected: !c.Disconnected, Connected: !c.Disconnected}
	if c.MAC != "" {
		e.MacAddress, e.AddressType = c.MAC, string(types.VirtualEthernetCardMacTypeManual)
	}
	if c.PCISlot != 0 {
		e.SlotInfo = &types.VirtualDevicePciBusSlotInfo{PciSlotNumber: c.PCISlot}
	}
	return card, nil
}

func newController(l object.VirtualDeviceList, name, sharing string) (types.BaseVirtualDevice, error) {
	kind, number, _ := strings.Cut(name, ":")
	bus, err := strconv.Atoi(orDefault(number, "0"))
	if err != nil {
		return nil, err
	}
	var controller types.BaseVirtualDevice
	switch kind {
	case "ide":
		controller, err = l.CreateIDEController()
	case "sata":
		controller, err = l.CreateSATAController()
	case "nvme":
		controller, err = l.CreateNVMEController()
	default:
		controller, err = l.CreateSCSIController(kind)
	}
	if err != nil {
		return nil, err
	}
	controller.(types.BaseVirtualController).GetVirtualController().BusNumber = int32(bus)
	if scsi, ok := controller.(types.BaseVirtualSCSIController); ok && sharing != "" {
		scsi.GetVirtualSCSIController().SharedBus = types.VirtualSCSISharing(sharing)
	}
	return controller, nil
}

func diskBacking(dk *disk, c diskConfig) types.BaseVirtualDeviceBackingInfo {
	file := types.VirtualDeviceFileBackingInfo{FileName: fmt.Sprintf("[%s] %s", dk.datastore, dk.path)}
	mode := orDefault(c.Mode, string(types.VirtualDiskModePersistent))
	if c.Independent {
		mode = string(types.VirtualDiskModeIndependent_persistent)
	}
	if c.RDM {
		return &types.VirtualDiskRawDiskMappingVer1BackingInfo{
			VirtualDeviceFileBackingInfo: file,
			CompatibilityMode:            orDefault(c.RDMMode, string(types.VirtualDiskCompatibilityModePhysicalMode)),
			DiskMode:                     string(types.VirtualDiskModeIndependent_persistent),
			DeviceName:                   "vml.0200000000",
			LunUuid:                      "0200000000",
			Uuid:                         c.UUID,
		}
	}
	backing := &types.VirtualDiskFlatVer2BackingInfo{
		VirtualDeviceFileBackingInfo: file,
		DiskMode:                     mode,
		ThinProvisioned:              types.NewBool(!c.Thick),
		Uuid:                         c.UUID,
	}
	if c.Multiwriter {
		backing.Sharing = string(types.VirtualDiskSharingSharingMultiWriter)
	}
	if c.Encrypted {
		backing.KeyId = encryptionKey()
	}
	return backing
}

// openDisk returns disk i of a VM, with a file of its own that holds the data.
func (d *double) openDisk(m *machine, i int, c diskConfig) (*disk, error) {
	vm := m.config.Name
	if c.SharedWith != "" {
		name, index, _ := strings.Cut(c.SharedWith, ":")
		other := d.machineNamed(name)
		n, err := strconv.Atoi(orDefault(index, "0"))
		if other == nil || err != nil || n < 0 || n >= len(other.disks) {
			return nil, fmt.Errorf("disk %d is shared with %q, which is not there", i, c.SharedWith)
		}
		from := other.disks[n]
		return newDisk(from.datastore, from.path, from.live, from.capacity, c), nil
	}
	live, err := filepath.Abs(filepath.Join(d.state, fmt.Sprintf("%s.disk-%d.raw", fileName(vm), i)))
	if err != nil {
		return nil, err
	}
	switch {
	case c.File == "":
		if err := makeEmpty(live, max(c.SizeMB, 1)<<20); err != nil {
			return nil, err
		}
	default:
		file := c.File
		if !filepath.IsAbs(file) {
			file = filepath.Join(d.folder, file)
		}
		if d.inPlace {
			live = file
		} else if err := copyFile(file, live); err != nil {
			return nil, err
		}
	}
	info, err := os.Stat(live)
	if err != nil {
		return nil, err
	}
	if info.Size() == 0 || info.Size()%512 != 0 {
		return nil, fmt.Errorf("%s: %d bytes are not whole sectors", c.File, info.Size())
	}
	path := fmt.Sprintf("%s/disk-%d.vmdk", fileName(vm), i)
	return newDisk(orDefault(c.Datastore, "LocalDS_0"), path, live, info.Size(), c), nil
}

// fileName is a VM's name as its folder on the datastore has it.
func fileName(vm string) string { return strings.NewReplacer("/", "_", "%", "_").Replace(vm) }

func makeEmpty(file string, size int64) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Truncate(size)
}

// finishDevices gives disks their keys, links their data, and adds the other
// devices, which the simulator would not create.
func (d *double) finishDevices(m *machine, vm *simulator.VirtualMachine) error {
	next := int32(20000)
	i := 0
	for _, dev := range vm.Config.Hardware.Device {
		if v, ok := dev.(*types.VirtualDisk); ok {
			m.disks[i].key = v.Key
			if m.config.Disks[i].SharedWith == "" {
				if err := d.link(vm, m.disks[i]); err != nil {
					return err
				}
			}
			i++
		}
	}
	for _, name := range m.config.Devices {
		kind, ok := types.TypeFunc()(name)
		if !ok {
			return fmt.Errorf("device %q is not a type of the vSphere API", name)
		}
		device, ok := reflect.New(kind).Interface().(types.BaseVirtualDevice)
		if !ok {
			return fmt.Errorf("%q is not a device", name)
		}
		device.GetVirtualDevice().Key = next
		device.GetVirtualDevice().DeviceInfo = &types.Description{Label: name}
		if usb, ok := device.(*types.VirtualUSBController); ok {
			usb.EhciEnabled = types.NewBool(true)
		}
		next++
		vm.Config.Hardware.Device = append(vm.Config.Hardware.Device, device)
	}
	return nil
}

// link puts the disk's data where the simulator keeps the datastore's files.
func (d *double) link(vm *simulator.VirtualMachine, dk *disk) error {
	for _, ref := range vm.Datastore {
		ds := d.service.Context.Map.Get(ref).(*simulator.Datastore)
		if ds.Name == dk.datastore {
			flat := filepath.Join(ds.Summary.Url, flatName(dk.path))
			_ = os.Remove(flat)
			return os.Symlink(dk.live, flat)
		}
	}
	return fmt.Errorf("datastore %q is not the VM's", dk.datastore)
}

func flatName(path string) string { return strings.TrimSuffix(path, ".vmdk") + "-flat.vmdk" }

func bootOrder(c *vmConfig, devices []types.BaseVirtualDevice) ([]types.BaseVirtualMachineBootOptionsBootableDevice, error) {
	var disks, nics []int32
	for _, dev := range devices {
		switch v := dev.(type) {
		case *types.VirtualDisk:
			disks = append(disks, v.Key)
		case types.BaseVirtualEthernetCard:
			nics = append(nics, v.GetVirtualEthernetCard().Key)
		}
	}
	var order []types.BaseVirtualMachineBootOptionsBootableDevice
	for _, entry := range c.BootOrder {
		kind, text, _ := strings.Cut(entry, ":")
		n, err := strconv.Atoi(orDefault(text, "0"))
		switch {
		case kind == "disk" && err == nil && n < len(disks):
			order = append(order, &types.VirtualMachineBootOptionsBootableDiskDevice{DeviceKey: disks[n]})
		case kind == "net" && err == nil && n < len(nics):
			order = append(order, &types.VirtualMachineBootOptionsBootableEthernetDevice{DeviceKey: nics[n]})
		case kind == "cdrom":
			order = append(order, &types.VirtualMachineBootOptionsBootableCdromDevice{})
		case kind == "floppy":
			order = append(order, &types.VirtualMachineBootOptionsBootableFloppyDevice{})
		default:
			return nil, fmt.Errorf("boot order: %q is not there", entry)
		}
	}
	return order, nil
}
