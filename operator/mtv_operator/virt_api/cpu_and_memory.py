"""Rules for memory, CPU, resources and firmware. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from mtv import errors
from mtv.api import kubevirt, meta, quantities
from mtv_operator.virt_api.causes import REQUIRED, Cause

LEAST_MEMORY = 1_000_000
MAX_VCPUS = 4096  # beyond what QEMU's q35 has; keeps products small


def causes(domain: kubevirt.DomainSpec, field: str, *, sized: bool) -> list[Cause]:
    """Return what is wrong; `sized`: the guest's memory must be said."""
    found: list[Cause] = []
    found += _quantities(domain, field)
    if found:
        return found
    found += _memory(domain, field, sized=sized)
    found += _limits(domain, field)
    found += _cpu(domain, field)
    found += _firmware(domain, field)
    return found


def _quantities(domain: kubevirt.DomainSpec, field: str) -> Iterator[Cause]:
    """Refuse what is no quantity, or is negative."""
    resources = domain.resources or kubevirt.ResourceRequirements()
    memory = domain.memory or kubevirt.Memory()
    given: list[tuple[str, meta.Quantity | None]] = [
        (f"{field}.memory.guest", memory.guest),
        (f"{field}.memory.maxGuest", memory.max_guest),
    ]
    if memory.hugepages is not None:
        given.append((f"{field}.memory.hugepages.pageSize", memory.hugepages.page_size))
    for part, values in (("requests", resources.requests), ("limits", resources.limits)):
        given += [(f"{field}.resources.{part}.{name}", value) for name, value in values.items()]
    for where, value in given:
        if value is None:
            continue
        try:
            negative = quantities.exact(value) < 0
        except errors.BadInput as fault:
            yield Cause(field=where, message=f"{where}: {fault.message}")
            continue
        if negative:
            message = f"{where} '{value}': must be greater than or equal to 0."
            yield Cause(field=where, message=message)


def _memory(domain: kubevirt.DomainSpec, field: str, *, sized: bool) -> Iterator[Cause]:
    resources = domain.resources or kubevirt.ResourceRequirements()
    memory = domain.memory or kubevirt.Memory()
    pages = memory.hugepages.page_size if memory.hugepages else None
    asked = resources.requests.get("memory")
    guest, requests = f"{field}.memory.guest", f"{field}.resources.requests.memory"
    if memory.guest is None and asked is None and pages is None:
        if sized and "memory" not in resources.limits:
            yield Cause(
                field=guest,
                message=f"no memory requested, at least one of '{guest}', "
                f"'{field}.memory.hugepages.size' or '{requests}' must be set",
                reason=REQUIRED,
            )
        return
    for where, value in ((guest, memory.guest), (requests, asked)):
        if value is not None and quantities.whole(value) < LEAST_MEMORY:
            message = f"{where} '{value}': must be greater than or equal to 1M."
            yield Cause(field=where, message=message)
    size = memory.guest if memory.guest is not None else asked
    if pages is not None and size is not None:
        page = quantities.whole(pages)
        if page <= 0 or quantities.whole(size) % page:
            message = (
                f"{guest} '{size}' is not a multiple of the page size "
                f"{field}.memory.hugepages.pageSize '{pages}'"
            )
            yield Cause(field=guest, message=message)


def _limits(domain: kubevirt.DomainSpec, field: str) -> Iterator[Cause]:
    resources = domain.resources or kubevirt.ResourceRequirements()
    for name, limit in resources.limits.items():
        asked = resources.requests.get(name)
        if asked is None or quantities.exact(limit) == 0:
            continue
        if quantities.exact(asked) > quantities.exact(limit):
            where = f"{field}.resources.requests.{name}"
            message = f"{where} '{asked}' is greater than {field}.resources.limits.{name} '{limit}'"
            yield Cause(field=where, message=message)


def _cpu(domain: kubevirt.DomainSpec, field: str) -> Iterator[Cause]:
    cpu = domain.cpu or kubevirt.CPU()
    for name in ("cores", "sockets", "threads"):
        value = getattr(cpu, name)
        if value is not None and not 0 <= value <= MAX_VCPUS:
            where = f"{field}.cpu.{name}"
            yield Cause(field=where, message=f"{where} must be between 0 and {MAX_VCPUS}")
    count = max(cpu.cores or 1, 1) * max(cpu.sockets or 1, 1) * max(cpu.threads or 1, 1)
    limit = domain.resources.limits.get("cpu") if domain.resources else None
    if limit is not None and 0 < quantities.whole(limit) < count and _said(cpu):
        where = f"{field}.resources.limits.cpu"
        message = f"{where} '{limit}' must be at least the number of vCPUs, {count}"
        yield Cause(field=where, message=message)
    if cpu.max_sockets is not None and cpu.sockets and cpu.max_sockets < cpu.sockets:
        message = "Number of sockets in CPU topology is greater than the maximum sockets allowed"
        yield Cause(field=f"{field}.cpu.sockets", message=message)


def _said(cpu: kubevirt.CPU) -> bool:
    return bool(cpu.cores or cpu.sockets or cpu.threads)


def _firmware(domain: kubevirt.DomainSpec, field: str) -> Iterator[Cause]:
    loader = domain.firmware.bootloader if domain.firmware else None
    if loader is None or loader.efi is None:
        return
    where = f"{field}.firmware.bootloader"
    if loader.bios is not None:
        message = f"{where} has both EFI and BIOS configured, but they are mutually exclusive."
        yield Cause(field=where, message=message)
    smm = domain.features.smm if domain.features else None
    on = smm is not None and smm.enabled is not False
    if loader.efi.secure_boot is not False and not on:
        message = (
            f"{where}.efi has EFI SecureBoot enabled. SecureBoot requires SMM, which is "
            "currently disabled."
        )
        yield Cause(field=f"{where}.efi", message=message)
