"""What a Windows guest is: whether it was shut down, and which drivers it has."""

from __future__ import annotations

from converters.guest.filesystems.contract import Node, NodeKind
from converters.guest.filesystems.hive import Hive, text
from converters.guest.filesystems.ntfs import Ntfs
from converters.guest.inspection.facts import Volume, Windows

_DRIVERS = ("viostor", "vioscsi", "netkvm", "pvscsi", "vmxnet3", "storahci", "stornvme", "e1i65x64")
_MOST_HIVE = 512 << 20
_AWAKE = {b"wake", b"WAKE", b"\0\0\0\0"}  # how a hiberfil.sys begins that holds nothing


def find(system: Ntfs, path: str) -> Node | None:
    """Return what a path with slashes leads to."""
    node: Node | None = system.root
    for part in path.split("/"):
        if node is None or node.kind is not NodeKind.FOLDER:
            return None
        node = system.child(node, part)
    return node


def is_root(system: Ntfs) -> bool:
    """Whether a Windows is installed on a file system."""
    return find(system, "Windows/System32/config") is not None


def _version(system: Ntfs) -> dict[str, bytes]:
    node = find(system, "Windows/System32/config/SOFTWARE")
    if node is None:
        return {}
    hive = Hive(system.read(node, _MOST_HIVE))
    return hive.values(r"Microsoft\Windows NT\CurrentVersion")


def read(system: Ntfs, root: Volume) -> Windows:
    """Return what a Windows guest is. Raises ConversionError."""
    folder = find(system, "Windows/System32/drivers")
    names = {name.lower() for name in system.entries(folder)} if folder is not None else set()
    drivers = tuple(one for one in _DRIVERS if f"{one}.sys" in names)
    hibernation = find(system, "hiberfil.sys")
    version = _version(system)
    return Windows(
        version=".".join(
            text(version.get(key, b""))[:40] for key in ("CurrentVersion", "CurrentBuildNumber")
        ).strip("."),
        name=text(version.get("ProductName", b""))[:200],
        root=root.device,
        dirty=system.dirty,
        hibernated=hibernation is not None and system.start(hibernation, 4) not in (*_AWAKE, b""),
        drivers=drivers,
        virtio=tuple(one for one in drivers if one in ("viostor", "vioscsi", "netkvm")),
    )
