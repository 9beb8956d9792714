package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// A site is where VMs are put: the first datacenter.
type site struct {
	finder  *find.Finder
	dc      *object.Datacenter
	folders *object.DatacenterFolders
}

func (d *double) site(ctx context.Context) (*site, error) {
	finder := find.NewFinder(d.client, false)
	dc, err := finder.Datacenter(ctx, "/"+d.datacenterName())
	if err != nil {
		return nil, err
	}
	finder.SetDatacenter(dc)
	folders, err := dc.Folders(ctx)
	return &site{finder, dc, folders}, err
}

func (d *double) datacenterName() string {
	if d.service.Context.Map.IsESX() {
		return "ha-datacenter"
	}
	return "DC0"
}

// prepareSite makes networks, and changes hosts, clusters and datastores, as
// the configuration says. Nothing runs yet, so fields are set in place.
func (d *double) prepareSite() error {
	ctx := context.Background()
	s, err := d.site(ctx)
	if err != nil {
		return err
	}
	for _, c := range d.config.Networks {
		if err := d.addNetwork(ctx, s, c); err != nil {
			return fmt.Errorf("network %q: %w", c.Name, err)
		}
	}
	for _, e := range d.service.Context.Map.All("HostSystem") {
		d.prepareHost(e.(*simulator.HostSystem))
	}
	for _, c := range d.config.Datastores {
		ds, err := s.finder.Datastore(ctx, c.Name)
		if err != nil {
			return err
		}
		prepareDatastore(d.service.Context.Map.Get(ds.Reference()).(*simulator.Datastore), c)
	}
	for _, c := range d.config.Clusters {
		cluster, err := s.finder.ClusterComputeResource(ctx, c.Name)
		if err != nil {
			return err
		}
		prepareCluster(d.service.Context.Map.Get(cluster.Reference()).(*simulator.ClusterComputeResource), c)
	}
	return nil
}

func (d *double) addNetwork(ctx context.Context, s *site, c networkConfig) error {
	if c.Kind == "standard" {
		vlan, err := strconv.Atoi(orDefault(c.VLAN, "0"))
		if err != nil {
			return err
		}
		return d.addStandardNetwork(ctx, s, c.Name, int32(vlan))
	}
	switches, err := s.finder.NetworkList(ctx, "*")
	if err != nil {
		return err
	}
	for _, n := range switches {
		dvs, ok := n.(*object.DistributedVirtualSwitch)
		if !ok {
			continue
		}
		setting := new(types.VMwareDVSPortSetting)
		if setting.Vlan, err = vlanSpec(c.VLAN); err != nil {
			return err
		}
		task, err := dvs.AddPortgroup(ctx, []types.DVPortgroupConfigSpec{{
			Name: c.Name, NumPorts: 8, DefaultPortConfig: setting,
			Type: string(types.DistributedVirtualPortgroupPortgroupTypeEarlyBinding),
		}})
		if err != nil {
			return err
		}
		return task.Wait(ctx)
	}
	return fmt.Errorf("there is no distributed switch (-portgroups 0?)")
}

func (d *double) addStandardNetwork(ctx context.Context, s *site, name string, vlan int32) error {
	hosts, err := s.finder.HostSystemList(ctx, "*/*")
	if err != nil {
		return err
	}
	group := types.HostPortGroupSpec{Name: name, VlanId: vlan, VswitchName: "vSwitch0"}
	for i, host := range hosts {
		h := d.service.Context.Map.Get(host.Reference()).(*simulator.HostSystem)
		if i == 0 { // the simulator makes one network of the name, and refuses a second
			system, err := host.ConfigManager().NetworkSystem(ctx)
			if err != nil {
				return err
			}
			if err := system.AddPortGroup(ctx, group); err != nil {
				return err
			}
		}
		if h.Config != nil && h.Config.Network != nil {
			network := *h.Config.Network // hosts share the simulator's template
			network.Portgroup = append(network.Portgroup[:len(network.Portgroup):len(network.Portgroup)],
				types.HostPortGroup{Key: "key-vim.host.PortGroup-" + name, Spec: group})
			config := *h.Config
			config.Network = &network
			h.Config = &config
		}
	}
	return nil
}

func vlanSpec(text string) (types.BaseVmwareDistributedVirtualSwitchVlanSpec, error) {
	if !strings.ContainsAny(text, "-,") {
		id, err := strconv.Atoi(orDefault(text, "0"))
		return &types.VmwareDistributedVirtualSwitchVlanIdSpec{VlanId: int32(id)}, err
	}
	trunk := new(types.VmwareDistributedVirtualSwitchTrunkVlanSpec)
	for _, part := range strings.Split(text, ",") {
		first, last, found := strings.Cut(part, "-")
		if !found {
			last = first
		}
		start, err := strconv.Atoi(first)
		if err != nil {
			return nil, err
		}
		end, err := strconv.Atoi(last)
		if err != nil {
			return nil, err
		}
		trunk.VlanId = append(trunk.VlanId, types.NumericRange{Start: int32(start), End: int32(end)})
	}
	return trunk, nil
}

func (d *double) prepareHost(h *simulator.HostSystem) {
	h.Summary.Config.SslThumbprint = d.identity.thumbprint
	for _, c := range d.config.Hosts {
		if c.Name != h.Name {
			continue
		}
		h.Runtime.InMaintenanceMode = c.InMaintenance
		h.Summary.Runtime.InMaintenanceMode = c.InMaintenance
		if c.ConnectionState != "" {
			h.Runtime.ConnectionState = types.HostSystemConnectionState(c.ConnectionState)
		}
		if c.Status != "" {
			h.OverallStatus = types.ManagedEntityStatus(c.Status)
			h.Summary.OverallStatus = h.OverallStatus
		}
		if h.Config == nil {
			continue
		}
		config := *h.Config
		if c.TimeZone != "" {
			config.DateTimeInfo = &types.HostDateTimeInfo{TimeZone: types.HostDateTimeSystemTimeZone{Key: c.TimeZone, Name: c.TimeZone}}
		}
		if c.Address != "" {
			config.VirtualNicManagerInfo = managementInterface(c.Address)
		}
		h.Config = &config
	}
}

func managementInterface(address string) *types.HostVirtualNicManagerInfo {
	const key = "management.key-vim.host.VirtualNic-vmk0"
	return &types.HostVirtualNicManagerInfo{NetConfig: []types.VirtualNicManagerNetConfig{{
		NicType:      string(types.HostVirtualNicManagerNicTypeManagement),
		SelectedVnic: []string{key},
		CandidateVnic: []types.HostVirtualNic{{
			Device: "vmk0", Key: key,
			Spec: types.HostVirtualNicSpec{Ip: &types.HostIpConfig{IpAddress: address}},
		}},
	}}}
}

func prepareDatastore(ds *simulator.Datastore, c datastoreConfig) {
	if c.Type != "" {
		ds.Summary.Type = c.Type
	}
	if c.Maintenance != "" {
		ds.Summary.MaintenanceMode = c.Maintenance
	}
	if c.Accessible != nil {
		ds.Summary.Accessible = *c.Accessible
	}
	if c.NASHost != "" {
		ds.Info = &types.NasDatastoreInfo{
			DatastoreInfo: *ds.Info.GetDatastoreInfo(),
			Nas:           &types.HostNasVolume{RemoteHost: c.NASHost, RemotePath: c.NASPath},
		}
	}
}

func prepareCluster(cluster *simulator.ClusterComputeResource, c clusterConfig) {
	config := cluster.ConfigurationEx.(*types.ClusterConfigInfoEx)
	config.DrsConfig.Enabled = types.NewBool(c.DRS)
	config.DrsConfig.DefaultVmBehavior = types.DrsBehavior(orDefault(c.Behavior, "fullyAutomated"))
	config.DpmConfigInfo = &types.ClusterDpmConfigInfo{Enabled: types.NewBool(c.DPM)}
	config.DasConfig.Enabled = types.NewBool(c.HA)
}

// bindVMs makes the rules that bind VMs to hosts, once the VMs are there.
func (d *double) bindVMs() error {
	ctx := context.Background()
	s, err := d.site(ctx)
	if err != nil {
		return err
	}
	for _, c := range d.config.Clusters {
		if len(c.BoundVMs) == 0 {
			continue
		}
		cluster, err := s.finder.ClusterComputeResource(ctx, c.Name)
		if err != nil {
			return err
		}
		vms := &types.ClusterVmGroup{ClusterGroupInfo: types.ClusterGroupInfo{Name: "bound-vms"}}
		for _, name := range c.BoundVMs {
			m := d.machineNamed(name)
			if m == nil {
				return fmt.Errorf("cluster %q: there is no VM %q", c.Name, name)
			}
			vms.Vm = append(vms.Vm, m.ref)
		}
		config := d.service.Context.Map.Get(cluster.Reference()).(*simulator.ClusterComputeResource).
			ConfigurationEx.(*types.ClusterConfigInfoEx)
		config.Group = append(config.Group, vms)
		config.Rule = append(config.Rule, &types.ClusterVmHostRuleInfo{
			ClusterRuleInfo:     types.ClusterRuleInfo{Key: 1, Name: "bound", Enabled: types.NewBool(true)},
			VmGroupName:         vms.Name,
			AffineHostGroupName: "some-hosts",
		})
	}
	return nil
}
