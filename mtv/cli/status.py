"""`mtv status`: the components of this machine and whether they do their work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from mtv import errors
from mtv.cli import options
from mtv.cli.options import Format
from mtv.cli.up import DATA_DIR, DataDir

if TYPE_CHECKING:
    from mtv_operator.embedded.up.readiness import Line

app = typer.Typer()


@app.command(epilog="Ends with 0 when everything is ready, 75 when not, 66 when nothing is there.")
def status(data_dir: DataDir = DATA_DIR, output: options.Output = Format.TABLE) -> None:
    """Show the components: process, restarts, last exit, and whether they work."""
    import msgspec

    from mtv_operator.embedded.up import readiness, settings, starting, supervisor

    folder = data_dir.absolute()
    found = settings.load(folder)
    if found is None:
        raise errors.NotFound(f"no mtv is in {folder}", hint="`mtv up` starts one")
    supervising = starting.running_supervisor(found)
    summary = supervisor.read_summary(found.run)
    lines = readiness.lines(summary.components, readiness.look(found))
    if output in (Format.JSON, Format.YAML):
        document = {
            "dataDir": str(folder),
            "supervisor": supervising.pid if supervising else None,
            "components": msgspec.to_builtins(lines),
        }
        options.print_document(document, output)
    elif output is Format.NAME:
        print("\n".join(line.name for line in lines))
    else:
        options.print_table(
            ("COMPONENT", "STATE", "READY", "PID", "RESTARTS", "LAST EXIT", "REASON"),
            [row(line) for line in lines],
        )
    if supervising is None:
        raise errors.Retryable(f"nothing supervises {folder}", hint="`mtv up` starts it")
    waiting = [line.name for line in lines if not line.ready]
    if waiting:
        raise errors.Retryable(f"not ready: {', '.join(waiting)}", hint=f"logs are in {found.logs}")


def row(line: Line) -> tuple[str, ...]:
    """Return one row of the table."""
    return (
        line.name,
        line.state,
        "True" if line.ready else "False",
        str(line.pid or "-"),
        str(line.restarts),
        line.last_exit or "-",
        line.reason or "-",
    )
