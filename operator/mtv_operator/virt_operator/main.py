"""The command `virt-operator`: waits to lead, then keeps the installation until SIGTERM."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import uuid
from importlib import metadata

from mtv import errors
from mtv.api import apps, configuration, installation, meta
from mtv_operator.installation.settings import Settings
from mtv_operator.objects import Caches, Client, Key, leading
from mtv_operator.reconciling import Loop
from mtv_operator.virt_operator.operator import NAMESPACE, VirtOperator

log = logging.getLogger("virt-operator")

LEASE = "virt-operator"
SYNC_S = 30.0


def run() -> None:
    """Run the process; end with 0 after SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="virt-operator", description=__doc__)
    parser.add_argument("--kubeconfig", default="", help="where the API server is")
    parser.add_argument(
        "--use-emulation", choices=("true", "false"), default="false",
        help="of the KubeVirt object that is made where there is none (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--image", required=True, help="of components that are made again")
    parser.add_argument("--pull-policy", default="IfNotPresent", help="of that image")
    parser.add_argument("--replicas", type=int, default=2, help="of each Deployment")
    parser.add_argument(
        "--data-volumes", choices=("true", "false"), default="true",
        help="fill DataVolumes, where CDI is absent (default: %(default)s)",
    )  # fmt: skip
    arguments = parser.parse_args()
    installed = Settings(
        image=arguments.image,
        pull_policy=arguments.pull_policy,
        replicas=arguments.replicas,
        use_emulation=arguments.use_emulation == "true",
        data_volumes=arguments.data_volumes == "true",
    )
    logging.basicConfig(
        stream=sys.stderr,
        level=os.environ.get("MTV_LOG", "INFO").upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        serve(arguments.kubeconfig, installed, stop)
    except errors.MigrationError as fault:
        log.error("%s%s", fault, f" ({fault.hint})" if fault.hint else "")
        sys.exit(fault.exit_code)
    log.info("ended")


def serve(kubeconfig: str, installed: Settings, stop: threading.Event) -> None:
    """Keep the installation until `stop`. Raises MigrationError if it cannot begin."""
    identity = f"{socket.gethostname()}_{os.getpid()}_{uuid.uuid4().hex[:8]}"
    with (
        Client.connect(kubeconfig or None) as client,
        leading(client, LEASE, NAMESPACE, identity, stop) as leads,
    ):
        if not leads:
            return
        with Caches(client) as caches:
            kubevirts = caches.watch(installation.KubeVirt, NAMESPACE)
            deployments = caches.watch(apps.Deployment, NAMESPACE)
            daemon_sets = caches.watch(apps.DaemonSet, NAMESPACE)
            controller = VirtOperator(
                client,
                kubevirts=kubevirts,
                deployments=deployments,
                daemon_sets=daemon_sets,
                version=metadata.version("mtv"),
                settings=installed,
            )
            loop = Loop([controller], workers=1, stop=stop)
            only = Key(NAMESPACE, configuration.NAME)
            for cache in (kubevirts, deployments, daemon_sets):
                cache.on_change(lambda *_: loop.enqueue(controller.name, only))
            caches.start()
            caches.wait_synced(SYNC_S)
            if kubevirts.get(*only) is None:
                with contextlib.suppress(errors.AlreadyExists):
                    client.create(first(bool(installed.use_emulation)))
                    log.info("made the KubeVirt object, as there was none")
            log.info("keeping the installation")
            loop.run()


def first(emulation: bool) -> installation.KubeVirt:
    """Return the KubeVirt object of a new installation."""
    developer = installation.DeveloperConfiguration(use_emulation=emulation)
    settings = installation.KubeVirtConfiguration(developer_configuration=developer)
    return installation.KubeVirt(
        metadata=meta.ObjectMeta(name=configuration.NAME, namespace=NAMESPACE),
        spec=installation.KubeVirtSpec(configuration=settings),
    )


if __name__ == "__main__":
    run()
