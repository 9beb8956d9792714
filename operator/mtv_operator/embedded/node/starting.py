"""Starts a container: writes what it is beside its log, and runs the stage."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from mtv_operator.embedded.node import stage

TIMEOUT_S = 60.0
DESCRIPTION = "container.json"


def start(container: stage.Container) -> str:
    """Start a container; return what was wrong, or ""."""
    state = Path(container.state)
    document = stage.encode(container)
    write_private(state / DESCRIPTION, document)
    with open(state / "log", "ab") as log:
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-S", stage.__file__, str(os.getpid())],
                input=document.encode(),
                stdout=log,
                stderr=log,
                start_new_session=True,
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"the container was not built in {TIMEOUT_S:.0f} s"
    if done.returncode == 0:
        return ""
    try:
        return (state / "fault").read_text(encoding="utf-8")
    except FileNotFoundError:
        return f"the stage ended with status {done.returncode}: see {state}/log"


def described(state: Path) -> stage.Container | None:
    """Return what a start of a container was made of; None when that is not known any more."""
    try:
        return stage.decode((state / DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_private(path: Path, text: str) -> None:
    """Write a file that only root reads: the environment may hold secrets."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
