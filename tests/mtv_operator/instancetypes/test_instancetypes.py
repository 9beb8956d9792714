"""Instance types and preferences: what they make of a VM, and what they refuse."""

import msgspec
import pytest
from kubevirt_objects import NOW, instance_spec, vm, vm_document

from mtv.api import apps, core, instancetype, kubevirt
from mtv_operator.instancetypes import (
    applying,
    expanding,
    inference,
    lookup,
    preferences,
    requirements,
    revisions,
)
from mtv_operator.virt_api import instancetype_rules
from mtv_operator.virt_controller import sizing, virtual_machine

CLUSTER = "virtualmachineclusterinstancetype"


class Stored:
    """A reader of the objects that it was made of."""

    def __init__(self, *objects):
        self.objects = objects

    def find(self, kind, name, namespace=""):
        for one in self.objects:
            place = (one.metadata.name, one.metadata.namespace)
            if type(one) is kind and place == (name, namespace):
                return one
        return None


def size(**spec):
    document = {
        "metadata": {"name": "small", "uid": "size-uid", "generation": 3},
        "spec": {"cpu": {"guest": 4}, "memory": {"guest": "2Gi"}, **spec},
    }
    return msgspec.convert(document, instancetype.VirtualMachineClusterInstancetype)


def preference(**spec):
    document = {"metadata": {"name": "linux", "uid": "p-uid", "generation": 1}, "spec": spec}
    return msgspec.convert(document, instancetype.VirtualMachineClusterPreference)


def unsized(**spec):
    document = vm_document(runStrategy="Always", instancetype={"name": "small"}, **spec)
    inner = document["spec"]["template"]["spec"]
    del inner["domain"]["memory"], inner["domain"]["cpu"]
    found = msgspec.convert(document, kubevirt.VirtualMachine)
    return msgspec.structs.replace(found, metadata=vm().metadata)


def changed(found, **domain):
    document = msgspec.to_builtins(found)
    document["spec"]["template"]["spec"]["domain"].update(domain)
    return msgspec.convert(document, kubevirt.VirtualMachine)


@pytest.mark.parametrize(
    ("cpu", "expected"),
    [
        ({}, (4, 1, 1)),
        ({"preferredCPUTopology": "cores"}, (1, 4, 1)),
        ({"preferredCPUTopology": "preferThreads"}, (1, 1, 4)),
        ({"preferredCPUTopology": "spread"}, (2, 2, 1)),
        (
            {
                "preferredCPUTopology": "spread",
                "spreadOptions": {"across": "SocketsCoresThreads", "ratio": 2},
            },
            (1, 2, 2),
        ),
        (
            {"preferredCPUTopology": "spread", "spreadOptions": {"across": "CoresThreads"}},
            (1, 2, 2),
        ),
    ],
)
def test_vcpus_are_arranged_as_preferred(cpu, expected):
    assert preferences.topology(4, preference(cpu=cpu).spec) == expected


def test_size_and_preference_fill_the_template():
    found = lookup.Found(
        size=size(memory={"guest": "2Gi", "overcommitPercent": 50}).spec,
        preference=preference(
            devices={"preferredDiskBus": "scsi", "preferredInterfaceModel": "e1000e"},
            features={"preferredHyperv": {"vapic": {}}, "preferredSmm": {}},
            firmware={"preferredEfi": {"secureBoot": True}},
            machine={"preferredMachineType": "pc-q35-7.2"},
            clock={"preferredClockOffset": {"utc": {}}, "preferredTimer": {"hyperv": {}}},
            annotations={"os": "linux"},
        ).spec,
    )
    made = expanding.template(unsized(), found)
    domain = made.spec.domain
    assert domain.memory.guest == "2Gi"
    assert domain.resources.requests == {"memory": "1Gi"}
    assert (domain.cpu.sockets, domain.cpu.cores, domain.cpu.threads) == (4, 1, 1)
    assert domain.devices.disks[0].disk.bus == "virtio", "what the VM says stays"
    assert domain.devices.interfaces[0].model == "e1000e"
    assert domain.features.smm is not None
    assert domain.features.hyperv.vapic is not None
    assert domain.firmware.bootloader.efi.secure_boot
    assert domain.machine.type == "pc-q35-7.2"
    assert domain.clock.utc is not None
    assert made.annotations == {"os": "linux", "kubevirt.io/cluster-instancetype-name": "small"}


def test_implied_disks_follow_the_preference_too():
    document = instance_spec()
    document["domain"]["devices"] = {}
    document["networks"] = []
    spec = msgspec.convert(document, kubevirt.VirtualMachineInstanceSpec)
    wanted = preference(
        devices={
            "preferredDiskBus": "virtio",
            "preferredInterfaceMasquerade": {},
            "preferredAutoattachInputDevice": True,
            "preferredInputBus": "virtio",
            "preferredInputType": "tablet",
        }
    )
    devices = applying.apply(applying.Template(spec=spec), None, wanted.spec).spec.domain.devices
    assert devices.disks[0].disk.bus == "virtio"
    assert devices.interfaces[0].masquerade is not None
    assert (devices.inputs[0].bus, devices.inputs[0].type) == ("virtio", "tablet")


def test_what_both_say_is_refused_with_its_paths():
    both = changed(
        unsized(),
        memory={"guest": "1Gi"},
        cpu={"cores": 2, "model": "Haswell"},
        resources={"requests": {"cpu": "1"}},
    )
    _, causes, _ = instancetype_rules.applied(both, Stored(size(cpu={"guest": 1, "model": "x"})))
    at = "spec.template.spec.domain"
    fields = {one.field for one in causes}
    assert fields == {
        f"{at}.memory",
        f"{at}.cpu.cores",
        f"{at}.cpu.model",
        f"{at}.resources.requests.cpu",
    }
    assert causes[0].message.endswith("conflicts with selected instance type")


def test_requirements_of_a_preference_are_checked():
    wanted = preference(requirements={"cpu": {"guest": 8}, "memory": {"guest": "4Gi"}}).spec
    spec = unsized().spec.template.spec
    found = requirements.problems(size().spec, wanted, spec)
    assert {one.fields for one in found} == {("spec.instancetype",)}
    assert "insufficient CPU resources of 4 vCPU provided by instance type" in found[1].message
    assert requirements.problems(None, wanted, spec)[0].fields == (
        "spec.template.spec.domain.memory",
    )


@pytest.mark.parametrize(
    ("matcher", "field"),
    [
        ({}, "spec.instancetype"),
        ({"name": "a", "inferFromVolume": "root"}, "spec.instancetype.name"),
        ({"kind": "a", "inferFromVolume": "root"}, "spec.instancetype.kind"),
        (
            {"inferFromVolume": "root", "inferFromVolumeFailurePolicy": "Hope"},
            "spec.instancetype.inferFromVolumeFailurePolicy",
        ),
    ],
)
def test_matchers_that_say_nothing_or_two_things_are_refused(matcher, field):
    one = msgspec.convert(
        vm_document(runStrategy="Halted", instancetype=matcher), kubevirt.VirtualMachine
    )
    assert [cause.field for cause in instancetype_rules.matcher_causes(one, None)] == [field]


def test_names_are_inferred_from_the_labels_of_the_disk():
    labels = {
        "instancetype.kubevirt.io/default-instancetype": "small",
        "instancetype.kubevirt.io/default-preference": "linux",
        "instancetype.kubevirt.io/default-preference-kind": "VirtualMachinePreference",
    }
    metadata = msgspec.structs.replace(vm().metadata, name="web1-root", labels=labels)
    claim = core.PersistentVolumeClaim(metadata=metadata)
    matcher = {"inferFromVolume": "root"}
    document = vm_document(runStrategy="Halted", instancetype=matcher, preference=matcher)
    one = msgspec.convert(document, kubevirt.VirtualMachine)
    found = instancetype_rules.filled_in(one, Stored(claim))
    assert (found.spec.instancetype.name, found.spec.instancetype.kind) == ("small", CLUSTER)
    assert found.spec.preference.kind == "VirtualMachinePreference"
    plain = core.PersistentVolumeClaim(metadata=msgspec.structs.replace(metadata, labels={}))
    with pytest.raises(inference.NotInferred, match="unable to find required"):
        instancetype_rules.filled_in(one, Stored(plain))
    ignoring = msgspec.convert(
        vm_document(
            runStrategy="Halted", instancetype={**matcher, "inferFromVolumeFailurePolicy": "Ignore"}
        ),
        kubevirt.VirtualMachine,
    )
    assert instancetype_rules.filled_in(ignoring, Stored(plain)).spec.instancetype is None


def _decided(one, *objects):
    named = lookup.of_vm(one, Stored(*objects))
    return virtual_machine.decide(virtual_machine.Observed(vm=one, named=named), NOW)


def test_a_vm_keeps_what_its_instance_type_was_and_starts_with_that():
    first = _decided(unsized(), size())
    (store,) = first.actions
    revision = store.revision
    assert revision.metadata.name == "web1-small-v1-size-uid-3"
    assert revision.metadata.labels[revisions.NAME_LABEL] == "small"
    assert first.status.instancetype_ref.controller_revision_ref.name == revision.metadata.name

    kept = msgspec.structs.replace(unsized(), status=first.status)
    (create,) = _decided(kept, revision, size(cpu={"guest": 64})).actions
    assert create.instance.spec.domain.cpu.sockets == 4, "the original has changed since"
    assert create.instance.metadata.annotations["kubevirt.io/cluster-instancetype-name"] == "small"


def test_a_vm_whose_instance_type_is_missing_says_so_and_looks_again():
    decision = _decided(unsized())
    failure = next(one for one in decision.status.conditions if one.type == "Failure")
    assert failure.reason == sizing.NO_INSTANCETYPE
    assert [type(one).__name__ for one in decision.actions] == ["Say"]
    assert decision.requeue_after_s == virtual_machine.LOOK_FOR_MISSING_S


def test_a_revision_that_keeps_something_else_is_not_believed():
    other = apps.ControllerRevision(metadata=vm().metadata, data={"spec": {"cpu": 1}})
    matcher = kubevirt.InstancetypeMatcher(name="small", revision_name="web1")
    one = unsized()
    one = msgspec.structs.replace(one, spec=msgspec.structs.replace(one.spec, instancetype=matcher))
    assert "does not keep" in lookup.of_vm(one, Stored(other)).size_trouble


def test_an_expanded_vm_says_everything_itself():
    found = lookup.of_vm(unsized(), Stored(size()))
    made = expanding.expanded(unsized(), found)
    assert made.spec.instancetype is None
    assert made.spec.template.spec.domain.memory.guest == "2Gi"
