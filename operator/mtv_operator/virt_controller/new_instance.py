"""The VirtualMachineInstance that a VirtualMachine starts as. Pure."""

from __future__ import annotations

import hashlib

import msgspec

from mtv.api import kubevirt, meta, well_known
from mtv_operator.instancetypes.applying import Template
from mtv_operator.virt_controller import hotplug
from mtv_operator.virt_launcher.domain import firmware

NOT_COPIED = ("kubectl.kubernetes.io/last-applied-configuration",)

_encoder = msgspec.json.Encoder(order="deterministic")


def template_digest(vm: kubevirt.VirtualMachine) -> str:
    """Return what tells two templates apart: of the spec alone, labels may change at any time.

    Volumes that come and go while the guest runs make no difference.
    """
    spec = vm.spec.template.spec
    if spec is not None:
        come_and_go = {one.name for one in spec.volumes if hotplug.is_pluggable(one)}
        devices = spec.domain.devices
        disks = tuple(one for one in devices.disks if one.name not in come_and_go)
        devices = msgspec.structs.replace(devices, disks=disks)
        spec = msgspec.structs.replace(
            spec,
            volumes=tuple(one for one in spec.volumes if one.name not in come_and_go),
            domain=msgspec.structs.replace(spec.domain, devices=devices),
        )
    named = vm.spec.instancetype, vm.spec.preference
    told = spec if named == (None, None) else (spec, *named)
    return hashlib.sha256(_encoder.encode(told)).hexdigest()[:16]


def of(
    vm: kubevirt.VirtualMachine, *, paused: bool = False, made: Template | None = None
) -> kubevirt.VirtualMachineInstance:
    """Return the instance to create. The VM must have a template spec.

    `made` is what instance type and preference make of the template.
    """
    template = vm.spec.template
    assert template.spec is not None
    made = made or Template(spec=template.spec, annotations=template.metadata.annotations)
    spec = made.spec
    if paused:
        spec = msgspec.structs.replace(spec, start_strategy="Paused")
    annotations = {key: value for key, value in made.annotations.items() if key not in NOT_COPIED}
    annotations[well_known.VM_GENERATION] = str(vm.metadata.generation)
    annotations[well_known.TEMPLATE_DIGEST] = template_digest(vm)
    instance = kubevirt.VirtualMachineInstance(
        metadata=meta.ObjectMeta(
            name=vm.metadata.name,
            namespace=vm.metadata.namespace,
            labels=dict(template.metadata.labels),
            annotations=annotations,
            owner_references=(meta.owner_of(vm),),
            finalizers=(well_known.VM_FINALIZER,),
        ),
        spec=spec,
    )
    return _with_uuid(instance)


def _with_uuid(instance: kubevirt.VirtualMachineInstance) -> kubevirt.VirtualMachineInstance:
    """Give a VM that has no UUID the one made of its name: the same at every start."""
    domain = instance.spec.domain
    given = domain.firmware or kubevirt.Firmware()
    if given.uuid:
        return instance
    known = msgspec.structs.replace(given, uuid=firmware.system_uuid(instance))
    domain = msgspec.structs.replace(domain, firmware=known)
    spec = msgspec.structs.replace(instance.spec, domain=domain)
    return msgspec.structs.replace(instance, spec=spec)
