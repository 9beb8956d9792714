"""A VM with its instance type and preference put into its template, and marked so. Pure."""

from __future__ import annotations

import msgspec

from mtv import errors
from mtv.api import instancetype, kubevirt
from mtv_operator.instancetypes import applying, implied, lookup, requirements

VM_TEMPLATE = "spec.template.spec"


class InConflict(errors.BadInput):
    """A VM says itself what its instance type says."""

    def __init__(self, fields: list[str]) -> None:
        super().__init__(f"VM field(s) {', '.join(fields)} conflicts with selected instance type")
        self.fields = tuple(fields)


def template(vm: kubevirt.VirtualMachine, found: lookup.Found) -> applying.Template:
    """Return what an instance of the VM is made of. Raises InConflict, BadInput.

    The VM must have a template spec.
    """
    spec = vm.spec.template.spec
    assert spec is not None
    given = applying.Template(spec=spec, annotations=vm.spec.template.metadata.annotations)
    impossible = requirements.spread_problem(found.size, found.preference)
    if impossible is not None:
        raise errors.BadInput(impossible.message)
    if found.size is not None:
        conflicts = applying.conflicts(given, found.size, VM_TEMPLATE)
        if conflicts:
            raise InConflict(conflicts)
    made = applying.apply(given, found.size, found.preference)
    return applying.Template(spec=made.spec, annotations={**made.annotations, **marks(vm)})


def marks(vm: kubevirt.VirtualMachine) -> dict[str, str]:
    """Return the annotations by which an instance says what it was made of."""
    found = {}
    for word, matcher, cluster in (
        ("instancetype", vm.spec.instancetype, lookup.CLUSTER_INSTANCETYPE),
        ("preference", vm.spec.preference, lookup.CLUSTER_PREFERENCE),
    ):
        if matcher is not None and matcher.name:
            kind = (matcher.kind or cluster).lower()
            prefix = "cluster-" if kind.startswith(cluster) else ""
            found[f"kubevirt.io/{prefix}{word}-name"] = matcher.name
    return found


def expanded(vm: kubevirt.VirtualMachine, found: lookup.Found) -> kubevirt.VirtualMachine:
    """Return the VM as if it had said everything itself. Raises BadInput."""
    if vm.spec.instancetype is None and vm.spec.preference is None:
        return vm
    trouble = found.size_trouble or found.preference_trouble
    if trouble:
        raise errors.BadInput(trouble)
    if vm.spec.template.spec is None:
        raise errors.BadInput("it is missing", field=VM_TEMPLATE)
    made = template(vm, found)
    spec = implied.pod_interface(implied.disks(made.spec))
    metadata = msgspec.structs.replace(
        vm.spec.template.metadata, annotations=dict(made.annotations)
    )
    vm = with_storage_class(vm, found.preference)
    changed = msgspec.structs.replace(
        vm.spec,
        instancetype=None,
        preference=None,
        template=msgspec.structs.replace(vm.spec.template, metadata=metadata, spec=spec),
    )
    status = vm.status
    if status is not None:
        status = msgspec.structs.replace(status, instancetype_ref=None, preference_ref=None)
    return msgspec.structs.replace(vm, spec=changed, status=status)


def with_storage_class(
    vm: kubevirt.VirtualMachine, preference: instancetype.VirtualMachinePreferenceSpec | None
) -> kubevirt.VirtualMachine:
    """Return the VM whose DataVolumes that name no class are of the preferred one."""
    volumes = preference.volumes if preference is not None else None
    wanted = volumes.preferred_storage_class_name if volumes is not None else None
    if not wanted:
        return vm
    templates = []
    for one in vm.spec.data_volume_templates:
        spec = one.spec
        if spec.pvc is not None and not spec.pvc.storage_class_name:
            pvc = msgspec.structs.replace(spec.pvc, storage_class_name=wanted)
            spec = msgspec.structs.replace(spec, pvc=pvc)
        if spec.storage is not None and not spec.storage.storage_class_name:
            storage = msgspec.structs.replace(spec.storage, storage_class_name=wanted)
            spec = msgspec.structs.replace(spec, storage=storage)
        templates.append(msgspec.structs.replace(one, spec=spec))
    changed = msgspec.structs.replace(vm.spec, data_volume_templates=tuple(templates))
    return msgspec.structs.replace(vm, spec=changed)
