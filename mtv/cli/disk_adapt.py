"""`mtv disk adapt`: a guest's disks made ready for virtio, on an overlay that is committed last."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from converters import locating
from converters.guest import tools
from converters.guest.application import adapt as adapting
from converters.guest.application import drivers, packages, trial
from converters.guest.application.adapt import Order, Result
from converters.guest.changes.change import Change
from converters.guest.decision import Bus, Way, Wish
from mtv import errors
from mtv.cli import disk_errors, disk_inspect, guest_options, options
from mtv.cli.guest_options import plain
from mtv.cli.progress_line import size


def adapt(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="The disks of one guest, in its order: raw, qcow2."),
    ],
    nic: Annotated[
        list[str] | None,
        typer.Option(help="A NIC of the guest: MAC, MAC=NAME, or MAC@SLOT with VMware's slot."),
    ] = None,
    bus: Annotated[Bus, typer.Option(help="Where the disks shall hang.")] = Bus.SCSI,
    agent: Annotated[
        str,
        typer.Option(
            "--agent",
            metavar="FOLDER",
            help="Packages of the QEMU guest agent, for the first boot.",
        ),
    ] = "",
    virtio_win: Annotated[
        str,
        typer.Option(
            "--virtio-win",
            metavar="PATH",
            help="Drivers for Windows: virtio-win, as a folder or an ISO.",
        ),
    ] = "",
    virtio_win_sha256: Annotated[
        str, typer.Option(metavar="HASH", help="What the ISO's SHA-256 must be.")
    ] = "",
    console: Annotated[
        bool, typer.Option("--console", help="Add a serial console to the kernel's parameters.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change; change nothing.")
    ] = False,
    test: Annotated[
        bool,
        typer.Option("--test", help="Boot it in an isolated VM before anything is committed."),
    ] = False,
    test_timeout: Annotated[
        float, typer.Option(min=10, max=3600, metavar="SECONDS", help="How long a test may take.")
    ] = 300,
    kvm: Annotated[
        bool, typer.Option("--kvm", help="Test with KVM, which must be known to work here.")
    ] = False,
    marker: Annotated[
        str, typer.Option(help="Text on the serial console that says that it booted.")
    ] = "",
    check: Annotated[
        bool, typer.Option("--check", help="Check the file systems wholly after the change.")
    ] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Take back what an earlier adaptation changed.")
    ] = False,
    source_format: Annotated[
        str, typer.Option(help="raw or qcow2: what FILE is, instead of looking into it.")
    ] = "",
    output: options.Output = options.Format.TABLE,
) -> None:
    """Make a guest that ran on VMware boot on virtio, with its names and addresses.

    Its files are changed from outside, on an overlay that is written into FILE at the very end;
    interrupted at any moment, FILE is as it was or as it shall be.

    Example: `mtv disk adapt web1.raw --nic 00:50:56:8a:12:34=ens192 --agent debs/ --test`
    """
    if source_format and source_format not in locating.SOURCE_FORMATS:
        raise errors.BadInput(
            f"is {source_format!r}, expected raw or qcow2", field="--source-format"
        )
    with disk_errors.translated():
        if virtio_win_sha256:
            drivers.checked(virtio_win, virtio_win_sha256)
        chosen = packages.read(agent) if agent else {}
        order = Order(
            disks=tuple(os.path.abspath(file) for file in files),
            wish=Wish(
                bus=bus,
                nics=guest_options.parse_nics(nic or []),
                console=console,
                packages=tuple(chosen),
            ),
            tools=tools.here(),
            packages=chosen,
            drivers=os.path.abspath(virtio_win) if virtio_win else "",
            when=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            known=locating.SOURCE_FORMATS.get(source_format),
            dry_run=dry_run,
            check=check,
            trial=trial.Boot(timeout_s=test_timeout, marker=marker, kvm=kvm) if test else None,
        )
        if undo:
            _undo(order, output)
            return
        result = adapting.adapt(order)
    _show(result, output, dry_run=dry_run)


def _show(result: Result, output: options.Format, *, dry_run: bool) -> None:
    if output in (options.Format.JSON, options.Format.YAML):
        options.print_document(document(result), output)
    elif output is options.Format.NAME:
        typer.echo(result.decision.way)
    else:
        typer.echo("\n".join(lines(result, dry_run=dry_run)))
    if result.decision.way is Way.EMULATED and not dry_run:
        typer.echo("warning: nothing was changed: start it on SATA and e1000e", err=True)


def _undo(order: Order, output: options.Format) -> None:
    changes, left = adapting.undo(order)
    if output in (options.Format.JSON, options.Format.YAML):
        value = {"undone": [one.path for one in changes], "left": left}
        options.print_document(guest_options.document(value), output)
        return
    for change in changes:
        typer.echo(f"{'would be' if order.dry_run else 'is'} as before: {plain(_shown(change))}")
    for text in left:
        typer.echo(f"warning: left as it is: {plain(text)}", err=True)


def _shown(change: Change) -> str:
    return f"{change.path} ({change.action})"


def document(result: Result) -> dict[str, Any]:
    """Return the result as a JSON value."""
    return {
        "adaptation": guest_options.document(result.decision),
        "changes": guest_options.document(list(result.entries)),
        "committed": result.committed,
        "overlayBytes": result.overlay_bytes,
        "seconds": dict(result.seconds),
    }


def lines(result: Result, *, dry_run: bool) -> Iterator[str]:
    """Yield the result for people."""
    yield from disk_inspect.decision_lines(result.decision)
    for entry in result.entries:
        yield f"  {'would ' if dry_run else ''}{entry.action:<8} {plain(entry.path)}"
    if result.committed:
        total = sum(result.seconds.values())
        yield f"done in {total:.1f} s; {size(result.overlay_bytes)} of overlay committed"
    elif not dry_run:
        yield "nothing had to be changed"
