"""What the rows of the conversion benchmark share: disks, races, probes, figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import disks  # noqa: E402
from race import Contestant, Run, race, raw_digest  # noqa: E402

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
    _paired: list[dict[str, float]] = field(default_factory=list)

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

    def probe(self, text: str, rounds: int = 0, **env: str) -> dict[str, float]:
        """Return what a probe measured in the round that took the least CPU."""
        found = []
        for _ in range(rounds or self.rounds):
            done = subprocess.run(
                f"{PROBE} {text}", shell=True, check=True, capture_output=True,
                env=os.environ | env,
            )  # fmt: skip
            found.append(json.loads(done.stdout))
        return min(found, key=lambda one: one.get("cpu_s", one.get("wall_s", 0)))

    def paired(self) -> list[dict[str, float]]:
        """Return the CPU of a copy and of its parts, each round measured in one process."""
        if not self._paired:
            out = self.out / "probe.out"
            done = subprocess.run(
                f"{PROBE} paired {self.mix_vmdk} {self.mix} {out} {2 * self.rounds}",
                shell=True, check=True, capture_output=True,
            )  # fmt: skip
            self._paired = json.loads(done.stdout)
        return self._paired


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
