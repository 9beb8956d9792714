"""What a machine needs to run VMs, looked at by doing it: programs, KVM, networks, disks.

`look_at` returns one finding per subject and never raises; everything that it makes (namespaces, a
file) is gone when it returns.
"""

from __future__ import annotations

import mmap
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mtv import findings
from mtv.findings import Finding
from mtv_operator.virt_handler import kvm_probe
from mtv_operator.virt_handler.kvm_probe import Verdict
from mtv_operator.virt_launcher import images

SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PROGRAM_TIMEOUT_S = 20.0
MIB, GIB = 1 << 20, 1 << 30
LEAST_DISK_BYTES, GOOD_DISK_BYTES = 2 * GIB, 20 * GIB
GOOD_MEMORY_BYTES = 2 * GIB
WRITTEN_BYTES = 4 * MIB
OLDEST_KERNEL = (5, 10)  # of Debian 11: cgroup v2, nftables NAT


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program, the Debian package that it is in, and whether nothing works without it."""

    names: tuple[str, ...]
    package: str
    needed: bool
    use: str


PROGRAMS = (
    Program(
        names=("qemu-system-x86_64",), package="qemu-system-x86", needed=True, use="runs guests"
    ),
    Program(names=("qemu-img",), package="qemu-utils", needed=True, use="makes disks"),
    Program(
        names=("virtqemud", "libvirtd"), package="libvirt-daemon", needed=True, use="drives QEMU"
    ),
    Program(names=("nft",), package="nftables", needed=True, use="connects guests"),
    Program(names=("ip",), package="iproute2", needed=True, use="connects pods"),
    Program(names=("nsenter",), package="util-linux", needed=True, use="enters pods"),
    Program(names=("swtpm",), package="swtpm", needed=False, use="TPMs of guests"),
    Program(names=("swtpm_setup",), package="swtpm-tools", needed=False, use="TPMs of guests"),
)
NAT_SCRIPT = """\
table ip mtv_doctor {
  chain prerouting {
    type nat hook prerouting priority -100; policy accept;
    iifname "eth0" counter dnat to 10.0.2.2
  }
  chain postrouting {
    type nat hook postrouting priority 100; policy accept;
    ip saddr 10.0.2.2 counter masquerade
  }
}
"""
NETWORK_SCRIPT = """\
ip link add k6t-eth0 type bridge
ip tuntap add tap0 mode tap user 107
ip link set tap0 master k6t-eth0
ip link add one type veth peer name two
"""


def look_at(data_dir: Path, verdict: Callable[[], Verdict] = kvm_probe.probe) -> Iterator[Finding]:
    """Yield what is found on this machine; volumes are to lie below `data_dir`."""
    yield _system()
    yield _root()
    for program in PROGRAMS:
        yield program_finding(program, _which(program))
    yield _binding()
    yield kvm_finding(verdict())
    yield firmware_finding("UEFI firmware", images.find_firmware(images.EFI_FILES) is not None)
    secure = images.find_firmware(images.EFI_SECURE_FILES) is not None
    yield firmware_finding("Secure Boot firmware", secure)
    yield _tun()
    yield _network()
    yield _nat()
    yield _cgroups()
    yield _loop_devices()
    yield memory_finding(_memory_bytes())
    yield from _volume(data_dir)


def _which(program: Program) -> str:
    found = (shutil.which(name, path=SEARCH_PATH) for name in program.names)
    return next((path for path in found if path), "")


def program_finding(program: Program, path: str) -> Finding:
    """Return the finding on a program that is at `path`, or nowhere. Pure."""
    subject = f"program {program.names[-1]}"
    if path:
        return findings.ok(subject, path)
    remedy = f"apt-get install {program.package}"
    if program.needed:
        return findings.failed(subject, f"not there ({program.use})", remedy)
    return findings.warning(subject, f"not there ({program.use})", remedy)


def _system() -> Finding:
    system, machine, release = platform.system(), platform.machine(), platform.release()
    seen = f"{system} {release} on {machine}"
    if system != "Linux" or machine != "x86_64":
        return findings.failed("system", seen, "use a machine with Linux on x86_64")
    numbers = [int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit()]
    if tuple(numbers) < OLDEST_KERNEL:
        return findings.failed("system", seen, "use a kernel of 5.10 or later")
    return findings.ok("system", seen)


def _root() -> Finding:
    if os.geteuid() == 0:
        return findings.ok("user", "root")
    return findings.failed(
        "user", f"uid {os.geteuid()}", "run as root: pods need namespaces, mounts and devices"
    )


def _binding() -> Finding:
    code = "import libvirt; print(libvirt.getVersion())"
    status, said = _run(sys.executable, "-c", code)
    if status == 0 and said.isdigit():
        number = int(said)
        version = f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"
        return findings.ok("libvirt binding", f"works with libvirt {version}")
    return findings.failed(
        "libvirt binding",
        _last(said),
        "apt-get install libvirt-dev gcc pkg-config python3-dev, then install libvirt-python",
    )


def kvm_finding(verdict: Verdict) -> Finding:
    """Return the finding on KVM. Pure."""
    if verdict.usable:
        return findings.ok("KVM", verdict.message)
    remedies = {
        "NoDevice": "switch on virtualisation in the firmware, load kvm_intel or kvm_amd; "
        "on a virtual machine, let its host pass virtualisation on",
        "NoAccess": "run as root",
        "QemuMissing": "apt-get install qemu-system-x86",
    }
    remedy = remedies.get(verdict.reason, "use a machine whose processor virtualises")
    return findings.warning(
        "KVM",
        f"{verdict.reason}: {verdict.message}",
        f"{remedy}; else VMs run slowly, by emulation: `mtv up --emulation allow`",
    )


def firmware_finding(subject: str, present: bool) -> Finding:
    """Return the finding on a kind of OVMF. Pure."""
    if present:
        return findings.ok(subject, "OVMF is there")
    return findings.warning(subject, "no OVMF for it", "apt-get install ovmf")


def _tun() -> Finding:
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC))
    except OSError as fault:
        return findings.failed(
            "/dev/net/tun", fault.strerror or str(fault), "modprobe tun; in a container, pass it in"
        )
    return findings.ok("/dev/net/tun", "opens")


def _network() -> Finding:
    """Make in a namespace of its own what a pod with a guest has."""
    status, said = _run("unshare", "--net", "sh", "-ec", NETWORK_SCRIPT)
    if status == 0:
        return findings.ok("pod network", "namespace, bridge, tap and veth can be made")
    return findings.failed(
        "pod network", _last(said), "the kernel needs bridge, tun and veth, and we need to be root"
    )


def _nat() -> Finding:
    status, said = _run("unshare", "--net", "nft", "-f", "-", content=NAT_SCRIPT)
    if status == 0:
        return findings.ok("address translation", "nft takes our kind of rules")
    return findings.failed(
        "address translation", _last(said), "apt-get install nftables; modprobe nf_tables nft_nat"
    )


def _cgroups() -> Finding:
    try:
        offered = Path("/sys/fs/cgroup/cgroup.controllers").read_text().split()
    except OSError:
        return findings.warning(
            "cgroups", "no cgroup v2", "boot with systemd.unified_cgroup_hierarchy=1"
        )
    missing = [name for name in ("cpu", "memory") if name not in offered]
    if missing:
        return findings.warning(
            "cgroups",
            f"v2, without {', '.join(missing)}",
            "limits of pods are not kept; on a host of your own, delegate these controllers",
        )
    return findings.ok("cgroups", "v2 with cpu and memory")


def _loop_devices() -> Finding:
    if Path("/dev/loop-control").exists():
        return findings.ok("loop devices", "for claims of mode Block")
    return findings.warning("loop devices", "none", "modprobe loop, for claims of mode Block")


def memory_finding(available_bytes: int) -> Finding:
    """Return the finding on memory. Pure."""
    seen = f"{available_bytes / GIB:.1f} GiB available"
    if available_bytes < GOOD_MEMORY_BYTES:
        return findings.warning("memory", seen, "guests need their memory, and ~60 MiB each")
    return findings.ok("memory", seen)


def _memory_bytes() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return 0


def _volume(data_dir: Path) -> Iterator[Finding]:
    """Look at the file system of the volumes: room, a write that reaches the disk, direct I/O."""
    folder = next(path for path in (data_dir, *data_dir.parents) if path.is_dir())
    space = os.statvfs(folder)
    yield space_finding(data_dir, space.f_bavail * space.f_frsize)
    path = folder / f".mtv-doctor-{os.getpid()}"
    try:
        seconds = _write(path)
        direct = images.has_direct_io(path)
    except OSError as fault:
        yield findings.failed(
            "volume write",
            f"{folder}: {fault.strerror}",
            "choose a folder that can be written to: --data-dir",
        )
        return
    finally:
        path.unlink(missing_ok=True)
    rate = WRITTEN_BYTES / MIB / max(seconds, 1e-6)
    yield findings.ok("volume write", f"{WRITTEN_BYTES // MIB} MiB to the disk: {rate:.0f} MiB/s")
    if direct:
        yield findings.ok("direct I/O", "works")
    else:
        yield findings.warning(
            "direct I/O",
            f"not on the file system of {folder}",
            "disks use the page cache (writethrough); ext4 and xfs have direct I/O",
        )


def space_finding(data_dir: Path, free_bytes: int) -> Finding:
    """Return the finding on free space. Pure."""
    seen = f"{free_bytes / GIB:.1f} GiB free for {data_dir}"
    remedy = "make room, or choose another folder: --data-dir"
    if free_bytes < LEAST_DISK_BYTES:
        return findings.failed("disk space", seen, remedy)
    if free_bytes < GOOD_DISK_BYTES:
        return findings.warning("disk space", seen, remedy)
    return findings.ok("disk space", seen)


def _write(path: Path) -> float:
    """Write and read back through the disk; return the seconds of the write. Raises OSError."""
    content = os.urandom(MIB) * (WRITTEN_BYTES // MIB)
    began = time.monotonic()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with mmap.mmap(-1, len(content)) as block:
            block.write(content)
            os.write(descriptor, block)
        os.fsync(descriptor)
        seconds = time.monotonic() - began
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        if os.pread(descriptor, len(content), 0) != content:
            raise OSError(5, "what was read is not what was written")
    finally:
        os.close(descriptor)
    return seconds


def _run(*command: str, content: str = "") -> tuple[int, str]:
    """Return the exit status and everything that a program said; 127 where it is missing."""
    try:
        done = subprocess.run(
            command,
            input=content,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PROGRAM_TIMEOUT_S,
            env={**os.environ, "PATH": SEARCH_PATH},
        )
    except FileNotFoundError:
        return 127, f"{command[0]} is not there"
    except subprocess.TimeoutExpired:
        return 124, f"{command[0]} did not end in {PROGRAM_TIMEOUT_S:.0f} s"
    return done.returncode, done.stdout.strip()


def _last(said: str) -> str:
    return (said.splitlines() or ["no reason given"])[-1][:200]
