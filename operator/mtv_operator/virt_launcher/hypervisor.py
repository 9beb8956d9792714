"""The border to libvirt: the only importer of its binding.

One connection to the VM's own daemon, one thread for libvirt's event loop. Events only say that
something changed; what is true is always read again. A daemon that dies is started again: its QEMU
goes on meanwhile and is found by it.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import libvirt
import libvirt_qemu
import msgspec

from mtv import errors
from mtv_operator.virt_launcher import guest_agent, libvirt_errors
from mtv_operator.virt_launcher.libvirtd import Libvirtd
from mtv_operator.virt_launcher.protocol import GuestInfo, Status

log = logging.getLogger(__name__)

AGENT_TIMEOUT_S = 5
LOG_TAIL_BYTES = 16384

# virDomainState.
_STATES = {
    libvirt.VIR_DOMAIN_NOSTATE: Status.NO_STATE,
    libvirt.VIR_DOMAIN_RUNNING: Status.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: Status.BLOCKED,
    libvirt.VIR_DOMAIN_PAUSED: Status.PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: Status.SHUTTING_DOWN,
    libvirt.VIR_DOMAIN_SHUTOFF: Status.SHUTOFF,
    libvirt.VIR_DOMAIN_CRASHED: Status.CRASHED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: Status.PM_SUSPENDED,
}
_SHUTOFF_REASONS = {
    libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN: "Shutdown",
    libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED: "Destroyed",
    libvirt.VIR_DOMAIN_SHUTOFF_CRASHED: "Crashed",
    libvirt.VIR_DOMAIN_SHUTOFF_MIGRATED: "Migrated",
    libvirt.VIR_DOMAIN_SHUTOFF_SAVED: "Saved",
    libvirt.VIR_DOMAIN_SHUTOFF_FAILED: "Failed",
    libvirt.VIR_DOMAIN_SHUTOFF_FROM_SNAPSHOT: "FromSnapshot",
    libvirt.VIR_DOMAIN_SHUTOFF_DAEMON: "Daemon",
}
_PAUSED_REASONS = {
    libvirt.VIR_DOMAIN_PAUSED_USER: "User",
    libvirt.VIR_DOMAIN_PAUSED_MIGRATION: "Migration",
    libvirt.VIR_DOMAIN_PAUSED_SAVE: "Save",
    libvirt.VIR_DOMAIN_PAUSED_DUMP: "Dump",
    libvirt.VIR_DOMAIN_PAUSED_IOERROR: "IOError",
    libvirt.VIR_DOMAIN_PAUSED_WATCHDOG: "Watchdog",
    libvirt.VIR_DOMAIN_PAUSED_FROM_SNAPSHOT: "FromSnapshot",
    libvirt.VIR_DOMAIN_PAUSED_SHUTTING_DOWN: "ShuttingDown",
    libvirt.VIR_DOMAIN_PAUSED_CRASHED: "Crashed",
    libvirt.VIR_DOMAIN_PAUSED_STARTING_UP: "StartingUp",
    libvirt.VIR_DOMAIN_PAUSED_POSTCOPY: "Postcopy",
    libvirt.VIR_DOMAIN_PAUSED_POSTCOPY_FAILED: "PostcopyFailed",
}
_CRASHED_REASONS = {libvirt.VIR_DOMAIN_CRASHED_PANICKED: "Panicked"}
_REASONS = {
    libvirt.VIR_DOMAIN_SHUTOFF: _SHUTOFF_REASONS,
    libvirt.VIR_DOMAIN_PAUSED: _PAUSED_REASONS,
    libvirt.VIR_DOMAIN_CRASHED: _CRASHED_REASONS,
}


@dataclass(frozen=True, slots=True)
class State:
    """What libvirt says of the domain now."""

    status: Status
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What libvirt made of our XML: read once, after the start."""

    machine: str
    agent_connected: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The way to another node's daemon and QEMU: sockets of this pod, which others connect."""

    daemon: str
    data: str


def start_event_loop() -> None:
    """Run libvirt's event loop in a thread of its own; before the first connection, once."""
    libvirt.virEventRegisterDefaultImpl()
    # The binding prints each error to stderr as well; ours go through exceptions.
    libvirt.registerErrorHandler(lambda context, error: None, None)

    def turn() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()

    threading.Thread(target=turn, name="libvirt-events", daemon=True).start()


class Hypervisor:
    """One domain in one daemon. Methods block; they may be called from any thread.

    `on_change` is called from libvirt's thread at every event of the domain and of the daemon: it
    must not block and must not call back into libvirt.
    """

    def __init__(self, daemon: Libvirtd, on_change: Callable[[], None]) -> None:
        self.daemon = daemon
        self._on_change = on_change
        self._lock = threading.Lock()
        self._connection: Any = None
        self._callbacks: list[int] = []

    def connect(self) -> None:
        """Start the daemon where it does not run, and connect to it. Safe to repeat."""
        with self._lock:
            if self.daemon_alive():
                return
            self._disconnect()
            if not self.daemon.alive():
                self.daemon.start()
            with self._translated():
                connection = libvirt.open(self.daemon.uri)
                connection.setKeepAlive(5, 3)
                self._register(connection)
                self._connection = connection

    def _register(self, connection: Any) -> None:  # noqa: ANN401  (libvirt is untyped)
        connection.registerCloseCallback(lambda *_: self._on_change(), None)
        for event in (
            libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE,
            libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE,
            libvirt.VIR_DOMAIN_EVENT_ID_REBOOT,
            libvirt.VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON,
            libvirt.VIR_DOMAIN_EVENT_ID_WATCHDOG,
        ):
            self._callbacks.append(
                connection.domainEventRegisterAny(None, event, lambda *_: self._on_change(), None)
            )

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            for callback in self._callbacks:
                connection.domainEventDeregisterAny(callback)
            connection.unregisterCloseCallback()
            connection.close()
        except libvirt.libvirtError as fault:
            log.debug("the old connection: %s", fault)
        self._callbacks.clear()

    def close(self) -> None:
        """Leave the daemon, and end it."""
        with self._lock:
            self._disconnect()
        self.daemon.stop()

    def daemon_alive(self) -> bool:
        """Tell whether the daemon runs and the connection to it works."""
        connection = self._connection
        if connection is None or not self.daemon.alive():
            return False
        try:
            return bool(connection.isAlive())
        except libvirt.libvirtError:
            return False

    def warm(self, emulator: str, machine: str, domain_type: str) -> None:
        """Let the daemon find out what QEMU can do: some two seconds, which a start then saves."""
        with self._translated():
            self._connected().getDomainCapabilities(emulator, "x86_64", machine, domain_type, 0)

    def start(self, xml: str, *, paused: bool = False) -> None:
        """Define the domain and start it. Raises the explained error when that fails."""
        with self._translated():
            domain = self._connected().defineXML(xml)
            domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED if paused else 0)
            domain.agentSetResponseTimeout(AGENT_TIMEOUT_S, 0)

    def state(self) -> State | None:
        """Return the domain's state, or None when the daemon knows no domain."""
        with self._translated():
            domain = self._find()
            if domain is None:
                return None
            number, reason = domain.state(0)
        status = _STATES.get(number, Status.NO_STATE)
        return State(status, _REASONS.get(number, {}).get(reason, ""))

    def facts(self) -> Facts:
        """Return what can be read from the running domain's XML."""
        with self._translated():
            root = ElementTree.fromstring(self._domain().XMLDesc(0))
        kind = root.find("os/type")
        channels = root.iterfind("devices/channel/target[@name='org.qemu.guest_agent.0']")
        return Facts(
            machine=kind.get("machine", "") if kind is not None else "",
            agent_connected=any(channel.get("state") == "connected" for channel in channels),
        )

    def metadata(self, namespace: str) -> str:
        """Return our part of the domain's metadata, or an empty text."""
        try:
            return str(self._domain().metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, namespace, 0))
        except libvirt.libvirtError:
            return ""

    def press_power_button(self) -> None:
        """Send the ACPI power button."""
        with self._translated():
            self._domain().shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)

    def shutdown_by_agent(self) -> None:
        """Ask the guest agent to shut down."""
        with self._translated():
            self._domain().shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT)

    def reboot(self) -> None:
        """Ask the guest to reboot: by the agent, else by ACPI."""
        with self._translated():
            self._domain().reboot(0)

    def reset(self) -> None:
        """Press the reset button."""
        with self._translated():
            self._domain().reset(0)

    def destroy(self) -> None:
        """End QEMU: SIGTERM, then SIGKILL. A domain that runs no more is fine."""
        try:
            with self._translated():
                self._domain().destroyFlags(0)
        except (libvirt_errors.WrongState, errors.NotFound):
            log.debug("nothing to destroy")

    def suspend(self) -> None:
        """Stop the vCPUs."""
        with self._translated():
            self._domain().suspend()

    def resume(self) -> None:
        """Let the vCPUs go on."""
        with self._translated():
            self._domain().resume()

    def migrate(
        self, route: Route, *, bandwidth_mib: int, auto_converge: bool, post_copy: bool
    ) -> None:
        """Move the domain to another daemon; returns when it runs there. Raises why it does not.

        Storage is known to be shared, which libvirt cannot see of every file system: UNSAFE.
        """
        flags = (
            libvirt.VIR_MIGRATE_LIVE
            | libvirt.VIR_MIGRATE_PEER2PEER
            | libvirt.VIR_MIGRATE_PERSIST_DEST
            | libvirt.VIR_MIGRATE_UNSAFE
        )
        flags |= libvirt.VIR_MIGRATE_AUTO_CONVERGE if auto_converge else 0
        flags |= libvirt.VIR_MIGRATE_POSTCOPY if post_copy else 0
        parameters: dict[str, Any] = {libvirt.VIR_MIGRATE_PARAM_URI: f"unix://{route.data}"}
        if bandwidth_mib:
            parameters[libvirt.VIR_MIGRATE_PARAM_BANDWIDTH] = bandwidth_mib
        with self._translated():
            domain = self._domain()
            if domain.state(0)[0] == libvirt.VIR_DOMAIN_PAUSED:
                flags |= libvirt.VIR_MIGRATE_PAUSED
            peer = f"qemu+unix:///session?socket={route.daemon}"
            domain.migrateToURI3(peer, parameters, flags)

    def stats(self) -> dict[str, int | float | str]:
        """Return libvirt's figures of the domain by their names, `vcpu.0.time`; empty: none runs.

        A QEMU that is busy is not waited for: its figures are then left out.
        """
        groups = (
            libvirt.VIR_DOMAIN_STATS_STATE
            | libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
            | libvirt.VIR_DOMAIN_STATS_VCPU
            | libvirt.VIR_DOMAIN_STATS_BALLOON
            | libvirt.VIR_DOMAIN_STATS_INTERFACE
            | libvirt.VIR_DOMAIN_STATS_BLOCK
        )
        flags = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
        try:
            with self._translated():
                domain = self._domain()
                found = domain.connect().domainListGetStats([domain], groups, flags)
        except errors.NotFound:
            return {}
        return {
            str(name): value
            for _, figures in found
            for name, value in figures.items()
            if isinstance(value, int | float | str)
        }

    def job(self, *, completed: bool = False) -> dict[str, int]:
        """Return the figures of the migration that runs, or of the last one; empty: none."""
        flags = libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED if completed else 0
        try:
            return dict(self._domain().jobStats(flags))
        except (libvirt.libvirtError, errors.MigrationError) as fault:
            log.debug("no figures of the migration: %s", fault)
            return {}

    def set_max_downtime(self, milliseconds: int) -> None:
        """Say how long the guest may stand still at the end of a migration."""
        with self._translated():
            self._domain().migrateSetMaxDowntime(milliseconds, 0)

    def start_post_copy(self) -> None:
        """Let the guest go on at the other node now; what it lacks, it fetches."""
        with self._translated():
            self._domain().migrateStartPostCopy(0)

    def abort_job(self) -> None:
        """Give up the migration that runs."""
        with self._translated():
            self._domain().abortJob()

    def freeze(self) -> None:
        """Freeze the guest's file systems."""
        with self._translated():
            self._domain().fsFreeze()

    def thaw(self) -> None:
        """Thaw the guest's file systems."""
        with self._translated():
            self._domain().fsThaw()

    def set_ssh_keys(self, user: str, keys: Sequence[str]) -> None:
        """Have the guest agent let in by ssh as `user` whoever has one of these keys alone."""
        with self._translated():
            self._domain().authorizedSSHKeysSet(user, list(keys), 0)

    def set_password(self, user: str, password: str) -> None:
        """Have the guest agent set a user's password."""
        with self._translated():
            self._domain().setUserPassword(user, password, 0)

    def guest_info(self) -> GuestInfo:
        """Ask the guest agent; raises Retryable when it does not answer."""
        with self._translated():
            domain = self._domain()
            found = domain.guestInfo(
                libvirt.VIR_DOMAIN_GUEST_INFO_OS
                | libvirt.VIR_DOMAIN_GUEST_INFO_TIMEZONE
                | libvirt.VIR_DOMAIN_GUEST_INFO_HOSTNAME
                | libvirt.VIR_DOMAIN_GUEST_INFO_USERS
                | libvirt.VIR_DOMAIN_GUEST_INFO_FILESYSTEM,
                0,
            )
            source = libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT
            interfaces = domain.interfaceAddresses(source, 0) or {}
        about = self.agent("guest-info")
        return msgspec.structs.replace(
            guest_agent.info(found, interfaces),
            agent_version=guest_agent.version(about),
            agent_commands=guest_agent.commands(about),
        )

    def agent(self, command: str, timeout_s: int = AGENT_TIMEOUT_S, **arguments: object) -> object:
        """Return the guest agent's answer to a command. Raises the explained error."""
        order = json.dumps({"execute": command, "arguments": arguments})
        with self._translated():
            answer = libvirt_qemu.qemuAgentCommand(self._domain(), order, timeout_s, 0)
        return guest_agent.answer(answer)

    def attach(self, device: str) -> None:
        """Plug a device in while the guest runs; the next start does not have it."""
        with self._translated():
            self._domain().attachDeviceFlags(device, libvirt.VIR_DOMAIN_AFFECT_LIVE)

    def detach(self, alias: str) -> None:
        """Ask for a device to be pulled out; the guest may take its time."""
        with self._translated():
            self._domain().detachDeviceAlias(alias, libvirt.VIR_DOMAIN_AFFECT_LIVE)

    def disks(self) -> dict[str, str]:
        """Return the device name of each disk of the running domain, by its alias."""
        with self._translated():
            root = ElementTree.fromstring(self._domain().XMLDesc(0))
        found = {}
        for disk in root.iterfind("devices/disk"):
            alias, target = disk.find("alias"), disk.find("target")
            if alias is not None and target is not None:
                found[alias.get("name", "")] = target.get("dev", "")
        return found

    def screenshot(self, *, move_cursor: bool = False) -> bytes:
        """Return what the first display shows, as libvirt has it: a portable pixmap."""
        with self._translated():
            domain = self._domain()
            if move_cursor:
                for by in (1, -1):
                    libvirt_qemu.qemuMonitorCommand(domain, _mouse_moved(by), 0)
            stream = self._connected().newStream(0)
            domain.screenshot(stream, 0, 0)
            parts: list[bytes] = []
            stream.recvAll(lambda _stream, part, _opaque: parts.append(part), None)
            stream.finish()
        return b"".join(parts)

    def log_tail(self, name: str) -> str:
        """Return the end of QEMU's log."""
        try:
            with self.daemon.domain_log(name).open("rb") as file:
                file.seek(0, 2)
                file.seek(max(0, file.tell() - LOG_TAIL_BYTES))
                return file.read().decode("utf-8", "replace")
        except OSError:
            return ""

    def _connected(self) -> Any:  # noqa: ANN401  (libvirt is untyped)
        connection = self._connection
        if connection is None:
            raise errors.TargetUnavailable("libvirtd of this VM does not run; it is started again")
        return connection

    def _find(self) -> Any:  # noqa: ANN401  (libvirt is untyped)
        """Return the one domain of the daemon, or None."""
        domains = self._connected().listAllDomains(0)
        return domains[0] if domains else None

    def _domain(self) -> Any:  # noqa: ANN401  (libvirt is untyped)
        domain = self._find()
        if domain is None:
            raise errors.NotFound("the domain was not started yet")
        return domain

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn libvirt's errors into ours, with QEMU's last words."""
        try:
            yield
        except libvirt.libvirtError as fault:
            code = fault.get_error_code() or 0
            message = fault.get_error_message() or str(fault)
            log.debug("libvirt error %s in domain %s: %s", code, fault.get_error_domain(), message)
            raise libvirt_errors.explain(code, message) from fault


def _mouse_moved(by: int) -> str:
    """Return QEMU's command that moves the mouse by some pixels."""
    event = {"type": "rel", "data": {"axis": "x", "value": by}}
    return json.dumps({"execute": "input-send-event", "arguments": {"events": [event]}})
