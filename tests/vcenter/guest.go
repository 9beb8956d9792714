package main

import (
	"strconv"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// setGuest sets what VMware Tools would report.
func setGuest(vm *simulator.VirtualMachine, c *vmConfig) {
	g := vm.Guest
	g.ToolsStatus = types.VirtualMachineToolsStatusToolsNotInstalled
	g.ToolsRunningStatus = string(types.VirtualMachineToolsRunningStatusGuestToolsNotRunning)
	g.ToolsVersionStatus2 = string(types.VirtualMachineToolsVersionStatusGuestToolsNotInstalled)
	if c.Tools {
		g.ToolsStatus = types.VirtualMachineToolsStatusToolsNotRunning
		g.ToolsVersionStatus2 = orDefault(c.ToolsVersion, string(types.VirtualMachineToolsVersionStatusGuestToolsCurrent))
	}
	// What Tools said once is kept while the VM is off.
	g.HostName, g.IpAddress, g.GuestFullName = c.Hostname, c.IP, c.GuestFullName
	g.Disk = guestDisks(vm, c)
	setGuestNetworks(vm, c)
	if c.Tools && vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn {
		g.ToolsStatus = types.VirtualMachineToolsStatusToolsOk
		g.ToolsRunningStatus = string(types.VirtualMachineToolsRunningStatusGuestToolsRunning)
		g.GuestId = vm.Config.GuestId
	}
	vm.Summary.Guest.ToolsStatus, vm.Summary.Guest.ToolsRunningStatus = g.ToolsStatus, g.ToolsRunningStatus
	vm.Summary.Guest.HostName, vm.Summary.Guest.IpAddress = g.HostName, g.IpAddress
}

func guestDisks(vm *simulator.VirtualMachine, c *vmConfig) []types.GuestDiskInfo {
	var keys []int32
	for _, dev := range vm.Config.Hardware.Device {
		if v, ok := dev.(*types.VirtualDisk); ok {
			keys = append(keys, v.Key)
		}
	}
	var list []types.GuestDiskInfo
	for _, gd := range c.GuestDisks {
		info := types.GuestDiskInfo{
			DiskPath: gd.Path, Capacity: gd.Capacity, FreeSpace: gd.Free, FilesystemType: gd.Filesystem,
		}
		if gd.Disk != nil && *gd.Disk < len(keys) {
			info.Mappings = []types.GuestInfoVirtualDiskMapping{{Key: keys[*gd.Disk]}}
		}
		list = append(list, info)
	}
	return list
}

func setGuestNetworks(vm *simulator.VirtualMachine, c *vmConfig) {
	networks := c.GuestNetworks
	if len(networks) == 0 && c.IP != "" {
		networks = []guestNetwork{{IP: c.IP, Prefix: 24, Origin: "dhcp"}}
	}
	var cards []*types.VirtualEthernetCard
	for _, dev := range vm.Config.Hardware.Device {
		if e, ok := dev.(types.BaseVirtualEthernetCard); ok {
			cards = append(cards, e.GetVirtualEthernetCard())
		}
	}
	vm.Guest.Net, vm.Guest.IpStack = nil, nil
	stack := types.GuestStackInfo{IpRouteConfig: &types.NetIpRouteConfigInfo{}}
	for i, card := range cards {
		nic := types.GuestNicInfo{MacAddress: card.MacAddress, Connected: true, DeviceConfigId: card.Key}
		for _, n := range networks {
			if n.NIC != i {
				continue
			}
			nic.IpAddress = append(nic.IpAddress, n.IP)
			if nic.IpConfig == nil {
				nic.IpConfig = &types.NetIpConfigInfo{}
			}
			nic.IpConfig.IpAddress = append(nic.IpConfig.IpAddress, types.NetIpConfigInfoIpAddress{
				IpAddress: n.IP, PrefixLength: n.Prefix, Origin: n.Origin, State: "preferred",
			})
			if len(n.DNS) > 0 {
				nic.DnsConfig = &types.NetDnsConfigInfo{IpAddress: n.DNS}
			}
			if n.Gateway != "" {
				stack.IpRouteConfig.IpRoute = append(stack.IpRouteConfig.IpRoute, types.NetIpRouteConfigInfoIpRoute{
					Network: "0.0.0.0",
					Gateway: types.NetIpRouteConfigInfoGateway{IpAddress: n.Gateway, Device: strconv.Itoa(i)},
				})
			}
		}
		if len(networks) > 0 {
			vm.Guest.Net = append(vm.Guest.Net, nic)
		}
	}
	if len(stack.IpRouteConfig.IpRoute) > 0 {
		vm.Guest.IpStack = []types.GuestStackInfo{stack}
	}
}
