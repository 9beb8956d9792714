"""`mtv convert`: one disk image into another, with nothing else installed or running."""

from __future__ import annotations

from typing import Annotated

import typer

from converters.conversion import TargetFormat
from mtv.cli import conversions, options

app = typer.Typer()


@app.command()
def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC",
            help="A disk image (VMDK of any kind with its parents, OVA, OVF, qcow2, raw; gzip), "
            "`-` for standard input, or an address: https://…, nbd://…, nbds://…, nbd+unix://…",
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
        int,
        typer.Option(
            "--jobs", "-j", min=0, max=conversions.MOST_JOBS, help="Threads that unpack and write."
        ),
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
    wish = conversions.Wish(
        source=source,
        target=target,
        format=format_,
        source_format=source_format,
        verify=verify,
        jobs=jobs,
        limit=limit,
        size=size,
        disk=disk,
        force=force,
        quiet=quiet,
        output=output.value,
    )
    conversions.convert(wish)
