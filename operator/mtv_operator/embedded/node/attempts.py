"""What a node knows of its pods, on disk: a folder per pod, in it one per start of a container.

    pods/<uid>/pod.json                       the pod as last seen
    pods/<uid>/containers/<name>/<number>/    one start of a container:
        process   who pid 1 is              exit      its exit code; empty until then
        fault     why it did not start      log       what it printed
        term      when it was told to end   lost      it ended without leaving an exit code
        failures  how often in a row the container failed before
        message   what it left in its terminationMessagePath

Times are those of the files. Nothing here is remembered in memory.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mtv_operator.embedded.node import processes
from mtv_operator.embedded.node.processes import Identity

KILLED = 137  # 128 + SIGKILL
LONGEST_MESSAGE = 4096  # characters, as the kubelet
KEPT = 2  # the last start, and the one before for `kubectl logs --previous`


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One start of a container. Times are seconds since the epoch."""

    number: int
    failures: int = 0
    process: Identity | None = None
    running: bool = False
    started_at: float | None = None
    finished_at: float | None = None
    exit_code: int | None = None
    reason: str = ""
    fault: str = ""
    told_to_end_at: float | None = None
    message: str = ""

    @property
    def succeeded(self) -> bool:
        """Tell whether it ended, and well."""
        return self.exit_code == 0

    @property
    def ended(self) -> bool:
        """Tell whether it ran and does not any more."""
        return self.exit_code is not None


@dataclass(frozen=True, slots=True)
class PodFolder:
    """The folder of one pod on its node."""

    path: Path

    @property
    def uid(self) -> str:
        """Return the pod's UID, which is the folder's name."""
        return self.path.name

    def container(self, name: str, number: int) -> Path:
        """Return the folder of one start of a container."""
        return self.path / "containers" / name / str(number)

    def attempts(self, name: str) -> tuple[Attempt, ...]:
        """Return what is known of the starts of a container, the oldest kept one first."""
        folder = self.path / "containers" / name
        numbers = sorted(int(path.name) for path in _entries(folder) if path.name.isdigit())
        found = [read_attempt(folder / str(number), number) for number in numbers]
        return tuple(attempt for attempt in found if attempt is not None)

    def begin(self, name: str, number: int, failures: int) -> Path:
        """Make the folder of a new start, and forget the oldest."""
        folder = self.container(name, number)
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "tmp").mkdir(parents=True)
        (folder / "tmp").chmod(0o1777)
        (folder / "failures").write_text(str(failures))
        (folder / "message").touch()
        (folder / "message").chmod(0o666)
        for path in _entries(folder.parent):
            if path.name.isdigit() and int(path.name) <= number - KEPT:
                shutil.rmtree(path, ignore_errors=True)
        return folder

    def tell_to_end(self, name: str, number: int) -> None:
        """Note that a start was told to end, now."""
        (self.container(name, number) / "term").touch()

    def remove(self) -> None:
        """Forget the pod."""
        shutil.rmtree(self.path, ignore_errors=True)


def read_attempt(folder: Path, number: int) -> Attempt | None:
    """Return what a folder says of one start; None when the starter did not come so far."""
    failures = _number(folder / "failures") or 0
    told_to_end_at = _changed(folder / "term")
    fault = _text(folder / "fault")
    if fault:
        return Attempt(
            number=number,
            failures=failures,
            fault=fault,
            finished_at=_changed(folder / "fault"),
            told_to_end_at=told_to_end_at,
        )
    process = processes.read(folder / "process")
    if process is None:
        return None
    started_at = _changed(folder / "process")
    if processes.alive(process):
        return Attempt(
            number=number,
            failures=failures,
            process=process,
            running=True,
            started_at=started_at,
            told_to_end_at=told_to_end_at,
        )
    code, ended_by = _number(folder / "exit"), folder / "exit"
    reason = ""
    if code is None:
        ended_by = folder / "lost"
        reason = _settle(folder, process)
    return Attempt(
        number=number,
        failures=failures,
        process=process,
        started_at=started_at,
        finished_at=_changed(ended_by),
        exit_code=KILLED if code is None else code,
        reason=reason,
        told_to_end_at=told_to_end_at,
        message=_text(folder / "message")[-LONGEST_MESSAGE:],
    )


def _settle(folder: Path, process: Identity) -> str:
    """Note once how a container ended that left no exit code: that is when it was seen."""
    lost = folder / "lost"
    if not lost.exists():
        same_boot = process.boot_id == processes.boot_id()
        lost.write_text("Error" if same_boot else "ContainerStatusUnknown")
    return lost.read_text()


def pods(folder: Path) -> Sequence[PodFolder]:
    """Return the folders of all pods that a node knows."""
    return [PodFolder(path) for path in _entries(folder) if path.is_dir()]


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdigit() else None


def _changed(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return None
