"""What a file is, by its first bytes."""

from __future__ import annotations

from enum import StrEnum

from converters.images.vmdk import descriptor, se_sparse

START_BYTES = 512  # how much of a file is looked at
_TAR_MAGIC_AT = 257
_TAR_SUM_AT = 148


class Format(StrEnum):
    """A format that is known, not necessarily one that is read."""

    RAW = "raw"
    VMDK_DESCRIPTOR = "vmdk descriptor"
    VMDK_SPARSE = "vmdk sparse"
    VMDK_VMFS_SPARSE = "vmdk vmfsSparse"
    VMDK_SE_SPARSE = "vmdk seSparse"
    QCOW2 = "qcow2"
    OVA = "ova"
    OVF = "ovf"
    GZIP = "gzip"
    VHDX = "vhdx"
    VHD = "vhd"
    VDI = "vdi"


def identify(start: bytes) -> Format:
    """Return the format of a file that begins so. What is nothing else is raw."""
    for magic, known in (
        (b"KDMV", Format.VMDK_SPARSE),
        (b"COWD", Format.VMDK_VMFS_SPARSE),
        (b"QFI\xfb", Format.QCOW2),
        (b"\x1f\x8b\x08", Format.GZIP),
        (b"vhdxfile", Format.VHDX),
        (b"conectix", Format.VHD),
    ):
        if start.startswith(magic):
            return known
    if se_sparse.is_se_sparse(start):
        return Format.VMDK_SE_SPARSE
    if start[_TAR_MAGIC_AT : _TAR_MAGIC_AT + 5] == b"ustar" or _is_old_tar(start):
        return Format.OVA
    if start[64:68] == b"\x7f\x10\xda\xbe":
        return Format.VDI
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text[:32].lower().startswith(descriptor.OPENING.lower()):
        return Format.VMDK_DESCRIPTOR
    if text.startswith((b"<?xml", b"<Envelope", b"<ovf:Envelope")) and b"\0" not in text:
        return Format.OVF
    return Format.RAW


def _is_old_tar(start: bytes) -> bool:
    """Return whether it begins with a tar header of the time before there was a magic."""
    if len(start) < START_BYTES or not start[0]:
        return False
    said = start[_TAR_SUM_AT : _TAR_SUM_AT + 8].strip(b" \0")
    if not said or said.strip(b"01234567"):
        return False
    counted = sum(start) - sum(start[_TAR_SUM_AT : _TAR_SUM_AT + 8]) + 8 * ord(" ")
    return int(said, 8) == counted
