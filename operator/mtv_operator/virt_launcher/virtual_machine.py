"""The one VM of this pod: started once, watched, shut down, and its end told.

The state lives in libvirt; this module keeps what has to be said about it (`protocol.Domain`) and
writes that beside the launcher's socket, so that it can be read when the launcher is gone.
"""

from __future__ import annotations

import dataclasses
import datetime
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from mtv import errors
from mtv.api import kubevirt
from mtv_operator.virt_launcher import (
    boot,
    dhcp,
    dhcp_server,
    domain_xml,
    libvirt_errors,
    migration,
    volumes,
)
from mtv_operator.virt_launcher.domain import disks
from mtv_operator.virt_launcher.domain.context import Context, Image
from mtv_operator.virt_launcher.hypervisor import Hypervisor, State
from mtv_operator.virt_launcher.protocol import (
    RUNNING,
    STATE_FILE,
    DiskTarget,
    Domain,
    Options,
    Status,
)
from mtv_operator.virt_launcher.volumes import Paths

log = logging.getLogger(__name__)

PRESS_EVERY_S = 5.0  # a guest that boots misses the button
IDLE_TURN_S = 5.0
RETRY_S = 1.0
AGENT_EVERY_S = 30.0
DETACH_PATIENCE_S = 3.0
SERIAL_LOG_BYTES = 4 << 20
RESOLV_CONF = Path("/etc/resolv.conf")


@dataclasses.dataclass(slots=True)
class _Stopping:
    """A shutdown that was asked for: when the button is pressed next, when patience ends."""

    deadline: float
    next_press: float
    presses: int = 0
    destroyed: bool = False


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
        self._changed = threading.Condition()
        self._starting = threading.Lock()
        self._plugging = threading.Lock()
        self._stopping_lock = threading.Lock()
        self._domain = Domain()
        self._started = False
        self._stopping: _Stopping | None = None
        self._dhcp: dhcp_server.Server | None = None
        self._serial_log: Path | None = None
        self.outgoing = migration.Outgoing(
            hypervisor, paths, lambda job: self._note(migration=job), lambda: wake.put(None)
        )

    def _note(self, **changes: object) -> None:
        self._update(lambda domain: msgspec.structs.replace(domain, **changes))

    def domain(self) -> Domain:
        """Return the state as last seen."""
        return self._domain

    def wait_for_change(self, sequence: int, timeout_s: float) -> Domain | None:
        """Return the state once it is newer than `sequence`; None after `timeout_s`."""
        with self._changed:
            newer = self._changed.wait_for(lambda: self._domain.sequence > sequence, timeout_s)
            return self._domain if newer else None

    def _update(self, change: Callable[[Domain], Domain]) -> None:
        """Replace the state by what `change` makes of it; tell and write it if it differs."""
        with self._changed:
            new = change(self._domain)
            if new == self._domain:
                return
            self._domain = msgspec.structs.replace(new, sequence=self._domain.sequence + 1)
            self._write_state(self._domain)
            self._changed.notify_all()

    def _write_state(self, domain: Domain) -> None:
        path = self.paths.sockets / STATE_FILE
        temporary = path.with_suffix(".new")
        try:
            temporary.write_bytes(msgspec.json.encode(domain))
            temporary.replace(path)
        except OSError as fault:
            log.warning("the state cannot be kept in %s: %s", path, fault)

    def sync(self, vmi: kubevirt.VirtualMachineInstance, options: Options) -> Domain:
        """Start the domain the VMI describes; where it was started already, change nothing.

        Raises the explained error when it cannot be started; the call may then be repeated.
        """
        with self._starting:
            if self._started or self._domain.ended:
                return self._domain
            if self._stopping is not None:
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
        return self._domain

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
            if self._started or self._domain.ended or self._stopping is not None:
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
            self._note(receives=uid)

    def _describe(
        self,
        vmi: kubevirt.VirtualMachineInstance,
        options: Options,
        found: dict[str, Image],
        context: Context,
    ) -> None:
        """Put into the state what is known of the domain before it runs."""
        self._serial_log = Path(context.serial_log)
        targets = disks.targets(vmi.spec.domain.devices.disks, options.targets)
        self._note(
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
        network = options.network
        if network is None or self._dhcp is not None:
            return
        try:
            resolver = dhcp.parse_resolv_conf(RESOLV_CONF.read_text(errors="replace"))
        except OSError:
            resolver = dhcp.Resolver()
        lease = boot.lease(vmi, network, resolver)
        try:
            self._dhcp = dhcp_server.Server(lease, network.bridge)
        except OSError as fault:
            raise errors.Retryable(
                f"DHCP on {network.bridge}: {fault.strerror}",
                hint="the bridge is made by virt-handler; the port needs CAP_NET_BIND_SERVICE",
            ) from fault

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
        if state is None or (self._domain.receives and not migration.arrived(state)):
            return
        if state.status in RUNNING:
            self._started = True
            if self._domain.receives:
                self._note(migration=self.outgoing.arrival(self._domain.receives))
            facts = self.hypervisor.facts()
            self._update(
                lambda domain: msgspec.structs.replace(
                    self._with_state(domain, state, ""),
                    machine=facts.machine,
                    agent_connected=facts.agent_connected,
                    guest=domain.guest if facts.agent_connected else None,
                    pid=domain.pid or self._qemu_pid(domain.name),
                    started_at=domain.started_at or _now(),
                    receives="",
                )
            )
        elif self._started and not self._domain.ended:
            message = self._last_words(state)
            self._update(
                lambda domain: msgspec.structs.replace(
                    self._with_state(domain, state, message), agent_connected=False, frozen=False
                )
            )
            if self._dhcp is not None:
                self._dhcp.close()
                self._dhcp = None

    @staticmethod
    def _with_state(domain: Domain, state: State, message: str) -> Domain:
        if (domain.status, domain.reason) == (state.status, state.reason):
            return domain
        return msgspec.structs.replace(
            domain, status=state.status, reason=state.reason, message=message, changed_at=_now()
        )

    def _last_words(self, state: State) -> str:
        """Say why QEMU is gone, with what it wrote last."""
        if state.reason in ("Shutdown", "Migrated", "Saved"):
            return ""
        if state.reason == "Destroyed":
            asked = self._stopping is not None
            return "it did not shut down within its grace period" if asked else "it was destroyed"
        lines = libvirt_errors.qemu_lines(self.hypervisor.log_tail(self._domain.name))
        return "; ".join(lines) or "QEMU ended without a word: it crashed or was killed"

    def _qemu_pid(self, name: str) -> int:
        path = self.paths.libvirt / f"run/libvirt/qemu/run/{name}.pid"
        try:
            return int(path.read_text())
        except (OSError, ValueError):
            return 0

    def turn(self) -> float:
        """Do what is due now; return the seconds after which to look again."""
        if self._domain.ended:
            return IDLE_TURN_S
        try:
            self.refresh()
            self._stop_if_due()
        except errors.MigrationError as fault:
            log.warning("%s", fault)
            self._notice_dead_qemu(str(fault))
            return RETRY_S
        self._trim_serial_log()
        stopping = self._stopping
        if stopping is None:
            return IDLE_TURN_S
        due = min(stopping.deadline, stopping.next_press) - time.monotonic()
        return min(max(due, 0.05), IDLE_TURN_S)

    def _notice_dead_qemu(self, fault: str) -> None:
        """Tell the end of a QEMU that died while libvirtd cannot be reached."""
        pid = self._domain.pid
        if not self._started or not pid or Path(f"/proc/{pid}").exists():
            return
        message = f"QEMU is gone, and so is libvirtd: {fault}"
        self._update(
            lambda domain: self._with_state(domain, State(Status.SHUTOFF, "Crashed"), message)
        )

    def _trim_serial_log(self) -> None:
        """Keep the serial log small; QEMU appends, so that it goes on at the new end."""
        path = self._serial_log
        try:
            if path is not None and path.stat().st_size > SERIAL_LOG_BYTES:
                path.with_name(path.name + ".1").write_bytes(path.read_bytes())
                os.truncate(path, 0)
        except FileNotFoundError:
            pass
        except OSError as fault:
            log.warning("the serial log %s cannot be trimmed: %s", path, fault)

    def shutdown(self, grace_period_s: int | None = None) -> None:
        """Ask the guest to shut down until it does, or until the grace period ends.

        May be repeated; a shorter period than before counts, a longer one does not.
        """
        grace = self.grace_period_s if grace_period_s is None else grace_period_s
        with self._stopping_lock:
            now = time.monotonic()
            if self._stopping is None:
                self._stopping = _Stopping(deadline=now + grace, next_press=now)
                log.info("shutdown was asked for; patience ends in %d s", grace)
                self._update(
                    lambda domain: msgspec.structs.replace(domain, shutdown_requested_at=_now())
                )
            else:
                self._stopping.deadline = min(self._stopping.deadline, now + grace)
        self.wake.put(None)

    def _stop_if_due(self) -> None:
        stopping = self._stopping
        if stopping is None or not self._domain.alive:
            return
        now = time.monotonic()
        if now >= stopping.deadline:
            log.warning("the guest did not shut down in time; it is destroyed")
            self.hypervisor.destroy()
            return
        if now < stopping.next_press:
            return
        stopping.next_press = now + PRESS_EVERY_S
        stopping.presses += 1
        by_agent = stopping.presses % 2 == 0 and self._domain.agent_connected
        try:
            if by_agent:
                self.hypervisor.shutdown_by_agent()
            else:
                self.hypervisor.press_power_button()
        except errors.MigrationError as fault:
            log.info("the guest was not reached: %s", fault)

    def freeze(self) -> None:
        """Freeze the guest's file systems."""
        self.hypervisor.freeze()
        self._update(lambda domain: msgspec.structs.replace(domain, frozen=True))

    def thaw(self) -> None:
        """Thaw the guest's file systems."""
        self.hypervisor.thaw()
        self._update(lambda domain: msgspec.structs.replace(domain, frozen=False))

    def destroy(self) -> None:
        """End QEMU now."""
        self.hypervisor.destroy()
        self.wake.put(None)

    @property
    def stopping(self) -> bool:
        """Tell whether a shutdown was asked for."""
        return self._stopping is not None

    @property
    def started(self) -> bool:
        """Tell whether the domain ever ran."""
        return self._started

    def attach_disk(self, disk: kubevirt.Disk, *, read_only: bool) -> None:
        """Plug in a disk. Raises the explained error; a disk that is there already is fine."""
        with self._plugging:
            there = self.hypervisor.disks()
            if disks.alias_of(disk.name) not in there:
                image = volumes.plugged_image(self.paths, disk.name, read_only=read_only)
                taken = set(there.values())
                self.hypervisor.attach(disks.device_xml(disk, image, taken))
                there = self.hypervisor.disks()
            target = there.get(disks.alias_of(disk.name), "")
            entry = DiskTarget(name=disk.name, target=target)
            self._update(
                lambda domain: msgspec.structs.replace(
                    domain, disks=(*(o for o in domain.disks if o.name != disk.name), entry)
                )
            )

    def detach_disk(self, name: str) -> None:
        """Pull a disk out. Raises Retryable while the guest has not let go of it."""
        alias = disks.alias_of(name)
        with self._plugging:
            if alias in self.hypervisor.disks():
                self.hypervisor.detach(alias)
            deadline = time.monotonic() + DETACH_PATIENCE_S
            while alias in self.hypervisor.disks():
                if time.monotonic() > deadline:
                    raise errors.Retryable(f"the guest has not let go of the disk {name} yet")
                time.sleep(0.05)
            self._update(
                lambda domain: msgspec.structs.replace(
                    domain, disks=tuple(one for one in domain.disks if one.name != name)
                )
            )

    def ask_agent(self) -> None:
        """Fetch what the guest agent knows. Raises Retryable when it does not answer."""
        guest = self.hypervisor.guest_info()
        self._update(lambda domain: msgspec.structs.replace(domain, guest=guest))

    def close(self) -> None:
        """Free what this process holds; QEMU, if it still runs, is ended."""
        if self._dhcp is not None:
            self._dhcp.close()
        if self._domain.alive:
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


def _now() -> str:
    """Return the time as Kubernetes writes its MicroTime."""
    now = datetime.datetime.now(datetime.UTC)
    return now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
