"""Volumes added to and removed from a spec: only those that may come and go."""

from __future__ import annotations

import msgspec
import pytest

from mtv.api import kubevirt
from mtv_operator.virt_api import hotplug, volume_rules

CLAIM = kubevirt.PersistentVolumeClaimVolumeSource(claim_name="root")
SPEC = kubevirt.VirtualMachineInstanceSpec(
    domain=kubevirt.DomainSpec(
        devices=kubevirt.Devices(disks=(kubevirt.Disk(name="root"),)),
    ),
    volumes=(kubevirt.Volume(name="root", persistent_volume_claim=CLAIM),),
)


def options(name: str, claim: str) -> kubevirt.AddVolumeOptions:
    source = kubevirt.PersistentVolumeClaimVolumeSource(claim_name=claim)
    return kubevirt.AddVolumeOptions(
        name=name,
        disk=kubevirt.Disk(name="ignored", disk=kubevirt.DiskTarget(bus="scsi")),
        volume_source=kubevirt.HotplugVolumeSource(persistent_volume_claim=source),
    )


def test_what_is_added_is_marked_and_can_be_removed_by_its_name_or_its_claims():
    more = hotplug.added(SPEC, options("extra", "claim"))
    assert [one.name for one in more.domain.devices.disks] == ["root", "extra"]
    assert hotplug.is_pluggable(more.volumes[-1])
    assert hotplug.removed(more, "extra") == SPEC
    assert hotplug.removed(more, "claim") == SPEC


@pytest.mark.parametrize(
    ("name", "claim", "message"),
    [
        ("root", "x", r"Unable to add volume \[root\] because volume with that name already"),
        ("x", "root", r"Unable to add volume source \[root\] because it already exists"),
    ],
)
def test_nothing_is_added_twice(name, claim, message):
    with pytest.raises(hotplug.Impossible, match=message):
        hotplug.added(SPEC, options(name, claim))


def test_what_was_there_from_the_start_stays():
    with pytest.raises(hotplug.Impossible, match="because it is not hotpluggable"):
        hotplug.removed(SPEC, "root")
    with pytest.raises(hotplug.Impossible, match="because it does not exist"):
        hotplug.removed(SPEC, "none")


def test_the_patch_is_tested_against_what_was_read():
    more = hotplug.added(SPEC, options("extra", "claim"))
    operations = hotplug.patch("/spec", SPEC, more)
    assert [(one["op"], one["path"]) for one in operations] == [
        ("test", "/spec/volumes"),
        ("add", "/spec/volumes"),
        ("test", "/spec/domain/devices/disks"),
        ("add", "/spec/domain/devices/disks"),
    ]
    assert operations[0]["value"] == msgspec.to_builtins(SPEC.volumes)


def test_files_of_the_node_need_the_administrators_gate():
    disk = kubevirt.HostDisk(path="/data/disk.img", type="Disk")
    spec = msgspec.structs.replace(SPEC, volumes=(kubevirt.Volume(name="h", host_disk=disk),))
    (cause,) = volume_rules.gated(spec, "spec", ())
    assert (cause.field, cause.message) == (
        "spec.volumes[0]",
        "HostDisk feature gate is not enabled in kubevirt-config",
    )
    assert not volume_rules.gated(spec, "spec", ("HostDisk",))
