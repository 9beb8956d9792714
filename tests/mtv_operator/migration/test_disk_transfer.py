"""Every decision about a DiskTransfer, without a server."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtv.api import conditions, core, meta
from mtv.api import mtv as api
from mtv_operator.migration import disk_transfer, disk_transfer_pod
from mtv_operator.migration.disk_transfer import (
    CreatePod,
    DeletePod,
    Observed,
    Record,
    Rival,
    Settings,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
GIB = 1 << 30


def transfer(status=None, *, name="web1-disk-0", deleted=False, mode="Filesystem"):
    return api.DiskTransfer(
        metadata=meta.ObjectMeta(
            name=name,
            namespace="moved",
            uid="uid-1",
            creation_timestamp="2026-01-02T03:00:00Z",
            deletion_timestamp="2026-01-02T03:04:00Z" if deleted else None,
            labels={"plan": "p"},
        ),
        spec=api.DiskTransferSpec(
            provider=api.NamespacedName(namespace="moved", name="vcenter"),
            secret=api.NamespacedName(namespace="moved", name="secret"),
            url="https://vcenter/sdk",
            vm=api.SourceVM(id="vm-1", name="web1"),
            disk=api.SourceDisk(
                key=2000, file="[ds] a.vmdk", base_file="[ds] a.vmdk", capacity_bytes=GIB
            ),
            target=api.TransferTarget(claim_name="claim", volume_mode=mode),
        ),
        status=status,
    )


def claim(size="2Gi"):
    status = core.PersistentVolumeClaimStatus(phase="Bound", capacity={"storage": size})
    return core.PersistentVolumeClaim(
        metadata=meta.ObjectMeta(name="claim", namespace="moved"),
        spec=core.PersistentVolumeClaimSpec(storage_class_name="fast"),
        status=status,
    )


def pod(phase="Running", *, code=None, message="", leaving=False, scheduled="True", attempt=1):
    terminated = None
    if code is not None:
        terminated = core.ContainerStateTerminated(
            exit_code=code, message=message, finished_at="2026-01-02T03:04:00Z"
        )
    return core.Pod(
        metadata=meta.ObjectMeta(
            name=f"web1-disk-0-transfer-{attempt}",
            namespace="moved",
            uid=f"pod-{attempt}",
            deletion_timestamp="2026-01-02T03:04:00Z" if leaving else None,
        ),
        status=core.PodStatus(
            phase=phase,
            conditions=(
                core.PodCondition(
                    type="PodScheduled", status=scheduled, reason="Unschedulable", message="no room"
                ),
            ),
            container_statuses=(
                core.ContainerStatus(
                    name="transfer", state=core.ContainerState(terminated=terminated)
                ),
            ),
        ),
    )


def decide(status=None, *pods, now=NOW, **more):
    given_claim = more.pop("claim", claim())
    observed = Observed(transfer=transfer(status), pods=pods, claim=given_claim, **more)
    return disk_transfer.decide(observed, now)


def condition(decision, kind):
    return conditions.find(decision.status.conditions, kind)


def kinds(decision):
    return [type(action) for action in decision.actions]


def test_decide_when_new_makes_the_pod_of_the_first_attempt():
    decision = decide()
    (create,) = decision.actions
    assert isinstance(create, CreatePod)
    assert create.pod.metadata.name == "web1-disk-0-transfer-1"
    assert (decision.status.phase, decision.status.attempts) == ("Pending", 1)
    assert decision.status.pod == create.pod.metadata.name


def test_decide_when_the_controller_was_killed_after_making_the_pod_makes_no_second():
    assert kinds(decide(None, pod("Pending"))) == []


def test_decide_when_the_pod_runs_says_so():
    status = api.DiskTransferStatus(
        phase="Pending",
        conditions=(
            meta.Condition(type="Queued", status="True"),
            meta.Condition(type="Retrying", status="True"),
        ),
        journal="kept",
    )
    decision = decide(status, pod())
    assert decision.status.phase == "Running"
    assert decision.status.conditions == ()
    assert decision.status.journal == "kept"


def test_decide_when_no_node_can_run_the_pod_says_why():
    decision = decide(None, pod("Pending", scheduled="False"))
    assert condition(decision, "Queued").message == "no room"


def test_decide_when_the_process_has_succeeded_takes_the_pod_away_and_keeps_the_status():
    status = api.DiskTransferStatus(phase="Succeeded", completed="2026-01-02T03:04:04Z")
    decision = decide(status, pod("Succeeded", code=0))
    assert kinds(decision) == [DeletePod]
    assert decision.status is None


def test_decide_when_the_process_is_about_to_end_gives_it_time():
    status = api.DiskTransferStatus(phase="Succeeded", completed="2026-01-02T03:04:04Z")
    decision = decide(status, pod())
    assert decision.actions == ()
    later = decide(status, pod(), now=NOW + timedelta(minutes=2))
    assert kinds(later) == [DeletePod]


def test_decide_when_the_pod_succeeded_and_the_cache_is_behind_waits():
    soon = datetime(2026, 1, 2, 3, 4, 2, tzinfo=UTC)
    decision = decide(api.DiskTransferStatus(phase="Running"), pod("Succeeded", code=0), now=soon)
    assert (decision.actions, decision.status) == ((), None)
    assert decision.requeue_after_s == 1.0


def test_decide_when_retryable_waits_longer_each_time_and_keeps_the_journal():
    status = api.DiskTransferStatus(phase="Running", attempts=3, journal="j", done_bytes=7)
    ended = decide(status, pod("Failed", code=75, message="TargetFull: no space left; free some"))
    assert kinds(ended) == [Record, DeletePod]
    assert (ended.status.phase, ended.status.journal, ended.status.done_bytes) == (
        "Pending",
        "j",
        7,
    )
    retrying = condition(ended, "Retrying")
    assert (retrying.reason, retrying.message) == ("TargetFull", "no space left; free some")
    waiting = decide(ended.status)
    assert waiting.actions == ()
    assert waiting.requeue_after_s == 5.0
    again = decide(ended.status, now=NOW + timedelta(seconds=6))
    assert again.actions[0].pod.metadata.name.endswith("-4")
    assert condition(again, "Retrying") is None


@pytest.mark.parametrize("code", [None, 137, 143], ids=["pod gone wrong", "SIGKILL", "SIGTERM"])
def test_decide_when_killed_tries_again_soon(code):
    status = api.DiskTransferStatus(phase="Running", attempts=9)
    ended = decide(status, pod("Failed", code=code))
    assert condition(ended, "Retrying").reason == "Killed"
    assert decide(ended.status).requeue_after_s == 1.0


def test_decide_when_the_pod_has_vanished_makes_the_next():
    decision = decide(api.DiskTransferStatus(phase="Running", attempts=1, pod="x", journal="j"))
    assert decision.actions[0].pod.metadata.name.endswith("-2")
    assert decision.status.journal == "j"


def test_decide_when_a_person_must_act_fails_with_cause_and_remedy():
    ended = decide(
        api.DiskTransferStatus(phase="Running", attempts=1),
        pod("Failed", code=77, message="SourceForbidden: wrong password; try another"),
    )
    assert ended.status.phase == "Failed"
    for kind in ("Failed", "SourceForbidden"):
        assert condition(ended, kind).message == "wrong password; try another"
    assert kinds(decide(ended.status, pod("Failed", code=77))) == [DeletePod]


def test_decide_when_the_pod_left_no_message_takes_that_of_the_status():
    told = meta.Condition(
        type="SourceCorrupt", status="True", reason="SourceCorrupt", message="byte 7"
    )
    ended = decide(
        api.DiskTransferStatus(phase="Running", attempts=1, conditions=(told,)),
        pod("Failed", code=65, message="2026-01-02 ERROR mtv-transfer: nothing of use"),
    )
    assert condition(ended, "Failed").reason == "SourceCorrupt"


def test_decide_when_it_crashes_again_and_again_gives_up():
    crash = pod("Failed", code=70, message="InternalError: KeyError")
    first = decide(api.DiskTransferStatus(phase="Running", attempts=1), crash)
    assert first.status.phase == "Pending"
    last = decide(api.DiskTransferStatus(phase="Running", attempts=5), crash)
    assert (last.status.phase, condition(last, "Failed").reason) == ("Failed", "InternalError")


def test_decide_when_the_claim_is_too_small_fails_before_anything_is_copied():
    decision = decide(None, claim=claim("512Mi"))
    assert decision.status.phase == "Failed"
    assert "use a larger claim" in condition(decision, "TargetTooSmall").message
    bound_later = decide(None, pod(), claim=claim("512Mi"))
    assert kinds(bound_later) == [DeletePod, Record]


def test_decide_when_the_claim_is_missing_waits():
    decision = decide(None, claim=None)
    assert condition(decision, "Queued").reason == "ClaimMissing"
    assert decision.actions == ()


def rivals(count, *, active, host="host-1", created="2026-01-02T02:00:00Z", **of):
    where = {"provider": "moved/vcenter", "target": "other", **of}
    return tuple(
        Rival(key=f"moved/{n}", host=host, created=created, active=active, **where)
        for n in range(count)
    )


LIMITS = Settings(most_per_provider=3, most_per_host=2, most_per_target=4)
QUEUES = {
    "provider is busy": (rivals(3, active=True, host="other"), "ProviderLimit"),
    "host is busy": (rivals(2, active=True), "HostLimit"),
    "target is busy": (
        rivals(4, active=True, provider="moved/other", target="fast"),
        "TargetLimit",
    ),
    "target of others is busy": (rivals(9, active=True, provider="moved/other"), None),
    "older ones wait": (rivals(2, active=False), "HostLimit"),
    "younger ones wait": (rivals(9, active=False, created="2026-01-02T03:30:00Z"), None),
    "another host is busy": (rivals(2, active=True, host="other"), None),
}


@pytest.mark.parametrize(("others", "reason"), QUEUES.values(), ids=QUEUES)
def test_decide_when_budgets_are_used_up_waits_visibly(others, reason):
    decision = decide(None, rivals=others, host="host-1", settings=LIMITS)
    if reason is None:
        assert kinds(decision) == [CreatePod]
    else:
        assert condition(decision, "Queued").reason == reason
        assert decision.requeue_after_s


def test_decide_when_deleted_or_leaving_does_nothing():
    leaving = disk_transfer.decide(Observed(transfer=transfer(deleted=True)), NOW)
    assert (leaving.actions, leaving.status) == ((), None)
    assert kinds(decide(None, pod(leaving=True))) == []


def test_pod_when_the_volume_is_block_gets_the_device():
    built = disk_transfer_pod.build(transfer(mode="Block"), 1, disk_transfer_pod.PodSettings())
    (container,) = built.spec.containers
    assert container.volume_devices[0].device_path == "/dev/target"
    assert [mount.mount_path for mount in container.volume_mounts] == ["/etc/source"]


def test_pod_is_owned_and_labelled_and_on_the_hosts_network_only_where_asked():
    settings = disk_transfer_pod.PodSettings(host_network=True)
    built = disk_transfer_pod.build(transfer(), 1, settings)
    assert built.metadata.owner_references[0].uid == "uid-1"
    assert built.metadata.labels["plan"] == "p"
    assert built.spec.host_network is True
    plain = disk_transfer_pod.build(transfer(), 1, disk_transfer_pod.PodSettings())
    assert plain.spec.host_network is None


def test_pod_name_when_the_transfer_has_a_long_one_fits_and_differs():
    long = [transfer(name=f"{'x' * 200}-{n}") for n in (1, 2)]
    names = [disk_transfer_pod.pod_name(one, 12345) for one in long]
    assert names[0] != names[1]
    assert max(map(len, names)) <= 63


STATUSES = st.builds(
    api.DiskTransferStatus,
    phase=st.sampled_from([None, "Pending", "Running", "Succeeded", "Failed"]),
    attempts=st.none() | st.integers(0, 20),
    journal=st.none() | st.just("j"),
)
PODS = st.lists(
    st.builds(
        pod,
        st.sampled_from(["Pending", "Running", "Failed", "Succeeded", "Unknown"]),
        code=st.none() | st.sampled_from([0, 1, 2, 65, 69, 70, 75, 77, 137]),
        message=st.sampled_from(["", "SourceCorrupt: bad", ": ", "text"]),
        leaving=st.booleans(),
        attempt=st.integers(1, 3),
    ),
    max_size=2,
)


@settings(deadline=None)
@given(status=STATUSES, pods=PODS, bound=st.booleans())
def test_decide_is_total_settles_and_never_loses_the_journal(status, pods, bound):
    observed = Observed(
        transfer=transfer(status), pods=tuple(pods), claim=claim() if bound else None
    )
    decision = disk_transfer.decide(observed, NOW)
    if decision.status is not None:
        assert decision.status.journal == status.journal
        assert status.phase not in disk_transfer.FINAL
        msgspec.json.encode(decision.status)
    assert sum(isinstance(action, CreatePod) for action in decision.actions) <= 1
    assert not (pods and any(isinstance(action, CreatePod) for action in decision.actions))


def test_suspended_transfer_ends_its_pod_and_waits():
    running = api.DiskTransferStatus(phase="Running", journal="j", done_bytes=5)
    one = transfer(running)
    one = msgspec.structs.replace(one, spec=msgspec.structs.replace(one.spec, suspend=True))
    seen = pod()
    decision = disk_transfer.decide(Observed(transfer=one, pods=(seen,), claim=claim()), NOW)
    assert decision.actions == (DeletePod(pod=seen),)
    assert decision.status is not None
    assert (decision.status.phase, decision.status.journal) == ("Pending", "j")
    assert [found.reason for found in decision.status.conditions] == ["Suspended"]


FIRST = api.Checkpoint(snapshot="snapshot-1", change_id="52 aa/1")
SECOND = api.Checkpoint(snapshot="snapshot-2", change_id="52 aa/2")


def of_checkpoint(wanted, status, *pods, generation=2, suspend=None):
    one = transfer(status)
    spec = msgspec.structs.replace(one.spec, checkpoint=wanted, suspend=suspend)
    metadata = msgspec.structs.replace(one.metadata, generation=generation)
    one = msgspec.structs.replace(one, spec=spec, metadata=metadata)
    return disk_transfer.decide(Observed(transfer=one, pods=pods, claim=claim()), NOW)


def at_first(phase="Succeeded", **more):
    done = meta.Condition(type=phase, status="True", reason="Copied")
    return api.DiskTransferStatus(
        phase=phase, checkpoint=FIRST, attempts=4, conditions=(done,), journal="kept", **more
    )


def test_decide_when_another_checkpoint_is_wanted_begins_anew_with_a_pod_of_another_name():
    decision = of_checkpoint(SECOND, at_first())
    (create,) = decision.actions
    names = [disk_transfer_pod.pod_name(transfer(), 1), of_checkpoint(FIRST, None).status.pod]
    assert create.pod.metadata.name == decision.status.pod
    assert decision.status.pod not in names
    status = decision.status
    assert (status.phase, status.attempts, status.conditions) == ("Pending", 1, ())
    assert (status.checkpoint, status.journal, status.observed_generation) == (FIRST, "kept", 2)


def test_decide_when_the_pod_of_the_last_checkpoint_is_there_takes_it_away_first():
    ended = of_checkpoint(SECOND, at_first(), pod("Succeeded", code=0))
    assert ([type(one) for one in ended.actions], ended.status) == ([DeletePod], None)
    runs = of_checkpoint(SECOND, at_first(completed="2026-01-02T03:04:00Z"), pod("Running"))
    assert (runs.actions, runs.status) == ((), None)
    assert runs.requeue_after_s


@pytest.mark.parametrize("wanted", [FIRST, None])
def test_decide_when_the_checkpoint_is_there_does_nothing(wanted):
    decision = of_checkpoint(wanted, at_first())
    assert (decision.actions, decision.status) == ((), None)


@pytest.mark.parametrize(("generation", "again"), [(2, False), (3, True)])
def test_decide_when_a_checkpoint_failed_tries_only_what_was_changed_since(generation, again):
    failed = at_first("Failed", observed_generation=2)
    decision = of_checkpoint(SECOND, failed, generation=generation)
    assert bool(decision.actions) is again


def test_decide_when_suspended_begins_no_other_checkpoint():
    decision = of_checkpoint(SECOND, at_first(), suspend=True)
    assert (decision.actions, decision.status.phase) == ((), "Pending")


@pytest.mark.parametrize(
    ("vddk", "libdir"),
    [
        ("/opt/vmware-vix-disklib-distrib", "/vddk"),
        ("registry.example/vddk:8", "/vddk/vmware-vix-disklib-distrib"),
    ],
)
def test_pod_has_the_library_where_the_provider_names_one(vddk, libdir):
    one = transfer()
    one = msgspec.structs.replace(one, spec=msgspec.structs.replace(one.spec, vddk=vddk))
    spec = disk_transfer_pod.build(one, 1, disk_transfer_pod.PodSettings()).spec
    (volume,) = [one for one in spec.volumes if one.name == "vddk"]
    given = volume.host_path.path if vddk.startswith("/") else volume.image["reference"]
    (container,) = spec.containers
    assert given == vddk
    assert {mount.name: mount.mount_path for mount in container.volume_mounts}["vddk"] == "/vddk"
    assert {one.name: one.value for one in container.env} == {"MTV_VDDK_LIBDIR": libdir}
