"""Claims: names from templates that stay the same, sizes in which the image fits."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mtv_planning import plans, source

from mtv.inventory.model import GuestDisk, Moref
from mtv.planning import names, volumes

GIB = source.GIB
TWO = (source.disk(2000), source.disk(2001))


def claim_names(**spec: Any) -> list[str]:
    vm = source.vm(disks=TWO)
    return [one.claim_name for one in plans.build_one(source.inventory(vm), vm, **spec).volumes]


@given(st.integers(1, 64 << 40))
def test_an_image_and_its_file_system_fit_into_the_claim(capacity: int) -> None:
    block = volumes.size_mib(capacity, "Block") << 20
    assert capacity <= block < capacity + (1 << 20)
    filesystem = volumes.size_mib(capacity, "Filesystem") << 20
    assert filesystem * (1 - volumes.FILESYSTEM_OVERHEAD) >= block - (1 << 20)
    assert filesystem >= block


def test_default_names_are_the_same_each_time_and_end_in_a_digest() -> None:
    first, second = claim_names()
    assert first.startswith("move-web1-disk-0-")
    assert second.startswith("move-web1-disk-1-")
    assert claim_names() == [first, second]


def test_exact_names_on_request() -> None:
    made = claim_names(
        pvcNameTemplate='{{.TargetVmName}}-{{.FileName | replace "_" "-"}}',
        pvcNameTemplateUseGenerateName=False,
    )
    assert made == ["web1-web1", "web1-web1-1"]


def test_template_of_the_vm_wins() -> None:
    made = claim_names(pvcNameTemplate="a", entry={"pvcNameTemplate": "b-{{.DiskIndex}}"})
    assert [name[:4] for name in made] == ["b-0-", "b-1-"]


def test_windows_drive_letter_is_known_to_templates() -> None:
    vm = source.vm(
        disks=TWO,
        guest_id="windows2019srv_64Guest",
        guest_disks=(GuestDisk(path="D:\\", capacity_bytes=GIB, free_bytes=GIB, disk_key=2001),),
    )
    template = "{{if .WinDriveLetter}}drive-{{.WinDriveLetter}}{{else}}disk{{end}}"
    made = plans.build_one(source.inventory(vm), vm, pvcNameTemplate=template)
    plain, drive = (one.claim_name for one in made.volumes)
    assert plain.startswith("disk-")
    assert drive.startswith("drive-d-")


@pytest.mark.parametrize(
    ("spec", "field", "says"),
    [
        ({"pvcNameTemplate": "{{.Nope}}"}, "spec.pvcNameTemplate", "there is no .Nope"),
        ({"pvcNameTemplate": "{{.VmName | upper}}"}, "spec.pvcNameTemplate", "no name for a claim"),
        (
            {"entry": {"pvcNameTemplate": "{{"}},
            "spec.vms[0].pvcNameTemplate",
            "not closed",
        ),
        (
            {"pvcNameTemplate": "same", "pvcNameTemplateUseGenerateName": False},
            "pvcNameTemplate",
            "'same' for two disks of one VM",
        ),
        ({"volumeNameTemplate": "same"}, "spec.volumeNameTemplate", "for two disks of one VM"),
        ({"volumeNameTemplate": "A{{.VolumeIndex}}"}, "spec.volumeNameTemplate", "no DNS label"),
        ({"networkNameTemplate": "N"}, "spec.networkNameTemplate", "no DNS label"),
        ({"entry": {"rootDisk": "/dev/sdz"}}, "spec.vms[0].rootDisk", "would be disk 26"),
    ],
    ids=str,
)
def test_a_bad_template_is_a_problem_that_names_it(
    spec: dict[str, Any], field: str, says: str
) -> None:
    vm = source.vm(disks=TWO)
    made = plans.build_one(source.inventory(vm), vm, **spec)
    assert made.virtual_machine is None
    (problem,) = [one for one in made.problems if one.type == "NotValid"]
    assert field in problem.message
    assert says in problem.message
    assert problem.blocks


@given(st.text(alphabet="abcXYZ019._- /ü", min_size=1, max_size=90))
def test_any_vm_name_gives_claim_names_that_kubernetes_takes(name: str) -> None:
    vm = source.vm(name=name)
    made = plans.build_one(source.inventory(vm), vm)
    assert all(names.is_dns_label(one.claim_name) for one in made.volumes)


def test_claim_carries_what_it_is_of() -> None:
    vm = source.vm(disks=(source.disk(file="[ds1] web1/web1-000001.vmdk"),))
    claim = plans.build_one(source.inventory(vm), vm).claims[0]
    assert claim.metadata.namespace == "prod"
    assert claim.metadata.annotations["forklift.konveyor.io/disk-source"] == "[ds1] web1/web1.vmdk"
    assert claim.metadata.annotations["forklift.konveyor.io/disk-index"] == "0"
    assert claim.metadata.labels == {
        "plan": plans.PLAN_UID,
        "plan-name": "move",
        "plan-namespace": "mtv",
        "vmID": "vm-34",
        "vmUUID": vm.uuid,
    }
    assert claim.spec is not None
    assert claim.spec.storage_class_name == "local"


def test_disks_are_counted_as_the_guest_counts_them() -> None:
    vm = source.vm(
        disks=(
            source.disk(2016, bus_number=1, unit_number=0),
            source.disk(2001),
            source.disk(2000),
        )
    )
    assert [disk.key for disk in volumes.in_order(vm.disks)] == [2000, 2001, 2016]


def test_transfer_reads_the_current_file_and_writes_the_claim() -> None:
    vm = source.vm(disks=(source.disk(file="[ds1] web1/web1-000001.vmdk"),))
    one = plans.build_one(source.inventory(vm), vm)
    (transfer,) = one.transfers
    assert transfer.metadata.name == one.volumes[0].claim_name
    assert transfer.spec.disk.file == "[ds1] web1/web1-000001.vmdk"
    assert transfer.spec.disk.base_file == "[ds1] web1/web1.vmdk"
    assert transfer.spec.disk.capacity_bytes == 8 * GIB
    assert transfer.spec.target.claim_name == transfer.metadata.name
    assert transfer.spec.url == "https://vcenter.example.org/sdk"
    assert transfer.spec.vm.id == Moref("vm-34")
