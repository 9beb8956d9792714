"""The controller of the VMIs that are on this node: observes, and carries out what was decided."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from mtv import errors
from mtv.api import kubevirt
from mtv_operator.objects import Cache, Client, Key
from mtv_operator.virt_handler import (
    instance,
    launcher_socket,
    namespaces,
    order,
    plugging,
    pod_network,
)
from mtv_operator.virt_handler.emulation import Ability
from mtv_operator.virt_handler.instance import Failure, Launcher, Observed, Reach, Said
from mtv_operator.virt_handler.launcher_watch import LauncherWatch
from mtv_operator.virt_launcher import protocol
from mtv_operator.virt_launcher.protocol import Domain

log = logging.getLogger(__name__)

NAME = "vmi"
COMPONENT = "virt-handler"
LOOK_TIMEOUT_S = 5.0


@dataclass(slots=True)
class _Notes:
    """What this process remembers of a VMI; all of it may be lost."""

    saw: datetime
    reach: Reach | None = None
    reach_since: datetime | None = None
    ordered: datetime | None = None
    failure: Failure | None = None
    shutdown_said: bool = False
    addresses: dict[str, tuple[str, ...]] = field(default_factory=dict)


class Instances:
    """Reconciles VMIs with the launchers on this node."""

    def __init__(
        self,
        *,
        client: Client,
        node: str,
        kubelet_root: Path,
        state: Path,
        vmis: Cache[kubevirt.VirtualMachineInstance],
        ability: Callable[[], Ability],
    ) -> None:
        self.client = client
        self.node = node
        self.kubelet_root = kubelet_root
        self.capabilities = state / "capabilities" / order.installed_version()
        self.vmis = vmis
        self.ability = ability
        self.watch: LauncherWatch | None = None
        self._notes: dict[str, _Notes] = {}
        self._uids: dict[Key, str] = {}
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """How queues and logs call it."""
        return NAME

    def pod_of(self, vmi: kubevirt.VirtualMachineInstance) -> str:
        """Return the uid of the VMI's pod on this node, or an empty text."""
        pods = vmi.status.active_pods if vmi.status else {}
        return next((uid for uid, node in pods.items() if node == self.node), "")

    def socket_of(self, vmi: kubevirt.VirtualMachineInstance) -> Path | None:
        """Return where the VMI's launcher listens; None when it has no pod here."""
        pod = self.pod_of(vmi)
        return launcher_socket.path_of(self.kubelet_root, pod) if pod else None

    def observe(self, key: Key) -> Observed | None:
        """Return the VMI and its launcher as they are now."""
        vmi = self.vmis.get(key.namespace, key.name)
        now = datetime.now(UTC)
        notes = self._notes_of(key, vmi.metadata.uid if vmi else "", now)
        if vmi is None or notes is None:
            return None
        phase = vmi.status.phase if vmi.status else None
        if phase not in (*instance.OURS, *instance.FINAL):
            return None
        launcher = self._launcher(vmi, notes, now)
        addresses: tuple[str, ...] = ()
        if launcher is not None and launcher.domain.alive and launcher.reach is Reach.READY:
            addresses = self._addresses(vmi, notes)
        return Observed(
            vmi=vmi,
            saw=notes.saw,
            launcher=launcher,
            addresses=addresses,
            ordered=notes.ordered,
            failure=notes.failure,
            emulated_because=self.ability().why_not_kvm,
        )

    def _notes_of(self, key: Key, uid: str, now: datetime) -> _Notes | None:
        """Return what is remembered of a VMI; forget one that is no more."""
        with self._lock:
            old = self._uids.get(key)
            if old is not None and old != uid:
                self._notes.pop(old, None)
                del self._uids[key]
            if not uid:
                return None
            self._uids[key] = uid
            return self._notes.setdefault(uid, _Notes(saw=now))

    def _launcher(
        self, vmi: kubevirt.VirtualMachineInstance, notes: _Notes, now: datetime
    ) -> Launcher | None:
        """Ask the launcher for its domain; where it cannot answer, read what it wrote last."""
        path = self.socket_of(vmi)
        if path is None:
            return None
        domain: Domain | None = None
        try:
            domain = launcher_socket.call(path, protocol.GetDomain(), LOOK_TIMEOUT_S).domain
            reach = Reach.READY
        except launcher_socket.NotListening:
            began = vmi.status is not None and vmi.status.phase != "Scheduled"
            reach = Reach.GONE if began else Reach.ABSENT
        except launcher_socket.Gone:
            reach = Reach.GONE
        except errors.MigrationError as fault:
            log.info("launcher of %s: %s", vmi.metadata.name, fault)
            reach = Reach.SILENT
        if notes.reach is not reach or notes.reach_since is None:
            notes.reach, notes.reach_since = reach, now
        if reach is Reach.READY and self.watch is not None:
            key = Key(vmi.metadata.namespace, vmi.metadata.name)
            self.watch.follow(self.pod_of(vmi), path, key)
        found = domain or launcher_socket.last_state(path) or Domain()
        return Launcher(reach=reach, since=notes.reach_since, domain=found)

    def _addresses(self, vmi: kubevirt.VirtualMachineInstance, notes: _Notes) -> tuple[str, ...]:
        """Return the pod's addresses; they stay as long as the pod."""
        pod, path = self.pod_of(vmi), self.socket_of(vmi)
        if pod not in notes.addresses and path is not None:
            with launcher_socket.connect(path) as connection:
                pid = launcher_socket.peer_pid(connection)
            found = pod_network.read(namespaces.network_namespace(pid))
            notes.addresses[pod] = found.addresses
        return notes.addresses.get(pod, ())

    def decide(self, observed: Observed, now: datetime) -> instance.Decided:
        """Return what to do."""
        return instance.decide(observed, now)

    def perform(self, observed: Observed, action: instance.Action) -> None:
        """Carry out one action. Raises MigrationError."""
        vmi = observed.vmi
        path = self.socket_of(vmi)
        notes = self._notes.get(vmi.metadata.uid)
        if path is None or notes is None:
            return
        match action:
            case instance.Boot():
                self._boot(vmi, path, notes)
            case instance.Shutdown():
                request = protocol.Shutdown(grace_period_s=action.grace_period_s)
                launcher_socket.call(path, request)
                if not notes.shutdown_said:
                    notes.shutdown_said = True
                    self._say(vmi, Said(reason="ShuttingDown", message=GRACEFUL))
            case instance.Destroy():
                launcher_socket.call(path, protocol.Destroy(), launcher_socket.START_TIMEOUT_S)
            case instance.Plug(name=name) | instance.Unplug(name=name):
                self._plug(vmi, path, name, wanted=isinstance(action, instance.Plug))
            case instance.Release():
                launcher_socket.call(path, protocol.Release())

    def _boot(self, vmi: kubevirt.VirtualMachineInstance, path: Path, notes: _Notes) -> None:
        """Order the start. What goes wrong is kept, for the VMI to say it, and tried again."""
        if notes.ordered is None:
            notes.ordered = datetime.now(UTC)
        try:
            order.give(
                vmi,
                path,
                self.ability(),
                self.capabilities,
                saw_at=instance.micro(notes.saw),
                ordered_at=instance.micro(notes.ordered),
            )
        except OSError as fault:  # the launcher went away meanwhile
            raise errors.Retryable(f"the launcher's process: {fault}") from fault
        except errors.MigrationError as fault:
            attempts = notes.failure.attempts + 1 if notes.failure else 1
            notes.failure = Failure(error=fault, at=datetime.now(UTC), attempts=attempts)
            log.warning("%s/%s: %s", vmi.metadata.namespace, vmi.metadata.name, fault)
            self._say(vmi, Said(reason="SyncFailed", message=str(fault), type="Warning"))
            return
        notes.failure = None
        self._say(vmi, Said(reason="Created", message="VirtualMachineInstance defined."))

    def _plug(
        self, vmi: kubevirt.VirtualMachineInstance, path: Path, name: str, *, wanted: bool
    ) -> None:
        """Plug a volume in or out; what goes wrong is said, and tried again."""
        try:
            if wanted:
                plugging.plug(vmi, path, self.kubelet_root, name)
            else:
                plugging.unplug(path, name)
        except launcher_socket.NotListening:
            raise  # its pod has only just begun
        except (errors.MigrationError, OSError) as fault:
            text = f"volume {name}: {fault}"
            self._say(vmi, Said(reason="HotplugFailed", message=text, type="Warning"))
            if isinstance(fault, OSError):
                raise errors.TargetUnavailable(text) from fault
            raise

    def write_status(self, observed: Observed, wanted: kubevirt.VirtualMachineInstance) -> None:
        """Store the VMI as a whole, if anything changed; then say so."""
        if wanted == observed.vmi:
            return
        self.client.replace(wanted)
        domain = observed.launcher.domain if observed.launcher else Domain()
        for one in instance.said(observed.vmi, wanted, domain):
            self._say(wanted, one)

    def _say(self, vmi: kubevirt.VirtualMachineInstance, said: Said) -> None:
        self.client.record(vmi, said.reason, said.message, type=said.type, component=COMPONENT)


GRACEFUL = "Signaled Graceful Shutdown"
