"""A boot test: the adapted guest starts in a VM without a network, on overlays of its overlays.

It booted when its agent answers, or a text stands on its serial console; a guest that would do
neither is given a serial console for the trial alone. What it wrote is thrown away. A picture of
the screen and the end of the console are kept where it did not boot.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from converters.errors import GuestError, ProgramFailed
from converters.guest import programs
from converters.guest.application import local, qmp, view, writing
from converters.guest.application.overlay import Overlay
from converters.guest.changes import disk_names
from converters.guest.decision import Bus, Decision, Kind
from converters.guest.inspection import inspect
from converters.guest.inspection.facts import Inspection
from converters.guest.volumes.device import FileDevice

_POLL_S = 0.5
_MOST_CONSOLE = 1 << 20
# A prompt of getty, and what sysvinit, OpenRC and BusyBox say when the root file system is theirs.
_UP = re.compile(
    rb"[\w.-]+ login: ?$|READY boot=|INIT: Entering runlevel|OpenRC [\d.]+ is starting up"
    rb"|Please press Enter to activate this console",
    re.M,
)
_DEAD = re.compile(
    rb"ALERT! [^\r\n]{1,200}|Kernel panic[^\r\n]{0,200}|emergency mode[^\r\n]{0,100}"
    rb"|VFS: Unable to mount root[^\r\n]{0,100}|No bootable device[^\r\n]{0,100}"
    rb"|dracut-initqueue timeout[^\r\n]{0,100}"
)
_FIRMWARE = "/usr/share/OVMF/OVMF_CODE_4M.fd"
_VARIABLES = "/usr/share/OVMF/OVMF_VARS_4M.fd"


class DidNotBoot(GuestError):
    """The adapted guest did not show that it runs; nothing was committed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """How a boot test is done."""

    timeout_s: float = 300
    marker: str = ""
    folder: str = ""  # where a picture and the console are kept; "" for beside the disk
    memory_mib: int = 1024
    kvm: bool = False  # the caller knows that KVM really works here; a broken one is not found out

    def __call__(self, overlays: Sequence[Overlay], decision: Decision, found: Inspection) -> None:
        """Boot. Raises DidNotBoot, or ProgramFailed where there is no QEMU."""
        efi = found.linux is not None and found.linux.boot.firmware == "efi"
        with tempfile.TemporaryDirectory(prefix="mtv-trial-") as scratch:
            made = list(layers(overlays, scratch))
            if not self.marker and is_mute(decision, found):
                give_console(made, [one.size_bytes for one in found.disks])
            paths = [one.path for one in made]
            command = _command(self, paths, decision, scratch, efi=efi)
            with open(os.path.join(scratch, "errors"), "wb") as errors:
                process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors,
                    env=programs.environment(),
                )  # fmt: skip
            try:
                self._watch(process, scratch)
            except DidNotBoot as fault:
                fault.hint = _keep(scratch, self._place(overlays[0].disk))
                raise
            finally:
                process.kill()
                process.wait()

    def _place(self, disk: str) -> str:
        return os.path.join(self.folder, os.path.basename(disk)) if self.folder else disk

    def _watch(self, process: subprocess.Popen[bytes], scratch: str) -> None:
        deadline = time.monotonic() + self.timeout_s
        marker = self.marker.encode()
        while time.monotonic() < deadline:
            text = _console(scratch)
            if (marker and marker in text) or (not marker and _UP.search(text)):
                return
            if qmp.agent_answers(os.path.join(scratch, "agent"), timeout_s=1):
                return
            if dead := _DEAD.search(text):
                raise DidNotBoot(f"the adapted guest does not boot: {programs.shown(dead[0])}")
            if process.poll() is not None:
                with open(os.path.join(scratch, "errors"), "rb") as file:
                    raise ProgramFailed(f"QEMU ended: {programs.shown(file.read(2000))}")
            time.sleep(_POLL_S)
        raise DidNotBoot(f"neither its agent nor its console answered within {self.timeout_s:g} s")


def layers(overlays: Sequence[Overlay], scratch: str) -> Iterator[Overlay]:
    """Yield an overlay of each overlay, for one trial."""
    tool = programs.find("qemu-img", "qemu-utils")
    for number, overlay in enumerate(overlays):
        path = os.path.join(scratch, f"disk{number}.qcow2")
        programs.run([tool, "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", overlay.path, path])
        yield Overlay(path, overlay.path, "qcow2")


def is_mute(decision: Decision, found: Inspection) -> bool:
    """Whether a guest that runs would say so neither by an agent nor on a serial console."""
    if found.linux is None:
        return False
    speaks = found.linux.agent or any("ttyS" in one for one in found.linux.boot.console)
    return not speaks and not decision.of(Kind.CONSOLE)


def give_console(made: Sequence[Overlay], sizes: Sequence[int]) -> None:
    """Add a serial console to the kernel's parameters, for this trial alone."""
    with looked_at(made, sizes) as guest:
        if guest.tree is None:
            return
        changes = list(disk_names.change(guest.tree, guest.inspection.volumes, serial=True))
        sorted_ = local.sort(guest.tree, changes)
    writing.write(guest, sorted_, made)


@contextlib.contextmanager
def looked_at(made: Sequence[Overlay], sizes: Sequence[int]) -> Iterator[inspect.Guest]:
    """Yield the guest as it is in overlays. They are shown as files: a chain leads elsewhere."""
    with contextlib.ExitStack() as stack:
        files = [
            stack.enter_context(
                view.shown(view.Region(image=one.path, format="qcow2", start=0, size_bytes=size))
            )
            for one, size in zip(made, sizes, strict=True)
        ]
        devices = [FileDevice(file) for file in files]
        for one in devices:
            stack.callback(one.close)
        yield inspect.look(devices, files)


def _command(
    boot: Boot, disks: Sequence[str], decision: Decision, scratch: str, *, efi: bool
) -> list[str]:
    command = [
        *programs.dies_with_us(),
        programs.find("qemu-system-x86_64", "qemu-system-x86"),
        "-machine", "q35", "-accel", "kvm" if boot.kvm else "tcg,thread=multi",
        "-cpu", "host" if boot.kvm else "max", "-smp", "1", "-m", str(boot.memory_mib),
        "-display", "none", "-nodefaults", "-vga", "std", "-no-reboot",
        "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        "-serial", f"file:{scratch}/console",
        "-qmp", f"unix:{scratch}/monitor,server=on,wait=off",
        "-device", "virtio-serial-pci",
        "-chardev", f"socket,id=agent,path={scratch}/agent,server=on,wait=off",
        "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
    ]  # fmt: skip
    if efi:
        if not os.path.exists(_FIRMWARE):
            raise ProgramFailed(f"{_FIRMWARE} is not on this machine", hint="install ovmf")
        shutil.copy(_VARIABLES, f"{scratch}/variables")
        command += ["-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={_FIRMWARE}"]
        command += ["-drive", f"if=pflash,unit=1,format=raw,file={scratch}/variables"]
    if decision.bus is Bus.SCSI:
        command += ["-device", "virtio-scsi-pci,id=scsi0"]
    for number, disk in enumerate(disks):
        command += ["-drive", f"file={disk},format=qcow2,if=none,id=d{number},cache=unsafe"]
        command += ["-device", _device(decision.bus, number)]
    for number, (mac, _) in enumerate(decision.names):
        model = "virtio-net-pci" if decision.nic_model == "virtio" else decision.nic_model
        # Its network has no way out, not even to this machine.
        command += ["-netdev", f"user,id=n{number},restrict=on"]
        command += ["-device", f"{model},netdev=n{number},mac={mac}"]
    return command


def _device(bus: Bus, number: int) -> str:
    match bus:
        case Bus.SCSI:
            return f"scsi-hd,bus=scsi0.0,drive=d{number},scsi-id={number}"
        case Bus.VIRTIO:
            return f"virtio-blk-pci,drive=d{number}"
        case Bus.SATA:
            return f"ide-hd,drive=d{number},bus=ide.{number}"


def _console(scratch: str) -> bytes:
    try:
        with open(os.path.join(scratch, "console"), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _MOST_CONSOLE))
            return file.read(_MOST_CONSOLE)
    except FileNotFoundError:
        return b""


def _keep(scratch: str, disk: str) -> str:
    """Keep the screen and the console; return a sentence that says where."""
    kept = []
    picture, console = f"{disk}.mtv-trial.ppm", f"{disk}.mtv-trial.log"
    with contextlib.suppress(OSError, ValueError):
        qmp.ask(f"{scratch}/monitor", ("screendump", {"filename": f"{scratch}/screen"}))
        shutil.copy(f"{scratch}/screen", picture)
        kept.append(picture)
    with open(console, "wb") as file:
        file.write(_console(scratch))
    kept.append(console)
    return f"look at {' and '.join(kept)}; nothing was committed"
