"""VMs of the source become manifests that KubeVirt admits; a few are kept whole, as goldens."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from mtv_planning import kubevirt_rules, plans, source

from mtv.api import kubevirt
from mtv.inventory.model import VM, Bus, Firmware, Moref, PowerState, Tag
from mtv.planning import hardware, virtual_machine
from mtv.planning.plan import PlannedVM

GOLDEN = Path(__file__).parent / "golden"

BIOS_LINUX = source.vm()
SECURE_WINDOWS = source.vm(
    id=Moref("vm-50"),
    name="WIN 11_Büro",
    uuid="421C0A52-1111-2222-3333-0123456789AB",
    firmware=Firmware.EFI,
    secure_boot=True,
    vtpm=True,
    guest_id="windows11_64Guest",
    guest_name="Microsoft Windows 11 (64-bit)",
    time_zone_offset_s=7200,
    disk_enable_uuid=True,
    annotation="finance",
    tags=(Tag(category="owner", name="Team A"),),
    custom_values=(("cost center", "4711"),),
    cpu_count=6,
    cores_per_socket=4,
    nics=(source.nic(mac="00:50:56:AA:BB:10", network=Moref("dvportgroup-2"), pci_slot=160),),
)
MANY_DISKS = source.vm(
    id=Moref("vm-51"),
    name="db",
    power_state=PowerState.OFF,
    firmware=Firmware.EFI,
    nested_hv=True,
    disks=(
        source.disk(16000, bus=Bus.SATA, base_file="[ds1] db/sata.vmdk", unit_number=0),
        source.disk(2016, bus_number=1, unit_number=0, base_file="[ds1] db/s1-0.vmdk"),
        source.disk(2001, base_file="[ds1] db/s0-1.vmdk"),
        source.disk(2000, base_file="[ds1] db/s0-0.vmdk"),
        source.disk(31000, bus=Bus.NVME, base_file="[ds1] db/nvme.vmdk", unit_number=0),
    ),
    boot_order=("disk:2001", "net:4001", "disk:2000"),
    nics=(source.nic(), source.nic(4001, network=Moref("dvportgroup-2"), start_connected=False)),
)
ODD_NAMES = source.vm(
    id=Moref("vm-52"), name="《》", uuid="nonsense", nics=(source.nic(network=None),)
)

CASES: list[tuple[str, VM, dict[str, Any]]] = [
    ("bios-linux", BIOS_LINUX, {}),
    ("secure-windows", SECURE_WINDOWS, {"useCompatibilityMode": True}),
    ("many-disks", MANY_DISKS, {"targetLabels": {"team": "db"}}),
    ("odd-names", ODD_NAMES, {"pvcNameTemplate": "{{.VmId}}-{{.DiskIndex}}"}),
]


def planned(vm: VM, **spec: Any) -> PlannedVM:
    return plans.build_one(source.inventory(vm), vm, **spec)


def manifest(vm: VM, **spec: Any) -> kubevirt.VirtualMachine:
    made = planned(vm, **spec).virtual_machine
    assert made is not None
    return made


def domain(vm: VM, **spec: Any) -> kubevirt.DomainSpec:
    template = manifest(vm, **spec).spec.template.spec
    assert template is not None
    return template.domain


@pytest.mark.parametrize(("name", "vm", "spec"), CASES, ids=[case[0] for case in CASES])
def test_manifest_is_the_golden_one(name: str, vm: VM, spec: dict[str, Any]) -> None:
    one = planned(vm, **spec)
    objects = [msgspec.to_builtins(made) for made in (*one.claims, one.virtual_machine)]
    text = yaml.safe_dump_all(objects, sort_keys=False, allow_unicode=True)
    file = GOLDEN / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()


@pytest.mark.parametrize(("name", "vm", "spec"), CASES, ids=[case[0] for case in CASES])
def test_kubevirt_admits_the_goldens(name: str, vm: VM, spec: dict[str, Any]) -> None:
    assert kubevirt_rules.violations(manifest(vm, **spec)) == []


vms = st.builds(
    source.vm,
    name=st.text(min_size=1, max_size=80),
    uuid=st.sampled_from(["", "x", "420f1c2e-aaaa-bbbb-cccc-0123456789AB"]),
    cpu_count=st.integers(1, 128),
    cores_per_socket=st.integers(0, 16),
    firmware=st.sampled_from(Firmware),
    secure_boot=st.booleans(),
    vtpm=st.booleans(),
    guest_id=st.sampled_from(["", "windows9_64Guest", "rhel9_64Guest", "other3xLinux64Guest"]),
    power_state=st.sampled_from([PowerState.ON, PowerState.OFF]),
    disks=st.lists(st.integers(2000, 2063), unique=True, max_size=6).map(
        lambda keys: tuple(source.disk(key) for key in keys)
    ),
    nics=st.lists(st.sampled_from(["dvportgroup-2", None]), max_size=4).map(
        lambda networks: tuple(
            source.nic(4000 + index, network=network) for index, network in enumerate(networks)
        )
    ),
    boot_order=st.lists(st.sampled_from(["disk:2000", "disk:2001", "net:4000", "cdrom"])).map(
        tuple
    ),
    disk_enable_uuid=st.booleans(),
    tags=st.lists(st.builds(Tag, category=st.text(), name=st.text()), max_size=3).map(tuple),
    custom_values=st.lists(st.tuples(st.text(), st.text()), max_size=2).map(tuple),
)


@given(vm=vms, compatible=st.booleans())
@settings(max_examples=150, deadline=None)
def test_kubevirt_admits_whatever_the_source_has(vm: VM, compatible: bool) -> None:
    made = manifest(vm, useCompatibilityMode=compatible)
    assert kubevirt_rules.violations(made) == []
    again = manifest(vm, useCompatibilityMode=compatible)
    assert made == again
    encoded = msgspec.json.encode(made)
    assert msgspec.json.decode(encoded, type=kubevirt.VirtualMachine) == made


@pytest.mark.parametrize(
    ("count", "per_socket", "topology"),
    [(4, 2, (2, 2)), (6, 4, (6, 1)), (1, 1, (1, 1)), (8, 0, (8, 1)), (3, 3, (1, 3))],
)
def test_topology_keeps_the_number_of_cpus(
    count: int, per_socket: int, topology: tuple[int, int]
) -> None:
    cpu = domain(source.vm(cpu_count=count, cores_per_socket=per_socket)).cpu
    assert cpu is not None
    assert (cpu.sockets, cpu.cores, cpu.threads) == (*topology, 1)


def test_vmware_serial_is_spelled_as_vmware_does() -> None:
    serial = virtual_machine.vmware_serial("420f1c2e-aaaa-bbbb-cccc-0123456789ab")
    assert serial == "VMware-42 0f 1c 2e aa aa bb bb-cc cc 01 23 45 67 89 ab"
    assert virtual_machine.vmware_serial("") == ""


@pytest.mark.parametrize(
    ("spec", "decided", "expected"),
    [
        ({"skipGuestConversion": False}, None, hardware.COMPATIBLE),
        ({"skipGuestConversion": False, "useCompatibilityMode": False}, None, hardware.COMPATIBLE),
        ({"skipGuestConversion": False}, hardware.NATIVE, hardware.NATIVE),
        ({"skipGuestConversion": True, "useCompatibilityMode": True}, None, hardware.COMPATIBLE),
        ({"skipGuestConversion": True, "useCompatibilityMode": None}, None, hardware.COMPATIBLE),
        ({"skipGuestConversion": True}, None, hardware.NATIVE),
        ({"diskBus": "virtio"}, None, replace(hardware.NATIVE, disk_bus="virtio")),
        (
            {"skipGuestConversion": False, "diskBus": "scsi"},
            None,
            replace(hardware.COMPATIBLE, disk_bus="scsi"),
        ),
    ],
    ids=str,
)
def test_devices_follow_what_the_guest_is_ready_for(
    spec: dict[str, Any], decided: hardware.Hardware | None, expected: hardware.Hardware
) -> None:
    assert hardware.choose(plans.plan(**spec).spec, decided) == expected


@pytest.mark.parametrize(
    ("wanted", "entry", "on", "strategy"),
    [
        ("on", None, False, "Always"),
        ("off", None, True, "Halted"),
        ("auto", None, True, "Always"),
        (None, None, False, "Halted"),
        ("on", "off", True, "Halted"),
    ],
)
def test_run_strategy_is_the_plans_or_the_sources(
    wanted: str | None, entry: str | None, on: bool, strategy: str
) -> None:
    vm = source.vm(power_state=PowerState.ON if on else PowerState.OFF)
    made = manifest(vm, targetPowerState=wanted, entry={"targetPowerState": entry})
    assert made.spec.run_strategy == strategy


def test_run_strategy_remembers_that_the_source_ran() -> None:
    vm = source.vm(power_state=PowerState.OFF)
    plan = plans.plan({"id": vm.id})
    made = plans.build(source.inventory(vm), plan, was_on={vm.id: True}).vms[0].virtual_machine
    assert made is not None
    assert made.spec.run_strategy == "Always"


def test_nested_virtualization_is_kept_granted_or_refused() -> None:
    def policies(vm: VM, **spec: Any) -> set[str | None]:
        cpu = domain(vm, **spec).cpu
        return {feature.policy for feature in cpu.features} if cpu else set()

    assert policies(source.vm()) == set()
    assert policies(source.vm(nested_hv=True)) == {"optional"}
    assert policies(source.vm(), enableNestedVirtualization=True) == {"optional"}
    assert policies(source.vm(nested_hv=True), enableNestedVirtualization=False) == {"disable"}


def test_an_instance_type_brings_its_own_size() -> None:
    made = manifest(source.vm(), entry={"instanceType": "u1.medium"})
    assert made.spec.instancetype is not None
    assert made.spec.instancetype.name == "u1.medium"
    assert kubevirt_rules.violations(made) == []


def test_a_vm_without_nics_gets_none() -> None:
    devices = domain(source.vm(nics=())).devices
    assert devices.autoattach_pod_interface is False
    assert devices.interfaces == ()


def test_a_shared_disk_is_shareable_and_not_cached() -> None:
    one = planned(source.vm(disks=(source.disk(shared=True),)))
    (disk,) = domain(source.vm(disks=(source.disk(shared=True),))).devices.disks
    assert (disk.shareable, disk.cache) == (True, "none")
    spec = one.claims[0].spec
    assert spec is not None
    assert spec.access_modes == ("ReadWriteMany",)
