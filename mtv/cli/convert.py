"""`mtv convert`: one disk image into another, with nothing else installed or running."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import Annotated

import typer

from converters import conversion, locating
from converters.conversion import Order, Result, TargetFormat
from converters.locating import Found, FoundDisk
from converters.pipeline import Options
from mtv import errors
from mtv.cli import disk_errors, options, progress_line

app = typer.Typer()

_SIZE = re.compile(r"(?P<number>\d{1,15}(?:\.\d{1,3})?)\s*(?P<unit>[kmgt]?)(?:i?b)?(?:/s)?", re.I)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SUFFIXES = {".qcow2": TargetFormat.QCOW2, ".qcow": TargetFormat.QCOW2}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the command line says."""

    source: str
    target: str
    format: TargetFormat | None = None
    source_format: str = ""
    verify: bool = False
    jobs: int = 0
    limit_bytes_per_s: int = 0
    size_bytes: int | None = None
    disk: int | None = None
    force: bool = False
    quiet: bool = False


@app.command()
def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC",
            help="A disk image (VMDK of any kind with its parents, OVA, OVF, qcow2, raw; gzip), "
            "`-` for standard input, or an address: https://…, nbd://…, nbd+unix://…",
        ),
    ],
    target: Annotated[
        str,
        typer.Argument(
            metavar="DST", help="A file, a block device, or a folder for the disks of a package."
        ),
    ],
    format_: Annotated[
        TargetFormat | None,
        typer.Option("--format", "-f", help="What to write; else by DST's name, else raw."),
    ] = None,
    source_format: Annotated[
        str,
        typer.Option(help="raw, qcow2, vmdk or ova: what SRC is, instead of looking into it."),
    ] = "",
    verify: Annotated[
        bool, typer.Option("--verify", help="Read DST again and compare it with what was read.")
    ] = False,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=0, max=64, help="Threads that unpack and write.")
    ] = 0,
    limit: Annotated[str, typer.Option(help="Read at most so much per second: 100M, 1.5G.")] = "",
    size: Annotated[str, typer.Option(help="Size of a raw disk from a pipe: 20G.")] = "",
    disk: Annotated[
        int | None, typer.Option(min=1, help="Only this disk of a package, counted from 1.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite DST if it has something in it.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Convert a disk image. Interrupted, the same command goes on where it stopped.

    Examples: `mtv convert web1.vmdk web1.raw --verify` · `mtv convert vm.ova disks/` ·
    `curl -s https://host/web1.vmdk | mtv convert - /dev/vg/web1`
    """
    wish = Wish(
        source=source,
        target=target,
        format=format_,
        source_format=source_format,
        verify=verify,
        jobs=jobs,
        limit_bytes_per_s=parse_size(limit, "--limit") if limit else 0,
        size_bytes=parse_size(size, "--size") if size else None,
        disk=disk,
        force=force,
        quiet=quiet,
    )
    with disk_errors.translated():
        results, notes = run(wish)
    for note in notes:
        typer.echo(f"warning: {note}", err=True)
    if output in (options.Format.JSON, options.Format.YAML):
        document = {"disks": [document_of(result) for result in results], "warnings": notes}
        options.print_document(document, output)
    elif output is options.Format.NAME:
        for result in results:
            typer.echo(result.target)
    else:
        for result in results:
            typer.echo(summary(result))


def run(wish: Wish) -> tuple[list[Result], list[str]]:
    """Convert what is wished for; return what was done, and what is odd. Raises."""
    if wish.source_format and wish.source_format not in locating.SOURCE_FORMATS:
        raise errors.BadInput(
            f"is {wish.source_format!r}, expected one of {', '.join(locating.SOURCE_FORMATS)}",
            field="--source-format",
        )
    known = locating.SOURCE_FORMATS.get(wish.source_format)
    results = []
    with locating.open_disks(wish.source, known=known, size_bytes=wish.size_bytes) as found:
        refuse_own_files(found, wish.target)
        for number, disk in enumerate(found.disks(), start=1):
            if wish.disk is not None and number != wish.disk:
                continue
            order = order_for(wish, disk, single=not found.is_package or wish.disk is not None)
            with progress_line.shown(disk.name, quiet=wish.quiet) as on_stage:
                results.append(
                    conversion.convert(disk.source, order, version=disk.version, on_stage=on_stage)
                )
        if wish.disk is None:
            found.finish()
        if not results:
            which = "disk" if wish.disk is None else f"disk {wish.disk}"
            raise errors.NotFound(f"{wish.source} has no {which}")
        return results, found.warnings


def refuse_own_files(found: Found, target: str) -> None:
    """Refuse to write over what is read."""
    for path in found.files:
        if os.path.exists(target) and os.path.samefile(path, target):
            raise errors.BadInput(
                f"{target} is read by this conversion", hint="name another file as DST"
            )


def order_for(wish: Wish, disk: FoundDisk, *, single: bool) -> Order:
    """Return how a disk is to be written. Several disks go into a folder, by their own names."""
    target = wish.target
    if os.path.isdir(target) or not single:
        if not os.path.isdir(target):
            if os.path.exists(target) or not target.endswith("/"):
                raise errors.BadInput(
                    f"{wish.source} may have several disks, and {target} is no folder",
                    hint="make the folder first (or end DST with /), or choose one with --disk 1",
                )
            os.makedirs(target, exist_ok=True)
        format_ = wish.format or TargetFormat.RAW
        name = Path(disk.name.rsplit("/", 1)[-1].removesuffix(".gz")).stem
        target = os.path.join(target, f"{name}.{format_.value}")
    else:
        suffix = os.path.splitext(target)[1].lower()
        format_ = wish.format or _SUFFIXES.get(suffix, TargetFormat.RAW)
    copying = Options(limit_bytes_per_s=wish.limit_bytes_per_s)
    if wish.jobs:
        copying = dataclasses.replace(copying, workers=wish.jobs)
    return Order(
        target=target,
        format=format_,
        options=copying,
        verify=wish.verify,
        overwrite=wish.force,
    )


def parse_size(text: str, field: str) -> int:
    """Return the bytes that `100M` or `1.5 GiB` means; units are powers of 1024."""
    match = _SIZE.fullmatch(text.strip())
    value = float(match["number"]) * _UNITS[match["unit"].lower()] if match else 0
    if value < 1:
        raise errors.BadInput(f"is {text!r}, expected a size like 100M or 1.5G", field=field)
    return int(value)


def document_of(result: Result) -> dict[str, object]:
    """Return a result as a JSON value."""
    return {
        "target": result.target,
        "format": result.format,
        "capacityBytes": result.capacity_bytes,
        "readBytes": result.read_bytes,
        "writtenBytes": result.written_bytes,
        "allocatedBytes": result.allocated_bytes,
        "continuedAtBytes": result.continued_at,
        "elapsedSeconds": round(result.elapsed_s, 3),
        "checksum": result.checksum,
        "verified": result.verified,
    }


def summary(result: Result) -> str:
    """Return the line that says what was done."""
    rate = result.capacity_bytes / max(result.elapsed_s, 0.001)
    continued = (
        f", continued at {progress_line.size(result.continued_at)}" if result.continued_at else ""
    )
    return (
        f"{result.target}: {progress_line.size(result.capacity_bytes)} {result.format}, "
        f"{progress_line.size(result.written_bytes)} written in {result.elapsed_s:.1f} s "
        f"({progress_line.size(rate)}/s){continued}, "
        f"{'verified, ' if result.verified else ''}{result.checksum}"
    )
