"""Races commands: rounds interleaved, the least wall and CPU time of each, output checked.

CPU is user + system of the whole process tree, as wait4(2) counts it. The spread is how far the
rounds of one contestant lie apart: (worst - best) / best of wall time.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_CHUNK = 4 << 20


@dataclass(kw_only=True)
class Contestant:
    """A shell command; `{out}` in it is its output. `digest` is what the output must have."""

    name: str
    command: str
    digest: Callable[[Path], str] | None = None
    env: dict[str, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class Run:
    """The best of a contestant's rounds."""

    name: str
    wall_s: float
    cpu_s: float
    peak_bytes: int
    spread: float
    rounds: int
    output: str = ""


def race(
    contestants: Sequence[Contestant], *, rounds: int, folder: Path, expected: str = ""
) -> list[Run]:
    """Run all of them in turn, again and again; the first output of each is checked.

    Raises RuntimeError for a wrong output.
    """
    seen: dict[str, list[Run]] = {one.name: [] for one in contestants}
    for number in range(rounds):
        order = contestants if number % 2 == 0 else list(reversed(contestants))
        for one in order:
            seen[one.name].append(_once(one, folder, expected if number == 0 else ""))
    return [_best(name, runs) for name, runs in seen.items()]


def _best(name: str, runs: list[Run]) -> Run:
    walls = [run.wall_s for run in runs]
    return Run(
        name=name,
        wall_s=min(walls),
        cpu_s=min(run.cpu_s for run in runs),
        peak_bytes=max(run.peak_bytes for run in runs),
        spread=(max(walls) - min(walls)) / min(walls),
        rounds=len(runs),
        output=runs[-1].output,
    )


def _once(one: Contestant, folder: Path, expected: str) -> Run:
    out = folder / "race.out"
    out.unlink(missing_ok=True)
    with tempfile.TemporaryFile() as log, tempfile.TemporaryFile() as result:
        started = time.perf_counter()
        process = subprocess.Popen(
            ["bash", "-c", one.command.replace("{out}", str(out))],
            stdin=subprocess.DEVNULL, stdout=result, stderr=log, env=os.environ | one.env,
        )  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            raise RuntimeError(f"{one.name} ended with {process.returncode}: {log.read()[-800:]!r}")
        result.seek(0)
        text = result.read().decode()
    if one.digest is not None and expected and one.digest(out) != expected:
        raise RuntimeError(f"{one.name} wrote another disk than was expected")
    out.unlink(missing_ok=True)
    return Run(
        name=one.name,
        wall_s=wall,
        cpu_s=usage.ru_utime + usage.ru_stime,
        peak_bytes=usage.ru_maxrss * 1024,
        spread=0.0,
        rounds=1,
        output=text,
    )


def raw_digest(path: Path) -> str:
    """Return a digest of a raw disk that counts data only, so that holes are not read."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        digest.update(size.to_bytes(8, "little"))
        at = 0
        while at < size:
            try:
                low = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            at = low // _CHUNK * _CHUNK
            high = os.lseek(file.fileno(), low, os.SEEK_HOLE)
            while at < high:
                content = os.pread(file.fileno(), _CHUNK, at)
                for start in range(0, len(content), 65536):
                    block = content[start : start + 65536]
                    if block.strip(b"\0"):
                        digest.update((at + start).to_bytes(8, "little") + block)
                at += _CHUNK
    return digest.hexdigest()


def image_digest(path: Path) -> str:
    """Return the digest of what qemu-img reads in an image."""
    raw = path.with_suffix(".as-raw")
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(path), str(raw)], check=True)
    try:
        return raw_digest(raw)
    finally:
        raw.unlink()
