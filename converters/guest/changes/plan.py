"""All changes of a guest, from what was decided."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from converters.guest.changes import disk_names, initramfs, network, services
from converters.guest.changes.change import Change, write
from converters.guest.decision import Decision, Kind
from converters.guest.filesystems.tree import Tree
from converters.guest.inspection.facts import Inspection
from converters.guest.limits import MOST_MODULE


def plan(
    tree: Tree, found: Inspection, decision: Decision, packages: Mapping[str, bytes]
) -> list[Change]:
    """Return the files that shall be different. Reads the guest; changes nothing.

    Raises ConversionError where the guest's files make no sense.
    """
    return list(_changes(tree, found, decision, packages))


def _changes(
    tree: Tree, found: Inspection, decision: Decision, packages: Mapping[str, bytes]
) -> Iterator[Change]:
    guest = found.linux
    if guest is None or not decision.intents:
        return
    links = {}
    if decision.names and network.knows_link_files(tree):
        links = network.link_files(decision.names)
    extended = set()
    for kernel in guest.kernels:
        wanted = kernel.initramfs and not kernel.problem and kernel.initramfs not in extended
        if wanted and (kernel.lacks or "virtio_net" in kernel.in_initramfs):
            extended.add(kernel.initramfs)
            yield from initramfs.extend(tree, kernel, links)
    if decision.of(Kind.NEXT_INITRAMFS):
        yield from initramfs.keep(tree)
    yield from disk_names.change(tree, found.volumes, serial=bool(decision.of(Kind.CONSOLE)))
    yield from network.change(tree, decision.names)
    yield from services.mask(tree, [one.subject for one in decision.of(Kind.SERVICE)])
    if decision.of(Kind.AGENT):
        yield from services.first_boot(tree, guest.packages, packages)
    for intent in decision.of(Kind.FALLBACK_LOADER):
        loader = tree.read(f"/boot/efi{intent.subject}", MOST_MODULE)
        yield write("/boot/efi/EFI/BOOT/BOOTX64.EFI", loader, intent.reason)
