"""`mtv-node`: the kubelet's role for one node of the embedded home.

    mtv-node --data-dir D --node NAME [--kubeconfig F]

Pods that run are not this process's children: it may be killed, and finds them again.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from mtv import errors
from mtv.api import quantities
from mtv.api.core import Container, Pod
from mtv_operator.embedded import pki
from mtv_operator.embedded.images.store import Store
from mtv_operator.embedded.node import (
    attempts,
    containers,
    devices,
    network,
    node_object,
    server,
)
from mtv_operator.embedded.node.addresses import Pool
from mtv_operator.embedded.node.endings import Endings
from mtv_operator.embedded.node.health import Kind
from mtv_operator.embedded.node.lookups import Lookups
from mtv_operator.embedded.node.probing import Prober, Target
from mtv_operator.embedded.node.pump import Pump
from mtv_operator.embedded.node.registration import Registration
from mtv_operator.embedded.node.runner import COMPONENT, Runner
from mtv_operator.embedded.node.sandboxes import Node, Sandboxes
from mtv_operator.embedded.node.volumes import Keeper
from mtv_operator.embedded.up import settings as up_settings
from mtv_operator.embedded.up.settings import KUBELET_PORT, Settings
from mtv_operator.objects import Caches, Client, Key
from mtv_operator.virt_handler import kvm_probe

log = logging.getLogger(__name__)

WORKERS = 4
PROBE_WORKERS = 2
SYNC_S = 30.0


class Pods:
    """The pods that the API server has for this node, by uid and by name."""

    def __init__(self, changed: Callable[[str], None]) -> None:
        self.changed = changed
        self._uids: dict[tuple[str, str], str] = {}
        self._pods: dict[str, Pod] = {}

    def see(self, key: Key, pod: Pod | None) -> None:
        """Take one change of the watch."""
        name = (key.namespace, key.name)
        before = self._uids.get(name)
        if pod is None:
            self._uids.pop(name, None)
        else:
            self._uids[name] = pod.metadata.uid
            self._pods[pod.metadata.uid] = pod
        if before is not None and (pod is None or pod.metadata.uid != before):
            self._pods.pop(before, None)
            self.changed(before)
        if pod is not None:
            self.changed(pod.metadata.uid)

    def find(self, uid: str) -> Pod | None:
        """Return a pod by its uid."""
        return self._pods.get(uid)

    def by_name(self, namespace: str, name: str) -> Pod | None:
        """Return a pod by its name."""
        return self._pods.get(self._uids.get((namespace, name), ""))


def run() -> None:
    """Run `mtv-node` until SIGTERM."""
    parser = argparse.ArgumentParser(prog="mtv-node", description="Run the pods of one node.")
    parser.add_argument("--data-dir", required=True, type=Path, help="as given to `mtv up`")
    parser.add_argument("--node", required=True, help="name of the node")
    parser.add_argument("--kubeconfig", default="", help="where the API server is")
    arguments = parser.parse_args()
    logging.basicConfig(
        stream=sys.stderr,
        level=os.environ.get("MTV_LOG", "INFO").upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = up_settings.load(arguments.data_dir)
        if settings is None:
            raise errors.NotFound(f"{arguments.data_dir} holds no mtv", hint="run `mtv up`")
        serve(settings, arguments.node, arguments.kubeconfig, stop)
    except errors.MigrationError as fault:
        log.error("%s%s", fault, f" ({fault.hint})" if fault.hint else "")
        sys.exit(fault.exit_code)
    # Threads that wait for the network end with the process; nothing is lost: all is on disk.
    logging.shutdown()
    os._exit(0)


def serve(settings: Settings, name: str, kubeconfig: str, stop: threading.Event) -> None:
    """Run the pods of a node until `stop`."""
    names = settings.node_names()
    if name not in names:
        raise errors.BadInput(f"{name} is not one of {', '.join(names)}", field="--node")
    index = names.index(name) + 1
    folder = settings.node_folder(name)
    (folder / "pods").mkdir(parents=True, exist_ok=True)
    address = settings.node_address(index)
    namespace = settings.node_namespace(name, index)
    if namespace:
        network.attach(settings.network, settings.node_key(name), address)
    authority = pki.Authority(settings.pki, datetime.now(UTC))
    pair = authority.issue(
        f"node-{name}",
        common_name=f"system:node:{name}",
        organisations=["system:nodes"],
        addresses=[address, name],
    )
    client = Client.connect(kubeconfig or None)
    kvm = kvm_probe.cached(settings.kvm_verdict).usable
    machine = node_object.look(folder, kvm=kvm)
    lookups = Lookups(client)
    sandboxes = Sandboxes(
        node=Node(
            name=name,
            address=address,
            namespace=namespace,
            network=settings.network,
            owner=settings.owner,
            api_host=settings.network.gateway,
            api_port=settings.port,
            ca=authority.certificate_path,
            conceal=(str(settings.folder),),
        ),
        pool=Pool(folder / "addresses", settings.network.node_network(index)),
        keeper=Keeper(
            node=name,
            volumes=settings.volumes,
            source=lookups,
            amounts={
                "cpu": quantities.thousandths(machine.cpus),
                "memory": quantities.thousandths(machine.memory_bytes),
                "ephemeral-storage": quantities.thousandths(machine.storage_bytes),
            },
            images=Store(settings.folder, stop),
        ),
        definition=lookups.network_definition,
    )

    with contextlib.ExitStack() as stack:
        turns = Pump("pod", lambda key: runner.turn(key.name), WORKERS)
        probes = Pump("probe", lambda key: prober.turn(Target.of(key)), PROBE_WORKERS)

        def look(uid: str) -> None:
            turns.add(Key("", uid))

        def unhealthy(pod: Pod, container: Container, kind: Kind, output: str) -> None:
            message = f"{kind.capitalize()} probe failed: {output}"
            client.record(pod, "Unhealthy", message, type="Warning", component=COMPONENT)

        prober = Prober(look, unhealthy, lambda target: probes.add(target.key()))
        endings = stack.enter_context(Endings(look))
        pods = Pods(look)
        runner = Runner(
            folder=folder / "pods",
            client=client,
            sandboxes=sandboxes,
            code=containers.find_code(),
            find=pods.find,
            watch=endings.watch,
            prober=prober,
        )
        registration = Registration(
            client=client,
            name=name,
            address=address,
            port=KUBELET_PORT,
            pod_cidr=settings.network.node_network(index),
            folder=folder,
            kvm=kvm,
        )
        listening = server.listen(address, KUBELET_PORT, namespace)
        stack.enter_context(
            server.Server(
                listening, folder / "pods", pods.by_name, pair, authority.certificate_path
            )
        )
        caches = stack.enter_context(Caches(client))
        caches.watch(Pod, fields=f"spec.nodeName={name}").on_change(pods.see)
        caches.start()
        if not _synced(caches, stop):
            return
        clean(sandboxes, folder / "pods")
        stack.enter_context(turns)
        stack.enter_context(probes)
        for known in attempts.pods(folder / "pods"):
            look(known.uid)
        log.info("node %s runs pods in %s", name, folder)
        registration.keep(stop)


def _synced(caches: Caches, stop: threading.Event) -> bool:
    """Wait until the pods of this node are known: before, everything would look deleted."""
    while not stop.is_set():
        try:
            caches.wait_synced(SYNC_S)
        except errors.Retryable as fault:
            log.warning("the API server does not answer yet: %s", fault)
            continue
        return True
    return False


def clean(sandboxes: Sandboxes, folder: Path) -> None:
    """Give back what a crash left over: addresses, namespaces and devices of pods unknown here."""
    known = {entry.uid for entry in attempts.pods(folder)}
    for uid in sandboxes.pool.keep_only(known):
        network.detach(uid)
    devices.keep_only(sandboxes.keeper.volumes, sandboxes.node.name, known)


if __name__ == "__main__":
    run()
