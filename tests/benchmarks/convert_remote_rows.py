"""Rows of the conversion benchmark whose images come from somewhere else, or come again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import disk_images
import disks
from convert_bench import HERE, MIB, MTV, PROBE, Bench, Row, ratio, raw, verdict
from race import raw_digest


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
    size = min(bench.mix.stat().st_size, 2 << 30)  # nine seconds at this rate
    link = 250_000_000
    good = True
    with tempfile.TemporaryDirectory(dir=bench.out) as name:
        folder = Path(name)
        os.symlink(bench.mix, folder / "flat")
        for latency in (0, 5, 30):
            with https(folder, rate=link, latency=latency / 1000) as port:
                found = bench.probe(
                    f"range https://127.0.0.1:{port}/flat {bench.out / 'probe.out'} 8",
                    rounds=min(bench.rounds, 2),
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


def resume(bench: Bench) -> Row:
    """Kill copies in the middle, start them again, and see how much came twice."""
    disk = bench.small
    digest = raw_digest(disk)
    figures, numbers, worst = [], {}, 0.0
    with tempfile.TemporaryDirectory(dir=bench.out) as name:
        folder = Path(name)
        for file, image in _images(bench, folder).items():
            (folder / file).symlink_to(image.resolve())
        with https(folder) as port, _nbd(disk, folder) as uri:
            for kind, source in {
                "raw file": str(folder / "d.raw"),
                "streamOptimized": str(folder / "s.vmdk"),
                "OVA": str(folder / "vm.ova"),
                "HTTPS ranges": f"https://127.0.0.1:{port}/d.raw",
                "HTTPS streamOptimized": f"https://127.0.0.1:{port}/s.vmdk",
                "NBD": uri,
            }.items():
                env = {"SSL_CERT_FILE": str(folder / "ca.pem")}
                twice = _killed(source, bench.out / "race.out", disk, digest, env)
                numbers[kind], worst = twice, max(worst, twice)
                figures.append(f"{kind} {twice:.0f}")
    return Row(name="resume", figure=f"MiB fetched again: {', '.join(figures)}",
               target="≤ 64 MiB", met=worst <= 64, numbers=numbers)  # fmt: skip


def _images(bench: Bench, folder: Path) -> dict[str, Path]:
    stream = disks.streamed(bench.small, bench.small.with_suffix(".vmdk"))
    content = stream.read_bytes()
    text = disk_images.ovf("disk.vmdk", len(content), bench.small.stat().st_size)
    ova = folder / "packed.ova"
    ova.write_bytes(disk_images.tar([("vm.ovf", text), ("disk.vmdk", content)]))
    return {"d.raw": bench.small, "s.vmdk": stream, "vm.ova": ova}


@contextlib.contextmanager
def _nbd(disk: Path, folder: Path) -> Iterator[str]:
    socket = folder / "nbd"
    # nbdkit 1.32 ends with its client when that is killed in the middle of several requests.
    server = subprocess.Popen(["qemu-nbd", "-t", "-r", "-e", "8", "-f", "raw", "-k", socket, disk])
    try:
        while not socket.exists():
            time.sleep(0.01)
        yield f"nbd+unix:///?socket={socket}"
    finally:
        server.terminate()
        server.wait()


def _killed(source: str, out: Path, disk: Path, digest: str, env: dict[str, str]) -> float:
    """Copy, kill at half the data, copy again; return how many MiB were written twice."""
    out.unlink(missing_ok=True)
    size = sum(len(content) for _, content in disks.grains(disk))
    command = [*MTV.split(), source, str(out), "--disk", "1"]
    first = subprocess.Popen([*command, "--limit", "24M"], env=os.environ | env)
    while not out.exists() or out.stat().st_blocks * 512 < size // 2:
        time.sleep(0.01)
        if first.poll() is not None:
            raise RuntimeError("the copy ended before it could be killed")
    first.send_signal(signal.SIGKILL)
    first.wait()
    written = out.stat().st_blocks * 512
    done = subprocess.run(
        [*command, "-o", "json"], check=True, capture_output=True, env=os.environ | env
    )
    again = json.loads(done.stdout)["disks"][0]
    if raw_digest(out) != digest:
        raise RuntimeError(f"what was continued from {source} is another disk")
    out.unlink()
    return max(float(written + again["writtenBytes"] - size), 0.0) / MIB
