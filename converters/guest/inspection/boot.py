"""How a Linux guest boots: loader, configuration, what it names as root, firmware."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from converters.guest import limits
from converters.guest.filesystems.tree import Tree
from converters.guest.inspection.facts import Boot

GENERATED = (
    "/boot/grub/grub.cfg",
    "/boot/grub2/grub.cfg",
    "/boot/efi/EFI/*/grub.cfg",
    "/boot/grub/menu.lst",
    "/boot/grub/grub.conf",
    "/boot/loader/entries/*.conf",
    "/boot/efi/loader/entries/*.conf",
    "/efi/loader/entries/*.conf",
    "/boot/extlinux/extlinux.conf",
    "/boot/syslinux/syslinux.cfg",
    "/boot/extlinux.conf",
)
SOURCES = (
    "/etc/default/grub",
    "/etc/kernel/cmdline",
    "/etc/default/grub.d/*.cfg",
    "/boot/grub2/grubenv",
    "/boot/grub/grubenv",
)
_LOADERS = (
    ("/boot/grub2", "grub2"),
    ("/boot/grub/grub.cfg", "grub2"),
    ("/boot/grub/menu.lst", "grub"),
    ("/boot/grub/grub.conf", "grub"),
    ("/boot/efi/loader/loader.conf", "systemd-boot"),
    ("/boot/loader/loader.conf", "systemd-boot"),
    ("/boot/extlinux", "syslinux"),
    ("/boot/extlinux.conf", "syslinux"),
    ("/boot/syslinux", "syslinux"),
)
_KERNEL_LINE = re.compile(r"^\s*(?:linux(?:16|efi)?|kernel|options|append)\s+(.*)$", re.M | re.I)


def expand(tree: Tree, patterns: Sequence[str]) -> Iterator[str]:
    """Yield the files that patterns with stars in single parts fit."""
    for pattern in patterns:
        paths = [""]
        for part in pattern.split("/")[1:]:
            if "*" in part:
                paths = [hit for path in paths for hit in tree.glob(path or "/", part)][:1000]
            else:
                paths = [f"{path}/{part}" for path in paths]
        yield from (path for path in paths if tree.is_file(path))


def read(tree: Tree, esp: Tree | None, kernels: Sequence[str]) -> Boot:
    """Return how the guest boots. `esp` is its EFI system partition, where there is one."""
    files = list(dict.fromkeys(expand(tree, GENERATED)))
    roots: list[str] = []
    consoles: list[str] = []
    parameters: tuple[str, ...] = ()
    for path in files:
        if tree.size(path) > limits.MOST_CONFIGURATION:
            continue
        for line in _KERNEL_LINE.findall(tree.text(path)):
            words = line.split()
            parameters = parameters or tuple(words[:64])
            roots += [word.removeprefix("root=") for word in words if word.startswith("root=")]
            consoles += [word for word in words if word.startswith("console=")]
    loader = next((name for path, name in _LOADERS if tree.exists(path)), "unknown")
    loaders = tuple(_efi_files(esp)) if esp else ()
    lowered = {name.lower() for name in loaders}
    return Boot(
        firmware="efi" if esp is not None and loaders else "bios",
        loader=loader,
        files=tuple(files),
        roots=tuple(dict.fromkeys(roots)),
        console=tuple(dict.fromkeys(consoles)),
        parameters=parameters,
        fallback=None if esp is None else "/efi/boot/bootx64.efi" in lowered,
        loaders=loaders,
        unified=tuple(name for name in loaders if "/efi/linux/" in name.lower()),
    )


def _efi_files(esp: Tree) -> Iterator[str]:
    """Yield the programs on an EFI system partition, three folders deep."""
    folders = [""]
    for _ in range(3):
        deeper = []
        for folder in folders[:200]:
            for name in esp.names(folder or "/")[:500]:
                path = f"{folder}/{name}"
                if name.lower().endswith(".efi") and esp.is_file(path):
                    yield path
                elif "." not in name:
                    deeper.append(path)
        folders = deeper
