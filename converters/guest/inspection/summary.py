"""What was found in a guest, in a few short sentences for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from converters.guest.inspection.facts import Inspection, Linux, Windows


def facts(found: Inspection) -> Iterator[str]:
    """Yield sentences about a guest; text of the guest is made printable and short."""
    if found.linux is not None:
        yield from _linux(found.linux)
    elif found.windows is not None:
        yield from _windows(found.windows)
    else:
        yield "no system that is known"
    kinds = sorted({one.kind for one in found.volumes if one.kind})
    yield f"volumes: {', '.join(kinds) or 'none known'}"
    if found.bitlocker:
        yield "BitLocker"
    if found.dynamic_disks:
        yield "dynamic disks"
    for problem in found.problems:
        yield f"problem: {shown(problem)}"


def _linux(guest: Linux) -> Iterator[str]:
    yield f"system: {shown(guest.name)}, {shown(guest.architecture)}"
    roots = ", ".join(shown(one) for one in guest.boot.roots[:4])
    yield f"boot: {guest.boot.firmware}, {guest.boot.loader}, root={roots or 'not found'}"
    if guest.boot.fallback is False:
        yield "boot: no EFI/BOOT/BOOTX64.EFI"
    if guest.boot.unified:
        yield "boot: unified kernel image"
    for kernel in guest.kernels[:4]:
        lack = f"lacks {len(kernel.lacks)} modules" if kernel.lacks else "has virtio"
        yield f"kernel: {shown(kernel.version)} {lack}"
    tools = ", ".join(guest.network.tools) or "unknown"
    names = ", ".join(shown(one.name) for one in guest.network.interfaces[:8])
    yield f"network: {tools}{f' ({names})' if names else ''}"
    if guest.selinux:
        yield f"SELinux: {guest.selinux}"
    yield f"agent: {'installed' if guest.agent else 'not installed'}"
    for where, count in list(guest.free_bytes.items())[:4]:
        yield f"free on {shown(where)}: {count >> 20} MiB"


def _windows(guest: Windows) -> Iterator[str]:
    yield f"system: {shown(guest.name) or 'Windows'} {shown(guest.version)}".rstrip()
    if guest.dirty:
        yield "its file system was not closed cleanly"
    if guest.hibernated:
        yield "it is hibernated (fast startup)"
    yield f"drivers: {', '.join(guest.drivers) or 'none known'}"


def shown(text: str) -> str:
    """Return a guest's text on one line, without control characters, shortened."""
    plain = "".join(one if one.isprintable() else "?" for one in text)
    return plain if len(plain) <= 120 else f"{plain[:117]}..."
