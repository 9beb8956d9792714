"""`inferFromVolume`: the instance type or preference that the labels of a disk name.

A volume leads to its claim, to a DataVolume and what that is made of, or to a DataSource.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from mtv import errors
from mtv.api import cdi, core, instancetype, kubevirt
from mtv_operator.instancetypes.lookup import Reader

IGNORE, REJECT = "Ignore", "Reject"
PREFIX = f"{instancetype.GROUP}/default-"


class NotInferred(errors.BadInput):
    """A disk does not say what was to be inferred; a VM may ask to ignore that."""


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels that are looked for."""

    name: str
    kind: str


INSTANCETYPE = Labels(f"{PREFIX}instancetype", f"{PREFIX}instancetype-kind")
PREFERENCE = Labels(f"{PREFIX}preference", f"{PREFIX}preference-kind")


def inferred(vm: kubevirt.VirtualMachine, reader: Reader) -> kubevirt.VirtualMachine:
    """Return the VM with names in place of `inferFromVolume`. Raises BadInput, NotFound."""
    spec = vm.spec
    wanted = spec.instancetype
    if wanted is not None and wanted.infer_from_volume:
        ignored = wanted.infer_from_volume_failure_policy == IGNORE
        found = _or_none(vm, wanted.infer_from_volume, INSTANCETYPE, reader, ignored=ignored)
        matcher = kubevirt.InstancetypeMatcher(name=found[0], kind=found[1]) if found else None
        spec = msgspec.structs.replace(spec, instancetype=matcher)
        if found and ignored:  # a size that was given for the other case
            spec = _without_memory(spec)
    preferred = spec.preference
    if preferred is not None and preferred.infer_from_volume:
        ignored = preferred.infer_from_volume_failure_policy == IGNORE
        found = _or_none(vm, preferred.infer_from_volume, PREFERENCE, reader, ignored=ignored)
        chosen = kubevirt.PreferenceMatcher(name=found[0], kind=found[1]) if found else None
        spec = msgspec.structs.replace(spec, preference=chosen)
    return msgspec.structs.replace(vm, spec=spec)


def _without_memory(spec: kubevirt.VirtualMachineSpec) -> kubevirt.VirtualMachineSpec:
    template = spec.template
    if template.spec is None:
        return spec
    domain = msgspec.structs.replace(template.spec.domain, memory=None)
    inner = msgspec.structs.replace(template.spec, domain=domain)
    return msgspec.structs.replace(spec, template=msgspec.structs.replace(template, spec=inner))


def _or_none(
    vm: kubevirt.VirtualMachine, volume: str, wanted: Labels, reader: Reader, *, ignored: bool
) -> tuple[str, str | None] | None:
    try:
        return _of_volume(vm, volume, wanted, reader)
    except NotInferred:
        if ignored:
            return None
        raise


def _of_volume(
    vm: kubevirt.VirtualMachine, name: str, wanted: Labels, reader: Reader
) -> tuple[str, str | None]:
    template = vm.spec.template.spec
    volumes = template.volumes if template is not None else ()
    volume = next((one for one in volumes if one.name == name), None)
    if volume is None:
        raise errors.BadInput(f"unable to find volume {name} to infer defaults")
    namespace = vm.metadata.namespace
    if volume.persistent_volume_claim is not None:
        return _of_claim(volume.persistent_volume_claim.claim_name, namespace, wanted, reader)
    if volume.data_volume is None:
        raise NotInferred(f"unable to infer defaults from volume {name} as type is not supported")
    wanted_name = volume.data_volume.name
    for one in vm.spec.data_volume_templates:
        if one.metadata.name == wanted_name:
            return _of_source(one.spec, namespace, wanted, reader)
    found = reader.find(cdi.DataVolume, wanted_name, namespace)
    if found is None:  # CDI deletes DataVolumes that are done; the claim has the same name
        return _of_claim(wanted_name, namespace, wanted, reader)
    labelled = _labelled(found.metadata.labels, wanted)
    return labelled or _of_source(found.spec, namespace, wanted, reader)


def _of_source(
    spec: cdi.DataVolumeSpec, namespace: str, wanted: Labels, reader: Reader
) -> tuple[str, str | None]:
    if spec.source is not None and spec.source.pvc is not None:
        return _of_claim(spec.source.pvc.name, spec.source.pvc.namespace, wanted, reader)
    ref = spec.source_ref
    if ref is None:
        raise NotInferred(
            "unable to infer defaults from DataVolumeSpec as DataVolumeSource is not supported"
        )
    if ref.kind != cdi.DataSource.kind_name():
        raise NotInferred(
            f"unable to infer defaults from DataVolumeSourceRef as Kind {ref.kind} is not supported"
        )
    found = reader.find(cdi.DataSource, ref.name, ref.namespace or namespace)
    if found is None:
        raise errors.NotFound(f'datasources.cdi.kubevirt.io "{ref.name}" not found')
    labelled = _labelled(found.metadata.labels, wanted)
    if labelled is not None:
        return labelled
    claim = found.spec.source.pvc
    if claim is None:
        raise NotInferred(
            "unable to infer defaults from DataSource that doesn't provide DataVolumeSourcePVC"
        )
    return _of_claim(claim.name, claim.namespace, wanted, reader)


def _of_claim(name: str, namespace: str, wanted: Labels, reader: Reader) -> tuple[str, str | None]:
    found = reader.find(core.PersistentVolumeClaim, name, namespace)
    if found is None:
        raise errors.NotFound(f'persistentvolumeclaims "{name}" not found')
    labelled = _labelled(found.metadata.labels, wanted)
    if labelled is None:
        raise NotInferred(f"unable to find required {wanted.name} label on the volume")
    return labelled


def _labelled(labels: dict[str, str], wanted: Labels) -> tuple[str, str | None] | None:
    name = labels.get(wanted.name)
    return (name, labels.get(wanted.kind)) if name else None
