"""The command `mtv-controller`: start the caches, wait to lead, reconcile until SIGTERM.

State is in the API server alone. Killed at any moment, the next process (or the next leader) sees
what was stored and goes on; actions that were done and not yet noted are done again, harmlessly.
"""

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
from collections.abc import Callable, Iterator

from mtv import errors
from mtv.api import forklift, meta
from mtv_operator.controller import assembly
from mtv_operator.controller.assembly import Options
from mtv_operator.migration.inventory_cache import Inventories
from mtv_operator.objects import Caches, Client, leading
from mtv_operator.reconciling import Loop
from mtv_operator.serving import observed
from mtv_operator.serving.background import Background

log = logging.getLogger("mtv-controller")

SYNC_TIMEOUT_S = 120.0


def run() -> None:
    """Run the process; end with 0 after SIGTERM or SIGINT."""
    options = _options(sys.argv[1:])
    logging.basicConfig(
        stream=sys.stderr,
        level=os.environ.get("MTV_LOG", "INFO").upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        reconcile(options, stop)
    except errors.MigrationError as fault:
        log.error("%s%s", fault, f" ({fault.hint})" if fault.hint else "")
        sys.exit(fault.exit_code)
    log.info("ended")


def reconcile(options: Options, stop: threading.Event) -> None:
    """Reconcile until `stop` is set. Raises MigrationError if it cannot begin."""
    with (
        Client.connect(options.kubeconfig or None) as client,
        _lead(client, options, stop) as leads,
    ):
        if not leads:
            return
        listener = _Listener()
        with (
            contextlib.ExitStack() as stack,
            Inventories(listener) as inventories,
            Caches(client) as caches,
        ):
            assembled = assembly.assemble(client, caches, inventories, options)
            loop = Loop(assembled.controllers, workers=options.workers, stop=stop)
            assembled.wire(loop.enqueue)
            listener.to(lambda key: assembled.inventory_changed(loop.enqueue, key))
            if options.host_provider:
                _make_host_provider(client, options.namespace)
            if options.metrics_listen:
                stack.enter_context(_observed(client, options, assembled))
            caches.start()
            _wait_synced(caches, stop)
            if not stop.is_set():
                log.info("reconciling with %d workers", options.workers)
                loop.run()
            log.info("stopping")


def _make_host_provider(client: Client, namespace: str) -> None:
    """Make the Provider that stands for this cluster as a target, as Forklift does."""
    metadata = meta.ObjectMeta(name="host", namespace=namespace)
    spec = forklift.ProviderSpec(type="openshift", url="", secret=meta.ObjectReference())
    with contextlib.suppress(errors.AlreadyExists):
        client.create(forklift.Provider(metadata=metadata, spec=spec))


def _observed(client: Client, options: Options, assembled: assembly.Assembled) -> Background:
    """Return what answers /metrics and /healthz."""
    application = observed.application(client, assembled.metrics)
    return Background.at(
        options.metrics_listen,
        application,
        certificate=options.tls_cert,
        key=options.tls_key,
    )


class _Listener:
    """Passes on which inventories changed, once there is somebody to be told."""

    def __init__(self) -> None:
        self._pass_on: Callable[[str], None] = lambda _key: None

    def to(self, pass_on: Callable[[str], None]) -> None:
        """Set who is told."""
        self._pass_on = pass_on

    def __call__(self, key: str) -> None:
        self._pass_on(key)


@contextlib.contextmanager
def _lead(client: Client, options: Options, stop: threading.Event) -> Iterator[bool]:
    """Wait until this process may act; at once where nobody else can."""
    if not options.leader_election:
        yield True
        return
    identity = f"{socket.gethostname()}_{os.getpid()}_{uuid.uuid4().hex[:8]}"
    with leading(client, options.lease, options.namespace, identity, stop) as leads:
        yield leads


def _wait_synced(caches: Caches, stop: threading.Event) -> None:
    """Wait for the caches in short steps, so that a stop is not kept waiting."""
    left_s = SYNC_TIMEOUT_S
    while not stop.is_set():
        try:
            caches.wait_synced(1.0)
            return
        except errors.TargetUnavailable:
            left_s -= 1.0
            if left_s <= 0:
                raise


def _options(arguments: list[str]) -> Options:
    parser = argparse.ArgumentParser(prog="mtv-controller", description=__doc__)
    parser.add_argument("--kubeconfig", default="", help="where the API server is")
    parser.add_argument(
        "--transfer-host-network",
        action="store_true",
        help="pods that copy disks use the host's network",
    )
    for option, count, what in (
        ("provider", 20, "from one provider; vCenter serves 52 connections in all"),
        ("host", 8, "from one host of a provider"),
        ("target", 16, "into one storage class"),
    ):
        parser.add_argument(
            f"--transfers-per-{option}", type=int, default=count, metavar="N",
            help=f"disks that are copied at once {what} (default: {count})",
        )  # fmt: skip
    parser.add_argument("--launcher-image", default="mtv", help="image of VMs' launcher pods")
    parser.add_argument("--workers", type=int, default=4, help="objects reconciled at once")
    parser.add_argument(
        "--vms-at-once", type=int, default=10, help="VMs that are migrated at once, of all plans"
    )
    parser.add_argument(
        "--leader-election", action="store_true", help="wait until no other process leads"
    )
    parser.add_argument("--namespace", default="mtv", help="namespace of the leader's Lease")
    parser.add_argument("--lease", default="mtv-controller", help="name of the leader's Lease")
    parser.add_argument(
        "--controllers", dest="parts", default=",".join(assembly.DEFAULT_PARTS), metavar="PART,…",
        help="which controllers to run (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--host-provider", action="store_true",
        help="make the Provider `host`, which stands for this cluster, if there is none",
    )  # fmt: skip
    parser.add_argument(
        "--hook-folder", default="", metavar="FOLDER",
        help="run hooks in a container engine of this machine, not as Jobs of the cluster; the "
        "files that they find are written here",
    )  # fmt: skip
    parser.add_argument(
        "--metrics-listen", default="", metavar="ADDRESS:PORT",
        help="for /metrics and /healthz (default: they are not served)",
    )  # fmt: skip
    parser.add_argument("--tls-cert", default="", metavar="FILE", help="certificate for these")
    parser.add_argument("--tls-key", default="", metavar="FILE", help="its key")
    parser.add_argument(
        "--virt-operator", action="store_true",
        help="a virt-operator writes the status of the KubeVirt object",
    )  # fmt: skip
    parsed = parser.parse_args(arguments)
    parsed.parts = tuple(parsed.parts.split(","))
    if not set(parsed.parts) <= set(assembly.PARTS):
        parser.error(f"--controllers knows {', '.join(assembly.PARTS)}")
    if parsed.workers < 1 or parsed.vms_at_once < 1:
        parser.error("--workers and --vms-at-once must be at least 1")
    return Options(**vars(parsed))


if __name__ == "__main__":
    run()
