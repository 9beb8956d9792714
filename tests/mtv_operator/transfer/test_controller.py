"""The DiskTransfer controller with a real API server; the test plays the kubelet.

A pod that appears is run as the process it describes, and how that ends is written to the pod.
"""

import signal
import threading
from datetime import UTC, datetime

import pytest
import servers

from mtv.api import core, meta
from mtv.api import mtv as api
from mtv_operator.migration import disk_transfer
from mtv_operator.migration.disk_transfer_controller import DiskTransfers
from mtv_operator.objects import Caches
from mtv_operator.reconciling import Loop

pytestmark = pytest.mark.vcenter

MIB = 1 << 20
NAMESPACE = "moved"


@pytest.fixture
def controller(client):
    """Run the controller; return what sets its limits."""
    stop = threading.Event()
    with Caches(client) as caches:
        transfers = DiskTransfers(
            client,
            caches.watch(api.DiskTransfer),
            caches.watch(core.Pod),
            caches.watch(core.PersistentVolumeClaim),
            settings=disk_transfer.Settings(most_per_provider=1),
        )
        loop = Loop([transfers], workers=2, stop=stop)
        transfers.wire(loop.enqueue)
        caches.start()
        caches.wait_synced(30)
        thread = threading.Thread(target=loop.run)
        thread.start()
        yield transfers
        stop.set()
        thread.join()


def make_claim(client, transfer):
    client.create(
        core.PersistentVolumeClaim(
            metadata=meta.ObjectMeta(name=transfer.spec.target.claim_name, namespace=NAMESPACE),
            spec=core.PersistentVolumeClaimSpec(
                access_modes=("ReadWriteOnce",),
                resources=core.VolumeResourceRequirements(requests={"storage": "1Gi"}),
            ),
        )
    )


def pod_of(client, transfer):
    found = [
        pod
        for pod in client.list(core.Pod, NAMESPACE)
        if any(owner.uid == transfer.metadata.uid for owner in pod.metadata.owner_references)
        and not pod.metadata.deletion_timestamp
    ]
    return found[0] if found else None


def set_pod(client, pod, phase, code=None):
    state = {}
    if code is not None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        state = {"terminated": {"exitCode": code, "finishedAt": now}}
    container = {"name": "transfer", "state": state, "ready": False, "restartCount": 0}
    body = {
        "status": {"phase": phase, "containerStatuses": [{**container, "image": "", "imageID": ""}]}
    }
    client.patch(core.Pod, pod.metadata.name, NAMESPACE, body, subresource="status")


def test_transfer_when_its_process_is_killed_goes_on_in_a_second_pod(bench, client, controller):
    transfer = bench.wanted("big")
    queued = servers.until(lambda: bench.condition(transfer, "Queued"), "it waits for its claim")
    assert queued.reason == "ClaimMissing"
    make_claim(client, transfer)
    first = servers.until(lambda: pod_of(client, transfer), "a pod")
    assert first.spec.service_account_name == "mtv-transfer"
    assert client.find(core.ServiceAccount, "mtv-transfer", NAMESPACE)
    bench.vcenter.fault(match="/disk-0-flat", bytesPerSecond=12 * MIB)
    process = bench.start(transfer)
    set_pod(client, first, "Running")
    bench.until_done(transfer, 64 * MIB)
    other = bench.wanted("small")
    make_claim(client, other)
    waits = servers.until(lambda: bench.condition(other, "Queued"), "the other one waits")
    assert waits.reason in ("ProviderLimit", "ClaimMissing")
    process.send_signal(signal.SIGKILL)
    process.wait()
    set_pod(client, first, "Failed", 137)
    journal = bench.status(transfer)
    bench.vcenter.mend()
    second = servers.until(
        lambda: (
            (pod := pod_of(client, transfer)) and pod.metadata.uid != first.metadata.uid and pod
        ),
        "a second pod",
    )
    assert bench.status(transfer).done_bytes >= journal.done_bytes
    assert bench.run(transfer) == 0
    set_pod(client, second, "Succeeded", 0)
    servers.until(lambda: pod_of(client, transfer) is None, "the pod is taken away")
    status = bench.status(transfer)
    assert (status.phase, status.attempts, status.percent) == ("Succeeded", 2, "100%")
    servers.until(lambda: pod_of(client, other), "the other one's turn", 30)
    client.delete(api.DiskTransfer, other.metadata.name, NAMESPACE)
    servers.until(lambda: pod_of(client, other) is None, "its pod ends with it", 30)


def test_transfer_when_a_person_must_act_fails_for_good(bench, client, controller):
    bench.secret(password="wrong")
    transfer = bench.wanted("small")
    make_claim(client, transfer)
    pod = servers.until(lambda: pod_of(client, transfer), "a pod")
    set_pod(client, pod, "Running")
    code = bench.run(transfer)
    set_pod(client, pod, "Failed", code)
    failed = servers.until(lambda: bench.condition(transfer, "Failed"), "it has failed")
    assert failed.reason == "SourceForbidden"
    assert "wrong user name or password" in failed.message
    servers.until(lambda: pod_of(client, transfer) is None, "the pod is taken away")
    assert bench.status(transfer).phase == "Failed"
