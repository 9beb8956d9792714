"""`mtv-scheduler`: scheduler, volume provisioner and node health of the embedded home.

    mtv-scheduler --data-dir D [--kubeconfig F]

One small process: all three look at the same few kinds.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from mtv import errors
from mtv_operator.embedded.provisioner.controller import Claims, Shared, Volumes
from mtv_operator.embedded.provisioner.storage import Store
from mtv_operator.embedded.scheduler.controller import Scheduler, is_pending
from mtv_operator.embedded.scheduler.node_health import NodeHealth
from mtv_operator.embedded.up import readiness
from mtv_operator.embedded.up import settings as up_settings
from mtv_operator.embedded.up.settings import Settings
from mtv_operator.objects import Caches, Client, Key
from mtv_operator.reconciling import Loop

log = logging.getLogger(__name__)

WORKERS = 2
SYNC_S = 30.0


def run() -> None:
    """Run `mtv-scheduler` until SIGTERM."""
    parser = argparse.ArgumentParser(
        prog="mtv-scheduler", description="Place pods and make volumes, without a cluster."
    )
    parser.add_argument("--data-dir", required=True, type=Path, help="as given to `mtv up`")
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
        client = Client.connect(arguments.kubeconfig or None)
        serve(client, settings, stop)
    except errors.MigrationError as fault:
        log.error("%s%s", fault, f" ({fault.hint})" if fault.hint else "")
        sys.exit(fault.exit_code)


def serve(client: Client, settings: Settings, stop: threading.Event) -> None:
    """Schedule and provision until `stop`. The supervisor sees to it that we are alone."""
    store = Store(settings.volumes)
    with Caches(client) as caches:
        scheduler = Scheduler(client, caches)
        shared = Shared(client, caches, store)
        claims, volumes, nodes = Claims(shared), Volumes(shared), NodeHealth(client, caches)
        loop = Loop([scheduler, claims, volumes, nodes], workers=WORKERS, stop=stop)
        connect(loop, scheduler, claims, volumes, nodes)
        caches.start()
        while not stop.is_set():
            try:
                caches.wait_synced(SYNC_S)
                break
            except errors.TargetUnavailable as fault:
                log.warning("%s", fault)
        store.folder.mkdir(parents=True, exist_ok=True)
        store.finish()
        readiness.leave_mark(settings.run, "scheduler", os.getpid())
        log.info("places pods, and makes volumes in %s", store.folder)
        loop.run()


def connect(
    loop: Loop, scheduler: Scheduler, claims: Claims, volumes: Volumes, nodes: NodeHealth
) -> None:
    """Have changes of objects lead to turns of those whom they concern."""

    def all_pending() -> None:
        for key in scheduler.pending():
            loop.enqueue(scheduler.name, key)

    def pod_changed(key: Key, pod: object) -> None:
        found = scheduler.pods.get(key.namespace, key.name)
        if found is None or (found.status and found.status.phase in ("Succeeded", "Failed")):
            all_pending()  # there is more room now
            for claim in claims.claims.list(key.namespace):
                if claim.metadata.deletion_timestamp:
                    loop.enqueue(claims.name, Key(key.namespace, claim.metadata.name))
        elif is_pending(found):
            loop.enqueue(scheduler.name, key)

    def claim_changed(key: Key, claim: object) -> None:
        loop.enqueue(claims.name, key)
        all_pending()
        for volume in volumes.volumes.list():
            owner = volume.spec.claim_ref if volume.spec else None
            if owner is not None and (owner.namespace, owner.name) == key:
                loop.enqueue(volumes.name, Key("", volume.metadata.name))

    def volume_changed(key: Key, volume: object) -> None:
        loop.enqueue(volumes.name, key)
        for claim in claims.claims.list():
            wanted = claim.spec.volume_name if claim.spec else None
            if not wanted or wanted == key.name:
                loop.enqueue(claims.name, Key(claim.metadata.namespace, claim.metadata.name))

    def node_changed(key: Key, node: object) -> None:
        loop.enqueue(nodes.name, key)
        all_pending()

    def class_changed(key: Key, storage: object) -> None:
        for claim in claims.claims.list():
            loop.enqueue(claims.name, Key(claim.metadata.namespace, claim.metadata.name))

    scheduler.pods.on_change(pod_changed)
    claims.claims.on_change(claim_changed)
    volumes.volumes.on_change(volume_changed)
    scheduler.nodes.on_change(node_changed)
    claims.classes.on_change(class_changed)


if __name__ == "__main__":
    run()
