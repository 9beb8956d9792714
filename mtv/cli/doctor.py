"""`mtv doctor`: looks at a machine, or at a source and the way to it, and names causes.

What is looked at is elsewhere (`virt_handler.machine_checks`, `mtv.providers.vsphere.doctor`); here
it is printed, line by line as it comes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from mtv import errors
from mtv.cli import options
from mtv.cli.options import Format
from mtv.findings import Finding, Grade

app = typer.Typer(add_completion=False)

DATA_DIR = Path("/var/lib/mtv")
SUBJECT_WIDTH = 28
MARKS = {Grade.OK: "ok", Grade.WARNING: "warning", Grade.FAILED: "FAILED"}


@app.command(
    epilog="Ends with 0 when nothing failed (warnings are allowed), else with 69. "
    "Examples: `mtv doctor` · `mtv doctor -o json` · `mtv doctor --provider vcenter --vm web1`"
)
def doctor(
    provider: Annotated[
        str,
        typer.Option("--provider", help="Look at this source instead of the machine."),
    ] = "",
    vm: Annotated[
        str, typer.Option("--vm", help="With --provider: the VM of which one block is read.")
    ] = "",
    disk: Annotated[int, typer.Option("--disk", min=0, help="Which of its disks, from 0.")] = 0,
    data_dir: Annotated[
        Path, typer.Option("--data-dir", help="Where volumes are to lie.")
    ] = DATA_DIR,
    namespace: options.Namespace = "default",
    kubeconfig: options.Kubeconfig = "",
    output: options.Output = Format.TABLE,
) -> None:
    """Check a machine or a vCenter, and name causes."""
    if provider:
        found: Iterable[Finding] = source_checks(provider, namespace, kubeconfig, vm, disk)
    else:
        found = machine_checks(data_dir.absolute())
    conclude(show(found, output))


def conclude(listed: list[Finding]) -> None:
    """Raise TargetRefused naming what failed; warnings are no failure."""
    failed = [one.subject for one in listed if one.grade is Grade.FAILED]
    if failed:
        raise errors.TargetRefused(
            f"{len(failed)} of {len(listed)} checks failed: {', '.join(failed)}",
            hint="do what stands beside them, then run `mtv doctor` again",
        )


def machine_checks(data_dir: Path) -> Iterator[Finding]:
    """Yield what is found on this machine."""
    from mtv_operator.virt_handler import machine_checks as machine

    yield from machine.look_at(data_dir)


def source_checks(
    provider: str, namespace: str, kubeconfig: str, vm: str, disk: int
) -> Iterator[Finding]:
    """Yield what is found at the source of a Provider. Raises NotFound, BadInput."""
    from mtv.cli import sources
    from mtv.providers.vsphere import doctor as vsphere
    from mtv_operator.objects import Client

    with Client.connect(kubeconfig or None) as client:
        session = sources.session(client, sources.find(client, provider, namespace))
    yield from vsphere.look_at(session, vm_name=vm, disk=disk)


def show(found: Iterable[Finding], output: Format) -> list[Finding]:
    """Print findings as they come (tables), or all at once (JSON, YAML); return them."""
    if output in (Format.JSON, Format.YAML):
        listed = list(found)
        options.print_document([msgspec.to_builtins(one) for one in listed], output)
        return listed
    listed = []
    if output is not Format.NAME:
        print(f"{'CHECK':{SUBJECT_WIDTH}}{'RESULT':10}SEEN")
    for one in found:
        listed.append(one)
        print(line(one) if output is not Format.NAME else one.subject)
        sys.stdout.flush()
    return listed


def line(one: Finding) -> str:
    """Return a finding as a line, and a second one with the way out where it is needed."""
    text = f"{one.subject:{SUBJECT_WIDTH}}{MARKS[one.grade]:10}{one.seen}"
    if one.grade is Grade.OK or not one.remedy:
        return text
    return f"{text}\n{'':{SUBJECT_WIDTH + 10}}→ {one.remedy}"
