"""Starts processes, and starts again what ends; one thread, pidfds and a selector.

`<run>/state.json` always says what is: written before the first wait, and on every change. It is
how `mtv status` knows, and how the next supervisor finds what this one left running.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import msgspec

from mtv import errors
from mtv_operator.embedded.node import processes
from mtv_operator.embedded.node.processes import Identity
from mtv_operator.embedded.up import restarts

log = logging.getLogger(__name__)

STOP_S = 10.0
LOG_LIMIT_BYTES = 20 << 20
TICK_S = 30.0  # logs are looked at this often


class Component(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A process to keep running; or, as a task, to run until it succeeds once."""

    name: str
    argv: tuple[str, ...]
    environment: dict[str, str] = {}
    after: tuple[str, ...] = ()  # tasks that must have succeeded
    task: bool = False


class State(StrEnum):
    """What a component is doing."""

    WAITING = "Waiting"
    RUNNING = "Running"
    BACK_OFF = "BackOff"
    DONE = "Done"
    STOPPED = "Stopped"


class Report(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What is known of one component."""

    name: str
    state: State = State.WAITING
    task: bool = False
    process: Identity | None = None
    started_at: str = ""
    restarts: int = 0
    last_exit: str = ""


class Summary(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The contents of state.json."""

    supervisor: Identity | None = None
    components: tuple[Report, ...] = ()
    commands: dict[str, tuple[str, ...]] = {}


def read_summary(run: Path) -> Summary:
    """Return what the last supervisor of this run folder wrote; empty when there was none."""
    try:
        return msgspec.json.decode((run / "state.json").read_bytes(), type=Summary)
    except (FileNotFoundError, msgspec.DecodeError):
        return Summary()


@contextlib.contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold the run folder; only one supervisor can. Raises AlreadyExists at once."""
    run.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (run / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise errors.AlreadyExists(
                f"another supervisor holds {run}/lock", hint="`mtv status` shows it"
            ) from error
        yield


class _Unit:
    """One component at run time."""

    def __init__(self, component: Component) -> None:
        self.component = component
        self.report = Report(name=component.name, task=component.task)
        self.child: subprocess.Popen[bytes] | None = None
        self.pidfd: int | None = None
        self.since = 0.0
        self.failed = 0
        self.due = 0.0
        self.kill_at = 0.0

    def change(self, **fields: object) -> None:
        self.report = msgspec.structs.replace(self.report, **fields)


class Supervisor:
    """Keeps components running until it is told to stop."""

    def __init__(self, components: Sequence[Component], run: Path, logs: Path) -> None:
        self.run_folder = run
        self.logs = logs
        self._units = {component.name: _Unit(component) for component in components}
        self._stopping: set[str] = set()
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        logs.mkdir(parents=True, exist_ok=True)

    def stop(self, names: Sequence[str] | None = None) -> None:
        """Ask that these components end (all by default); safe in a signal handler."""
        self._stopping.update(self._units if names is None else set(names) & set(self._units))
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, b"x")

    def run(self) -> None:
        """Adopt what still runs, start the rest, and keep it so until everything was stopped."""
        self._adopt()
        while True:
            now = time.monotonic()
            for unit in list(self._units.values()):
                self._step(unit, now)
            self._write()
            if len(self._stopping) == len(self._units) and not self._running():
                return
            for key, _ in self._selector.select(self._patience_s(now)):
                if key.fd == self._wake_read:
                    os.read(self._wake_read, 4096)
                else:
                    self._ended(key.data, time.monotonic())
            self._rotate_logs()

    def _running(self) -> list[_Unit]:
        return [unit for unit in self._units.values() if unit.pidfd is not None]

    def _patience_s(self, now: float) -> float:
        """Return how long nothing can happen by itself."""
        dates = [unit.due for unit in self._units.values() if unit.report.state is State.BACK_OFF]
        dates += [unit.kill_at for unit in self._running() if unit.kill_at]
        return max(0.0, min([TICK_S, *(date - now for date in dates)]))

    def _step(self, unit: _Unit, now: float) -> None:
        """Do what a component needs now; never waits."""
        if unit.component.name in self._stopping:
            self._end(unit, now)
        elif (
            unit.pidfd is None
            and unit.report.state is not State.DONE
            and now >= unit.due
            and all(self._units[name].report.state is State.DONE for name in unit.component.after)
        ):
            self._start(unit, now)

    def _end(self, unit: _Unit, now: float) -> None:
        process = unit.report.process
        if unit.pidfd is None or process is None:
            unit.change(state=State.STOPPED)
        elif not unit.kill_at:
            unit.kill_at = now + STOP_S
            processes.send(process, signal.SIGTERM)
        elif now >= unit.kill_at:
            log.warning("%s did not end in %.0f s: killed", unit.component.name, STOP_S)
            unit.kill_at = now + STOP_S
            processes.send(process, signal.SIGKILL)

    def _start(self, unit: _Unit, now: float) -> None:
        component = unit.component
        with (self.logs / f"{component.name}.log").open("ab") as output:
            try:
                unit.child = subprocess.Popen(
                    component.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env={**os.environ, **component.environment},
                    start_new_session=True,
                )
            except OSError as error:
                output.write(f"{component.argv[0]}: {error.strerror}\n".encode())
                self._failed(unit, f"{component.argv[0]}: {error.strerror}", now, 0.0)
                return
        identity = processes.identify(unit.child.pid)
        unit.since = now
        unit.change(
            state=State.RUNNING,
            process=identity,
            started_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
        self._watch(unit, os.pidfd_open(unit.child.pid))

    def _watch(self, unit: _Unit, descriptor: int) -> None:
        unit.pidfd = descriptor
        self._selector.register(descriptor, selectors.EVENT_READ, unit)

    def _ended(self, unit: _Unit, now: float) -> None:
        assert unit.pidfd is not None
        self._selector.unregister(unit.pidfd)
        os.close(unit.pidfd)
        unit.pidfd = None
        code = unit.child.wait() if unit.child is not None else None  # None: not our child
        unit.child = None
        if unit.component.name in self._stopping:
            unit.change(state=State.STOPPED, process=None)
        elif unit.component.task and code == 0:
            unit.change(state=State.DONE, process=None)
        else:
            self._failed(unit, describe(code), now, now - unit.since)

    def _failed(self, unit: _Unit, how: str, now: float, ran_s: float) -> None:
        unit.failed = restarts.failures(unit.failed, ran_s)
        wait_s = restarts.delay_s(unit.failed)
        unit.due = now + wait_s
        unit.change(
            state=State.BACK_OFF,
            process=None,
            restarts=unit.report.restarts + 1,
            last_exit=how,
        )
        log.warning("%s ended (%s); again in %.1f s", unit.component.name, how, wait_s)

    def _adopt(self) -> None:
        """Take over what the last supervisor left, if it is what we would start."""
        before = read_summary(self.run_folder)
        for report in before.components:
            if report.process is None or not processes.alive(report.process):
                continue
            unit = self._units.get(report.name)
            same = unit and before.commands.get(report.name) == unit.component.argv
            descriptor = processes.open_pidfd(report.process) if unit and same else None
            if unit is None or descriptor is None:
                end_now(report.process)
                continue
            log.info("%s still runs: adopted", report.name)
            unit.report = report
            unit.since = time.monotonic()
            self._watch(unit, descriptor)

    def _write(self) -> None:
        summary = Summary(
            supervisor=processes.identify(os.getpid()),
            components=tuple(unit.report for unit in self._units.values()),
            commands={name: unit.component.argv for name, unit in self._units.items()},
        )
        content = msgspec.json.encode(summary)
        path = self.run_folder / "state.json"
        if not path.exists() or path.read_bytes() != content:
            temporary = path.with_suffix(".new")
            temporary.write_bytes(content)
            temporary.replace(path)

    def _rotate_logs(self) -> None:
        """Keep one older part of each log; writers append, so that truncating is safe."""
        for path in self.logs.glob("*.log"):
            if path.stat().st_size > LOG_LIMIT_BYTES:
                path.with_suffix(".log.1").write_bytes(path.read_bytes())
                os.truncate(path, 0)


def describe(code: int | None) -> str:
    """Return an exit status in words; negative is a signal, as `subprocess` counts."""
    if code is None:
        return "exit status not known"
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit status {code}"


def end_now(process: Identity, patience_s: float = STOP_S) -> None:
    """End a process that nobody supervises: SIGTERM, then SIGKILL. Waits for it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        descriptor = processes.open_pidfd(process)
        if descriptor is None:
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, number)
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            selector.select(patience_s)
        os.close(descriptor)
