"""How long the light adaptation of a whole Debian takes, and its memory, against virt-v2v.

Prints each number beside what it must be: inspection, adaptation of a fresh copy (wall and CPU
time, peak memory of the process and its programs), the overlay, a second run that changes nothing.
virt-v2v-in-place runs on the same disk where it is installed. Without the built guest
(`make test-guests` builds it) a guest of a few MiB is measured, and the output says so.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import small_guests  # noqa: E402 - needs the path
import vmware_guests  # noqa: E402

RUNS = 3
MOST_S, MOST_MIB = 4.0, 200.0
PROGRAM = "import sys; from mtv.cli.main import run; sys.argv[0] = 'mtv'; run()"


def source(folder: Path) -> tuple[Path, str]:
    """Return the disk that is measured, and what it is."""
    built = vmware_guests.BUILD / "bios-device.raw"
    if built.exists():
        return built, "Debian 12 as on VMware, 2 GiB"
    return small_guests.debian_disk(folder), "a small guest (the whole one is not built)"


def measured(command: list[str]) -> tuple[str, dict[str, float]]:
    """Run a command; return its output, seconds, CPU seconds, peak MiB of its largest process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.monotonic()
    done = subprocess.run(
        ["/usr/bin/env", "-C", str(ROOT), sys.executable, "-c", MEASURE, *command],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    seconds = time.monotonic() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = json.loads(done.stderr.splitlines()[-1])["peak_mib"]
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.stdout, {"s": seconds, "cpu_s": cpu, "peak_mib": peak}


MEASURE = """
import json, resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print(json.dumps({"peak_mib": peak}), file=sys.stderr)
sys.exit(code)
"""


def fresh(disk: Path, copy: Path) -> None:
    """Make a copy that is on the medium wholly: as after a transfer, which ends with fdatasync.

    Otherwise the commit, which must not return before the disk is safe, writes the copy out too:
    that were 20 s on a busy machine, and said nothing of the adaptation.
    """
    subprocess.run(["cp", "--sparse=always", str(disk), str(copy)], check=True)
    with copy.open("rb") as file:
        os.fsync(file.fileno())


def mtv(*arguments: str) -> list[str]:
    """Return a command line of `mtv disk`."""
    return [sys.executable, "-c", PROGRAM, "disk", *arguments]


def show(name: str, value: float, unit: str, most: float | None = None) -> bool:
    """Print one number; say whether it is within its bound."""
    right = most is None or value <= most
    bound = "" if most is None else f"  (at most {most:g} {unit}{'' if right else ': MISSED'})"
    print(f"{name:<44} {value:10.2f} {unit}{bound}")
    return right


def light(disk: Path, folder: Path) -> bool:
    """Measure inspection and adaptation."""
    nic = f"{vmware_guests.MAC}=ens192"
    looks = [measured(mtv("inspect", str(disk), "-o", "json"))[1] for _ in range(RUNS)]
    show("inspection, whole process", statistics.median(one["s"] for one in looks), "s")
    rows: list[dict[str, float]] = []
    stages: list[dict[str, Any]] = []
    copy = folder / "copy.raw"
    for _ in range(RUNS):
        fresh(disk, copy)
        out, row = measured(mtv("adapt", str(copy), "--nic", nic, "-o", "json"))
        rows.append(row)
        stages.append(json.loads(out))
    # Where others want the processors, a clock on the wall measures them, too.
    busy = os.getloadavg()[0] > (os.cpu_count() or 1)
    wall_s, cpu_s = min(row["s"] for row in rows), min(row["cpu_s"] for row in rows)
    right = show("adaptation, whole process", wall_s, "s", None if busy else MOST_S)
    right &= show("adaptation, CPU", cpu_s, "s", MOST_S)
    if busy:
        print("  this machine is busy: the bound is held against the CPU time alone")
    right &= show("adaptation, peak memory", max(row["peak_mib"] for row in rows), "MiB", MOST_MIB)
    for name in stages[0]["seconds"]:
        show(f"  of it: {name}", min(one["seconds"][name] for one in stages), "s")
    show("overlay", stages[0]["overlayBytes"] / (1 << 20), "MiB")
    out, row = measured(mtv("adapt", str(copy), "--nic", nic, "-o", "json"))
    assert json.loads(out)["changes"] == []
    show("second run, which changes nothing", row["s"], "s")
    return right


def peer(disk: Path, folder: Path) -> None:
    """Measure virt-v2v-in-place on the same disk, where it is installed."""
    tool = shutil.which("virt-v2v-in-place")
    if tool is None:
        print("virt-v2v-in-place is not installed: not compared")
        return
    copy = folder / "v2v.raw"
    fresh(disk, copy)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.monotonic()
    settings = {"LIBGUESTFS_BACKEND": "direct", "LIBGUESTFS_BACKEND_SETTINGS": "force_tcg"}
    subprocess.run([tool, "-i", "disk", str(copy)], check=True, capture_output=True,
                   env={**os.environ, **settings})  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    show("virt-v2v-in-place on the same disk", time.monotonic() - begin, "s")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    show("virt-v2v-in-place, CPU", cpu, "s")


def main() -> int:
    """Run everything."""
    if reason := small_guests.can_change():
        print(f"skipped: {reason}")
        return 0
    with tempfile.TemporaryDirectory(prefix="mtv-bench-", dir="/var/tmp") as scratch:
        folder = Path(scratch)
        disk, what = source(folder)
        print(f"guest: {what}; load of this machine {os.getloadavg()[0]:.1f}")
        right = light(disk, folder)
        peer(disk, folder)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
