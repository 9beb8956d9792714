"""The initramfs: drivers appended, and asked for whenever the guest makes a new one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from converters.errors import CorruptGuest
from converters.guest import limits
from converters.guest.changes.change import Action, Change, write
from converters.guest.filesystems.tree import Tree
from converters.guest.initramfs import archive, modules
from converters.guest.inspection import linux
from converters.guest.inspection.facts import DRIVERS, Kernel

NOTE = "# Added by mtv when this machine was moved from VMware.\n"


def extend(tree: Tree, kernel: Kernel, links: Mapping[str, bytes]) -> Iterator[Change]:
    """Yield the change that gives an initramfs the drivers that it lacks, and names of NICs.

    The archive that is appended has the modules of the guest's own kernel and an index of all
    modules that are in the initramfs then. What is in it already is not appended again.
    """
    image = tree.read(kernel.initramfs, limits.MOST_INITRAMFS)
    contents = archive.read(image)
    extra = {
        path.lstrip("/"): content
        for path, content in links.items()
        if bytes(contents.files.get(path.lstrip("/"), b"")) != content
    }
    if kernel.lacks:
        extra |= _drivers(tree, kernel, contents)
    if not extra:
        return
    grown = archive.append(image, archive.build(extra))
    if len(grown) > limits.MOST_INITRAMFS:
        raise CorruptGuest(f"{kernel.initramfs} would have {len(grown)} bytes")
    yield Change(
        action=Action.WRITE,
        path=kernel.initramfs,
        content=grown,
        grows=True,
        reason=f"{len(kernel.lacks)} modules and {len(links)} interface names appended",
    )


def _drivers(tree: Tree, kernel: Kernel, contents: archive.Contents) -> dict[str, bytes]:
    folder = f"{linux.prefix(contents, kernel.version)}lib/modules/{kernel.version}"
    found = {
        f"{folder}/{path}": tree.read(f"{kernel.modules}/{path}", limits.MOST_MODULE)
        for path in kernel.lacks
    }
    present = [*linux.present(contents, kernel.version), *kernel.lacks]
    texts = linux.read_texts(tree, kernel.modules)
    for name, content in modules.build_index(present, texts).items():
        found[f"{folder}/{name}"] = content
    return found


def keep(tree: Tree) -> Iterator[Change]:
    """Yield what makes the guest's own tools put the drivers into each new initramfs."""
    reason = "drivers for every later initramfs"
    path = "/etc/initramfs-tools/modules"
    if tree.is_file(path):
        text = tree.text(path)
        missing = [one for one in DRIVERS if not re.search(rf"^\s*{one}\s*$", text, re.M)]
        if missing:
            text = text if text.endswith("\n") or not text else text + "\n"
            text += NOTE + "\n".join(missing) + "\n"
            yield write(path, text.encode("utf-8", "surrogateescape"), reason)
    if tree.exists("/etc/dracut.conf.d") or tree.exists("/usr/lib/dracut"):
        text = NOTE + f'add_drivers+=" {" ".join(DRIVERS)} "\n'
        if tree.text("/etc/dracut.conf.d/90-mtv-virtio.conf") != text:
            yield write("/etc/dracut.conf.d/90-mtv-virtio.conf", text.encode(), reason)
    path = "/etc/mkinitcpio.conf"
    if tree.is_file(path):
        text = tree.text(path)
        changed = re.sub(r"^MODULES=\(([^)\n]*)\)", _with_drivers, text, count=1, flags=re.M)
        if changed != text:
            yield write(path, changed.encode("utf-8", "surrogateescape"), reason)


def _with_drivers(match: re.Match[str]) -> str:
    words = match[1].split()
    words += [one for one in DRIVERS if one not in words]
    return f"MODULES=({' '.join(words)})"
