"""Guests as on VMware: built once, booted by QEMU as an ESXi host or as the target would.

A guest has the static address 192.168.77.50 on ens192 and answers HTTP on port 8080 with what it
runs on: that it answers there says that it kept its address. Writes go to a temporary overlay.
"""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass

MAC = "00:50:56:8a:12:34"
GUEST = "192.168.77.50"
BUILD = pathlib.Path(__file__).parent / "guest" / "build" / "vmware"
BUILDER = pathlib.Path(__file__).parent / "guest" / "build_vmware_guest.py"
BAD = (
    r"ALERT!.*|Kernel panic.*|emergency mode.*|Access Denied.*|No bootable device.*"
    r"|dracut-initqueue timeout.*"
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a guest is booted."""

    profile: str = "vmware"
    format: str = "raw"
    slot: int = 0  # PCIe slot number of the NIC
    efi: bool = False
    secure: bool = False
    memory: int = 768
    timeout: float = 240
    agent: bool = False  # wait for the guest agent, too


def disk(firmware: str, fstab: str) -> pathlib.Path:
    """Return a disk of this kind, built at the first call. Needs root and mmdebstrap."""
    path = BUILD / f"{firmware}-{fstab}.raw"
    if not path.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        subprocess.run(
            [sys.executable, BUILDER, "--firmware", firmware, "--fstab", fstab, "--serial",
             "--cache", BUILD, part],
            check=True, capture_output=True,
        )  # fmt: skip
        part.rename(path)
    return path


def agent_packages() -> pathlib.Path:
    """Return a folder with the packages that this guest lacks for the QEMU guest agent."""
    folder = BUILD / "agent"
    if not folder.exists():
        part = BUILD / "agent.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        names = ["qemu-guest-agent", "libnuma1", "liburing2"]
        subprocess.run(["apt-get", "download", "-q", *names], cwd=part, check=True,
                       capture_output=True)  # fmt: skip
        part.rename(folder)
    return folder


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def storage(kind, image, fmt):
    drive = ["-drive", f"file={image},format={fmt},if=none,id=d0,cache=unsafe,discard=unmap"]
    return (
        drive
        + {
            "pvscsi": ["-device", "pvscsi,id=s0", "-device", "scsi-hd,bus=s0.0,drive=d0"],
            "lsi-sas": ["-device", "mptsas1068,id=s0", "-device", "scsi-hd,bus=s0.0,drive=d0"],
            "sata": ["-device", "ide-hd,drive=d0,bus=ide.0"],
            "virtio-blk": ["-device", "virtio-blk-pci,drive=d0"],
            "virtio-scsi": [
                "-device",
                "virtio-scsi-pci,id=s0",
                "-device",
                "scsi-hd,bus=s0.0,drive=d0",
            ],
        }[kind]
    )


def network(model, slot, port):
    args = [
        "-netdev",
        f"user,id=n0,net={GUEST.rsplit('.', 1)[0]}.0/24,"
        f"host={GUEST.rsplit('.', 1)[0]}.1,restrict=on,"
        f"hostfwd=tcp:127.0.0.1:{port}-{GUEST}:8080",
    ]
    bus = ""
    if slot:
        # VMware's virtual ports carry slot numbers 160, 192, 224, 256; systemd
        # names interfaces after them.  The same number keeps the same name.
        args += [
            "-global",
            "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off",
            "-device",
            f"pcie-root-port,id=rp0,chassis=9,slot={slot}",
        ]
        bus = ",bus=rp0"
    return [*args, "-device", f"{model},netdev=n0,mac={MAC}{bus}"]


PROFILES = {
    "vmware": ("pvscsi", "vmxnet3"),
    "vmware-lsi": ("lsi-sas", "vmxnet3"),
    "sata": ("sata", "e1000e"),
    "virtio-blk": ("virtio-blk", "virtio-net-pci"),
    "virtio-scsi": ("virtio-scsi", "virtio-net-pci"),
}


def command(options, image, fmt, scratch, port):
    disk, nic = PROFILES[options.profile]
    args = [
        "qemu-system-x86_64",
        "-machine",
        "q35" + (",smm=on" if options.secure else ""),
        "-accel",
        "tcg,thread=multi",
        "-cpu",
        "max",
        "-smp",
        "1",
        "-m",
        str(options.memory),
        "-display",
        "none",
        "-nodefaults",
        "-vga",
        "std",
        "-no-reboot",
        "-monitor",
        "none",
        "-serial",
        f"file:{scratch}/serial.log",
        "-qmp",
        f"unix:{scratch}/qmp,server=on,wait=off",
        "-device",
        "virtio-serial-pci",
        "-chardev",
        f"socket,id=ga,path={scratch}/ga,server=on,wait=off",
        "-device",
        "virtserialport,chardev=ga,name=org.qemu.guest_agent.0",
    ]
    if options.efi or options.secure:
        suffix = ".ms" if options.secure else ""
        shutil.copy(f"/usr/share/OVMF/OVMF_VARS_4M{suffix}.fd", f"{scratch}/vars.fd")
        code = f"/usr/share/OVMF/OVMF_CODE_4M{'.secboot' if options.secure else ''}.fd"
        args += [
            "-drive",
            f"if=pflash,unit=0,format=raw,readonly=on,file={code}",
            "-drive",
            f"if=pflash,unit=1,format=raw,file={scratch}/vars.fd",
        ]
        if options.secure:
            args += ["-global", "driver=cfi.pflash01,property=secure,value=on"]
    return args + storage(disk, image, fmt) + network(nic, options.slot, port)


def ask(port, timeout=40):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=timeout) as reply:
            return json.load(reply)
    except (OSError, ValueError):
        return None


def agent(path, name):
    """Ask the guest agent; None if it does not answer."""
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10)
            sock.connect(str(path))
            sock.sendall(json.dumps({"execute": name}).encode() + b"\n")
            return json.loads(sock.makefile().readline()).get("return")
    except (OSError, ValueError):
        return None


def boot(image, options):
    """Boot a disk; return what it answered, `ok` False and an `error` where it did not."""
    result = {"profile": options.profile, "ok": False}
    with tempfile.TemporaryDirectory(prefix="boot-") as scratch:
        scratch = pathlib.Path(scratch)
        overlay = scratch / "overlay.qcow2"
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", "-F", options.format, "-b",
             pathlib.Path(image).resolve(), overlay],
            check=True,
        )  # fmt: skip
        port = free_port()
        begin = time.monotonic()
        process = subprocess.Popen(command(options, overlay, "qcow2", scratch, port))
        try:
            _watch(options, scratch, port, begin, process, result)
        finally:
            process.kill()
            process.wait()
    return result


def _watch(options, scratch, port, begin, process, result):
    serial = scratch / "serial.log"
    while time.monotonic() - begin < options.timeout:
        if process.poll() is not None:
            result["error"] = f"QEMU ended with {process.returncode}"
            return
        text = serial.read_text(errors="replace") if serial.exists() else ""
        result["console"] = text[-2000:]
        if "ready" not in result and "READY boot=" in text:
            result["ready"] = round(time.monotonic() - begin, 1)
        if found := re.search(BAD, text):
            result["error"] = found.group().strip()
            return
        # Before READY a long wait would only hide the serial line.
        if status := ask(port, 40 if "ready" in result else 3):
            result["status"] = status
            result.setdefault("answered", round(time.monotonic() - begin, 1))
            if not options.agent or (
                interfaces := agent(scratch / "ga", "guest-network-get-interfaces")
            ):
                result["ok"] = True
                result["agent"] = interfaces if options.agent else None
                return
        time.sleep(0.5)
    result["error"] = f"no answer within {options.timeout} s"
