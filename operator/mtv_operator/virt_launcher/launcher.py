"""The launcher proper: from the pod's start to the domain's end.

start     → libvirtd starts, the socket gets its name, the handler's order is awaited
SIGTERM   → the guest is asked to shut down; after the grace period it is destroyed
the end   → told to the handler, which releases the launcher; then the process ends
"""

from __future__ import annotations

import ctypes
import dataclasses
import gc
import logging
import queue
import signal
import threading
import time

from mtv import errors
from mtv_operator.virt_launcher import hypervisor, virtual_machine
from mtv_operator.virt_launcher.libvirtd import Libvirtd
from mtv_operator.virt_launcher.server import Server
from mtv_operator.virt_launcher.virtual_machine import VirtualMachine
from mtv_operator.virt_launcher.volumes import Paths

log = logging.getLogger(__name__)

RELEASE_TIMEOUT_S = 300.0  # how long the end waits to be heard, where nobody ends the pod
RELEASE_TIMEOUT_STOPPING_S = 15.0  # within the 30 s that the pod's grace is longer than the VM's


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the command line says."""

    name: str
    namespace: str
    uid: str
    grace_period_s: int
    start_timeout_s: float
    paths: Paths = dataclasses.field(default_factory=Paths)


def run(settings: Settings) -> int:
    """Serve one VM from start to end; return the exit status."""
    hypervisor.start_event_loop()
    daemon = Libvirtd(settings.paths.libvirt)
    machine_events: queue.SimpleQueue[None] = queue.SimpleQueue()
    virt = hypervisor.Hypervisor(daemon, on_change=lambda: machine_events.put(None))
    machine = VirtualMachine(virt, settings.paths, settings.grace_period_s, machine_events)
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()

    def note(number: int, _frame: object) -> None:
        signals.put(number)
        machine_events.put(None)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, note)
    with Server(machine, settings.paths.sockets) as server:
        try:
            virt.connect()
            _give_back_memory()
            server.ready()
            log.info("ready; waiting for the order to start %s", settings.name)
            agent = threading.Thread(target=_follow_agent, args=(machine,), daemon=True)
            agent.start()
            return _Life(settings, machine, server, signals).live()
        finally:
            machine.close()


def _give_back_memory() -> None:
    """Return to the kernel what imports and start-up needed: it is paid for once per VM."""
    gc.collect()
    gc.freeze()
    ctypes.CDLL(None).malloc_trim(0)


@dataclasses.dataclass(slots=True)
class _Life:
    """The main thread's loop: look, act, sleep until something happens."""

    settings: Settings
    machine: VirtualMachine
    server: Server
    signals: queue.SimpleQueue[int]
    born: float = dataclasses.field(default_factory=time.monotonic)
    ended_at: float | None = None
    killed: bool = False

    def live(self) -> int:
        """Return the exit status when the VM's life is over and was told."""
        while True:
            self._take_signals()
            wait_s = self.machine.turn()
            status = self._over()
            if status is not None:
                return status
            self._sleep(wait_s)

    def _take_signals(self) -> None:
        while not self.signals.empty():
            number = self.signals.get()
            log.info("signal %s", signal.Signals(number).name)
            if number == signal.SIGUSR1:  # the monitor is gone, and with it the pod
                self.killed = True
            self.machine.shutdown(0 if self.killed else None)

    def _over(self) -> int | None:
        domain = self.machine.state.domain
        if domain.migrated:
            return None if self.machine.outgoing.runs else 0
        if domain.ended:
            return self._ended(failed=domain.reason in ("Crashed", "Failed", "Panicked"))
        if self.machine.started:
            return None
        if self.machine.stopping.asked:
            log.info("asked to end before a VM was started")
            return 0
        if domain.receives:
            return None  # whoever gives the migration up ends the pod
        if time.monotonic() - self.born > self.settings.start_timeout_s:
            log.error("no order to start came in %.0f s", self.settings.start_timeout_s)
            return 1
        return None

    def _ended(self, *, failed: bool) -> int | None:
        now = time.monotonic()
        if self.ended_at is None:
            self.ended_at = now
            log.info("the domain ended: %s", self.machine.state.domain.reason)
        patience = RELEASE_TIMEOUT_STOPPING_S if self.machine.stopping.asked else RELEASE_TIMEOUT_S
        if self.server.released.is_set() or self.killed or now - self.ended_at > patience:
            return 1 if failed else 0
        return None

    def _sleep(self, seconds: float) -> None:
        try:
            self.machine.wake.get(timeout=seconds)
            while not self.machine.wake.empty():
                self.machine.wake.get_nowait()
        except queue.Empty:
            pass


def _follow_agent(machine: VirtualMachine) -> None:
    """Ask the guest agent when it connects and every now and then; in a thread of its own.

    An agent that hangs must not hold up the rest.
    """
    sequence = -1
    asked = 0.0
    while True:
        changed = machine.state.wait_for_change(sequence, virtual_machine.AGENT_EVERY_S)
        domain = changed or machine.state.domain
        sequence = domain.sequence
        due = domain.guest is None or time.monotonic() - asked >= virtual_machine.AGENT_EVERY_S
        if not domain.agent_connected or not domain.alive or not due:
            continue
        asked = time.monotonic()
        try:
            machine.ask_agent()
        except errors.MigrationError as fault:
            log.info("guest agent: %s", fault)
