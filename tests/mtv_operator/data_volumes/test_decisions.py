"""DataVolumes and the claims that they fill: decided without a server."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from mtv import errors
from mtv.api import cdi, core, meta
from mtv_operator.data_volumes import claim as claims
from mtv_operator.data_volumes import data_volume, filling, names, worker_pod

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
META = meta.ObjectMeta(name="dv", namespace="ns", uid="u1")
HTTP = cdi.DataVolumeSource(http=cdi.DataVolumeSourceHTTP(url="http://x/y"))


def volume(source: cdi.DataVolumeSource | None, **more) -> cdi.DataVolume:
    storage = cdi.StorageSpec(
        resources=core.VolumeResourceRequirements(requests={"storage": "1Gi"})
    )
    spec = cdi.DataVolumeSpec(source=source, **{"storage": storage, **more})
    return cdi.DataVolume(metadata=META, spec=spec)


def bound(claim: core.PersistentVolumeClaim, **annotations: str) -> core.PersistentVolumeClaim:
    metadata = msgspec.structs.replace(
        claim.metadata, uid="c1", annotations={**claim.metadata.annotations, **annotations}
    )
    status = core.PersistentVolumeClaimStatus(phase="Bound")
    return msgspec.structs.replace(claim, metadata=metadata, status=status)


def test_storage_grows_by_what_the_file_system_needs_and_names_an_access_mode():
    made = claims.build(volume(HTTP), None, [])
    assert made.spec is not None
    assert made.spec.resources is not None
    size = int(made.spec.resources.requests["storage"])
    assert 1 << 30 <= size * (1 - claims.OVERHEAD) < (1 << 30) + (2 << 20)
    assert made.spec.access_modes == ("ReadWriteOnce",)
    assert made.metadata.owner_references[0].name == "dv"


def test_pvc_and_storage_together_are_refused():
    with pytest.raises(errors.BadInput, match="exactly one"):
        claims.build(volume(HTTP, pvc=core.PersistentVolumeClaimSpec()), None, [])


def test_a_blank_disk_is_ready_as_soon_as_its_claim_is_and_waits_with_it():
    wanted = volume(cdi.DataVolumeSource(blank={}))
    made = claims.build(wanted, None, [])
    assert data_volume.phase_of(wanted, made) == ("WaitForFirstConsumer", "")
    assert data_volume.phase_of(wanted, bound(made)) == ("Succeeded", "")


def test_the_claim_comes_first_and_its_annotations_tell_the_phase():
    wanted = volume(HTTP)
    plan = data_volume.decide(data_volume.Observed(wanted=wanted), NOW)
    (action,) = plan.actions
    states = {
        "": "PVCBound",
        "Pending": "ImportScheduled",
        "Running": "ImportInProgress",
        "Succeeded": "Succeeded",
    }
    for pod, phase in states.items():
        claim = bound(action.claim, **{names.POD_PHASE: pod})
        assert data_volume.phase_of(wanted, claim)[0] == phase


def test_a_claim_of_somebody_else_is_not_taken():
    other = core.PersistentVolumeClaim(metadata=META)
    plan = data_volume.decide(data_volume.Observed(wanted=volume(HTTP), claim=other), NOW)
    assert plan.status is not None
    assert "not this DataVolume's" in (plan.status.conditions[-1].message or "")
    assert not plan.actions


def test_a_claim_gets_one_worker_and_loses_it_when_it_is_filled():
    claim = bound(claims.build(volume(HTTP), None, []))
    (made,) = filling.decide(filling.Observed(claim=claim), NOW).actions
    assert isinstance(made, filling.CreatePod)
    assert made.pod.metadata.name == worker_pod.name_of(claim)
    ended = msgspec.structs.replace(made.pod, status=core.PodStatus(phase="Succeeded"))
    noted = filling.decide(filling.Observed(claim=claim, pod=ended), NOW).status
    assert noted is not None
    assert noted[names.POD_PHASE] == "Succeeded"
    filled = bound(claim, **noted)
    actions = filling.decide(filling.Observed(claim=filled, pod=ended), NOW).actions
    assert [type(one) for one in actions] == [filling.DeletePod]


def test_a_claim_that_is_being_deleted_is_given_free_by_its_worker():
    claim = bound(claims.build(volume(HTTP), None, []))
    (made,) = filling.decide(filling.Observed(claim=claim), NOW).actions
    assert isinstance(made, filling.CreatePod)
    metadata = msgspec.structs.replace(claim.metadata, deletion_timestamp="2026-01-01T00:00:00Z")
    going = msgspec.structs.replace(claim, metadata=metadata)
    actions = filling.decide(filling.Observed(claim=going, pod=made.pod), NOW).actions
    assert [type(one) for one in actions] == [filling.DeletePod]
    assert not filling.decide(filling.Observed(claim=going), NOW).actions


def test_a_clone_waits_until_its_source_is_there_and_filled():
    source = cdi.DataVolumeSource(pvc=cdi.DataVolumeSourcePVC(name="src", namespace="ns"))
    claim = bound(claims.build(volume(source), None, []))
    seen = filling.decide(filling.Observed(claim=claim), NOW)
    assert seen.status is not None
    assert "does not exist" in seen.status[names.RUNNING_MESSAGE]
    unfilled = bound(claims.build(volume(HTTP), None, []))
    waiting = filling.decide(filling.Observed(claim=claim, source_claim=unfilled), NOW)
    assert not waiting.actions
    filled = bound(unfilled, **{names.POD_PHASE: "Succeeded"})
    assert filling.decide(filling.Observed(claim=claim, source_claim=filled), NOW).actions


def test_a_source_that_is_not_read_here_is_said():
    source = cdi.DataVolumeSource(s3=cdi.DataVolumeSourceS3(url="s3://x"))
    claim = bound(claims.build(volume(source), None, []))
    seen = filling.decide(filling.Observed(claim=claim), NOW)
    assert seen.status is not None
    assert "s3 is not supported" in seen.status[names.RUNNING_MESSAGE]


def test_a_registry_source_is_an_image_that_the_node_pulls():
    source = cdi.DataVolumeSource(
        registry=cdi.DataVolumeSourceRegistry(url="docker://quay.io/a/b:1")
    )
    claim = bound(claims.build(volume(source), None, []))
    pod = worker_pod.build(claim, source, None, "mtv")
    assert pod.spec is not None
    assert [one.image for one in pod.spec.volumes if one.image] == [{"reference": "quay.io/a/b:1"}]
