"""`mtv down`: ends what `mtv up` started."""

from __future__ import annotations

from typing import Annotated

import typer

from mtv import errors
from mtv.cli.up import DATA_DIR, DataDir, say

app = typer.Typer()


@app.command(
    epilog="VMs and transfers go on unless --stop-vms is given; `mtv up` finds them again."
)
def down(
    data_dir: DataDir = DATA_DIR,
    stop_vms: Annotated[
        bool, typer.Option("--stop-vms", help="Shut the guests down first, and end transfers.")
    ] = False,
    purge: Annotated[
        bool,
        typer.Option("--purge", help="Remove everything, volumes too; implies --stop-vms."),
    ] = False,
) -> None:
    """Stop mtv on this machine."""
    from mtv_operator.embedded.up import machine, settings, stopping

    folder = data_dir.absolute()
    machine.check_root()
    found = settings.load(folder)
    if found is None:
        if purge:
            say(f"nothing is in {folder}")
            return
        raise errors.NotFound(f"no mtv is in {folder}", hint="--data-dir says where it is")
    stopping.stop(found, say, stop_vms=stop_vms, purge=purge)
