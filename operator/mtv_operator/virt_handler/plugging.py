"""Carries out what `hotplug` decided: mounts in the launcher's pod, then its order."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from mtv import errors
from mtv.api import kubevirt
from mtv_operator.virt_handler import hotplug, hotplug_mount, launcher_socket, order
from mtv_operator.virt_launcher import protocol

TIMEOUT_S = 30.0
SOCKET = "volumes/kubernetes.io~empty-dir/hotplug-disks/hp.sock"
MIB = 1 << 20


def plug(
    vmi: kubevirt.VirtualMachineInstance, launcher: Path, kubelet_root: Path, name: str
) -> None:
    """Make a volume visible to the launcher, and plug its disk in. Raises MigrationError."""
    pod = hotplug.attached(vmi).get(name, "")
    attachment = _peer(kubelet_root / "pods" / pod / SOCKET)
    pid = _peer(launcher)
    uid = Path(f"/proc/{pid}").stat().st_uid
    capacity = order.capacities(vmi).get(name, 0) // MIB * MIB
    _run("plug", str(pid), str(attachment), name, str(capacity), str(uid))
    disk = next(
        (one for one in vmi.spec.domain.devices.disks if one.name == name),
        kubevirt.Disk(name=name, disk=kubevirt.DiskTarget(bus="scsi")),
    )
    volume = next(one for one in vmi.spec.volumes if one.name == name)
    claim = volume.persistent_volume_claim
    read_only = bool(claim is not None and claim.read_only)
    request = protocol.AttachDisk(disk=disk, read_only=read_only)
    launcher_socket.call(launcher, request, TIMEOUT_S)


def unplug(launcher: Path, name: str) -> None:
    """Pull a disk out, and take its volume away. Raises MigrationError."""
    launcher_socket.call(launcher, protocol.DetachDisk(name=name), TIMEOUT_S)
    _run("unplug", str(_peer(launcher)), name)


def _peer(socket: Path) -> int:
    with launcher_socket.connect(socket) as connection:
        return launcher_socket.peer_pid(connection)


def _run(*arguments: str) -> None:
    try:
        subprocess.run(
            [sys.executable, "-I", "-S", hotplug_mount.__file__, *arguments],
            check=True,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
    except subprocess.CalledProcessError as fault:
        said = (fault.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise errors.TargetUnavailable(
            f"volume {arguments[-1]} cannot be shown to the launcher: {said}"
        ) from fault
    except subprocess.TimeoutExpired as fault:
        raise errors.TargetUnavailable("mounting took too long") from fault
