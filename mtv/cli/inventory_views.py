"""What `mtv inventory` prints: columns for people, documents for programs. Pure.

The documents are the fields of `mtv.inventory.model` in camelCase, always all of them, sorted by
path and id: they stay the same as long as the source does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from mtv.cli.follow import size
from mtv.inventory.model import VM, Cluster, Datastore, Host, Inventory, Network

Object = VM | Network | Datastore | Host | Cluster


@dataclass(frozen=True, slots=True)
class Column:
    """A column; `wide` ones are shown with `-o wide` only."""

    title: str
    text: Callable[[Any, Inventory], str]
    wide: bool = False


def of_kind(kind: str, inventory: Inventory) -> list[Object]:
    """Return the objects of a kind (`vms`), in the order in which they are printed."""
    found: Mapping[Any, Object] = getattr(inventory, kind)
    return sorted(found.values(), key=lambda one: (one.path or one.name, one.id))


def header(kind: str, *, wide: bool) -> tuple[str, ...]:
    """Return the titles of the columns."""
    return tuple(column.title for column in COLUMNS[kind] if wide or not column.wide)


def row(kind: str, one: Object, inventory: Inventory, *, wide: bool) -> tuple[str, ...]:
    """Return the cells of one object."""
    return tuple(
        column.text(one, inventory) or "-" for column in COLUMNS[kind] if wide or not column.wide
    )


def document(one: Object) -> dict[str, Any]:
    """Return one object as JSON values."""
    return {_camel(name): _plain(value) for name, value in dataclasses.asdict(one).items()}


def _plain(value: Any) -> Any:  # noqa: ANN401 - any field of the model
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {_camel(str(name)): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def _power(vm: VM, _inventory: Inventory) -> str:
    return {"poweredOn": "on", "poweredOff": "off"}.get(vm.power_state.value, "suspended")


def _network_names(vm: VM, inventory: Inventory) -> str:
    ids = dict.fromkeys(nic.network for nic in vm.nics if nic.network)
    known = inventory.networks
    return ",".join(known[one].name if one in known else str(one) for one in ids)


def _datastore_names(vm: VM, inventory: Inventory) -> str:
    ids = dict.fromkeys(disk.datastore for disk in vm.disks if disk.datastore)
    known = inventory.datastores
    return ",".join(known[one].name if one in known else str(one) for one in ids)


def _host_name(vm: VM, inventory: Inventory) -> str:
    found = inventory.hosts.get(vm.host) if vm.host else None
    return found.name if found else ""


def _cluster_name(host: Host, inventory: Inventory) -> str:
    found = inventory.clusters.get(host.cluster) if host.cluster else None
    return found.name if found else ""


def _worst(vm: VM, inventory: Inventory) -> str:
    from mtv.planning import concerns

    found = [concern.category for concern in concerns.evaluate(vm, inventory)]
    counts = {category: found.count(category) for category in concerns.Category}
    return ", ".join(f"{count} {kind.value}" for kind, count in counts.items() if count) or "none"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


COLUMNS: dict[str, tuple[Column, ...]] = {
    "vms": (
        Column("ID", lambda vm, _: vm.id),
        Column("NAME", lambda vm, _: vm.name),
        Column("POWER", _power),
        Column("CPUS", lambda vm, _: str(vm.cpu_count)),
        Column("MEMORY", lambda vm, _: size(vm.memory_bytes)),
        Column("DISKS", lambda vm, _: str(len(vm.disks))),
        Column("SIZE", lambda vm, _: size(sum(disk.capacity_bytes for disk in vm.disks))),
        Column("GUEST", lambda vm, _: vm.guest_id),
        Column("NETWORKS", _network_names),
        Column("DATASTORES", _datastore_names),
        Column("FIRMWARE", lambda vm, _: vm.firmware.value, wide=True),
        Column("TOOLS", lambda vm, _: "running" if vm.tools_running else "not running", wide=True),
        Column("ADDRESS", lambda vm, _: vm.ip_address, wide=True),
        Column("HOST", _host_name, wide=True),
        Column("CONCERNS", _worst, wide=True),
        Column("PATH", lambda vm, _: vm.path, wide=True),
    ),
    "networks": (
        Column("ID", lambda one, _: one.id),
        Column("NAME", lambda one, _: one.name),
        Column("KIND", lambda one, _: one.variant),
        Column("VLAN", lambda one, _: one.vlan),
        Column("HOSTS", lambda one, _: str(len(one.hosts)), wide=True),
        Column("PATH", lambda one, _: one.path, wide=True),
    ),
    "datastores": (
        Column("ID", lambda one, _: one.id),
        Column("NAME", lambda one, _: one.name),
        Column("TYPE", lambda one, _: one.type),
        Column("CAPACITY", lambda one, _: size(one.capacity_bytes)),
        Column("FREE", lambda one, _: size(one.free_bytes)),
        Column("ACCESSIBLE", lambda one, _: _yes(one.accessible)),
        Column("MAINTENANCE", lambda one, _: one.maintenance, wide=True),
        Column("PATH", lambda one, _: one.path, wide=True),
    ),
    "hosts": (
        Column("ID", lambda one, _: one.id),
        Column("NAME", lambda one, _: one.name),
        Column("CLUSTER", _cluster_name),
        Column("STATUS", lambda one, _: one.status),
        Column("STATE", lambda one, _: one.connection_state),
        Column("MAINTENANCE", lambda one, _: _yes(one.in_maintenance)),
        Column("VERSION", lambda one, _: one.product_version),
        Column("CORES", lambda one, _: str(one.cpu_cores), wide=True),
        Column("MEMORY", lambda one, _: size(one.memory_bytes), wide=True),
        Column("ADDRESS", lambda one, _: one.management_ip, wide=True),
        Column("PATH", lambda one, _: one.path, wide=True),
    ),
    "clusters": (
        Column("ID", lambda one, _: one.id),
        Column("NAME", lambda one, _: one.name),
        Column("HOSTS", lambda one, _: str(len(one.hosts))),
        Column("DRS", lambda one, _: (one.drs_behavior or "on") if one.drs_enabled else "off"),
        Column("HA", lambda one, _: _yes(one.ha_enabled)),
        Column("DPM", lambda one, _: _yes(one.dpm_enabled), wide=True),
        Column("PATH", lambda one, _: one.path, wide=True),
    ),
}
