"""The files behind a VM's disks: looked at, grown, made; nothing here changes a guest's bytes.

A PVC's disk.img is raw and always was; a file that begins like another format is refused, since
the guest would see that format's header as its disk.
"""

from __future__ import annotations

import logging
import mmap
import os
import stat
import struct
import subprocess
from pathlib import Path

from mtv import errors
from mtv_operator.virt_launcher.domain.context import Firmware, Image

log = logging.getLogger(__name__)

MIB = 1 << 20
QEMU_IMG = "qemu-img"
QEMU_IMG_TIMEOUT_S = 60.0
# A base image is somebody's: what it makes qemu-img do is bounded, as upstream.
LIMITS = ("prlimit", f"--as={2000 * MIB}", "--cpu=10", "--")
SMALLER_BY = 0.1  # of the claim: what a file system may keep for itself before we refuse
# A claim is larger than the disk imported into it by the file system's share, rounded: only a
# claim that somebody enlarged makes its disk grow.
GROWS_FROM = 1.02
RESERVE_BYTES = 131072  # left free in a new volume, as upstream
# Signatures at the start of files that are not raw. QCOW: qcow2.txt, "Header"; KDMV and COWD:
# VMware's Virtual Disk Format 5.0; vhdxfile: MS-VHDX 2.2.1; conectix: VHD 1.0, dynamic disks.
SIGNATURES = {
    b"QFI\xfb": "qcow2",
    b"KDMV": "vmdk",
    b"COWD": "vmdk",
    b"# Disk DescriptorFile": "vmdk (its descriptor)",
    b"vhdxfile": "vhdx",
    b"conectix": "vpc",
}
# Code and variables of OVMF, in the order of preference: Debian and Ubuntu, then Fedora and RHEL.
EFI_FILES = (
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
)
EFI_SECURE_FILES = (
    ("/usr/share/OVMF/OVMF_CODE_4M.ms.fd", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"),
    ("/usr/share/OVMF/OVMF_CODE.ms.fd", "/usr/share/OVMF/OVMF_VARS.ms.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd", "/usr/share/edk2/ovmf/OVMF_VARS.secboot.fd"),
)


def find_firmware(candidates: tuple[tuple[str, str], ...]) -> Firmware | None:
    """Return the first pair of which both files are there."""
    for code, variables in candidates:
        if Path(code).exists() and Path(variables).exists():
            return Firmware(code=code, variables=variables)
    return None


def image_format(path: Path) -> str:
    """Return the format that a file's first bytes name; `raw` for all else."""
    with path.open("rb") as file:
        head = file.read(32)
    for signature, name in SIGNATURES.items():
        if head.startswith(signature):
            return name
    return "raw"


def prepare_disk(path: Path, volume: str, capacity_bytes: int) -> None:
    """Make sure that a Filesystem volume has a raw disk.img of the claim's size.

    A missing one is made (sparse), a smaller one grown; it never shrinks. `capacity_bytes` of 0
    means unknown: then nothing is made or grown. Raises TargetRefused or BadInput.
    """
    size = capacity_bytes // MIB * MIB
    try:
        if not path.exists():
            _create(path, volume, size)
            return
        found = image_format(path)
        if found != "raw":
            raise errors.BadInput(
                f"{path.name} is {found}, and a claim's disk must be raw",
                field=f"spec.volumes[{volume}]",
                hint=f"convert it: qemu-img convert -O raw {path.name} new.img",
            )
        present = path.stat().st_size
        if present * GROWS_FROM < size:
            log.info("disk of volume %s grows from %d to %d", volume, present, size)
            os.truncate(path, size)
    except PermissionError as fault:
        raise errors.TargetRefused(
            f"volume {volume}: {path} may not be used by uid {os.geteuid()}: {fault.strerror}",
            hint="the volume must let uid 107 write; on NFS look at root_squash",
        ) from fault
    except OSError as fault:
        raise errors.TargetRefused(f"volume {volume}: {path}: {fault.strerror}") from fault


def _create(path: Path, volume: str, size: int) -> None:
    """Make an empty sparse disk; one tenth less than the claim is tolerated."""
    if size == 0:
        raise errors.BadInput(
            f"the volume has no {path.name}",
            field=f"spec.volumes[{volume}]",
            hint="import a disk into the claim first",
        )
    about = os.statvfs(path.parent)
    room = (about.f_blocks * about.f_frsize - RESERVE_BYTES) // MIB * MIB
    if room < size * (1 - SMALLER_BY):
        raise errors.TargetRefused(
            f"volume {volume} holds {room >> 20} MiB, and {size >> 20} MiB were claimed",
            hint="use a larger volume",
        )
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o660)
    try:
        os.truncate(descriptor, min(size, room))
    finally:
        os.close(descriptor)


def describe(path: Path, *, read_only: bool = False) -> Image:
    """Return what the domain must know of a raw file or block device."""
    status = path.stat()
    block = stat.S_ISBLK(status.st_mode)
    return Image(
        path=str(path),
        block=block,
        direct_io=has_direct_io(path),
        preallocated=not block and status.st_blocks * 512 >= status.st_size,
        read_only=read_only,
    )


def has_direct_io(path: Path) -> bool:
    """Tell whether a file can be read past the page cache, by doing it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
    except OSError:
        return False
    try:
        with mmap.mmap(-1, 4096) as aligned:
            os.preadv(descriptor, [aligned], 0)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def overlay(path: Path, base: Image) -> Image:
    """Make a qcow2 file over a read-only base; writes live as long as the pod."""
    if not path.exists():
        _qemu_img("-b", base.path, "-F", base.format, target=path)
    return Image(path=str(path), format="qcow2", direct_io=has_direct_io(path), backing=base)


def container_disk(path: Path) -> Image:
    """Return a container image's disk, raw or qcow2, refusing one that refers to other files."""
    found = image_format(path)
    if found not in ("raw", "qcow2"):
        raise errors.BadInput(f"{path.name} is {found}; a container disk is raw or qcow2")
    if found == "qcow2":
        _refuse_references(path)
    return Image(path=str(path), format=found, direct_io=has_direct_io(path), read_only=True)


def _refuse_references(path: Path) -> None:
    """Refuse a qcow2 file with a backing or data file: it could name any file of the pod.

    qcow2.txt, "Header": backing_file_offset at 8; incompatible feature bit 2: external data file.
    """
    with path.open("rb") as file:
        head = file.read(80).ljust(80, b"\0")
    version, backing = struct.unpack_from(">IQ", head, 4)
    features = struct.unpack_from(">Q", head, 72)[0] if version >= 3 else 0
    if backing or features & 4:
        raise errors.BadInput(
            f"{path.name} refers to another file",
            hint="flatten it: qemu-img convert -O qcow2 old.qcow2 new.qcow2",
        )


def empty_disk(path: Path, size_bytes: int) -> Image:
    """Make an empty qcow2 disk that lives as long as the pod."""
    if not path.exists():
        _qemu_img(target=path, size_bytes=-(-size_bytes // 512) * 512)
    return Image(path=str(path), format="qcow2", direct_io=has_direct_io(path))


def _qemu_img(*options: str, target: Path, size_bytes: int | None = None) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    command = [*LIMITS, QEMU_IMG, "create", "-q", "-f", "qcow2", *options, str(temporary)]
    if size_bytes is not None:
        command.append(str(size_bytes))
    try:
        subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=QEMU_IMG_TIMEOUT_S
        )
    except FileNotFoundError as fault:
        raise errors.TargetRefused(
            f"{QEMU_IMG} is not there", hint="on Debian: apt-get install qemu-utils"
        ) from fault
    except subprocess.CalledProcessError as fault:
        raise errors.TargetRefused(f"{target.name}: {fault.stderr.strip()[:300]}") from fault
    except subprocess.TimeoutExpired as fault:
        raise errors.TargetUnavailable(f"{QEMU_IMG} did not end in time") from fault
    temporary.replace(target)
