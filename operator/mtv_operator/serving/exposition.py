"""Metrics in Prometheus' text form, https://prometheus.io/docs/instrumenting/exposition_formats."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Sample:
    """One value; `suffix` is for the parts of a histogram."""

    value: float
    labels: Labels = field(default_factory=dict)
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Family:
    """All values of one name."""

    name: str
    help: str
    type: str = GAUGE
    samples: Sequence[Sample] = ()


def text(families: Iterable[Family]) -> str:
    """Return the families as text; those without samples are left out."""
    return "".join(line for family in families if family.samples for line in _lines(family))


def _lines(family: Family) -> Iterator[str]:
    yield f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.type}\n"
    for one in family.samples:
        labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in one.labels.items())
        shown = f"{{{labels}}}" if labels else ""
        yield f"{family.name}{one.suffix}{shown} {_number(one.value)}\n"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


class Histograms:
    """How often values fell below bounds, by labels. From any thread."""

    def __init__(self, name: str, help: str, bounds: Sequence[float]) -> None:  # noqa: A002
        self.name, self.help, self._bounds = name, help, tuple(bounds)
        self._lock = threading.Lock()
        self._counts: dict[tuple[tuple[str, str], ...], list[int]] = {}
        self._sums: dict[tuple[tuple[str, str], ...], float] = {}

    def observe(self, value: float, labels: Labels) -> None:
        """Count one value."""
        key = tuple(sorted(labels.items()))
        with self._lock:
            counts = self._counts.setdefault(key, [0] * (len(self._bounds) + 1))
            counts[bisect_left(self._bounds, value)] += 1
            self._sums[key] = self._sums.get(key, 0.0) + value

    def family(self) -> Family:
        """Return what was counted."""
        with self._lock:
            found = [sample for key in self._counts for sample in self._of(key)]
        return Family(self.name, self.help, HISTOGRAM, found)

    def _of(self, key: tuple[tuple[str, str], ...]) -> Iterator[Sample]:
        total = 0
        labels = dict(key)
        for bound, count in zip((*self._bounds, None), self._counts[key], strict=True):
            total += count
            yield Sample(
                total, {**labels, "le": "+Inf" if bound is None else f"{bound:g}"}, "_bucket"
            )
        yield Sample(self._sums[key], labels, "_sum")
        yield Sample(total, labels, "_count")
