"""`mtv disk inspect`: what is inside a guest's disks, and which way it would be adapted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from converters import locating
from converters.guest import decision, tools
from converters.guest.decision import Bus, Decision, Wish
from converters.guest.inspection import inspect as inspecting
from converters.guest.inspection.facts import Inspection, Kernel, Linux, Windows
from mtv import errors
from mtv.cli import disk_errors, guest_options, options
from mtv.cli.guest_options import plain
from mtv.cli.progress_line import size


def inspect(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...", help="The disks of one guest, in its order: VMDK, qcow2, raw."
        ),
    ],
    nic: Annotated[
        list[str] | None,
        typer.Option(help="A NIC of the guest: MAC, MAC=NAME, or MAC@SLOT with VMware's slot."),
    ] = None,
    bus: Annotated[Bus, typer.Option(help="Where the disks shall hang.")] = Bus.SCSI,
    source_format: Annotated[
        str, typer.Option(help="raw or qcow2: what FILE is, instead of looking into it.")
    ] = "",
    output: options.Output = options.Format.TABLE,
) -> None:
    """Show a guest's system, volumes, boot, drivers and network, and what virtio needs.

    Nothing is changed, and no program of the guest is run.
    """
    if source_format and source_format not in locating.SOURCE_FORMATS:
        raise errors.BadInput(
            f"is {source_format!r}, expected raw or qcow2", field="--source-format"
        )
    wish = Wish(bus=bus, nics=guest_options.parse_nics(nic or []))
    known = locating.SOURCE_FORMATS.get(source_format)
    with disk_errors.translated(), inspecting.open_disks(files, known=known) as disks:
        found = inspecting.look(disks, files).inspection
    decided = decision.decide(found, wish, tools.here())
    if output in (options.Format.JSON, options.Format.YAML):
        options.print_document(document(found, decided), output)
    elif output is options.Format.NAME:
        typer.echo(found.system)
    else:
        typer.echo("\n".join(lines(found, decided)))


def document(found: Inspection, decided: Decision) -> dict[str, Any]:
    """Return what was found and decided as a JSON value."""
    value: dict[str, Any] = guest_options.document(found)
    value["adaptation"] = guest_options.document(decided)
    return value


def lines(found: Inspection, decided: Decision) -> list[str]:
    """Return what was found for people."""
    text = [
        f"{disk.file}: {size(disk.size_bytes)}, partition table {disk.table}"
        for disk in found.disks
    ]
    for volume in found.volumes:
        names = [plain(word) for word in (volume.uuid, volume.label, *volume.notes) if word]
        kind = volume.kind or "nothing known"
        text.append(
            f"  {plain(volume.device):<24} {size(volume.size_bytes):>9}  {kind:<12} "
            f"{', '.join(names)}".rstrip()
        )
    if found.linux is not None:
        text += _linux(found.linux)
    elif found.windows is not None:
        text += _windows(found.windows)
    else:
        text.append(f"system       {found.system}")
    text += [f"problem      {plain(one)}" for one in found.problems]
    return [*text, *decision_lines(decided)]


def decision_lines(decided: Decision) -> Iterator[str]:
    """Yield the way and its changes for people."""
    yield f"way          {decided.way} (bus {decided.bus}, NIC {decided.nic_model})"
    for reason in decided.reasons:
        yield f"             {plain(reason)}"
    for intent in decided.intents:
        yield f"  {intent.kind:<17} {plain(intent.subject)}: {plain(intent.reason)}"
    for warning in decided.warnings:
        yield f"warning      {plain(warning)}"


def _linux(guest: Linux) -> Iterator[str]:
    yield f"system       {plain(guest.name)}, {guest.architecture}, init {guest.init}"
    roots = ", ".join(plain(one) for one in guest.boot.roots) or "not found"
    fallback = {True: ", EFI fallback", False: ", no EFI fallback", None: ""}[guest.boot.fallback]
    yield f"boot         {guest.boot.firmware}, {guest.boot.loader}, root={roots}{fallback}"
    for kernel in guest.kernels:
        yield f"kernel       {_kernel(kernel)}"
    for mount in guest.mounts:
        on = f" ({plain(mount.volume)})" if mount.volume and mount.volume != mount.source else ""
        yield f"mount        {plain(mount.where)} from {plain(mount.source)}{on}"
    tools_ = ", ".join(guest.network.tools) or "unknown"
    yield f"network      {tools_}"
    for one in guest.network.interfaces:
        words = (one.name, one.mac, *one.addresses)
        yield f"  interface  {' '.join(plain(word) for word in words if word)}"
    if guest.selinux:
        yield f"SELinux      {guest.selinux}"
    if guest.vmware_services:
        yield f"VMware       {', '.join(guest.vmware_services)}"
    yield f"agent        {'installed' if guest.agent else 'not installed'}"
    free = ", ".join(f"{where} {size(count)}" for where, count in guest.free_bytes.items())
    yield f"free         {free}"
    if guest.adapted:
        yield "adapted      yes; `mtv disk adapt --undo` takes it back"


def _kernel(kernel: Kernel) -> str:
    here = ", ".join((*kernel.builtin, *kernel.in_initramfs)) or "none"
    lack = f", {len(kernel.lacks)} modules to add" if kernel.lacks else ""
    packed = "+".join(kernel.packed_by)
    where = f"{plain(kernel.initramfs)} ({packed})" if kernel.initramfs else "no initramfs"
    return f"{plain(kernel.version)}, {where}, virtio: {here}{lack}"


def _windows(guest: Windows) -> Iterator[str]:
    yield f"system       {plain(guest.name) or 'Windows'} {plain(guest.version)}".rstrip()
    if guest.dirty:
        yield "             its file system was not closed cleanly"
    if guest.hibernated:
        yield "             it is hibernated (fast startup)"
    yield f"drivers      {', '.join(guest.drivers) or 'none known'}"
