"""Rows of the conversion benchmark whose images are local files."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import disks
from convert_bench import MIB, MTV, NOISY, Bench, Row, ratio, raw, verdict
from race import Contestant, image_digest, race, raw_digest


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
    found = bench.paired()
    over = statistics.median(one["copy"] / (one["inflate"] + one["write"]) for one in found)
    best = {key: min(one[key] for one in found) for key in found[0]}
    return Row(
        name="stream-limit", figure=f"{over:.2f} × (inflate {best['inflate']:.2f} s + write "
        f"{best['write']:.2f} s)",
        target="≤ 1.2 ×", met=over <= 1.2, numbers={"rounds": found},
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
        "seSparse": disks.delta_chain(
            bench.mix, small if bench.quick else bench.folder, kind="seSparse"
        ),
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


def verify(bench: Bench) -> Row:
    found = bench.paired()
    more = (statistics.median(one["copy"] / one["copy without sums"] for one in found) - 1) * 100
    return Row(name="verify (xxh3)", figure=f"{more:+.1f} % CPU", target="≤ +3 %", met=more <= 3,
               numbers={"rounds": found})  # fmt: skip
