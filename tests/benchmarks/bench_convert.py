"""The speed of disk conversion, beside its peers in the same run.

    bench_convert.py [--quick] [--only ROW]… [--rounds N] [--folder DIR] [--json FILE] [--write MD]

Each row prints its figure and whether the target is met. A figure of wall time counts only when
the rounds of each contestant lie within 15 % of each other; else the row says `noisy`. All outputs
are compared with the disk they were made from. The JSON file keeps every number and the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import disk_images  # noqa: E402
import disks  # noqa: E402
from race import Contestant, Run, image_digest, race, raw_digest  # noqa: E402

MTV = f"{Path(sys.executable).parent / 'mtv'} convert -q"
PROBE = f"{sys.executable} {HERE / 'probes.py'}"
NOISY = 0.15
MIB = 1 << 20


@dataclass(kw_only=True)
class Row:
    """One line of the table. `met` is None where nothing can be said."""

    name: str
    figure: str
    target: str
    met: bool | None
    runs: list[Run] = field(default_factory=list)
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class Bench:
    """Where disks are kept and how large they are."""

    folder: Path
    out: Path
    rounds: int
    quick: bool

    def __post_init__(self) -> None:
        q = self.quick
        self.small = disks.mixed(
            self.folder / "mix-q.raw", virtual=256, files=60, noise=24, zeros=12
        )
        self.mix = self.small if q else disks.mixed(
            self.folder / "mix.raw", virtual=4096, files=900, noise=400, zeros=236
        )  # fmt: skip
        self.mix_vmdk = disks.streamed(self.mix, self.mix.with_suffix(".vmdk"))
        self.digest = raw_digest(self.mix)

    def race(self, *contestants: Contestant, expected: str = "") -> list[Run]:
        """Race on the output folder."""
        return race(contestants, rounds=self.rounds, folder=self.out, expected=expected)

    def probe(self, text: str, **env: str) -> dict[str, float]:
        """Return what a probe measured, the best CPU of the rounds."""
        return self.probes(text, **env)[0]

    def probes(self, *texts: str, **env: str) -> list[dict[str, float]]:
        """Return what probes measured, run in turn, the best CPU of the rounds for each."""
        seen: list[list[dict[str, float]]] = [[] for _ in texts]
        for _ in range(self.rounds):
            for text, results in zip(texts, seen, strict=True):
                done = subprocess.run(
                    f"{PROBE} {text}", shell=True, check=True, capture_output=True,
                    env=os.environ | env,
                )  # fmt: skip
                results.append(json.loads(done.stdout))
        return [
            min(results, key=lambda one: one.get("cpu_s", one.get("wall_s", 0))) for results in seen
        ]


def raw(name: str, command: str) -> Contestant:
    return Contestant(name=name, command=command, digest=raw_digest)


def ratio(runs: list[Run], mine: str, peers: list[str]) -> tuple[float, float, bool]:
    """Return wall and CPU of the best peer over mine, and whether the rounds agree."""
    by = {run.name: run for run in runs}
    wall = min(by[peer].wall_s for peer in peers) / by[mine].wall_s
    cpu = min(by[peer].cpu_s for peer in peers) / by[mine].cpu_s
    return wall, cpu, all(run.spread <= NOISY for run in runs)


def verdict(met: bool, steady: bool) -> bool | None:
    return met if steady or met else None


def stream_mix(bench: Bench) -> Row:
    vmdk = bench.mix_vmdk
    contestants = [
        raw("mtv", f"{MTV} {vmdk} {{out}}"),
        raw("qemu-img", f"qemu-img convert -O raw {vmdk} {{out}}"),
        raw("qemu-img -W -m 16", f"qemu-img convert -W -m 16 -O raw {vmdk} {{out}}"),
    ]
    if shutil.which("vmdk-convert"):
        contestants.append(raw("open-vmdk", f"vmdk-convert -i {vmdk} {{out}}"))
    runs = bench.race(*contestants, expected=bench.digest)
    wall, cpu, steady = ratio(runs, "mtv", [run.name for run in runs if "qemu" in run.name])
    return Row(
        name="stream-mix", figure=f"{wall:.2f} × wall, {cpu:.2f} × less CPU",
        target="≥ 3 × wall, ≥ 1.9 × less CPU", met=verdict(wall >= 3 and cpu >= 1.9, steady),
        runs=runs,
    )  # fmt: skip


def stream_limit(bench: Bench) -> Row:
    out = bench.out / "probe.out"
    inflate, write, copy = bench.probes(
        f"inflate {bench.mix_vmdk}", f"write {bench.mix} {out}", f"copy {bench.mix_vmdk} {out} 1"
    )
    out.unlink(missing_ok=True)
    limit = inflate["cpu_s"] + write["cpu_s"]
    over = copy["cpu_s"] / limit
    return Row(
        name="stream-limit", figure=f"{over:.2f} × (inflate {inflate['cpu_s']:.2f} s + write "
        f"{write['cpu_s']:.2f} s)",
        target="≤ 1.2 ×", met=over <= 1.2,
        numbers={"inflate": inflate, "write": write, "copy": copy},
    )  # fmt: skip


def stream_empty(bench: Bench) -> Row:
    small = 20480 if not bench.quick else 2048
    content = {"files": 150, "noise": 50, "zeros": 20}
    disk = disks.mixed(bench.folder / f"empty-{small}.raw", virtual=small, **content)
    vmdk = disks.streamed(disk, disk.with_suffix(".vmdk"))
    huge = disks.mixed(bench.folder / "empty-2t.raw", virtual=2 << 20, **content)
    huge_vmdk = disks.streamed(huge, huge.with_suffix(".vmdk"))
    runs = bench.race(
        raw("mtv", f"{MTV} {vmdk} {{out}}"),
        raw("qemu-img", f"qemu-img convert -O raw {vmdk} {{out}}"),
        expected=raw_digest(disk),
    )
    far = bench.race(raw("mtv 2 TiB", f"{MTV} {huge_vmdk} {{out}}"), expected=raw_digest(huge))
    wall, _, steady = ratio(runs, "mtv", ["qemu-img"])
    per_tib = max(far[0].wall_s - runs[0].wall_s, 0) / 2
    return Row(
        name="stream-empty", figure=f"{wall:.2f} × wall; {per_tib:.2f} s per TiB of hole",
        target="≥ 2 ×; ≤ 0.5 s per TiB", met=verdict(wall >= 2 and per_tib <= 0.5, steady),
        runs=runs + far,
    )  # fmt: skip


def stream_fsync(bench: Bench) -> Row:
    folder = bench.folder  # a real file system, where `out` may be in memory
    data = bench.folder / f"{bench.mix.stem}.packed"
    if not data.exists():
        with data.open("wb") as file:
            for _, content in disks.grains(bench.mix):
                file.write(content)
    runs = race(
        [
            raw("mtv", f"{MTV} {bench.mix_vmdk} {{out}}"),
            raw("qemu-img + sync", f"qemu-img convert -O raw {bench.mix_vmdk} {{out}} && "
                "sync {out}"),
            Contestant(name="dd", command=f"dd if={data} of={{out}} bs=2M conv=fsync"),
        ],
        rounds=bench.rounds, folder=folder, expected=bench.digest,
    )  # fmt: skip
    by = {run.name: run for run in runs}
    over = by["mtv"].wall_s / by["dd"].wall_s
    steady = all(run.spread <= NOISY for run in runs)
    return Row(name="stream-fsync", figure=f"{over:.2f} × dd", target="≤ 1.7 ×",
               met=verdict(over <= 1.7, steady), runs=runs)  # fmt: skip


def qcow2_out(bench: Bench) -> Row:
    def image(name: str, command: str) -> Contestant:
        return Contestant(name=name, command=command, digest=image_digest)

    vmdk = bench.mix_vmdk
    runs = bench.race(
        image("mtv", f"{MTV} -f qcow2 {vmdk} {{out}}"),
        image("qemu-img", f"qemu-img convert -O qcow2 {vmdk} {{out}}"),
        image("qemu-img -W -m 16", f"qemu-img convert -W -m 16 -O qcow2 {vmdk} {{out}}"),
        expected=bench.digest,
    )
    wall, _, steady = ratio(runs, "mtv", ["qemu-img", "qemu-img -W -m 16"])
    return Row(name="qcow2 out", figure=f"{wall:.2f} × wall", target="≥ 2 ×",
               met=verdict(wall >= 2, steady), runs=runs)  # fmt: skip


def chain(bench: Bench) -> Row:
    # qemu-img needs two minutes for a large disk of vmfsSparse.
    small = bench.folder / "small"
    small.mkdir(exist_ok=True)
    kinds: dict[str, Path] = {
        "vmfsSparse": disks.delta_chain(bench.small, small, kind="vmfsSparse"),
        "seSparse": disks.delta_chain(bench.mix, bench.folder, kind="seSparse"),
    }
    split = bench.folder / f"{bench.mix.stem}-split.vmdk"
    if not split.exists():
        subprocess.run(
            ["qemu-img", "convert", "-O", "vmdk", "-o", "subformat=twoGbMaxExtentSparse",
             bench.mix, split], check=True,
        )  # fmt: skip
    kinds["twoGbMaxExtentSparse"] = split
    runs, figures, good, steady = [], [], True, True
    for kind, path in kinds.items():
        two = bench.race(
            raw(f"mtv {kind}", f"{MTV} {path} {{out}}"),
            raw(f"qemu-img {kind}", f"qemu-img convert -W -m 16 -O raw {path} {{out}}"),
            expected=raw_digest(bench.small) if kind == "vmfsSparse" else bench.digest,
        )
        wall, _, still = ratio(two, f"mtv {kind}", [f"qemu-img {kind}"])
        figures.append(f"{kind} {wall:.2f} ×")
        good, steady, runs = good and wall >= 2, steady and still, runs + two
    return Row(name="chain", figure=", ".join(figures), target="≥ 2 × wall",
               met=verdict(good, steady), runs=runs)  # fmt: skip


def nbd_map(bench: Bench) -> Row:
    runs, figures, good, steady = [], [], True, True
    for delay in (0, 3, 10):
        slow = f"--filter=delay file {bench.mix} rdelay={delay}ms" if delay else f"file {bench.mix}"
        two = bench.race(
            raw(f"mtv {delay} ms", f"nbdkit -U - {slow} --run '{MTV} \"$uri\" {{out}}'"),
            raw(f"nbdcopy {delay} ms",
                f"truncate -s $(stat -c %s {bench.mix}) {{out}}; "
                f"nbdkit -U - {slow} --run 'nbdcopy --destination-is-zero \"$uri\" {{out}}'"),
            expected=bench.digest,
        )  # fmt: skip
        wall, _, still = ratio(two, f"mtv {delay} ms", [f"nbdcopy {delay} ms"])
        figures.append(f"{delay} ms {wall:.2f} ×")
        good, steady, runs = good and wall >= 0.95, steady and still, runs + two
    return Row(name="nbd-map", figure=", ".join(figures), target="≥ 0.95 × nbdcopy",
               met=verdict(good, steady), runs=runs)  # fmt: skip


def delta(bench: Bench) -> Row:
    size = (100 << 30) if not bench.quick else (4 << 30)
    disk = bench.folder / "delta.raw"
    with disk.open("wb") as file:
        file.truncate(size)
    out = bench.out / "probe.out"
    done = subprocess.run(
        f"nbdkit -U - --filter=noextents file {disk} --run "
        f"'{PROBE} delta \"$uri\" {out} {size}'",
        shell=True, check=True, capture_output=True,
    )  # fmt: skip
    numbers = json.loads(done.stdout)
    out.unlink()
    over = numbers["read_bytes"] / numbers["changed_bytes"]
    rate = numbers["changed_bytes"] / numbers["wall_s"] / MIB
    return Row(name="delta", figure=f"{over:.3f} × the changed bytes, {rate:.0f} MiB/s",
               target="≤ 1.05 ×", met=over <= 1.05, numbers=numbers)  # fmt: skip


def memory(bench: Bench) -> Row:
    huge = bench.folder / "empty-2t.vmdk"
    if not huge.exists():
        stream_empty(bench)
    # A child begins with the peak of the process that made it, so a small one is put between.
    small_parent = (
        f"{sys.executable} -S -c 'import resource, subprocess, sys; subprocess.run(sys.argv[1:], "
        "check=True); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)'"
    )
    runs = bench.race(
        raw("mtv 4 GiB", f"{small_parent} {MTV} {bench.mix_vmdk} {{out}} 2>/dev/null | tail -1"),
        raw("mtv 2 TiB", f"{small_parent} {MTV} {huge} {{out}} 2>/dev/null | tail -1"),
    )
    for run in runs:
        run.peak_bytes = int(run.output.split()[-1]) * 1024
    small, large = (run.peak_bytes / MIB for run in runs)
    return Row(
        name="memory", figure=f"{small:.0f} and {large:.0f} MiB",
        target="< 128 MiB, difference < 8 MiB", met=max(small, large) < 128
        and large - small < 8, runs=runs,
    )  # fmt: skip


def resume(bench: Bench) -> Row:
    """Kill a copy of a flat disk in the middle, start it again, and see how much came twice."""
    out = bench.out / "race.out"
    out.unlink(missing_ok=True)
    size = sum(len(content) for _, content in disks.grains(bench.mix))
    command = [*MTV.split(), str(bench.mix), str(out)]
    first = subprocess.Popen([*command, "--limit", str(max(size // 4, MIB))])
    while not out.exists() or out.stat().st_blocks * 512 < size // 2:
        time.sleep(0.01)
        if first.poll() is not None:
            raise RuntimeError("the copy ended before it could be killed")
    first.send_signal(signal.SIGKILL)
    first.wait()
    written = out.stat().st_blocks * 512
    done = subprocess.run([*command, "-o", "json"], check=True, capture_output=True)
    again = json.loads(done.stdout)["disks"][0]
    if raw_digest(out) != bench.digest:
        raise RuntimeError("what was continued is another disk")
    out.unlink()
    twice = max(written + again["writtenBytes"] - size, 0) / MIB
    return Row(name="resume", figure=f"{twice:.0f} MiB fetched again", target="≤ 64 MiB",
               met=twice <= 64, numbers=again)  # fmt: skip


def verify(bench: Bench) -> Row:
    out = bench.out / "probe.out"
    without, with_sums = bench.probes(
        f"copy {bench.mix_vmdk} {out} 0", f"copy {bench.mix_vmdk} {out} 1"
    )
    out.unlink(missing_ok=True)
    more = (with_sums["cpu_s"] / without["cpu_s"] - 1) * 100
    return Row(name="verify (xxh3)", figure=f"{more:+.1f} % CPU", target="≤ +3 %", met=more <= 3,
               numbers={"with": with_sums, "without": without})  # fmt: skip


@contextlib.contextmanager
def https(folder: Path, *, rate: int = 0, latency: float = 0.0) -> Iterator[int]:
    """Serve a folder; yield the port."""
    server = subprocess.Popen(
        [sys.executable, HERE / "tls_server.py", folder, "--rate", str(rate),
         "--latency", str(latency)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        yield int(server.stdout.readline())
    finally:
        server.terminate()
        server.wait()


def ova_pipe(bench: Bench) -> Row:
    content = bench.mix_vmdk.read_bytes()
    figures, good, numbers = [], True, {}
    with tempfile.TemporaryDirectory(dir=bench.out) as name:
        folder = Path(name)
        text = disk_images.ovf("disk.vmdk", len(content), bench.mix.stat().st_size)
        tar = disk_images.tar([("vm.ovf", text), ("disk.vmdk", content)])
        (folder / "vm.ova").write_bytes(tar)
        for gbit in (1, 4):
            with https(folder, rate=gbit * 125_000_000) as port:
                best = 99.0
                for _ in range(bench.rounds):
                    out = bench.out / "race.out"
                    out.unlink(missing_ok=True)
                    subprocess.run(
                        [*MTV.split(), f"https://127.0.0.1:{port}/vm.ova", out, "--disk", "1"],
                        check=True, capture_output=True,
                        env=os.environ | {"SSL_CERT_FILE": str(folder / "ca.pem")},
                    )  # fmt: skip
                    ended = time.time()
                    best = min(best, ended - float((folder / "last-byte").read_text()))
                    if raw_digest(out) != bench.digest:
                        raise RuntimeError("another disk came out of the OVA")
            figures.append(f"{gbit} Gbit/s {best:.2f} s")
            numbers[f"{gbit} Gbit/s"] = best
            good = good and best <= 0.3
    return Row(name="ova over HTTPS", figure="; ".join(figures), target="≤ 0.3 s after last byte",
               met=good, numbers=numbers)  # fmt: skip


def range_flat(bench: Bench) -> Row:
    figures, numbers = [], {}
    size = bench.mix.stat().st_size
    link = 250_000_000
    good = True
    with tempfile.TemporaryDirectory(dir=bench.out) as name:
        folder = Path(name)
        os.symlink(bench.mix, folder / "flat")
        for latency in (0, 5, 30):
            with https(folder, rate=link, latency=latency / 1000) as port:
                found = bench.probe(
                    f"range https://127.0.0.1:{port}/flat {bench.out / 'probe.out'} 4",
                    BENCH_CA=str(folder / "ca.pem"), BENCH_SIZE=str(size),
                )  # fmt: skip
            share = size / found["wall_s"] / link
            cpu = found["cpu_s"] / (size / 1e9)
            numbers[f"{latency} ms"] = found
            figures.append(f"{latency} ms {share * 100:.0f} % of 2 Gbit/s, {cpu:.2f} s/GB")
            good = good and cpu <= 1.9 and (latency != 5 or share >= 0.95)
    (bench.out / "probe.out").unlink(missing_ok=True)
    return Row(name="range-flat", figure="; ".join(figures), target="≥ 95 % at 5 ms; ≤ 1.9 s/GB",
               met=good, numbers=numbers)  # fmt: skip


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
        rounds=arguments.rounds or (2 if arguments.quick else 5), quick=arguments.quick,
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
