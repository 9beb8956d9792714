"""The controllers of VMs that come to this node, and of VMs that leave it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from mtv import errors
from mtv.api import core, kubevirt
from mtv_operator.objects import Cache, Client, Key
from mtv_operator.virt_handler import launcher_socket, migration_state, order
from mtv_operator.virt_handler.emulation import Ability
from mtv_operator.virt_handler.launcher_watch import LauncherWatch
from mtv_operator.virt_handler.migration_proxy import PodFolder, Proxies
from mtv_operator.virt_handler.migration_state import Observed, Vmi
from mtv_operator.virt_launcher import migration, protocol

log = logging.getLogger(__name__)

SOURCE, TARGET = "migration-source", "migration-target"
COMPONENT = "virt-handler"
LOOK_TIMEOUT_S = 5.0
PREPARE_TIMEOUT_S = 60.0
DAEMON_PORT = 0  # names the way to libvirtd among the ports, as upstream
DAEMON_SOCKETS = ("virtqemud-sock", "libvirt-sock")
ANYWHERE = ("0.0.0.0", "::", "")


class _Side:
    """What both sides have: the VMI out of a cache, and its launcher on this node."""

    def __init__(
        self,
        *,
        client: Client,
        node: str,
        kubelet_root: Path,
        vmis: Cache[Vmi],
        proxies: Proxies,
    ) -> None:
        self._client, self._node, self._kubelet_root = client, node, kubelet_root
        self._vmis, self._proxies = vmis, proxies
        self.watch: LauncherWatch | None = None

    def _seen(self, key: Key) -> tuple[Vmi, str, protocol.Domain | None] | None:
        """Return a VMI that migrates, its pod here, and the pod's domain; None: none migrates."""
        vmi = self._vmis.get(*key)
        if vmi is None or migration_state.of(vmi) is None:
            self._proxies.close(key)
            return None
        pods = vmi.status.active_pods if vmi.status else {}
        pod = next((uid for uid, node in pods.items() if node == self._node), "")
        if not pod:
            return vmi, "", None
        path = launcher_socket.path_of(self._kubelet_root, pod)
        try:
            domain = launcher_socket.call(path, protocol.GetDomain(), LOOK_TIMEOUT_S).domain
        except errors.MigrationError as fault:
            log.debug("launcher of %s: %s", key.name, fault)
            return vmi, pod, launcher_socket.last_state(path)
        if self.watch is not None:
            self.watch.follow(pod, path, key)
        return vmi, pod, domain

    def _socket(self, observed: Observed) -> Path:
        return launcher_socket.path_of(self._kubelet_root, observed.pod_uid)

    def _folder(self, observed: Observed, volume: str, *parts: str) -> PodFolder:
        return PodFolder(
            kubelet_root=self._kubelet_root,
            pod_uid=observed.pod_uid,
            volume=volume,
            parts=parts,
        )

    def write_status(self, observed: Observed, wanted: Vmi) -> None:
        """Store the VMI as a whole, if it is still the version that was read; then say so."""
        if wanted == observed.vmi:
            return
        self._client.replace(wanted)
        said = migration_state.said(observed.vmi, wanted, self._node)
        if said is not None:
            kind, reason, message = said
            self._client.record(wanted, reason, message, type=kind, component=COMPONENT)


class Incoming(_Side):
    """Makes this node ready for VMs that come, and takes them over."""

    name = TARGET

    def __init__(
        self,
        *,
        client: Client,
        node: str,
        kubelet_root: Path,
        vmis: Cache[Vmi],
        proxies: Proxies,
        host: str,
        ability: Callable[[], Ability],
        capabilities: Path,
    ) -> None:
        super().__init__(
            client=client, node=node, kubelet_root=kubelet_root, vmis=vmis, proxies=proxies
        )
        self._host, self._ability, self._capabilities = host, ability, capabilities
        self._address = "" if host in ANYWHERE else host

    def observe(self, key: Key) -> Observed | None:
        """Return the VMI that shall come, and its launcher here."""
        found = self._seen(key)
        state = migration_state.of(found[0]) if found else None
        if found is None or state is None:
            return None
        vmi, pod, domain = found
        ports = self._proxies.ports(key, state.migration_uid or "")
        return Observed(
            vmi=vmi,
            node=self._node,
            pod_uid=pod,
            domain=domain,
            ports=ports,
            address=self._address,
        )

    def decide(self, observed: Observed, now: datetime) -> migration_state.Decided:
        """Return what to do."""
        return migration_state.decide_target(observed, now)

    def perform(self, observed: Observed, action: migration_state.Action) -> None:
        """Carry out one action. Raises MigrationError."""
        state = migration_state.of(observed.vmi)
        if isinstance(action, migration_state.Prepare) and state is not None:
            self._prepare(observed, state.migration_uid or "")

    def _prepare(self, observed: Observed, uid: str) -> None:
        """Give the pod what a VM needs, have the launcher wait for it, and listen."""
        socket = self._socket(observed)
        if not self._address:
            self._address = self._own_address()
        try:
            options = order.prepare(observed.vmi, socket, self._ability(), self._capabilities)
        except OSError as fault:
            raise errors.Retryable(f"the launcher's process: {fault}") from fault
        ordered = protocol.PrepareMigration(uid=uid, vmi=observed.vmi, options=options)
        launcher_socket.call(socket, ordered, PREPARE_TIMEOUT_S)
        daemon = self._folder(observed, "libvirt-runtime", "run", "libvirt")
        data = self._folder(observed, "private", migration.FOLDER)
        try:
            with daemon.opened() as folder:
                name = next((one for one in DAEMON_SOCKETS if one in os.listdir(folder)), "")
        except OSError as fault:
            raise errors.Retryable(f"the launcher's libvirtd: {fault}") from fault
        ends = {
            DAEMON_PORT: lambda: daemon.connect(name),
            migration.DATA_PORT: lambda: data.connect(migration.data_socket(uid)),
        }
        self._proxies.receive(_key(observed.vmi), uid, self._host, ends)

    def _own_address(self) -> str:
        """Return the node's address, where we listen on all."""
        node = self._client.get(core.Node, self._node)
        addresses = node.status.addresses if node.status else ()
        found = next((one.address for one in addresses if one.type == "InternalIP"), "")
        if not found:
            raise errors.Retryable(f"node {self._node} has no InternalIP")
        return found


class Outgoing(_Side):
    """Sends VMs of this node to others."""

    name = SOURCE

    def observe(self, key: Key) -> Observed | None:
        """Return the VMI that shall leave, and its launcher here."""
        found = self._seen(key)
        if found is None:
            return None
        vmi, pod, domain = found
        return Observed(vmi=vmi, node=self._node, pod_uid=pod, domain=domain)

    def decide(self, observed: Observed, now: datetime) -> migration_state.Decided:
        """Return what to do."""
        return migration_state.decide_source(observed, now)

    def perform(self, observed: Observed, action: migration_state.Action) -> None:
        """Carry out one action. Raises MigrationError."""
        state = migration_state.of(observed.vmi)
        if state is None:
            return
        match action:
            case migration_state.Begin():
                self._begin(observed, state)
            case migration_state.Cancel():
                request = protocol.CancelMigration(uid=state.migration_uid or "")
                launcher_socket.call(self._socket(observed), request)
            case migration_state.Prepare():
                return

    def _begin(self, observed: Observed, state: migration_state.State) -> None:
        """Open the way out of the pod, and have the launcher take it."""
        uid = state.migration_uid or ""
        socket = self._socket(observed)
        names = {DAEMON_PORT: migration.daemon_socket(uid)}
        names[migration.DATA_PORT] = migration.data_socket(uid)
        folder = self._folder(observed, "private", migration.FOLDER)
        ports = state.target_direct_migration_node_ports
        try:
            owner = socket.stat().st_uid
            sockets = {
                int(port): folder.listen(names[kind], owner)
                for port, kind in ports.items()
                if kind in names
            }
        except OSError as fault:
            raise errors.Retryable(f"the way out of the pod: {fault}") from fault
        self._proxies.send(_key(observed.vmi), uid, state.target_node_address or "", sockets)
        launcher_socket.call(socket, migration_state.order(state, observed.vmi))


def _key(vmi: kubevirt.VirtualMachineInstance) -> Key:
    return Key(vmi.metadata.namespace, vmi.metadata.name)
