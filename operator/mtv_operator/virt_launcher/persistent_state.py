"""What a VM keeps beside its disks: EFI's variables, and a TPM's contents."""

from __future__ import annotations

from pathlib import Path

from mtv import errors
from mtv.api import kubevirt

FOLDER = "vm-state"  # below Paths.private: where the pod mounts the claim


def keeps_variables(domain: kubevirt.DomainSpec) -> bool:
    """Tell whether EFI's variables outlive the pod."""
    loader = domain.firmware.bootloader if domain.firmware else None
    return loader is not None and loader.efi is not None and bool(loader.efi.persistent)


def keeps_tpm(domain: kubevirt.DomainSpec) -> bool:
    """Tell whether the TPM's contents outlive the pod."""
    tpm = domain.devices.tpm
    return tpm is not None and tpm.enabled is not False and bool(tpm.persistent)


def needed(domain: kubevirt.DomainSpec) -> bool:
    """Tell whether the VM needs a claim for what it keeps."""
    return keeps_variables(domain) or keeps_tpm(domain)


def variables(vmi: kubevirt.VirtualMachineInstance, private: Path) -> Path:
    """Return where EFI's variables are; makes their folder."""
    kept = keeps_variables(vmi.spec.domain)
    folder = _claim(private) / "nvram" if kept else private / "libvirt/qemu/nvram"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{vmi.metadata.name}_VARS.fd"


def place_tpm(vmi: kubevirt.VirtualMachineInstance, private: Path, wanted: Path) -> None:
    """Have libvirt find a TPM that is kept, where it looks for all of them."""
    if not keeps_tpm(vmi.spec.domain):
        return
    folder = _claim(private) / "swtpm"
    folder.mkdir(exist_ok=True)
    wanted.parent.mkdir(parents=True, exist_ok=True)
    if not wanted.is_symlink():
        wanted.symlink_to(folder)


def _claim(private: Path) -> Path:
    folder = private / FOLDER
    if not folder.is_dir():
        raise errors.TargetRefused(
            f"the claim for what the VM keeps is not mounted at {folder}",
            hint="the launcher pod was made for another spec: restart the VM",
        )
    return folder
