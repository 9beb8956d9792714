"""What libvirt and QEMU say, in words that name the cause and the way out. Pure.

libvirt has one code for most faults of QEMU (VIR_ERR_INTERNAL_ERROR), with QEMU's last lines in
the message: those are recognised by their words, which have been stable for years. The class of
the error is the stable reason that a user sees in a condition.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from mtv import errors

# virErrorNumber in libvirt/virterror.h.
NO_CONNECT = 5
XML_ERROR = 27
SYSTEM_ERROR = 38
RPC = 39
NO_DOMAIN = 42
OPERATION_INVALID = 55
CONFIG_UNSUPPORTED = 67
OPERATION_TIMEOUT = 68
AGENT_UNRESPONSIVE = 86


class DiskInUse(errors.TargetRefused):
    """Another process has the disk open."""


class OutOfMemory(errors.TargetRefused):
    """The node has too little memory for the guest."""


class KVMUnavailable(errors.TargetRefused):
    """KVM cannot be opened."""


class KVMBroken(errors.TargetRefused):
    """KVM opens and does not work."""


class TapUnavailable(errors.Retryable):
    """The tap device or /dev/net/tun cannot be used."""


class NoDirectIO(errors.TargetRefused):
    """The volume has no direct I/O."""


class MachineTypeUnsupported(errors.BadInput):
    """QEMU has no such machine."""


class CPUModelUnsupported(errors.BadInput):
    """The CPU model does not exist here."""


class TPMFailed(errors.TargetRefused):
    """The TPM emulator did not start."""


class NoSpace(errors.TargetRefused):
    """A file system is full."""


class PermissionDenied(errors.TargetRefused):
    """A file may not be used."""


class FileMissing(errors.TargetRefused):
    """A file is gone."""


class Unsupported(errors.BadInput):
    """This libvirt or QEMU cannot do what the spec asks."""


class WrongState(errors.TargetRefused):
    """The domain's state does not allow the operation."""


class GuestAgentSilent(errors.Retryable):
    """The guest agent is not there or does not answer."""


class LibvirtUnavailable(errors.TargetUnavailable):
    """The VM's libvirtd does not answer."""


class DomainFailed(errors.Retryable):
    """A fault of libvirt or QEMU that we do not know."""


Class = Callable[..., errors.MigrationError]
# Words, class, way out; the first that matches counts.
CAUSES: tuple[tuple[re.Pattern[str], Class, str], ...] = tuple(
    (re.compile(words, re.IGNORECASE), error, hint)
    for words, error, hint in (
        (
            r'failed to get "?(write|shared "write")"? lock|another process using',
            DiskInUse,
            "another QEMU or program has the disk open: stop it, or wait until its pod is gone",
        ),
        (
            r"cannot set up guest memory|cannot allocate memory|out of memory",
            OutOfMemory,
            "the node has too little free memory: lower spec.domain.memory.guest",
        ),
        (
            r"could not access kvm|failed to initialize kvm|accelerator kvm|kvm is not available",
            KVMUnavailable,
            "run `mtv doctor` on the node; emulation must be allowed where KVM is not usable",
        ),
        (
            r"failed to set msr|kvm internal error",
            KVMBroken,
            "KVM does not work on this node: run `mtv doctor` there",
        ),
        (
            r"/dev/net/tun|unable to create tap|tap\d+|could not configure /dev/net",
            TapUnavailable,
            "the tap device and the right to use it come from virt-handler: see its log",
        ),
        (
            r"does not support direct|o_direct|direct=on",
            NoDirectIO,
            "the volume has no direct I/O: leave `cache` out of the disk",
        ),
        (
            r"unsupported machine type|machine type .* not supported|does not support machine",
            MachineTypeUnsupported,
            "use machine type q35",
        ),
        (
            r"unable to find cpu definition|unknown cpu model|cpu.*incompatible|doesn't provide",
            CPUModelUnsupported,
            "use cpu model host-model",
        ),
        (
            r"swtpm|tpm emulator",
            TPMFailed,
            "the TPM emulator did not start; on Debian: apt-get install swtpm swtpm-tools",
        ),
        (r"no space left on device", NoSpace, "a volume or the node's disk is full"),
        (
            r"permission denied|operation not permitted",
            PermissionDenied,
            "uid 107 may not use this file: look at the volume's owner and modes",
        ),
        (
            r"no such file or directory|cannot access storage file",
            FileMissing,
            "a file that the domain needs is gone: look at the volume",
        ),
    )
)


def explain(code: int, message: str, stderr: str = "") -> errors.MigrationError:
    """Return what a libvirt error means, with QEMU's own last words where there are some."""
    text = _sentence(message)
    if code == NO_DOMAIN:
        return errors.NotFound(text)
    if code == OPERATION_INVALID:
        return WrongState(text)
    if code == AGENT_UNRESPONSIVE:
        return GuestAgentSilent(text, hint="is qemu-guest-agent installed and running?")
    if code == OPERATION_TIMEOUT:
        return LibvirtUnavailable(text)
    for source in (text, last_line(stderr)):
        for words, error, hint in CAUSES:
            if words.search(source):
                return error(text if source == text else f"{text}: {source}", hint=hint)
    if code in (XML_ERROR, CONFIG_UNSUPPORTED):
        hint = "the spec asks for something that this node's libvirt or QEMU cannot do"
        return Unsupported(text, field="spec.domain", hint=hint)
    if code in (NO_CONNECT, RPC, SYSTEM_ERROR):
        return LibvirtUnavailable(text)
    said = last_line(stderr)
    return DomainFailed(f"{text}: {said}" if said and said not in text else text)


def last_line(log: str) -> str:
    """Return the last line of QEMU's log that QEMU wrote itself."""
    lines = qemu_lines(log)
    return lines[-1] if lines else ""


def qemu_lines(log: str, most: int = 3) -> list[str]:
    """Return the last lines of a domain's log that are neither libvirt's nor the command line."""
    told = []
    for line in log.splitlines()[-80:]:
        text = re.sub(r"^\d{4}-\d\d-\d\d[T ]\S+Z?:? ", "", line.strip())
        if "qemu-system" in text and not text.startswith(("/", "-", "LC_ALL")):
            told.append(text[:300])
    return told[-most:]


def _sentence(message: str) -> str:
    """Return libvirt's message on one line, without its prefixes and QEMU's time stamps."""
    text = re.sub(r"\d{4}-\d\d-\d\dT\S+Z ", "", " ".join(message.split()))
    return re.sub(r"^(internal error|unsupported configuration|XML error): ", "", text)
