"""What this node's guests use, under KubeVirt's names. Asked of the launchers at each scrape.

A launcher that does not answer in time is left out, and counts as not scraped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mtv import errors
from mtv.api import kubevirt
from mtv_operator.serving.exposition import COUNTER, GAUGE, Family, Sample
from mtv_operator.virt_handler import launcher_socket
from mtv_operator.virt_launcher import protocol

Vmi = kubevirt.VirtualMachineInstance
Figures = Mapping[str, int | float | str]

AT_ONCE = 8
TIMEOUT_S = 3.0
KIB, NANO = 1024.0, 1e-9
VCPU_STATES = {0: "offline", 1: "running", 2: "blocked"}  # virVcpuState

# Metric, its type, libvirt's figure and the factor to our unit.
_DOMAIN = (
    ("cpu_usage_seconds_total", COUNTER, "cpu.time", NANO),
    ("cpu_user_usage_seconds_total", COUNTER, "cpu.user", NANO),
    ("cpu_system_usage_seconds_total", COUNTER, "cpu.system", NANO),
    ("memory_resident_bytes", GAUGE, "balloon.rss", KIB),
    ("memory_available_bytes", GAUGE, "balloon.available", KIB),
    ("memory_unused_bytes", GAUGE, "balloon.unused", KIB),
    ("memory_usable_bytes", GAUGE, "balloon.usable", KIB),
    ("memory_cached_bytes", GAUGE, "balloon.disk_caches", KIB),
    ("memory_actual_balloon_bytes", GAUGE, "balloon.current", KIB),
    ("memory_domain_bytes", GAUGE, "balloon.maximum", KIB),
    ("memory_pgmajfault_total", COUNTER, "balloon.major_fault", 1.0),
    ("memory_pgminfault_total", COUNTER, "balloon.minor_fault", 1.0),
    ("memory_swap_in_traffic_bytes", GAUGE, "balloon.swap_in", KIB),
    ("memory_swap_out_traffic_bytes", GAUGE, "balloon.swap_out", KIB),
)
_NETWORK = (
    ("network_receive_bytes_total", "rx.bytes"),
    ("network_transmit_bytes_total", "tx.bytes"),
    ("network_receive_packets_total", "rx.pkts"),
    ("network_transmit_packets_total", "tx.pkts"),
    ("network_receive_errors_total", "rx.errs"),
    ("network_transmit_errors_total", "tx.errs"),
    ("network_receive_packets_dropped_total", "rx.drop"),
    ("network_transmit_packets_dropped_total", "tx.drop"),
)
_STORAGE = (
    ("storage_read_traffic_bytes_total", "rd.bytes", 1.0),
    ("storage_write_traffic_bytes_total", "wr.bytes", 1.0),
    ("storage_iops_read_total", "rd.reqs", 1.0),
    ("storage_iops_write_total", "wr.reqs", 1.0),
    ("storage_read_times_seconds_total", "rd.times", NANO),
    ("storage_write_times_seconds_total", "wr.times", NANO),
    ("storage_flush_requests_total", "fl.reqs", 1.0),
    ("storage_flush_times_seconds_total", "fl.times", NANO),
)
_VCPU = (("vcpu_wait_seconds_total", "wait"), ("vcpu_delay_seconds_total", "delay"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scraped:
    """One guest and its figures."""

    vmi: Vmi
    figures: Figures
    domain: protocol.Domain | None = None


def collect(
    node: str, vmis: Iterable[Vmi], socket_of: Callable[[Vmi], Path | None]
) -> list[Family]:
    """Ask the launcher of each running guest, and return the metrics."""

    def ask(vmi: Vmi) -> Scraped | None:
        socket = socket_of(vmi)
        if socket is None:
            return None
        try:
            reply = launcher_socket.call(socket, protocol.GetDomainStats(), TIMEOUT_S)
        except (errors.MigrationError, OSError):
            return None
        return Scraped(vmi=vmi, figures=reply.stats, domain=reply.domain)

    running = [one for one in vmis if one.status is not None and one.status.phase == "Running"]
    with ThreadPoolExecutor(max_workers=AT_ONCE, thread_name_prefix="scrape") as pool:
        found = [one for one in pool.map(ask, running) if one is not None]
    return families(node, found)


def families(node: str, scraped: Sequence[Scraped]) -> list[Family]:
    """Return the metrics of guests. Pure."""
    found: dict[str, Family] = {}
    samples: dict[str, list[Sample]] = {}
    for one in scraped:
        metadata = one.vmi.metadata
        labels = {"node": node, "namespace": metadata.namespace, "name": metadata.name}
        for name, kind, value, more in _values(one):
            full = f"kubevirt_vmi_{name}"
            found.setdefault(full, Family(full, f"libvirt: {name.replace('_', ' ')}", kind))
            samples.setdefault(full, []).append(Sample(value, {**labels, **more}))
    up = Family("kubevirt_virt_handler_up", "virt-handler answers", GAUGE, (Sample(1),))
    known = [Family(one.name, one.help, one.type, samples[one.name]) for one in found.values()]
    return [up, *known]


def _values(one: Scraped) -> Iterator[tuple[str, str, float, dict[str, str]]]:
    figures = one.figures
    for name, kind, key, factor in _DOMAIN:
        value = figures.get(key)
        if isinstance(value, int | float):
            yield name, kind, value * factor, {}
    used = _difference(figures, "balloon.available", "balloon.usable")
    if used is not None:
        yield "memory_used_bytes", GAUGE, used * KIB, {}
    yield from _vcpus(figures)
    yield from _interfaces(one)
    yield from _disks(one)
    yield from _file_systems(one)


def _difference(figures: Figures, whole: str, part: str) -> float | None:
    first, second = figures.get(whole), figures.get(part)
    if isinstance(first, int | float) and isinstance(second, int | float):
        return max(first - second, 0)
    return None


def _count(figures: Figures, key: str) -> int:
    value = figures.get(key)
    return value if isinstance(value, int) else 0


def _vcpus(figures: Figures) -> Iterator[tuple[str, str, float, dict[str, str]]]:
    for number in range(_count(figures, "vcpu.maximum")):
        time = figures.get(f"vcpu.{number}.time")
        if not isinstance(time, int | float):
            continue
        state = VCPU_STATES.get(_count(figures, f"vcpu.{number}.state"), "unknown")
        labels = {"id": str(number)}
        yield "vcpu_seconds_total", COUNTER, time * NANO, {**labels, "state": state}
        for name, key in _VCPU:
            value = figures.get(f"vcpu.{number}.{key}")
            if isinstance(value, int | float):
                yield name, COUNTER, value * NANO, labels


def _interfaces(one: Scraped) -> Iterator[tuple[str, str, float, dict[str, str]]]:
    """Yield the traffic of each NIC, called as in the spec."""
    names = [nic.name for nic in one.vmi.spec.domain.devices.interfaces]
    count = _count(one.figures, "net.count")
    for number in range(count):
        tap = str(one.figures.get(f"net.{number}.name", number))
        label = names[number] if len(names) == count else tap
        for name, key in _NETWORK:
            value = one.figures.get(f"net.{number}.{key}")
            if isinstance(value, int | float):
                yield name, COUNTER, value, {"interface": label}


def _disks(one: Scraped) -> Iterator[tuple[str, str, float, dict[str, str]]]:
    """Yield the traffic of each disk, called as its volume."""
    known = one.vmi.status.volume_status if one.vmi.status is not None else ()
    volumes = {volume.target: volume.name for volume in known if volume.target}
    for number in range(_count(one.figures, "block.count")):
        target = str(one.figures.get(f"block.{number}.name", number))
        drive = volumes.get(target, target)
        for name, key, factor in _STORAGE:
            value = one.figures.get(f"block.{number}.{key}")
            if isinstance(value, int | float):
                yield name, COUNTER, value * factor, {"drive": drive}


def _file_systems(one: Scraped) -> Iterator[tuple[str, str, float, dict[str, str]]]:
    guest = one.domain.guest if one.domain is not None else None
    for mounted in guest.file_systems if guest is not None else ():
        labels = {
            "disk_name": mounted.name,
            "mount_point": mounted.mount_point,
            "file_system_type": mounted.kind,
        }
        yield "filesystem_capacity_bytes", GAUGE, mounted.total_bytes, labels
        yield "filesystem_used_bytes", GAUGE, mounted.used_bytes, labels
