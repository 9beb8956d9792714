"""What an inventory of 1000 VMs costs: our processor time, and memory that is given back.

Targets: at most 4 s of processor time; what stays afterwards is small.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import vcenters

VMS = 1000


def rss_mib() -> int:
    """Return the resident memory of this process, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // (1 << 20)


def main() -> None:
    """Pull twice, and print what the second time cost."""
    with (
        tempfile.TemporaryDirectory() as folder,
        vcenters.running({}, "-extra-vms", str(VMS), folder=Path(folder)) as vcenter,
        vcenter.session() as session,
    ):
        session.pull()
        before, began, walled = rss_mib(), time.process_time(), time.monotonic()
        inventory = session.pull()
        spent, wall = time.process_time() - began, time.monotonic() - walled
        count = len(inventory.vms)
        del inventory
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"{count} VMs: {spent:.2f} s of processor time, {wall:.2f} s, target 4 s")
        print(f"memory: {before} MiB before, {peak} MiB at most, {rss_mib()} MiB afterwards")


if __name__ == "__main__":
    main()
