"""Everything of the inventory that is not a VM: folders, hosts, clusters, datastores, networks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from pyVmomi import vim

from mtv.inventory.model import Cluster, Datastore, Folder, Host, Moref, Network
from mtv.providers.vsphere.properties import PathsOf, Properties
from mtv.providers.vsphere.virtual_machine import moref, morefs, unescaped

# Two sets, because a path of a derived type must not be asked of its base: a filter with both a
# type and its base leaves open which of them a server takes.
BASE_PATHS: PathsOf = {
    vim.Folder: ("name", "parent"),
    vim.Datacenter: ("name", "parent"),
    vim.ComputeResource: ("name", "parent", "host"),
    vim.HostSystem: (
        "name",
        "parent",
        "network",
        "datastore",
        "overallStatus",
        "runtime.connectionState",
        "runtime.inMaintenanceMode",
        "summary.hardware.numCpuPkgs",
        "summary.hardware.numCpuCores",
        "summary.hardware.memorySize",
        "summary.managementServerIp",
        "summary.config.sslThumbprint",
        "config.product",
        "config.network.portgroup",
        "config.network.vnic",
        "config.virtualNicManagerInfo.netConfig",
        "config.dateTimeInfo.timeZone",
    ),
    vim.Datastore: (
        "name",
        "parent",
        "host",
        "info",
        "summary.type",
        "summary.capacity",
        "summary.freeSpace",
        "summary.accessible",
        "summary.maintenanceMode",
    ),
    vim.Network: ("name", "parent", "host"),
    vim.DistributedVirtualSwitch: ("name", "parent", "uuid"),
}
DERIVED_PATHS: PathsOf = {
    vim.ClusterComputeResource: ("configurationEx",),
    vim.dvs.DistributedVirtualPortgroup: ("key", "config"),
    vim.OpaqueNetwork: ("summary",),
}
# What, when it changes, makes the surroundings be read again.
WATCHED_PATHS: PathsOf = {
    # With its children: not every server tells that an object has come into a view.
    vim.Folder: ("name", "parent", "childEntity"),
    vim.Datacenter: ("name", "parent"),
    vim.ComputeResource: ("name", "parent"),
    vim.HostSystem: (
        "name",
        "parent",
        "overallStatus",
        "runtime.connectionState",
        "runtime.inMaintenanceMode",
    ),
    vim.Datastore: ("name", "summary.accessible", "summary.maintenanceMode", "summary.freeSpace"),
    vim.Network: ("name", "parent"),
    vim.DistributedVirtualSwitch: ("name",),
}

Raw = Mapping[Moref, tuple[Any, Properties]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """All objects around the VMs, with their paths."""

    folders: dict[Moref, Folder]
    networks: dict[Moref, Network]
    datastores: dict[Moref, Datastore]
    hosts: dict[Moref, Host]
    clusters: dict[Moref, Cluster]


def of_properties(raw: Raw) -> Surroundings:
    """Return the surroundings that these managed objects and their properties describe."""
    paths = _Paths(raw)
    hosts = dict(_hosts(raw, paths))
    return Surroundings(
        folders={
            id_: Folder(
                id=id_,
                name=unescaped(properties.get("name", "")),
                path=paths.of(id_),
                kind="Datacenter" if isinstance(item, vim.Datacenter) else "Folder",
                parent=moref(properties.get("parent")),
            )
            for id_, (item, properties) in raw.items()
            if isinstance(item, vim.Folder | vim.Datacenter)
        },
        networks=dict(_networks(raw, paths)),
        datastores=dict(_datastores(raw, paths)),
        hosts=hosts,
        clusters=dict(_clusters(raw, paths)),
    )


class _Paths:
    """Inventory paths: `/DC0/vm/web`. The root folder has none."""

    def __init__(self, raw: Raw) -> None:
        self._raw = raw
        self._known: dict[Moref, str] = {}

    def of(self, id_: Moref) -> str:
        """Return the path of an object of which the properties were read."""
        if id_ not in self._known:
            _, properties = self._raw[id_]
            parent = moref(properties.get("parent"))
            if parent is None or parent not in self._raw:
                self._known[id_] = ""
            else:
                self._known[id_] = f"{self.of(parent)}/{properties.get('name', '')}"
        return self._known[id_]

    def datacenter(self, id_: Moref | None) -> Moref | None:
        """Return the datacenter above an object."""
        while id_ is not None and id_ in self._raw:
            item, properties = self._raw[id_]
            if isinstance(item, vim.Datacenter):
                return id_
            id_ = moref(properties.get("parent"))
        return None


def _of_kind(raw: Raw, kind: type[Any]) -> Iterator[tuple[Moref, Any, Properties]]:
    for id_, (item, properties) in raw.items():
        if isinstance(item, kind):
            yield id_, item, properties


def _networks(raw: Raw, paths: _Paths) -> Iterator[tuple[Moref, Network]]:
    standard_vlans = _standard_vlans(raw)
    for id_, item, get in ((id_, item, values.get) for id_, item, values in _networks_raw(raw)):
        config = get("config")
        switch = moref(config.distributedVirtualSwitch) if config else None
        variant = _variant(item)
        yield (
            id_,
            Network(
                id=id_,
                name=unescaped(get("name", "")),
                path=paths.of(id_),
                variant=variant,
                dv_switch=switch,
                key=get("key") or get("uuid") or "",
                vlan=_portgroup_vlan(config)
                if config
                else standard_vlans.get((get("name", ""), paths.datacenter(id_)), ""),
                uplink=bool(getattr(config, "uplink", None)),
                opaque_id=_opaque_id(get("summary"), config),
                hosts=morefs(get("host")),
            ),
        )


def _networks_raw(raw: Raw) -> Iterator[tuple[Moref, Any, Properties]]:
    yield from _of_kind(raw, vim.Network)
    yield from _of_kind(raw, vim.DistributedVirtualSwitch)


def _variant(item: object) -> str:
    match item:
        case vim.dvs.DistributedVirtualPortgroup():
            return "DvPortGroup"
        case vim.DistributedVirtualSwitch():
            return "DvSwitch"
        case vim.OpaqueNetwork():
            return "OpaqueNetwork"
    return "Standard"


def _opaque_id(summary: Any, config: Any) -> str:
    return str(
        getattr(summary, "opaqueNetworkId", None)
        or getattr(config, "logicalSwitchUuid", None)
        or ""
    )


def _portgroup_vlan(config: Any) -> str:
    """Return `100`, `0-4094,7` for a trunk, `pvlan 100`, or nothing for untagged."""
    vlan: Any = getattr(config.defaultPortConfig, "vlan", None)
    match vlan._wsdlName if vlan is not None else "":
        case "VmwareDistributedVirtualSwitchVlanIdSpec":
            return str(vlan.vlanId or "")
        case "VmwareDistributedVirtualSwitchPvlanSpec":
            return f"pvlan {vlan.pvlanId}"
        case "VmwareDistributedVirtualSwitchTrunkVlanSpec":
            return ",".join(
                str(item.start) if item.start == item.end else f"{item.start}-{item.end}"
                for item in vlan.vlanId or ()
            )
    return ""


def _standard_vlans(raw: Raw) -> dict[tuple[str, Moref | None], str]:
    """Return the VLAN of each standard port group: (name, datacenter) -> what most hosts have."""
    seen: dict[tuple[str, Moref | None], Counter[str]] = {}
    paths = _Paths(raw)
    for id_, _, properties in _of_kind(raw, vim.HostSystem):
        for group in properties.get("config.network.portgroup") or ():
            vlan = str(group.spec.vlanId or "")
            key = group.spec.name, paths.datacenter(id_)
            seen.setdefault(key, Counter())[vlan] += 1
    return {key: votes.most_common(1)[0][0] for key, votes in seen.items()}


def _datastores(raw: Raw, paths: _Paths) -> Iterator[tuple[Moref, Datastore]]:
    for id_, _, properties in _of_kind(raw, vim.Datastore):
        get = properties.get
        nas = getattr(get("info"), "nas", None)
        vmfs = getattr(get("info"), "vmfs", None)
        maintenance = get("summary.maintenanceMode", "normal")
        yield (
            id_,
            Datastore(
                id=id_,
                name=unescaped(get("name", "")),
                path=paths.of(id_),
                type=get("summary.type", ""),
                capacity_bytes=int(get("summary.capacity", 0)),
                free_bytes=int(get("summary.freeSpace", 0)),
                maintenance="" if maintenance == "normal" else maintenance,
                accessible=bool(get("summary.accessible", True)),
                datacenter=paths.datacenter(id_),
                nas_host=getattr(nas, "remoteHost", None) or "",
                nas_path=getattr(nas, "remotePath", None) or "",
                backing_devices=tuple(extent.diskName for extent in getattr(vmfs, "extent", ())),
                hosts=tuple(Moref(mount.key._moId) for mount in get("host") or ()),
            ),
        )


def _hosts(raw: Raw, paths: _Paths) -> Iterator[tuple[Moref, Host]]:
    for id_, _, properties in _of_kind(raw, vim.HostSystem):
        get = properties.get
        product = get("config.product")
        zone = get("config.dateTimeInfo.timeZone")
        yield (
            id_,
            Host(
                id=id_,
                name=get("name", ""),
                path=paths.of(id_),
                cluster=moref(get("parent")),
                in_maintenance=bool(get("runtime.inMaintenanceMode")),
                connection_state=str(get("runtime.connectionState", "connected")),
                status=str(get("overallStatus", "gray")),
                product_name=product.name if product else "",
                product_version=product.version if product else "",
                cpu_sockets=int(get("summary.hardware.numCpuPkgs", 0)),
                cpu_cores=int(get("summary.hardware.numCpuCores", 0)),
                memory_bytes=int(get("summary.hardware.memorySize", 0)),
                management_ip=_management_ip(get),
                management_server_ip=get("summary.managementServerIp", ""),
                thumbprint=get("summary.config.sslThumbprint", ""),
                time_zone=zone.name if zone else "",
                networks=morefs(get("network")),
                datastores=morefs(get("datastore")),
            ),
        )


def _management_ip(get: Any) -> str:
    """Return the address of the host's management interface, or its name where that is one."""
    for config in get("config.virtualNicManagerInfo.netConfig") or ():
        if config.nicType == "management":
            chosen = set(config.selectedVnic or ())
            for nic in config.candidateVnic or ():
                address = nic.spec.ip.ipAddress if nic.spec.ip else None
                if address and (nic.key in chosen or not chosen):
                    return str(address)
    name = get("name", "")
    try:
        return str(ip_address(name))
    except ValueError:
        return ""


def _clusters(raw: Raw, paths: _Paths) -> Iterator[tuple[Moref, Cluster]]:
    for id_, _, properties in _of_kind(raw, vim.ComputeResource):
        get = properties.get
        config = get("configurationEx")
        drs = getattr(config, "drsConfig", None)
        yield (
            id_,
            Cluster(
                id=id_,
                name=unescaped(get("name", "")),
                path=paths.of(id_),
                drs_enabled=bool(getattr(drs, "enabled", None)),
                drs_behavior=str(getattr(drs, "defaultVmBehavior", None) or ""),
                dpm_enabled=bool(getattr(getattr(config, "dpmConfigInfo", None), "enabled", None)),
                ha_enabled=bool(getattr(getattr(config, "dasConfig", None), "enabled", None)),
                hosts=morefs(get("host")),
                host_affinity_vms=tuple(sorted(set(_host_affinity_vms(config)))),
            ),
        )


def _host_affinity_vms(config: Any) -> Iterable[Moref]:
    """Give the VMs that an enabled rule binds to hosts (ClusterVmHostRuleInfo)."""
    groups = {group.name: group for group in getattr(config, "group", None) or ()}
    for rule in getattr(config, "rule", None) or ():
        if rule._wsdlName == "ClusterVmHostRuleInfo" and rule.enabled is not False:
            group = groups.get(rule.vmGroupName)
            yield from morefs(getattr(group, "vm", None))
