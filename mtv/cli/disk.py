"""`mtv disk`: what a disk image is; what is in the guest, and how it gets ready for virtio."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from converters import inspection, locating
from converters.inspection import DiskReport, Report
from mtv import errors
from mtv.cli import disk_adapt, disk_errors, disk_inspect, options
from mtv.cli.progress_line import size

app = typer.Typer(no_args_is_help=True)
app.command("inspect")(disk_inspect.inspect)
app.command("adapt")(disk_adapt.adapt)


@app.callback()
def _disk() -> None:
    """Show what a disk image is, look into its guest, make it ready for virtio."""


@app.command()
def info(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A disk image, an OVA or an OVF.")],
    source_format: Annotated[
        str, typer.Option(help="raw or qcow2: what FILE is, instead of looking into it.")
    ] = "",
    check: Annotated[
        bool, typer.Option("--check", help="Read all of it: contents, digests, checksum.")
    ] = False,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Show format, size, what is in it, its chain, what was checked and what is odd."""
    if source_format and source_format not in locating.SOURCE_FORMATS:
        raise errors.BadInput(
            f"is {source_format!r}, expected raw or qcow2", field="--source-format"
        )
    with disk_errors.translated():
        report = inspection.inspect(
            file, known=locating.SOURCE_FORMATS.get(source_format), deep=check
        )
    if output in (options.Format.JSON, options.Format.YAML):
        options.print_document(document(report), output)
    elif output is options.Format.NAME:
        typer.echo(report.format)
    else:
        typer.echo("\n".join(lines(report)))


def document(report: Report) -> dict[str, Any]:
    """Return the report as a JSON value."""
    disks = [
        {
            "name": disk.name,
            "capacityBytes": disk.capacity_bytes,
            "dataBytes": disk.data_bytes,
            "allocatedBytes": disk.allocated_bytes,
            "chain": [
                {
                    "name": image.name,
                    "format": image.format,
                    "kind": image.kind,
                    "capacityBytes": image.capacity_bytes,
                    "cid": image.cid or None,
                    "parent": image.parent or None,
                    "parentCid": image.parent_cid or None,
                    "files": [
                        {
                            "name": one.name,
                            "sizeBytes": one.size_bytes,
                            "allocatedBytes": one.allocated_bytes,
                        }
                        for one in image.files
                    ],
                }
                for image in disk.chain
            ],
        }
        for disk in report.disks
    ]
    first = report.disks[0] if len(report.disks) == 1 else None
    return {
        "file": report.file,
        "format": report.format,
        "capacityBytes": first.capacity_bytes if first else None,
        "allocatedBytes": sum(disk.allocated_bytes for disk in report.disks),
        "disks": disks,
        "checks": list(report.checks),
        "warnings": list(report.warnings),
        "checksum": report.checksum or None,
    }


def lines(report: Report) -> list[str]:
    """Return the report for people."""
    text = [f"{report.file}: {report.format}"]
    for disk in report.disks:
        text += _disk_lines(disk, named=len(report.disks) > 1)
    if report.checks:
        text.append(f"  checked    {', '.join(report.checks)}")
    if report.checksum:
        text.append(f"  checksum   {report.checksum}")
    text += [f"  warning    {warning}" for warning in report.warnings]
    return text


def _disk_lines(disk: DiskReport, *, named: bool) -> list[str]:
    text = [f"  disk       {disk.name}"] if named else []
    text.append(f"  capacity   {size(disk.capacity_bytes)} ({disk.capacity_bytes} bytes)")
    if disk.data_bytes is not None:
        text.append(f"  data       {size(disk.data_bytes)}")
    text.append(f"  allocated  {size(disk.allocated_bytes)}")
    for depth, image in enumerate(disk.chain):
        files = [one.name for one in image.files if one.name != image.name]
        parts = [f"{image.format} {image.kind}".strip()]
        if image.cid:
            parts.append(f"CID {image.cid}")
        if image.parent:
            parts.append(f"parent {image.parent}")
        if files:
            parts.append(f"in {', '.join(files[:4])}{' …' if len(files) > 4 else ''}")
        label = "chain" if depth == 0 else ""
        text.append(f"  {label:<10} {'  ' * depth}{image.name}: {', '.join(parts)}")
    return text
