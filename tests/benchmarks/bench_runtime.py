"""How light and fast the runtime of VMs is, on an embedded node of this machine. Needs root.

    bench_runtime.py [--vms N] [--starts N] [--json FILE]

Prints each number beside what it must be: from the order to start to the firmware and to Running,
what a VM costs beside its guest's memory (PSS: what is shared is counted once), N at once.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "operator"), str(ROOT / "tests")]

import homes  # noqa: E402 - needs the path

from mtv.api import well_known  # noqa: E402

NETWORK = 233
MEMORY_MIB = 128
PATIENCE_S = 300.0
LOOK_S = 0.02
SETTLE_S = 5.0
VMS = "/apis/kubevirt.io/v1/namespaces/default/virtualmachines"
VMIS = "/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstances"
SUBRESOURCES = "/apis/subresources.kubevirt.io/v1/namespaces/default/virtualmachines"
MAPPING = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ (\d+)\s*(.*)$")
TARGETS = {"firmware_s": 1.5, "running_s": 2.0, "pss_mib": 90.0, "failed": 0}


def machine(name: str) -> dict[str, Any]:
    """Return a VM with a NIC and a disk of its own; its firmware finds nothing to boot."""
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "runStrategy": "Manual",
            "template": {
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "domain": {
                        "devices": {
                            "disks": [{"name": "scratch", "disk": {"bus": "virtio"}}],
                            "interfaces": [{"name": "default", "masquerade": {}}],
                        },
                        "resources": {"requests": {"memory": f"{MEMORY_MIB}Mi", "cpu": "10m"}},
                    },
                    "networks": [{"name": "default", "pod": {}}],
                    "volumes": [{"name": "scratch", "emptyDisk": {"capacity": "64Mi"}}],
                }
            },
        },
    }


def start(client: Any, name: str) -> tuple[float, float]:
    """Start a VM; return the seconds to its firmware, and to Running."""
    began, clock = time.monotonic(), datetime.now(UTC)
    client.raw("PUT", f"{SUBRESOURCES}/{name}/start", {})
    while time.monotonic() - began < PATIENCE_S:
        found = instance(client, name)
        if found.get("status", {}).get("phase") == "Running":
            running = time.monotonic() - began
            text = found["metadata"]["annotations"][well_known.DOMAIN_RUNNING]
            return (datetime.fromisoformat(text) - clock).total_seconds(), running
        time.sleep(LOOK_S)
    raise TimeoutError(f"{name} does not run after {PATIENCE_S:.0f} s")


def instance(client: Any, name: str) -> dict[str, Any]:
    """Return a VMI; empty while there is none."""
    listed = client.raw("GET", VMIS)["items"]
    return next((one for one in listed if one["metadata"]["name"] == name), {})


def stop(client: Any, name: str) -> None:
    """Stop a VM and wait until its instance is gone."""
    client.raw("PUT", f"{SUBRESOURCES}/{name}/stop", {})
    end = time.monotonic() + PATIENCE_S
    while instance(client, name) and time.monotonic() < end:
        time.sleep(LOOK_S)


def processes_of(name: str) -> list[int]:
    """Return the processes of a VM's pod: those in the network namespace of its QEMU."""
    spaces = {}
    mark = f"guest=default_{name},".encode()
    wanted = ""
    for path in Path("/proc").iterdir():
        if not path.name.isdigit():
            continue
        try:
            space = os.readlink(path / "ns/net")
            line = (path / "cmdline").read_bytes()
        except OSError:
            continue
        spaces[int(path.name)] = space
        if mark in line and line.startswith(b"/usr/bin/qemu"):
            wanted = space
    return [pid for pid, space in spaces.items() if space == wanted]


def mappings(pid: int) -> Iterator[tuple[int, str, str, int]]:
    """Yield size, permissions, file and PSS, in bytes, of each mapping of a process."""
    size, permissions, file = 0, "", ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if found := MAPPING.match(line):
            size = int(found[2], 16) - int(found[1], 16)
            permissions, file = found[3], found[5]
        elif line.startswith("Pss:"):
            yield size, permissions, file, int(line.split()[1]) << 10


def cost(name: str) -> dict[str, float]:
    """Return the PSS in MiB of each program of a VM's pod, without what is the guest's.

    The guest's memory is the mapping of its size; an emulator's translated code is the one that is
    no file and can be executed.
    """
    found: dict[str, float] = {}
    for pid in processes_of(name):
        program = Path(f"/proc/{pid}/comm").read_text().strip()
        for size, permissions, file, pss in mappings(pid):
            code = "x" in permissions and not file
            if code or size == MEMORY_MIB << 20:
                continue
            found[program] = found.get(program, 0.0) + pss / (1 << 20)
    return found


def measure(home: homes.Home, vms: int, starts: int) -> dict[str, Any]:
    """Run everything; return the numbers."""
    names = [f"bench-{number}" for number in range(vms)]
    with home.client() as client:
        for name in names:
            client.raw("POST", VMS, machine(name))
        start(client, names[0])  # the node learns what its QEMU can do
        stop(client, names[0])
        seen = []
        for _ in range(starts):
            seen.append(start(client, names[0]))
            time.sleep(SETTLE_S)
            costs = cost(names[0])
            stop(client, names[0])
        began = time.monotonic()
        with ThreadPoolExecutor(vms) as pool:
            ended = [pool.submit(start, client, name) for name in names]
            faults = [one.exception(PATIENCE_S + 30) for one in ended]
        together = time.monotonic() - began
        time.sleep(SETTLE_S)
        many = [sum(cost(name).values()) for name in names]
        events = client.raw("GET", "/api/v1/namespaces/default/events")["items"]
    bad = ("SyncFailed", "FailedCreate", "FailedCreatePodSandBox", "Failed")
    return {
        "firmware_s": statistics.median(one[0] for one in seen),
        "running_s": statistics.median(one[1] for one in seen),
        "pss_mib": sum(costs.values()),
        "pss_by_program_mib": costs,
        "vms": vms,
        "together_s": together,
        "pss_of_many_mib": statistics.mean(many),
        "failed": sum(one is not None for one in faults),
        "warnings": sum(one["reason"] in bad for one in events),
        "load": os.getloadavg()[0],
    }


def say(what: str, value: str, wanted: str = "") -> None:
    print(f"{what:<58}{value:>14}   {wanted}", flush=True)


def report(found: dict[str, Any]) -> None:
    """Print the numbers beside their targets."""
    say("order to firmware", f"{found['firmware_s']:.2f} s", f"at most {TARGETS['firmware_s']} s")
    say("order to Running", f"{found['running_s']:.2f} s", f"at most {TARGETS['running_s']} s")
    say(
        "PSS of a VM beside its memory and translated code",
        f"{found['pss_mib']:.0f} MiB",
        f"at most {TARGETS['pss_mib']:.0f} MiB",
    )
    for program, size in sorted(found["pss_by_program_mib"].items(), key=lambda one: -one[1]):
        say(f"    {program}", f"{size:.0f} MiB")
    say(f"{found['vms']} VMs at once: all run after", f"{found['together_s']:.1f} s")
    say("    that did not", str(found["failed"]), "0")
    say("    warnings", str(found["warnings"]), "0")
    say("    PSS of one of them", f"{found['pss_of_many_mib']:.0f} MiB")
    say("load of the machine, last minute", f"{found['load']:.1f}", "numbers are of an idle one")


def main() -> None:
    """Measure, print, and write the numbers where they are wanted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vms", type=int, default=20)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if os.geteuid() != 0 or not shutil.which("qemu-system-x86_64"):
        print("skipped: needs root and QEMU")
        return
    with homes.home(network=NETWORK) as home:
        found = measure(home, arguments.vms, arguments.starts)
    report(found)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
