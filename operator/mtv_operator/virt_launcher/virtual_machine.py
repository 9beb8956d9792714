"""The one VM of this pod: started once, watched, shut down, and its end told.

The state lives in libvirt; `kept_state` keeps what has to be said about it, also for when the
launcher is gone.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from mtv import errors
from mtv.api import kubevirt
from mtv_operator.virt_launcher import (
    boot,
    dhcp,
    dhcp_server,
    domain_xml,
    guest_agent,
    kept_state,
    libvirt_errors,
    migration,
    serial_log,
    volumes,
)
from mtv_operator.virt_launcher.credentials import Credentials
from mtv_operator.virt_launcher.domain import disks
from mtv_operator.virt_launcher.domain.context import Context, Image
from mtv_operator.virt_launcher.hypervisor import Hypervisor, State
from mtv_operator.virt_launcher.kept_state import KeptState
from mtv_operator.virt_launcher.plugged_disks import PluggedDisks
from mtv_operator.virt_launcher.protocol import (
    RUNNING,
    DiskTarget,
    Domain,
    Options,
    Status,
)
from mtv_operator.virt_launcher.stopping import Stopping
from mtv_operator.virt_launcher.volumes import Paths

log = logging.getLogger(__name__)

IDLE_TURN_S = 5.0
GUEST_LOOK_S = 0.05
RETRY_S = 1.0
AGENT_EVERY_S = 30.0
RESOLV_CONF = Path("/etc/resolv.conf")


class VirtualMachine:
    """Owns the domain. All methods may be called from any thread; `turn` from one only."""

    def __init__(
        self,
        hypervisor: Hypervisor,
        paths: Paths,
        grace_period_s: int,
        wake: queue.SimpleQueue[None],
    ) -> None:
        self.hypervisor = hypervisor
        self.paths = paths
        self.grace_period_s = grace_period_s
        # Reentrant: signal handlers put into it while the main thread waits on it.
        self.wake = wake
        self.state = KeptState(paths.sockets)
        self.stopping = Stopping(hypervisor)
        self.disks = PluggedDisks(hypervisor, paths, self.state)
        self.credentials = Credentials(hypervisor, paths, self.state)
        self._starting = threading.Lock()
        self._started = False
        self._dhcp: list[dhcp_server.Server] = []
        self._serial_log: Path | None = None
        self.outgoing = migration.Outgoing(
            hypervisor, paths, lambda job: self.state.note(migration=job), lambda: wake.put(None)
        )

    def sync(self, vmi: kubevirt.VirtualMachineInstance, options: Options) -> Domain:
        """Start the domain the VMI describes; where it was started already, change nothing.

        Raises the explained error when it cannot be started; the call may then be repeated.
        """
        with self._starting:
            if self._started or self.state.domain.ended:
                return self.state.domain
            if self.stopping.asked:
                raise errors.TargetRefused("the pod is being ended; no VM is started in it now")
            began = time.monotonic()
            self._take_capabilities(options)
            self.hypervisor.connect()
            known = self.hypervisor.state()
            if known is None or known.status not in RUNNING:
                self._start(vmi, options)
            self._started = True
            log.info("the domain runs %.2f s after it was asked for", time.monotonic() - began)
        self.refresh()
        return self.state.domain

    def _start(self, vmi: kubevirt.VirtualMachineInstance, options: Options) -> None:
        found = volumes.prepare(vmi, options, self.paths)
        grace = vmi.spec.termination_grace_period_seconds
        if grace is not None:
            self.grace_period_s = grace
        context = boot.context(vmi, options, found, self.paths, self.grace_period_s)
        xml = domain_xml.build(vmi, context)
        self._serve_dhcp(vmi, options)
        self._describe(vmi, options, found, context)
        log.debug("domain XML:\n%s", xml)
        self.hypervisor.start(xml, paused=vmi.spec.start_strategy == "Paused")

    def receive(self, uid: str, vmi: kubevirt.VirtualMachineInstance, options: Options) -> None:
        """Make all ready for the domain that a migration brings. May be repeated.

        The disks on claims are left alone: the guest writes to them, at the other node.
        """
        with self._starting:
            if self._started or self.state.domain.ended or self.stopping.asked:
                raise errors.TargetRefused("this launcher has or had a VM: none can come to it")
            self._take_capabilities(options)
            self.hypervisor.connect()
            if vmi.spec.termination_grace_period_seconds is not None:
                self.grace_period_s = vmi.spec.termination_grace_period_seconds
            found = volumes.prepare(migration.without_claims(vmi), options, self.paths)
            context = boot.context(vmi, options, found, self.paths, self.grace_period_s)
            self._serve_dhcp(vmi, options)
            migration.make_folder(self.paths)
            machine = vmi.spec.domain.machine.type if vmi.spec.domain.machine else None
            self.hypervisor.warm(context.emulator, machine or "q35", context.accelerator.value)
            self._describe(vmi, options, found, context)
            self.state.note(receives=uid)

    def _describe(
        self,
        vmi: kubevirt.VirtualMachineInstance,
        options: Options,
        found: dict[str, Image],
        context: Context,
    ) -> None:
        """Put into the state what is known of the domain before it runs."""
        self.credentials.describe(vmi)
        self._serial_log = Path(context.serial_log)
        targets = disks.targets(vmi.spec.domain.devices.disks, options.targets)
        self.state.note(
            vmi_uid=vmi.metadata.uid,
            name=domain_xml.domain_name(vmi.metadata.namespace, vmi.metadata.name),
            accelerator=context.accelerator.value,
            compromises=domain_xml.compromises(vmi, context),
            disks=tuple(
                DiskTarget(name=disk, target=target, size_bytes=_own_size(found.get(disk)))
                for disk, target in targets.items()
            ),
            interfaces=options.taps,
            saw_at=options.saw_at,
            ordered_at=options.ordered_at,
        )

    def _serve_dhcp(self, vmi: kubevirt.VirtualMachineInstance, options: Options) -> None:
        if self._dhcp or not options.networks:
            return
        try:
            resolver = dhcp.parse_resolv_conf(RESOLV_CONF.read_text(errors="replace"))
        except OSError:
            resolver = dhcp.Resolver()
        for network in options.networks:
            lease = boot.lease(vmi, network, resolver)
            try:
                self._dhcp.append(dhcp_server.Server(lease, network.bridge))
            except OSError as fault:
                self._end_dhcp()
                raise errors.Retryable(
                    f"DHCP on {network.bridge}: {fault.strerror}",
                    hint="the bridge is made by virt-handler; the port needs CAP_NET_BIND_SERVICE",
                ) from fault

    def _end_dhcp(self) -> None:
        while self._dhcp:
            self._dhcp.pop().close()

    def _take_capabilities(self, options: Options) -> None:
        """Put what another daemon of this node found out about QEMU where ours looks for it."""
        folder = self.hypervisor.daemon.capabilities_folder
        if not options.capabilities or any(folder.glob("*.xml")):
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, content in options.capabilities.items():
                (folder / Path(name).name).write_bytes(content)
        except OSError as fault:
            log.info("the capabilities cannot be taken over: %s", fault)

    def capabilities(self) -> dict[str, bytes]:
        """Return what our daemon found out about QEMU."""
        folder = self.hypervisor.daemon.capabilities_folder
        return {path.name: path.read_bytes() for path in folder.glob("*.xml")}

    def refresh(self) -> None:
        """Read the state from libvirt, starting a daemon that died. Raises what went wrong."""
        if not self.hypervisor.daemon_alive():
            log.warning("libvirtd does not answer; it is started again")
            self.hypervisor.connect()
        state = self.hypervisor.state()
        if state is None or (self.state.domain.receives and not migration.arrived(state)):
            return
        if state.status in RUNNING:
            self._started = True
            if self.state.domain.receives:
                self.state.note(migration=self.outgoing.arrival(self.state.domain.receives))
            facts = self.hypervisor.facts()
            self.state.update(
                lambda domain: msgspec.structs.replace(
                    self._with_state(domain, state, ""),
                    machine=facts.machine,
                    agent_connected=facts.agent_connected,
                    guest=domain.guest if facts.agent_connected else None,
                    pid=domain.pid or self._qemu_pid(domain.name),
                    started_at=domain.started_at or kept_state.now(),
                    receives="",
                )
            )
        elif self._started and not self.state.domain.ended:
            message = self._last_words(state)
            self.state.update(
                lambda domain: msgspec.structs.replace(
                    self._with_state(domain, state, message), agent_connected=False, frozen=False
                )
            )
            self._end_dhcp()

    @staticmethod
    def _with_state(domain: Domain, state: State, message: str) -> Domain:
        if (domain.status, domain.reason) == (state.status, state.reason):
            return domain
        return msgspec.structs.replace(
            domain,
            status=state.status,
            reason=state.reason,
            message=message,
            changed_at=kept_state.now(),
        )

    def _last_words(self, state: State) -> str:
        """Say why QEMU is gone, with what it wrote last."""
        if state.reason in ("Shutdown", "Migrated", "Saved"):
            return ""
        if state.reason == "Destroyed":
            asked = self.stopping.asked
            return "it did not shut down within its grace period" if asked else "it was destroyed"
        lines = libvirt_errors.qemu_lines(self.hypervisor.log_tail(self.state.domain.name))
        return "; ".join(lines) or "QEMU ended without a word: it crashed or was killed"

    def _qemu_pid(self, name: str) -> int:
        path = self.paths.libvirt / f"run/libvirt/qemu/run/{name}.pid"
        try:
            return int(path.read_text())
        except (OSError, ValueError):
            return 0

    def turn(self) -> float:
        """Do what is due now; return the seconds after which to look again."""
        if self.state.domain.ended:
            return IDLE_TURN_S
        try:
            self.refresh()
            if self.state.domain.alive:
                self.stopping.turn(agent_connected=self.state.domain.agent_connected)
                self.credentials.turn(agent_connected=self.state.domain.agent_connected)
        except errors.MigrationError as fault:
            log.warning("%s", fault)
            self._notice_dead_qemu(str(fault))
            return RETRY_S
        if self._serial_log is not None:
            serial_log.trim(self._serial_log)
        due = self.stopping.due_in_s()
        return IDLE_TURN_S if due is None else min(due, IDLE_TURN_S)

    def _notice_dead_qemu(self, fault: str) -> None:
        """Tell the end of a QEMU that died while libvirtd cannot be reached."""
        pid = self.state.domain.pid
        if not self._started or not pid or Path(f"/proc/{pid}").exists():
            return
        message = f"QEMU is gone, and so is libvirtd: {fault}"
        self.state.update(
            lambda domain: self._with_state(domain, State(Status.SHUTOFF, "Crashed"), message)
        )

    def shutdown(self, grace_period_s: int | None = None) -> None:
        """Ask the guest to shut down until it does, or until the grace period ends.

        May be repeated; a shorter period than before counts, a longer one does not.
        """
        grace = self.grace_period_s if grace_period_s is None else grace_period_s
        if self.stopping.ask(grace):
            self.state.note(shutdown_requested_at=kept_state.now())
        self.wake.put(None)

    def freeze(self) -> None:
        """Freeze the guest's file systems."""
        self.hypervisor.freeze()
        self.state.update(lambda domain: msgspec.structs.replace(domain, frozen=True))

    def thaw(self) -> None:
        """Thaw the guest's file systems."""
        self.hypervisor.thaw()
        self.state.update(lambda domain: msgspec.structs.replace(domain, frozen=False))

    def destroy(self) -> None:
        """End QEMU now."""
        self.hypervisor.destroy()
        self.wake.put(None)

    @property
    def started(self) -> bool:
        """Tell whether the domain ever ran."""
        return self._started

    def ask_agent(self) -> None:
        """Fetch what the guest agent knows. Raises Retryable when it does not answer."""
        guest = self.hypervisor.guest_info()
        self.state.update(lambda domain: msgspec.structs.replace(domain, guest=guest))

    def run_in_guest(self, command: Sequence[str], timeout_s: float) -> guest_agent.Ended:
        """Have the agent run a program and wait for its end; without one, only ask the agent.

        Raises Retryable when the agent does not answer, or the program does not end in time.
        """
        whole_s = max(1, round(timeout_s))
        if not command:
            self.hypervisor.agent("guest-ping", whole_s)
            return guest_agent.Ended(exit_code=0, output="")
        deadline = time.monotonic() + timeout_s
        order = {"path": command[0], "arg": list(command[1:]), "capture-output": True}
        pid = guest_agent.started(self.hypervisor.agent("guest-exec", whole_s, **order))
        while True:
            answered = self.hypervisor.agent("guest-exec-status", whole_s, pid=pid)
            ended = guest_agent.ended(answered)
            if ended is not None:
                return ended
            if time.monotonic() > deadline:
                raise errors.Retryable(f"{command[0]} has not ended after {timeout_s:.0f} s")
            time.sleep(GUEST_LOOK_S)

    def close(self) -> None:
        """Free what this process holds; QEMU, if it still runs, is ended."""
        self._end_dhcp()
        if self.state.domain.alive:
            try:
                self.hypervisor.destroy()
            except errors.MigrationError as fault:
                log.warning("%s", fault)
        self.hypervisor.close()


def _own_size(image: Image | None) -> int:
    """Return the size of an image that was made here; 0 for the user's disks."""
    if image is None or not image.path.endswith(".iso"):
        return 0
    return Path(image.path).stat().st_size
