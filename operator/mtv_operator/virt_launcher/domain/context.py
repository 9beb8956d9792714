"""What the domain's XML depends on besides the VMI: this pod's files, devices and accelerator."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class Accelerator(enum.StrEnum):
    """libvirt's domain types that we use."""

    KVM = "kvm"
    EMULATION = "qemu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """Where a volume's bytes are, as QEMU sees them. `path` is empty for an empty CD drive."""

    path: str
    format: str = "raw"
    block: bool = False
    direct_io: bool = True
    preallocated: bool = False
    read_only: bool = False
    backing: Image | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tap:
    """The tap device that the handler made for one interface."""

    device: str
    mac: str
    mtu: int = 1500
    queues: int = 1
    vhost: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Firmware:
    """A pair of OVMF files: the code, and the template of the variables."""

    code: str
    variables: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Everything that `domain_xml.build` needs and the VMI does not say."""

    accelerator: Accelerator
    images: Mapping[str, Image]
    taps: Mapping[str, Tap]
    serial_socket: str
    serial_log: str
    vnc_socket: str
    agent_socket: str
    nvram: str
    efi: Firmware | None = None
    efi_secure: Firmware | None = None
    emulator: str = "/usr/bin/qemu-system-x86_64"
    cpu_features_off: tuple[str, ...] = ()
    targets: Mapping[str, str] = field(default_factory=dict)
    grace_period_s: int = 30

    @property
    def emulated(self) -> bool:
        """Tell whether the CPU is emulated (TCG)."""
        return self.accelerator is Accelerator.EMULATION
