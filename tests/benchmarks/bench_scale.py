"""What a hundred nodes with ten thousand VMs would ask of the API server, and a night of copying.

    bench_scale.py                     the model, from the coefficients below
    bench_scale.py --nodes 20 --vms 800 --terabytes 5
    bench_scale.py --measure COMMAND…  what a command costs the API server of the cluster that
                                       kubectl reaches: calls, watch events, bytes

The first prints, for each load, calls and watch traffic per second, and measures here and now what
a controller needs to read all VMs after a restart: time and memory.
"""

from __future__ import annotations

import argparse
import collections
import re
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "operator"), str(ROOT / "tests")]

WRITES = ("POST", "PUT", "PATCH", "APPLY", "DELETE")
READS = ("GET", "LIST")
NIGHT_S = 8 * 3600.0
# Measured on a two-node Kubernetes 1.34 with --measure; docs/scale.md says how.
HEARTBEAT_PERIOD_S, LEASE_PERIOD_S, LEADERS, REPORT_PERIOD_S = 60.0, 2.0, 3, 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one thing that happens costs the API server."""

    writes: float
    reads: float
    watch_events: float  # as sent, to all watchers together
    watch_bytes: float


START = Cost(writes=46, reads=30, watch_events=195, watch_bytes=415_000)
STOP = Cost(writes=34, reads=23, watch_events=140, watch_bytes=510_000)
MOVE = Cost(writes=49, reads=45, watch_events=250, watch_bytes=660_000)
HEARTBEAT = Cost(writes=2, reads=0, watch_events=16, watch_bytes=37_000)
REPORT = Cost(writes=1, reads=0, watch_events=3, watch_bytes=7_000)
OBJECT_BYTES = {"VirtualMachine": 3_600, "VirtualMachineInstance": 4_100, "launcher pod": 8_500}
# Of docs/performance.md: processor time of a transfer, and what one stream carries.
CPU_S_PER_GB = 1.5


def main() -> None:
    """Print the model, or measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--vms", type=int, default=10_000)
    parser.add_argument("--terabytes", type=float, default=50.0)
    parser.add_argument("--measure", nargs=argparse.REMAINDER, metavar="COMMAND")
    given = parser.parse_args()
    if given.measure:
        print(measure(given.measure))
        return
    for line in model(given.nodes, given.vms, given.terabytes):
        print(line)
    print(restart(given.vms))


def model(nodes: int, vms: int, terabytes: float) -> list[str]:
    """Return the rows of the table. Pure."""
    gigabytes = terabytes * 1000
    rate = gigabytes / NIGHT_S
    streams = rate / 0.11  # GB/s of one stream on a link of 1 Gbit/s
    loads = {
        "idle": [(HEARTBEAT, nodes / HEARTBEAT_PERIOD_S)],
        "1 % of VMs start within a minute": [(START, vms * 0.01 / 60)],
        "all VMs start within an hour": [(START, vms / 3600)],
        "a node is drained within ten minutes": [(MOVE, vms / nodes / 600)],
        f"{terabytes:g} TB are copied in a night": [(REPORT, streams / REPORT_PERIOD_S)],
    }
    rows = [
        f"{nodes} nodes, {vms} VMs, {terabytes:g} TB in {NIGHT_S / 3600:g} h: "
        f"{rate:.2f} GB/s, {streams:.0f} streams of 110 MB/s, "
        f"{gigabytes * CPU_S_PER_GB / NIGHT_S:.1f} processors for all transfers",
        f"objects: {3 * vms} of VMs, "
        f"{sum(OBJECT_BYTES.values()) * vms / 1e6:.0f} MB in the API server's cache",
        f"leases: {LEADERS / LEASE_PERIOD_S:.1f} writes/s, whatever the size",
        f"{'load':40} {'writes/s':>9} {'reads/s':>9} {'events/s':>9} {'MB/s':>7}",
    ]
    for name, happening in loads.items():
        writes, reads, events, sent = (
            sum(getattr(cost, part) * often for cost, often in happening)
            for part in ("writes", "reads", "watch_events", "watch_bytes")
        )
        rows.append(f"{name:40} {writes:9.1f} {reads:9.1f} {events:9.1f} {sent / 1e6:7.2f}")
    return rows


def restart(count: int) -> str:
    """Return what it costs to read all instances, as a new leader does."""
    import msgspec
    from kubevirt_objects import instance

    from mtv.api import kubevirt

    one = msgspec.json.encode(instance())
    padded = one[:-1] + b',"padding":"' + b"x" * max(0, 4100 - len(one)) + b'"}'
    content = b'{"items":[' + b",".join([padded] * count) + b"]}"

    listed = msgspec.defstruct("Listed", [("items", list[kubevirt.VirtualMachineInstance])])
    before, began = resident(), time.process_time()
    found = msgspec.json.decode(content, type=listed)
    spent = time.process_time() - began
    return (
        f"{len(found.items)} instances ({len(content) / 1e6:.0f} MB) are read in {spent:.2f} s "
        f"of processor time and take {resident() - before} MiB"
    )


def resident() -> int:
    """Return the resident memory of this process, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // (1 << 20)


def measure(command: list[str]) -> str:
    """Return what a command costs the API server, until three seconds after it."""
    before, began = seen(), time.monotonic()
    subprocess.run(command, check=True)
    time.sleep(3)
    spent = {key: value for key, value in (seen() - before).items() if value}
    total: collections.Counter[str] = collections.Counter()
    for (what, resource_), value in spent.items():
        if resource_ != "leases":
            total[what] += value
    lines = [f"{time.monotonic() - began:.0f} s; without leases:"]
    for what in (*WRITES, *READS, "watch events", "watch bytes"):
        parts = sorted(
            ((value, key[1]) for key, value in spent.items() if key[0] == what), reverse=True
        )
        named = ", ".join(f"{name} {value:.0f}" for value, name in parts[:6])
        lines.append(f"{what:13} {total[what]:9.0f}   {named}")
    return "\n".join(lines)


def seen() -> collections.Counter[tuple[str, str]]:
    """Return the API server's counters, by what is counted and the resource."""
    text = subprocess.run(
        ["kubectl", "get", "--raw", "/metrics"], capture_output=True, text=True, check=True
    ).stdout
    found: collections.Counter[tuple[str, str]] = collections.Counter()
    for line in text.splitlines():
        parts = re.fullmatch(r"(\w+)\{(.*)\} (\S+)", line)
        if parts is None:
            continue
        labels: dict[str, Any] = dict(re.findall(r'(\w+)="([^"]*)"', parts[2]))
        name = labels.get("resource") or labels.get("kind") or ""
        if parts[1] == "apiserver_request_total":
            name += f"/{labels['subresource']}" if labels.get("subresource") else ""
            found[str(labels["verb"]), name] += float(parts[3])  # type: ignore[assignment]
        elif parts[1] == "apiserver_watch_events_total":
            found["watch events", name] += float(parts[3])  # type: ignore[assignment]
        elif parts[1] == "apiserver_watch_events_sizes_sum":
            found["watch bytes", name] += float(parts[3])  # type: ignore[assignment]
    return found


if __name__ == "__main__":
    main()
