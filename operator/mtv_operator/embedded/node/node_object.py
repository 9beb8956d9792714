"""The Node object: what this machine has, as the kubelet reports it.

`Machine` is read, everything else is pure. Resources and conditions that others report for the
node (a handler, an administrator) are kept.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import msgspec

from mtv.api.core import (
    DaemonEndpoint,
    Node,
    NodeAddress,
    NodeCondition,
    NodeDaemonEndpoints,
    NodeSpec,
    NodeStatus,
    NodeSystemInfo,
)
from mtv.api.meta import ObjectMeta
from mtv_operator.embedded.node import processes
from mtv_operator.embedded.node.pod_status import timestamp

MOST_PODS = 220  # each node has the addresses of a /24
RESERVED_BYTES = 512 << 20  # for the machine and for mtv itself
DEVICES_OFFERED = "1000"  # a device file may be opened by everybody who has it, as in KubeVirt
DEVICES = {
    "devices.kubevirt.io/kvm": "/dev/kvm",
    "devices.kubevirt.io/tun": "/dev/net/tun",
    "devices.kubevirt.io/vhost-net": "/dev/vhost-net",
    "mtv.dev/fuse": "/dev/fuse",
}
KUBELET_VERSION = "v1.32.0-mtv"  # of the API that the node speaks
FULL_BYTES = 512 << 20  # less space than this is DiskPressure


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What was found on this machine."""

    cpus: int
    memory_bytes: int
    storage_bytes: int
    storage_free_bytes: int
    devices: Sequence[str]  # names of resources
    machine_id: str = ""
    system_uuid: str = ""
    boot_id: str = ""
    kernel: str = ""
    os_image: str = ""
    architecture: str = "amd64"


def look(folder: Path, *, kvm: bool) -> Machine:
    """Return what this machine has; `folder` is where pods keep what they write."""
    space = os.statvfs(folder)
    return Machine(
        cpus=os.cpu_count() or 1,
        memory_bytes=_memory_bytes(),
        storage_bytes=space.f_blocks * space.f_frsize,
        storage_free_bytes=space.f_bavail * space.f_frsize,
        devices=[
            name
            for name, path in DEVICES.items()
            if os.path.exists(path) and (kvm or not name.endswith("/kvm"))
        ],
        machine_id=_text("/etc/machine-id"),
        system_uuid=_text("/sys/class/dmi/id/product_uuid") or _text("/etc/machine-id"),
        boot_id=processes.boot_id(),
        kernel=platform.release(),
        os_image=_os_image(),
        architecture={"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "amd64"),
    )


def build(
    name: str,
    machine: Machine,
    *,
    address: str,
    port: int,
    pod_cidr: str,
    now: float,
    before: Node | None = None,
) -> Node:
    """Return the node as it should be now, with what others wrote to it. Pure."""
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": machine.architecture,
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": machine.architecture,
    }
    found = before or Node(metadata=ObjectMeta(name=name))
    spec = found.spec or NodeSpec()
    return msgspec.structs.replace(
        found,
        metadata=msgspec.structs.replace(
            found.metadata, labels={**found.metadata.labels, **labels}
        ),
        spec=msgspec.structs.replace(spec, pod_cidr=pod_cidr, provider_id=f"mtv://{name}"),
        status=status(
            name, machine, address=address, port=port, now=now, before=found.status or NodeStatus()
        ),
    )


def status(
    name: str, machine: Machine, *, address: str, port: int, now: float, before: NodeStatus
) -> NodeStatus:
    """Return the status of the node. Pure."""
    amounts = {
        "cpu": str(machine.cpus),
        "memory": f"{machine.memory_bytes // 1024}Ki",
        "ephemeral-storage": f"{machine.storage_bytes // 1024}Ki",
        "pods": str(MOST_PODS),
    }
    free = {
        **amounts,
        "memory": f"{max(0, machine.memory_bytes - RESERVED_BYTES) // 1024}Ki",
    }
    offered = {one: DEVICES_OFFERED if one in machine.devices else "0" for one in DEVICES}
    return msgspec.structs.replace(
        before,
        capacity={**before.capacity, **amounts, **offered},
        allocatable={**before.allocatable, **free, **offered},
        addresses=(
            NodeAddress(type="InternalIP", address=address),
            NodeAddress(type="Hostname", address=name),
        ),
        conditions=conditions(machine, before.conditions, now),
        daemon_endpoints=NodeDaemonEndpoints(kubelet_endpoint=DaemonEndpoint(port=port)),
        node_info=NodeSystemInfo(
            machine_id=machine.machine_id,
            system_uuid=machine.system_uuid,
            boot_id=machine.boot_id,
            kernel_version=machine.kernel,
            os_image=machine.os_image,
            container_runtime_version=f"mtv://{metadata.version('mtv')}",
            kubelet_version=KUBELET_VERSION,
            kube_proxy_version=KUBELET_VERSION,
            operating_system="linux",
            architecture=machine.architecture,
        ),
    )


def conditions(
    machine: Machine, before: Sequence[NodeCondition], now: float
) -> tuple[NodeCondition, ...]:
    """Return the node's conditions: ours anew, those of others as they are. Pure."""
    full = machine.storage_free_bytes < FULL_BYTES
    free_mib = machine.storage_free_bytes >> 20
    own = [
        ("MemoryPressure", False, "KubeletHasSufficientMemory", "the node has memory available"),
        (
            "DiskPressure",
            full,
            "KubeletHasDiskPressure" if full else "KubeletHasNoDiskPressure",
            f"{free_mib} MiB are free: delete pods, volumes or files of this machine"
            if full
            else "the node has space available",
        ),
        ("PIDPressure", False, "KubeletHasSufficientPID", "the node has process ids available"),
        ("Ready", True, "KubeletReady", "the node runs pods"),
    ]
    known = {one.type: one for one in before}
    names = {kind for kind, *_ in own}
    return (
        *(one for one in before if one.type not in names),
        *(
            _condition(known, kind, "True" if holds else "False", reason, message, now)
            for kind, holds, reason, message in own
        ),
    )


def _condition(
    known: Mapping[str, NodeCondition],
    kind: str,
    state: str,
    reason: str,
    message: str,
    now: float,
) -> NodeCondition:
    found = known.get(kind)
    changed = found.last_transition_time if found and found.status == state else None
    return NodeCondition(
        type=kind,
        status=state,
        reason=reason,
        message=message,
        last_heartbeat_time=timestamp(now),
        last_transition_time=changed or timestamp(now),
    )


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _os_image() -> str:
    for line in _text("/etc/os-release").splitlines():
        key, _, value = line.partition("=")
        if key == "PRETTY_NAME":
            return value.strip('"')
    return "Linux"


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
