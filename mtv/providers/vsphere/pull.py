"""The whole inventory in a handful of calls, page by page; no pyvmomi object outlives its page."""

from __future__ import annotations

import contextlib
import ctypes
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from mtv import errors
from mtv.inventory.model import VM, Inventory, Moref, Tag
from mtv.providers.vsphere import faults, properties, surroundings, tagging, virtual_machine
from mtv.providers.vsphere.properties import PathsOf
from mtv.providers.vsphere.surroundings import Surroundings
from mtv.providers.vsphere.virtual_machine import Names

if TYPE_CHECKING:
    from mtv.providers.vsphere.session import Session

_LOG = logging.getLogger(__name__)

TagsOf = Mapping[Moref, tuple[Tag, ...]]

_ATTEMPTS = 3  # a session that ends in the middle takes the view with it: begin anew


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """All but the VMs, and what the ids inside VMs stand for."""

    surroundings: Surroundings
    names: Names
    notes: tuple[str, ...] = ()


def inventory(session: Session) -> Inventory:
    """Read the whole inventory. Raises errors of `mtv.errors`."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            base = read_base(session)
            vms, notes = read_vms(session, base.names)
            give_memory_back()
            return assembled(session, base, vms, notes)
        except (faults.Gone, faults.NotAuthenticated) as lost:
            if attempt == _ATTEMPTS:
                raise errors.SourceUnavailable(
                    f"{session.server} ended the session {_ATTEMPTS} times while it was read"
                ) from lost
            _LOG.info("reading %s again: %s", session.server, lost)
            session.log_in_again(session.logins)
    raise errors.Bug("unreachable")


def give_memory_back() -> None:
    """Return what pages of an inventory took to the system; the C library keeps it otherwise."""
    with contextlib.suppress(AttributeError):  # glibc has it, musl has not
        ctypes.CDLL(None).malloc_trim(0)


def assembled(
    session: Session, base: Base, vms: Mapping[Moref, VM], notes: Iterable[str] = ()
) -> Inventory:
    """Return the inventory of these parts."""
    about = session.content.about
    around = base.surroundings
    return Inventory(
        product=about.name,
        version=about.version,
        instance_uuid=about.instanceUuid or "",
        is_vcenter=session.is_vcenter,
        notes=(*base.notes, *notes),
        vms=dict(vms),
        networks=around.networks,
        datastores=around.datastores,
        hosts=around.hosts,
        clusters=around.clusters,
        folders=around.folders,
    )


def read_base(session: Session, known: Base | None = None) -> Base:
    """Read everything but the VMs. Tags are taken from `known` if given, else read as well."""
    raw: dict[Moref, tuple[Any, properties.Properties]] = {}
    for paths in (surroundings.BASE_PATHS, surroundings.DERIVED_PATHS):
        with properties.view_of(session, paths) as view:
            for page in properties.pages(session, properties.view_filter(view, paths)):
                for item, values in page:
                    raw.setdefault(Moref(item._moId), (item, {}))[1].update(values)
    root = session.content.rootFolder
    raw.setdefault(Moref(root._moId), (root, {}))
    around = surroundings.of_properties(raw)
    if known is None:
        tags: TagsOf
        tags, notes = tagging.tags_of_vms(session)
    else:
        tags, notes = known.names.tags, known.notes
    return Base(
        surroundings=around,
        names=_names(session, around, tags),
        notes=notes,
    )


def _names(session: Session, around: Surroundings, tags: TagsOf) -> Names:
    datacenters = [folder for folder in around.folders.values() if folder.kind == "Datacenter"]
    return Names(
        path={folder.id: folder.path for folder in around.folders.values()},
        datacenter={
            folder.id: datacenter.id
            for datacenter in datacenters
            for folder in around.folders.values()
            if f"{folder.path}/".startswith(f"{datacenter.path}/")
        },
        portgroup={
            network.key: network.id
            for network in around.networks.values()
            if network.variant == "DvPortGroup"
        },
        opaque_network={
            network.opaque_id: network.id
            for network in around.networks.values()
            if network.variant == "OpaqueNetwork"
        },
        custom_field=_custom_fields(session),
        tags=tags,
    )


def _custom_fields(session: Session) -> dict[int, str]:
    manager = session.content.customFieldsManager
    if manager is None:  # an ESXi host has none
        return {}
    kind = vim.CustomFieldsManager
    read = properties.of_objects(session, [manager], {kind: ("field",)})
    fields = next(iter(read.values()), {}).get("field") or ()
    return {field.key: field.name for field in fields}


def read_vms(session: Session, names: Names) -> tuple[dict[Moref, VM], list[str]]:
    """Read all VMs. Returns them, and notes on those that cannot be read."""
    paths = {vim.VirtualMachine: virtual_machine.PATHS}
    vms: dict[Moref, VM] = {}
    notes: list[str] = []
    with properties.view_of(session, paths) as view:
        for page in properties.pages(session, properties.view_filter(view, paths)):
            _convert(page, names, vms, notes)
    return vms, notes


def read_some_vms(
    session: Session, ids: Iterable[Moref], names: Names
) -> tuple[dict[Moref, VM], list[str]]:
    """Read the VMs with these ids; those that are gone meanwhile are left out."""
    vms: dict[Moref, VM] = {}
    notes: list[str] = []
    for id_ in ids:
        managed = vim.VirtualMachine(id_, session.stub)
        try:
            values = properties.of_objects(
                session, [managed], {vim.VirtualMachine: virtual_machine.PATHS}
            )
        except faults.Gone:
            continue
        _convert([(managed, values.get(id_, {}))], names, vms, notes)
    return vms, notes


def _convert(
    page: Iterable[tuple[Any, properties.Properties]],
    names: Names,
    vms: dict[Moref, VM],
    notes: list[str],
) -> None:
    for managed, values in page:
        id_ = Moref(managed._moId)
        if virtual_machine.is_readable(values):
            vms[id_] = virtual_machine.of_properties(id_, values, names)
        else:
            state = values.get("runtime.connectionState", "unreadable")
            notes.append(
                f"VM {values.get('name', id_)} ({id_}) is left out: its configuration cannot be "
                f"read (connection state: {state})"
            )


def properties_of(
    session: Session, objects: Sequence[object], kind: type[Any], paths: Sequence[str]
) -> dict[Moref, properties.Properties]:
    """Return properties of named objects of one kind. Raises Gone."""
    wanted: PathsOf = {kind: paths}
    try:
        return properties.of_objects(session, objects, wanted)
    except faults.NotAuthenticated:
        session.log_in_again(session.logins)
        return properties.of_objects(session, objects, wanted)
