"""The supervisor as a process; `mtv up` starts it, and it outlives the terminal.

    python -m mtv_operator.embedded.up.main RUN LOGS

RUN/components.json says what to keep running. SIGTERM ends the components and then the
supervisor; SIGUSR1 ends those that RUN/stop names; SIGHUP ends the supervisor alone, for the next
one to take over. It imports little: it is there all the time.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from mtv import errors
from mtv_operator.embedded.up import supervisor
from mtv_operator.embedded.up.supervisor import Component

log = logging.getLogger("supervisor")

COMPONENTS, STOP = "components.json", "stop"


def run() -> None:
    """Supervise until told to end."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    run_folder, logs = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        with supervisor.locked(run_folder):
            keeper = supervisor.Supervisor(read_components(run_folder), run_folder, logs)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: keeper.stop())
            signal.signal(signal.SIGHUP, lambda *_: os._exit(0))
            signal.signal(signal.SIGUSR1, lambda *_: keeper.stop(read_names(run_folder)))
            keeper.run()
    except errors.MigrationError as fault:
        log.error("%s%s", fault, f" ({fault.hint})" if fault.hint else "")
        sys.exit(fault.exit_code)


def read_components(run_folder: Path) -> list[Component]:
    """Return what is to be kept running; nothing when nobody has said so."""
    try:
        content = (run_folder / COMPONENTS).read_bytes()
        return msgspec.json.decode(content, type=list[Component])
    except (FileNotFoundError, msgspec.DecodeError):
        return []


def write_components(run_folder: Path, components: Sequence[Component]) -> None:
    """Say what is to be kept running."""
    temporary = run_folder / f"{COMPONENTS}.new"
    temporary.write_bytes(msgspec.json.encode(components))
    temporary.chmod(0o600)
    temporary.replace(run_folder / COMPONENTS)


def read_names(run_folder: Path) -> list[str]:
    """Return the components that are to be stopped alone, as `mtv down` wrote them."""
    try:
        return (run_folder / STOP).read_text(encoding="utf-8").split()
    except FileNotFoundError:
        return []


if __name__ == "__main__":
    run()
