"""The command line: a table of commands, loaded when they are called, and one place for errors.

`mtv --help` must not pay for kubernetes or pyvmomi, so a command's module is imported only when it
is called. To add a command: a file `mtv/cli/<name>.py` with a Typer app called `app`, and a row in
COMMANDS.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from mtv.cli.ending import ended
from mtv.cli.ending import show as show


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command lives, and its line in `mtv --help`."""

    module: str
    summary: str
    panel: str


COMMANDS: dict[str, Entry] = {
    "up": Entry("mtv.cli.up", "Start mtv on this machine, without a cluster.", "This machine"),
    "down": Entry("mtv.cli.down", "Stop what `mtv up` started.", "This machine"),
    "status": Entry("mtv.cli.status", "Show the components and whether they work.", "This machine"),
    "doctor": Entry(
        "mtv.cli.doctor", "Check a machine or a vCenter, and name causes.", "This machine"
    ),
    "install": Entry("mtv.cli.install", "Install mtv on a Kubernetes cluster.", "Clusters"),
    "uninstall": Entry("mtv.cli.uninstall", "Take mtv away from a cluster.", "Clusters"),
    "provider": Entry("mtv.cli.provider", "Add, list and test sources of VMs.", "Migration"),
    "inventory": Entry("mtv.cli.inventory", "Show what a source has.", "Migration"),
    "import": Entry("mtv.cli.import_vms", "Bring VMs over: plan, go, follow.", "Migration"),
    "plan": Entry("mtv.cli.plan", "Check, start, follow and cancel plans.", "Migration"),
    "report": Entry("mtv.cli.report", "Write what became of a plan, with a timeline.", "Migration"),
    "rollback": Entry("mtv.cli.rollback", "Go back: target off, source on.", "Migration"),
    "vm": Entry("mtv.cli.vm", "List, start, stop and reach virtual machines.", "Virtual machines"),
    "why": Entry("mtv.cli.why", "Say why an object is as it is, link by link.", "Objects"),
    "apply": Entry("mtv.cli.apply", "Apply YAML, for machines without kubectl.", "Objects"),
    "delete": Entry("mtv.cli.delete", "Delete what is in a YAML file.", "Objects"),
    "convert": Entry("mtv.cli.convert", "Convert a disk image; needs nothing else.", "Disk images"),
    "image": Entry("mtv.cli.image", "Keep container images for container disks.", "Disk images"),
    "disk": Entry("mtv.cli.disk", "Look into a disk image; adapt its guest.", "Disk images"),
    "version": Entry("mtv.cli.version", "Print the version.", "Objects"),
}


class LazyGroup(TyperGroup):
    """A group that knows its commands' names, and imports one when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401 - Typer's own context type is private
        """Return the names in the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401
        """Return a stand-in that carries the summary; enough for `--help` and completion."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        return TyperCommand(cmd_name, help=entry.summary, rich_help_panel=entry.panel)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401
        """Return the real command: called when it is about to run or be completed."""
        name, stand_in, rest = super().resolve_command(ctx, args)
        return name, load(name) if stand_in is not None and name else stand_in, rest


def load(name: str) -> Any:  # noqa: ANN401
    """Import a command's module and return its click command."""
    app = importlib.import_module(COMMANDS[name].module).app
    command = typer.main.get_command(app)
    command.name = name
    return command


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None if os.environ.get("NO_COLOR") else "rich",
    help="Move virtual machines out of vSphere; run them unchanged on a KubeVirt-style runtime.",
    epilog="Examples: `mtv up` · `mtv provider add vc --type vsphere --url https://vc --user me` · "
    "`mtv import web1 --from vc --dry-run` · `mtv vm console web1`. "
    "Errors go to stderr with a hint; exit codes are in docs/reference/exit-codes.md.",
)


@app.callback()
def _root() -> None:
    """Move virtual machines out of vSphere; run them unchanged on a KubeVirt-style runtime."""


def run() -> None:
    """Run `mtv` and end the process with the error's own exit code."""
    logging.basicConfig(
        stream=sys.stderr,
        level=os.environ.get("MTV_LOG", "WARNING").upper(),
        format="%(levelname)s %(name)s: %(message)s",
    )
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # its retries are said by our errors
    ended(lambda: app(prog_name="mtv"))


if __name__ == "__main__":
    run()
