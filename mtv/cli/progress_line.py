"""One line on a terminal that shows how far a copy is. Pure, but for `shown`."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from converters.conversion import Stage

_REDRAW_S = 0.2
_RATE_S = 5.0  # the rate is that of the last seconds
_LOG_S = 10.0
_BAR = 24


@contextmanager
def shown(name: str, *, quiet: bool = False) -> Iterator[Callable[[Stage], None]]:
    """Show stages on stderr: a line that is redrawn on a terminal, else one now and then."""
    if quiet or sys.stderr is None:  # it may be closed
        yield lambda stage: None
        return
    line = _Line(name, terminal=sys.stderr.isatty())
    try:
        yield line.show
    finally:
        line.clear()


class _Line:
    def __init__(self, name: str, *, terminal: bool) -> None:
        self._name = name
        self._terminal = terminal
        self._drawn = 0.0 if terminal else time.monotonic()
        self._seen: list[tuple[float, int]] = []
        self._stage = ""

    def show(self, stage: Stage) -> None:
        now = time.monotonic()
        if stage.name != self._stage:
            self._stage, self._seen = stage.name, []
        self._seen.append((now, stage.progress.settled_bytes))
        while len(self._seen) > 2 and now - self._seen[0][0] > _RATE_S:
            del self._seen[0]
        if now - self._drawn < (_REDRAW_S if self._terminal else _LOG_S):
            return
        self._drawn = now
        text = render(self._name, stage, rate(self._seen))
        if self._terminal:
            width = max(shutil.get_terminal_size().columns - 1, 20)
            print(f"\r\x1b[K{text[:width]}", end="", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def rate(seen: list[tuple[float, int]]) -> float:
    """Return bytes per second over what was seen: (time, bytes)."""
    seconds = seen[-1][0] - seen[0][0]
    return (seen[-1][1] - seen[0][1]) / seconds if seconds > 0 else 0.0


def render(name: str, stage: Stage, bytes_per_s: float) -> str:
    """Return the line: `web1.vmdk  copying   45 % [####    ] 1.8 of 4.0 GiB  812 MiB/s  0:03`."""
    progress = stage.progress
    done = progress.settled_bytes / max(progress.capacity_bytes, 1)
    left = progress.capacity_bytes - progress.settled_bytes
    eta = duration(left / bytes_per_s) if bytes_per_s > 0 else "-:--"
    bar = "#" * int(done * _BAR)
    return (
        f"{name}  {stage.name} {done * 100:3.0f} % [{bar:<{_BAR}}] "
        f"{size(progress.settled_bytes)} of {size(progress.capacity_bytes)}  "
        f"{size(bytes_per_s)}/s  {eta} left"
    )


def size(count: float) -> str:
    """Return a count of bytes for people: `1.4 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def duration(seconds: float) -> str:
    """Return seconds as `1:02` or `3:04:05`."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
