"""The command `virt-handler`: one per node."""

from __future__ import annotations

import argparse
import contextlib
import logging
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from mtv import errors
from mtv.api import configuration, installation, kubevirt, well_known
from mtv_operator.objects import Cache, Caches, Client, Key
from mtv_operator.reconciling import Loop
from mtv_operator.serving import observed, tls
from mtv_operator.serving.background import Background
from mtv_operator.virt_handler import (
    device_plugins,
    instances,
    kvm_probe,
    metrics,
    migrations,
    node_report,
)
from mtv_operator.virt_handler.device_plugins import DevicePlugins
from mtv_operator.virt_handler.emulation import Ability, Policy
from mtv_operator.virt_handler.instances import Instances
from mtv_operator.virt_handler.launcher_watch import LauncherWatch
from mtv_operator.virt_handler.migration_proxy import Identity, Proxies
from mtv_operator.virt_handler.node_report import NodeReport
from mtv_operator.virt_handler.server import Application
from mtv_operator.virt_launcher import libvirt_errors

log = logging.getLogger("virt-handler")

WORKERS = 8  # an order waits for its QEMU
SYNC_S = 30.0
PORT = 8186
CLIENTS = ("virt-api",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the command line says."""

    kubeconfig: str
    node: str
    kubelet_root: Path
    state: Path
    kvm_verdict: Path
    host: str
    port: int
    certificate: str
    key: str
    client_ca: str
    clients: frozenset[str]
    emulation: Policy
    metrics: str


def parse(arguments: list[str]) -> Settings:
    """Return the command line's values. Exits with 2 and a usage line when they are wrong."""
    parser = argparse.ArgumentParser(prog="virt-handler", description=__doc__)
    add = parser.add_argument
    add("--kubeconfig", default="", help="where the API server is (default: as in a pod)")
    add("--node-name", "--node", required=True, help="the Node object that this machine is")
    add(
        "--kubelet-root", type=Path, default=Path("/var/lib/kubelet"), metavar="FOLDER",
        help="where pods/<uid>/volumes are (default: %(default)s)",
    )  # fmt: skip
    add(
        "--state-dir", type=Path, default=None, metavar="FOLDER",
        help="what is kept of this node (default: virt-handler below the kubelet's root)",
    )  # fmt: skip
    add(
        "--kvm-verdict", type=Path, default=None, metavar="FILE",
        help="what the KVM probe found at this boot (default: kvm.json in the state's folder)",
    )  # fmt: skip
    add("--listen", default=f"0.0.0.0:{PORT}", metavar="ADDRESS:PORT", help="for virt-api")
    add("--tls-cert", default="", metavar="FILE", help="the server's certificate")
    add("--tls-key", default="", metavar="FILE", help="its key")
    add("--client-ca", default="", metavar="FILE", help="who signs the certificates of clients")
    add(
        "--client-name", action="append", default=[], metavar="NAME",
        help=f"the name in a client's certificate (default: {', '.join(CLIENTS)})",
    )  # fmt: skip
    add(
        "--emulation", type=Policy, choices=list(Policy), default=Policy.NEVER,
        help="auto, allow: emulate where KVM is not usable; never: only where the KubeVirt object "
        "says useEmulation (the default)",
    )  # fmt: skip
    add(
        "--metrics-listen", default="", metavar="ADDRESS:PORT",
        help="for /metrics and /healthz (default: they are not served)",
    )  # fmt: skip
    given = parser.parse_args(arguments)
    host, _, port = given.listen.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        parser.error(f"--listen: {given.listen!r} is not ADDRESS:PORT")
    if bool(given.tls_cert) != bool(given.tls_key):
        parser.error("--tls-cert and --tls-key go together")
    if not given.client_ca and host not in ("127.0.0.1", "::1", "localhost"):
        parser.error(
            "--client-ca is missing: without it everybody on the network could open consoles; "
            "it may be left out with --listen 127.0.0.1:PORT"
        )
    state = given.state_dir or given.kubelet_root / "virt-handler"
    return Settings(
        kubeconfig=given.kubeconfig,
        node=given.node_name,
        kubelet_root=given.kubelet_root,
        state=state,
        kvm_verdict=given.kvm_verdict or state / "kvm.json",
        host=host.strip("[]") or "0.0.0.0",
        port=int(port),
        certificate=given.tls_cert,
        key=given.tls_key,
        client_ca=given.client_ca,
        clients=frozenset(given.client_name or CLIENTS),
        emulation=given.emulation,
        metrics=given.metrics_listen,
    )


def serve(settings: Settings, stop: threading.Event) -> None:
    """Do this node's part until `stop`. Raises MigrationError for what cannot be mended here."""
    verdict = kvm_probe.cached(settings.kvm_verdict)
    log.info("KVM %s: %s", "is usable" if verdict.usable else "is not usable", verdict.message)
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(Client.connect(settings.kubeconfig or None))
        caches = stack.enter_context(Caches(client))
        vmis = caches.watch(
            kubevirt.VirtualMachineInstance, labels=f"{well_known.NODE_NAME}={settings.node}"
        )
        coming = caches.watch(
            kubevirt.VirtualMachineInstance,
            labels=f"{well_known.MIGRATION_TARGET_NODE}={settings.node}",
        )
        installed = caches.watch(installation.KubeVirt, configuration.NAMESPACE)

        def ability() -> Ability:
            found = installed.get(configuration.NAMESPACE, configuration.NAME)
            allowed = configuration.of(found).use_emulation
            return Ability(verdict=verdict, policy=settings.emulation, use_emulation=allowed)

        control = Instances(
            client=client,
            node=settings.node,
            kubelet_root=settings.kubelet_root,
            state=settings.state,
            vmis=vmis,
            ability=ability,
        )

        def find(namespace: str, name: str) -> tuple[kubevirt.VirtualMachineInstance, Path]:
            vmi = vmis.get(namespace, name)
            if vmi is None:
                raise errors.NotFound(f"no VMI {namespace}/{name} on node {settings.node}")
            socket = control.socket_of(vmi)
            if socket is None:
                raise libvirt_errors.WrongState("VMI has no pod on this node")
            return vmi, socket

        server = stack.enter_context(
            Background(
                Application(find).asgi,
                host=settings.host,
                port=settings.port,
                certificate=settings.certificate,
                key=settings.key,
                client_ca=settings.client_ca,
                http=tls.only_for(
                    settings.clients, "this client certificate may not call virt-handler"
                ),
            )
        )
        if settings.metrics:
            scrape = observed.application(
                client, lambda: metrics.collect(settings.node, vmis.list(), control.socket_of)
            )
            pair = {"certificate": settings.certificate, "key": settings.key}
            stack.enter_context(Background.at(settings.metrics, scrape, **pair))
        takes_plugins = device_plugins.takes_plugins(settings.kubelet_root)
        report = NodeReport(
            client=client,
            node=settings.node,
            ability=ability(),
            port=server.port,
            plugins=takes_plugins,
        )
        plugins = stack.enter_context(DevicePlugins(settings.kubelet_root, kvm=verdict.usable))
        incoming, outgoing = _migrations(settings, client, control, vmis, coming)
        loop = Loop([control, incoming, outgoing, report, plugins], workers=WORKERS, stop=stop)

        def look(key: Key, *_: object) -> None:
            for name in (instances.NAME, migrations.SOURCE, migrations.TARGET):
                loop.enqueue(name, key)

        watch = stack.enter_context(LauncherWatch(look))
        control.watch = incoming.watch = outgoing.watch = watch
        vmis.on_change(look)
        coming.on_change(look)
        caches.start()
        if not _synced(caches, stop):
            return
        loop.enqueue(node_report.NAME, Key("", settings.node))
        for key in plugins.keys if takes_plugins else ():
            loop.enqueue(device_plugins.NAME, key)
        log.info("node %s takes VMs; virt-api is answered on port %d", settings.node, server.port)
        loop.run()
        with contextlib.suppress(errors.MigrationError):
            report.leave()


def _migrations(
    settings: Settings,
    client: Client,
    control: Instances,
    leaving: Cache[kubevirt.VirtualMachineInstance],
    coming: Cache[kubevirt.VirtualMachineInstance],
) -> tuple[migrations.Incoming, migrations.Outgoing]:
    """Return who brings VMs to this node, and who takes them away."""
    identity = Identity(
        certificate=settings.certificate, key=settings.key, authority=settings.client_ca
    )
    incoming = migrations.Incoming(
        client=client,
        node=settings.node,
        kubelet_root=settings.kubelet_root,
        vmis=coming,
        proxies=Proxies(identity),
        host=settings.host,
        ability=control.ability,
        capabilities=control.capabilities,
    )
    outgoing = migrations.Outgoing(
        client=client,
        node=settings.node,
        kubelet_root=settings.kubelet_root,
        vmis=leaving,
        proxies=Proxies(identity),
    )
    return incoming, outgoing


def _synced(caches: Caches, stop: threading.Event) -> bool:
    """Wait until the VMIs of this node are known; False when stopped before."""
    while not stop.is_set():
        try:
            caches.wait_synced(SYNC_S)
        except errors.Retryable as fault:
            log.warning("the API server does not answer yet: %s", fault)
            continue
        return True
    return False


def run() -> None:
    """Entry point of the console script."""
    settings = parse(sys.argv[1:])
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    for noisy in ("urllib3", "uvicorn"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        serve(settings, stop)
    except errors.MigrationError as fault:
        print(f"error: {fault}", file=sys.stderr)
        if fault.hint:
            print(f"\nhint: {fault.hint}", file=sys.stderr)
        sys.exit(fault.exit_code)


if __name__ == "__main__":
    run()
