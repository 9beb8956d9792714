"""Virtual machines, instances and pods for tests, with few words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from mtv.api import core, kubevirt, meta, well_known

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def movable_vm(name: str, strategy: str = "Always") -> dict[str, Any]:
    """Return a VM on a claim of its own name, which eviction migrates live."""
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": name},
        "spec": {
            "runStrategy": strategy,
            "template": {
                "spec": {
                    "evictionStrategy": "LiveMigrate",
                    "domain": {
                        "devices": {
                            "disks": [{"name": "root", "disk": {"bus": "virtio"}}],
                            "interfaces": [{"name": "default", "masquerade": {}}],
                        },
                        "resources": {"requests": {"memory": "128Mi"}},
                    },
                    "networks": [{"name": "default", "pod": {}}],
                    "volumes": [{"name": "root", "persistentVolumeClaim": {"claimName": name}}],
                }
            },
        },
    }


def vm_document(**spec: Any) -> dict[str, Any]:
    """Return a VM as a user writes it: one disk on a claim, the pod network."""
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": "web1", "namespace": "prod"},
        "spec": {
            **(spec or {"runStrategy": "Always"}),
            "template": {
                "metadata": {"labels": {"app": "web1"}},
                "spec": instance_spec(),
            },
        },
    }


def instance_spec() -> dict[str, Any]:
    return {
        "domain": {
            "memory": {"guest": "1Gi"},
            "cpu": {"cores": 1},
            "devices": {
                "disks": [{"name": "root", "disk": {"bus": "virtio"}}],
                "interfaces": [{"name": "default", "masquerade": {}}],
            },
        },
        "networks": [{"name": "default", "pod": {}}],
        "volumes": [{"name": "root", "persistentVolumeClaim": {"claimName": "web1-root"}}],
    }


def vm(
    *,
    status: kubevirt.VirtualMachineStatus | None = None,
    finalizers: tuple[str, ...] = (well_known.VM_FINALIZER,),
    deleted: bool = False,
    generation: int = 1,
    **spec: Any,
) -> kubevirt.VirtualMachine:
    """Return a stored VM."""
    found = msgspec.convert(vm_document(**spec), kubevirt.VirtualMachine)
    metadata = msgspec.structs.replace(
        found.metadata,
        uid="vm-uid",
        resource_version="7",
        generation=generation,
        finalizers=finalizers,
        deletion_timestamp="2026-03-01T11:59:00Z" if deleted else None,
    )
    return msgspec.structs.replace(found, metadata=metadata, status=status)


def instance(
    phase: str = "Running",
    *,
    uid: str = "vmi-uid",
    deleted: bool = False,
    ran: bool = False,
    owner: kubevirt.VirtualMachine | None = None,
    owned: bool = True,
    **status: Any,
) -> kubevirt.VirtualMachineInstance:
    """Return a stored instance of `vm()`."""
    passed = (
        kubevirt.VirtualMachineInstancePhaseTransitionTimestamp(
            phase="Running", phase_transition_timestamp="2026-03-01T11:50:00Z"
        ),
    )
    return kubevirt.VirtualMachineInstance(
        metadata=meta.ObjectMeta(
            name="web1",
            namespace="prod",
            uid=uid,
            resource_version="9",
            labels={"app": "web1"},
            finalizers=(well_known.VM_FINALIZER, well_known.VMI_FINALIZER),
            owner_references=(meta.owner_of(owner or vm()),) if owned else (),
            deletion_timestamp="2026-03-01T11:59:00Z" if deleted else None,
        ),
        spec=msgspec.convert(instance_spec(), kubevirt.VirtualMachineInstanceSpec),
        status=kubevirt.VirtualMachineInstanceStatus(
            phase=phase, phase_transition_timestamps=passed if ran else (), **status
        ),
    )


def claim(name: str = "web1-root", mode: str = "Filesystem") -> core.PersistentVolumeClaim:
    return core.PersistentVolumeClaim(
        metadata=meta.ObjectMeta(name=name, namespace="prod"),
        spec=core.PersistentVolumeClaimSpec(access_modes=("ReadWriteOnce",), volume_mode=mode),
        status=core.PersistentVolumeClaimStatus(phase="Bound", capacity={"storage": "8Gi"}),
    )


def pod(
    phase: str = "Running",
    *,
    node: str = "node1",
    deleted: bool = False,
    state: core.ContainerState | None = None,
    conditions: tuple[core.PodCondition, ...] = (),
) -> core.Pod:
    """Return the launcher pod of `instance()`."""
    running = core.ContainerState(running=core.ContainerStateRunning())
    if state is None:
        state = running if phase == "Running" else core.ContainerState()
    return core.Pod(
        metadata=meta.ObjectMeta(
            name="virt-launcher-web1-abcde",
            namespace="prod",
            uid="pod-uid",
            resource_version="11",
            deletion_timestamp="2026-03-01T11:59:30Z" if deleted else None,
        ),
        spec=core.PodSpec(containers=(core.Container(name="compute"),), node_name=node or None),
        status=core.PodStatus(
            phase=phase,
            container_statuses=(core.ContainerStatus(name="compute", state=state),),
            conditions=conditions,
        ),
    )
