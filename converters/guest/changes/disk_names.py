"""Names of disks: by UUID wherever the guest says them, boot loaders' generated files included."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from converters.guest import limits
from converters.guest.changes import console
from converters.guest.changes.change import Change, write
from converters.guest.filesystems.tree import Tree
from converters.guest.inspection import boot
from converters.guest.inspection.facts import Volume
from converters.guest.inspection.volumes import meant

_OTHERS = ("/etc/fstab", "/etc/crypttab", "/etc/initramfs-tools/conf.d/*", "/etc/dracut.conf.d/*")
_MAPS = ("/boot/grub/device.map", "/boot/grub2/device.map")
_ENVIRONMENT_BYTES = 1024  # GRUB's environment block never changes its size
_NAME = re.compile(
    r"(?<![\w/.-])/dev/(?:(?:[shv]d|xvd)[a-z]{1,2}\d{0,3}|disk/by-path/[\w:.+-]{1,200})(?![\w/.-])"
)


def steady(text: str, volumes: Sequence[Volume]) -> str:
    """Return a text in which every disk that is known by its place is known by its UUID."""

    def uuid(match: re.Match[str]) -> str:
        volume = meant(match[0], volumes)
        return f"UUID={volume.uuid}" if volume is not None and volume.uuid else match[0]

    return _NAME.sub(uuid, text)


def change(tree: Tree, volumes: Sequence[Volume], *, serial: bool) -> Iterator[Change]:
    """Yield the changes of all files that name disks; with `serial`, a console is added there."""
    seen = set()
    booting = {tree.place(one).full for one in boot.expand(tree, boot.GENERATED)}
    for path in boot.expand(tree, (*_OTHERS, *boot.SOURCES, *boot.GENERATED)):
        path = tree.place(path).full
        if path in seen or tree.size(path) > limits.MOST_CONFIGURATION:
            continue
        seen.add(path)
        old = tree.text(path)
        new = steady(old, volumes)
        if path.startswith("/etc/default/grub"):
            # Otherwise the next kernel's configuration would say /dev/sda1 again.
            new = re.sub(r"(?m)^\s*GRUB_DISABLE_LINUX_(?:PART)?UUID=[\"']?true.*\n?", "", new)
        if serial and (path == "/etc/default/grub" or path in booting):
            new = console.with_console(path, new)
        if path.endswith("/grubenv") and new != old:
            new = _environment(new)
        if new and new != old:
            yield write(
                path,
                new.encode("utf-8", "surrogateescape"),
                "disks by UUID" if not serial else "disks by UUID, serial console",
            )
    for path in _MAPS:
        if tree.is_file(path) and tree.size(path):
            yield write(path, b"", "GRUB makes its own map of disks when it needs one")


def _environment(text: str) -> str:
    """Return GRUB's environment block in its one size, or nothing where it does not fit."""
    text = text.rstrip("#")
    return text.ljust(_ENVIRONMENT_BYTES, "#") if len(text) <= _ENVIRONMENT_BYTES else ""
