"""What is refused, in which field, in which words."""

import copy
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from kubevirt_objects import instance, instance_spec, vm_document

from mtv.api import kubevirt, meta
from mtv.api.configuration import Configuration
from mtv_operator.virt_api import admission, validation

GOLDEN = Path(__file__).parents[2] / "mtv_planning/golden"


def _causes(document):
    return validation.virtual_machine(msgspec.convert(document, kubevirt.VirtualMachine))


def _changed(change):
    document = vm_document()
    change(document, document["spec"]["template"]["spec"])
    return document


def _set(*path, value):
    """Return a change that puts a value at a path of the template's spec."""

    def change(_, spec):
        node = spec
        for key in path[:-1]:
            node = node[key] if isinstance(key, int) else node.setdefault(key, {})
        node[path[-1]] = value

    return change


def _both(*changes):
    def change(document, spec):
        for one in changes:
            one(document, spec)

    return change


DISKS = ("domain", "devices", "disks")
NICS = ("domain", "devices", "interfaces")
DEVICES = "spec.template.spec.domain.devices"
CASES = {
    "name too long": (
        lambda document, _: document["metadata"].update(name="x" * 64),
        "metadata.name",
        "longer than 63",
    ),
    "name not DNS": (
        lambda document, _: document["metadata"].update(name="Web_1"),
        "metadata.name",
        "DNS name",
    ),
    "running and runStrategy": (
        lambda document, _: document["spec"].update(running=True),
        "spec.running",
        "mutually exclusive",
    ),
    "neither": (
        lambda document, _: document["spec"].pop("runStrategy"),
        "spec.running",
        "must be specified",
    ),
    "unknown strategy": (
        lambda document, _: document["spec"].update(runStrategy="Often"),
        "spec.runStrategy",
        "Invalid RunStrategy (Often)",
    ),
    "no template": (
        lambda document, _: document["spec"]["template"].pop("spec"),
        "spec.template.spec",
        "missing virtual machine template",
    ),
    "reserved label": (
        lambda document, _: document["spec"]["template"]["metadata"]["labels"].update(
            {"kubevirt.io/nodeName": "x"}
        ),
        "spec.template.metadata.labels",
        "reserved",
    ),
    "disk without volume": (
        _set(*DISKS, value=[{"name": "other", "disk": {}}]),
        f"{DEVICES}.disks[0].name",
        "not found",
    ),
    "two disks of one name": (
        _set(*DISKS, value=[{"name": "root", "disk": {}}] * 2),
        f"{DEVICES}.disks[1].name",
        "must not have the same Name",
    ),
    "two volumes of one name": (
        _set("volumes", value=[{"name": "root", "emptyDisk": {"capacity": "1Gi"}}] * 2),
        "spec.template.spec.volumes[1].name",
        "must not have the same Name",
    ),
    "volume without source": (
        _set("volumes", value=[{"name": "root"}]),
        "spec.template.spec.volumes[0]",
        "exactly one source type",
    ),
    "volume with a name of the pod's": (
        _both(
            _set("volumes", value=[{"name": "sockets", "emptyDisk": {"capacity": "1Gi"}}]),
            _set(*DISKS, value=[{"name": "sockets"}]),
        ),
        "spec.template.spec.volumes[0].name",
        "every pod has",
    ),
    "unknown bus": (
        _set(*DISKS, 0, "disk", "bus", value="ide"),
        f"{DEVICES}.disks[0].disk.bus",
        "unrecognized bus",
    ),
    "CD on virtio": (
        _set(*DISKS, value=[{"name": "root", "cdrom": {"bus": "virtio"}}]),
        f"{DEVICES}.disks[0].cdrom.bus",
        "CD-ROM",
    ),
    "two targets": (
        _set(*DISKS, 0, "lun", value={}),
        f"{DEVICES}.disks[0]",
        "single target type",
    ),
    "unknown cache": (
        _set(*DISKS, 0, "cache", value="fast"),
        f"{DEVICES}.disks[0].cache",
        "invalid value",
    ),
    "odd serial": (
        _set(*DISKS, 0, "serial", value="a b"),
        f"{DEVICES}.disks[0].serial",
        "characters",
    ),
    "boot order 0": (
        _set(*DISKS, 0, "bootOrder", value=0),
        f"{DEVICES}.disks[0].bootOrder",
        "boot order > 0",
    ),
    "boot order twice": (
        _both(_set(*DISKS, 0, "bootOrder", value=1), _set(*NICS, 0, "bootOrder", value=1)),
        f"{DEVICES}.interfaces[0].bootOrder",
        "already set",
    ),
    "interface without network": (
        _set("networks", value=[]),
        f"{DEVICES}.interfaces[0].name",
        "not found",
    ),
    "network without interface": (
        _set(*NICS, value=[]),
        "spec.template.spec.networks[0].name",
        "not found",
    ),
    "two pod networks": (
        _both(
            _set("networks", value=[{"name": "default", "pod": {}}, {"name": "b", "pod": {}}]),
            _set(*NICS, value=[{"name": "default", "masquerade": {}}, {"name": "b", "bridge": {}}]),
        ),
        "spec.template.spec.networks",
        "more than one interface",
    ),
    "masquerade elsewhere": (
        _set("networks", value=[{"name": "default", "multus": {"networkName": "lan"}}]),
        f"{DEVICES}.interfaces[0].name",
        "pod network",
    ),
    "two bindings": (
        _set(*NICS, 0, "bridge", value={}),
        f"{DEVICES}.interfaces[0]",
        "one binding",
    ),
    "unknown model": (
        _set(*NICS, 0, "model", value="ne3000"),
        f"{DEVICES}.interfaces[0].model",
        "not supported",
    ),
    "bad MAC": (
        _set(*NICS, 0, "macAddress", value="00:11"),
        f"{DEVICES}.interfaces[0].macAddress",
        "malformed MAC",
    ),
    "port 0": (
        _set(*NICS, 0, "ports", value=[{"port": 0}]),
        f"{DEVICES}.interfaces[0].ports[0]",
        "range",
    ),
    "no memory": (
        _set("domain", "memory", value={}),
        "spec.template.spec.domain.memory.guest",
        "no memory requested",
    ),
    "little memory": (
        _set("domain", "memory", "guest", value="10k"),
        "spec.template.spec.domain.memory.guest",
        "greater than or equal to 1M",
    ),
    "memory that is none": (
        _set("domain", "memory", "guest", value="lots"),
        "spec.template.spec.domain.memory.guest",
        "not a quantity",
    ),
    "negative memory": (
        _set("domain", "memory", "guest", value="-1Gi"),
        "spec.template.spec.domain.memory.guest",
        "greater than or equal to 0",
    ),
    "request above limit": (
        _set(
            "domain",
            "resources",
            value={"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}},
        ),
        "spec.template.spec.domain.resources.requests.memory",
        "is greater than",
    ),
    "limit below vCPUs": (
        _both(
            _set("domain", "cpu", "cores", value=4),
            _set("domain", "resources", value={"limits": {"cpu": "2"}}),
        ),
        "spec.template.spec.domain.resources.limits.cpu",
        "number of vCPUs",
    ),
    "BIOS and EFI": (
        _set(
            "domain",
            "firmware",
            value={"bootloader": {"bios": {}, "efi": {"secureBoot": False}}},
        ),
        "spec.template.spec.domain.firmware.bootloader",
        "mutually exclusive",
    ),
    "secure boot without SMM": (
        _set("domain", "firmware", value={"bootloader": {"efi": {}}}),
        "spec.template.spec.domain.firmware.bootloader.efi",
        "SMM",
    ),
    "odd uuid": (
        _set("domain", "firmware", value={"uuid": "1234"}),
        "spec.template.spec.domain.firmware.uuid",
        "not a UUID",
    ),
    "host name": (
        _set("hostname", value="web_1"),
        "spec.template.spec.hostname",
        "DNS_LABEL",
    ),
    "grace period": (
        _set("terminationGracePeriodSeconds", value=-1),
        "spec.template.spec.terminationGracePeriodSeconds",
        "greater than or equal to 0",
    ),
    "seed without data": (
        _set("volumes", value=[{"name": "root", "cloudInitNoCloud": {}}]),
        "spec.template.spec.volumes[0].cloudInitNoCloud",
        "at least one userdatasource",
    ),
    "seed too large": (
        _set("volumes", value=[{"name": "root", "cloudInitNoCloud": {"userData": "x" * 2049}}]),
        "spec.template.spec.volumes[0].cloudInitNoCloud.userData",
        "2048 byte limit",
    ),
    "probe without handler": (
        _set("readinessProbe", value={"periodSeconds": 1}),
        "spec.template.spec.readinessProbe",
        "must be set",
    ),
    "probe over a network that is not there": (
        _both(
            _set("readinessProbe", value={"tcpSocket": {"port": 80}}),
            _set("networks", value=[]),
            _set("domain", "devices", "interfaces", value=[]),
            _set("domain", "devices", "autoattachPodInterface", value=False),
        ),
        "spec.template.spec.readinessProbe.tcpSocket",
        "only allowed if the Pod Network is attached",
    ),
    "volume template that nobody uses": (
        lambda document, _: document["spec"].update(
            dataVolumeTemplates=[{"metadata": {"name": "dv"}, "spec": {}}]
        ),
        "spec.dataVolumeTemplates[0]",
        "must be referenced",
    ),
}


def test_plain_vm_is_well():
    assert _causes(vm_document()) == []


@pytest.mark.parametrize("name", CASES)
def test_vm_is_refused_for(name):
    change, field, message = CASES[name]
    found = _causes(_changed(change))
    assert [one for one in found if one.field == field and message in one.message], found


@pytest.mark.parametrize("name", sorted(path.stem for path in GOLDEN.glob("*.yaml")))
def test_planned_vms_are_admitted(name):
    for document in yaml.safe_load_all((GOLDEN / f"{name}.yaml").read_text()):
        if document["kind"] == "VirtualMachine":
            assert _causes(document) == []


def test_all_causes_are_told_at_once():
    document = _changed(_both(CASES["no memory"][0], CASES["unknown bus"][0]))
    told = admission.refusal(_causes(document))
    assert told["code"] == 422
    assert len(told["details"]["causes"]) == 2
    assert ", " in told["message"]


def test_instance_may_change_its_grace_period_only_by_us():
    old = instance()
    spec = msgspec.structs.replace(old.spec, termination_grace_period_seconds=1)
    new = msgspec.structs.replace(old, spec=spec)
    assert validation.instance_update(old, new, trusted=True) == []
    (cause,) = validation.instance_update(old, new, trusted=False)
    assert "restricted" in cause.message


def test_migration_needs_an_instance_that_can_and_is_not_under_way():
    one = kubevirt.VirtualMachineInstanceMigration(
        metadata=meta.ObjectMeta(name="m", namespace="prod"),
        spec=kubevirt.VirtualMachineInstanceMigrationSpec(vmi_name="web1"),
    )
    assert "does not exist" in validation.migration(one, None, [])[0].message
    assert "finalized" in validation.migration(one, instance("Failed"), [])[0].message
    stuck = instance(
        conditions=(
            kubevirt.VirtualMachineInstanceCondition(
                type="LiveMigratable", status="False", reason="DisksNotLiveMigratable", message="no"
            ),
        )
    )
    assert "DisksNotLiveMigratable" in validation.migration(one, stuck, [])[0].message
    assert "in-flight" in validation.migration(one, instance(), [one])[0].message
    assert validation.migration(one, instance(), []) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "a", "1Gi", "-1", "x y"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=4,
)
WORLD = admission.World(
    configuration=Configuration(),
    trusted=frozenset(),
    now=datetime(2026, 1, 1, tzinfo=UTC),
    new_uuid=lambda: "5d307ca9-b3ef-428c-8861-06e72d69f223",
    instance=lambda namespace, name: None,
    migrations=lambda namespace: (),
)
KEYS = ("domain", "networks", "volumes", "hostname", "terminationGracePeriodSeconds")


@given(key=st.sampled_from(KEYS), value=JSON)
def test_whatever_is_sent_is_answered(key, value):
    """No document, however odd, breaks admission: it is admitted or refused."""
    document = copy.deepcopy(vm_document())
    document["spec"]["template"]["spec"][key] = value
    request = admission.Request(uid="1", operation="CREATE", object=document)
    verdict = admission.validate_virtual_machine(request, WORLD)
    assert admission.answer(request, verdict)["response"]["uid"] == "1"


def test_spec_builder_is_a_spec():
    assert msgspec.convert(instance_spec(), kubevirt.VirtualMachineInstanceSpec)
