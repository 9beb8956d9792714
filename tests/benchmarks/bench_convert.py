"""The speed of disk conversion, beside its peers in the same run.

    bench_convert.py [--quick] [--only ROW]… [--rounds N] [--folder DIR] [--json FILE] [--write MD]

Each row prints its figure and whether the target is met. A figure of wall time counts only when
the rounds of each contestant lie within 15 % of each other; else the row says `noisy`. All outputs
are compared with the disk they were made from. The JSON file keeps every number and the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent)]

from convert_bench import Bench, Row  # noqa: E402
from convert_local_rows import (  # noqa: E402
    chain,
    memory,
    qcow2_out,
    stream_empty,
    stream_fsync,
    stream_limit,
    stream_mix,
    verify,
)  # fmt: skip
from convert_remote_rows import delta, nbd_map, ova_pipe, range_flat, resume  # noqa: E402

ROWS: dict[str, Callable[[Bench], Row]] = {
    "stream-mix": stream_mix,
    "stream-limit": stream_limit,
    "stream-empty": stream_empty,
    "stream-fsync": stream_fsync,
    "qcow2-out": qcow2_out,
    "chain": chain,
    "nbd-map": nbd_map,
    "delta": delta,
    "ova-pipe": ova_pipe,
    "range-flat": range_flat,
    "memory": memory,
    "resume": resume,
    "verify": verify,
}


def machine() -> dict[str, Any]:
    """Return what the numbers were measured on."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.processor()
    versions = {}
    for program in ("qemu-img", "nbdcopy", "nbdkit"):
        if shutil.which(program):
            done = subprocess.run([program, "--version"], capture_output=True, text=True)
            versions[program] = done.stdout.splitlines()[0] if done.stdout else ""
    return {
        "cpu": model, "cores": os.cpu_count(), "kernel": platform.release(),
        "python": platform.python_version(), "load": os.getloadavg()[0], **versions,
    }  # fmt: skip


def table(rows: list[Row]) -> str:
    """Return the rows as a Markdown table."""
    words = {True: "met", False: "**missed**", None: "noisy"}
    lines = ["| row | measured | target | |", "|---|---|---|---|"]
    lines += [f"| {row.name} | {row.figure} | {row.target} | {words[row.met]} |" for row in rows]
    return "\n".join(lines)


def write_into(page: Path, text: str) -> None:
    """Put the table between the page's markers."""
    head, begin, rest = page.read_text(encoding="utf-8").partition("<!-- measured -->\n")
    _, end, tail = rest.partition("<!-- end -->")
    page.write_text(f"{head}{begin}{text}\n{end}{tail}", encoding="utf-8")


def described(found: dict[str, Any]) -> str:
    """Return the line that says what the table was measured on."""
    tools = ", ".join(str(found[key]) for key in ("qemu-img", "nbdcopy") if key in found)
    return (
        f"{found['cpu']}, {found['cores']} cores, Linux {found['kernel']}, "
        f"Python {found['python']}, {tools}; load average {found['load']:.1f} at the end."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small disks, two rounds")
    parser.add_argument("--only", action="append", choices=ROWS, help="only these rows")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path(".benchmarks/disks"))
    parser.add_argument("--out", type=Path, default=Path("/dev/shm/mtv-bench"))
    parser.add_argument("--json", type=Path, default=Path(".benchmarks/convert.json"))
    parser.add_argument("--write", type=Path, help="put the table into this page")
    arguments = parser.parse_args()
    for folder in (arguments.folder, arguments.out, arguments.json.parent):
        folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(
        folder=arguments.folder.resolve(), out=arguments.out,
        rounds=arguments.rounds or (2 if arguments.quick else 3), quick=arguments.quick,
    )  # fmt: skip
    rows = []
    for name in arguments.only or ROWS:
        print(f"# {name} …", file=sys.stderr, flush=True)
        row = ROWS[name](bench)
        rows.append(row)
        print(f"{row.name}: {row.figure} (target {row.target})", file=sys.stderr, flush=True)
        for run in row.runs:
            print(
                f"    {run.name:32} wall {run.wall_s:7.2f} s  cpu {run.cpu_s:7.2f} s  "
                f"spread {run.spread * 100:3.0f} %",
                file=sys.stderr,
            )
    found = {"machine": machine(), "quick": arguments.quick, "rows": [asdict(row) for row in rows]}
    arguments.json.write_text(json.dumps(found, indent=1))
    print(table(rows))
    if arguments.write:
        page = f"{described(found['machine'])}\n\n{table(rows)}"
        write_into(arguments.write, page)
    shutil.rmtree(arguments.out, ignore_errors=True)


if __name__ == "__main__":
    main()
