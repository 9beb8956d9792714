"""Reads what containers printed: from the end, from the start, or as it comes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mtv import errors
from mtv_operator.embedded.node.attempts import Attempt, PodFolder

CHUNK = 64 << 10
POLL_S = 0.25  # only while somebody follows


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which part of a log is wanted, as PodLogOptions says it."""

    follow: bool = False
    previous: bool = False
    tail_lines: int | None = None
    limit_bytes: int | None = None
    since_seconds: int | None = None


def parse(query: Mapping[str, str]) -> Wanted:
    """Return the options of a request. Raises BadInput that names the parameter."""
    return Wanted(
        follow=_flag(query, "follow"),
        previous=_flag(query, "previous"),
        tail_lines=_count(query, "tailLines"),
        limit_bytes=_count(query, "limitBytes"),
        since_seconds=_count(query, "sinceSeconds"),
    )


def _flag(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "").lower() in ("true", "1")


def _count(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name, "")
    if not text:
        return None
    if not text.isdigit():
        raise errors.BadInput(f"seen {text!r}, expected a whole number", field=name)
    return int(text)


def choose(folder: PodFolder, container: str, wanted: Wanted) -> Attempt:
    """Return the start of the container whose log is wanted. Raises BadInput when there is none."""
    starts = folder.attempts(container)
    if wanted.previous:
        if len(starts) < 2:
            raise errors.BadInput(f'previous terminated container "{container}" in pod not found')
        return starts[-2]
    if not starts:
        raise errors.BadInput(f'container "{container}" in pod is waiting to start')
    if starts[-1].fault:
        raise errors.BadInput(
            f'container "{container}" in pod is waiting to start: {starts[-1].fault}'
        )
    return starts[-1]


def read(
    path: Path,
    wanted: Wanted,
    *,
    running: Callable[[], bool] = lambda: False,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[bytes]:
    """Yield a log in pieces; with `follow` until the container has ended and all was read."""
    left = wanted.limit_bytes
    with path.open("rb") as file:
        age_s = time.time() - os.fstat(file.fileno()).st_mtime
        if wanted.since_seconds is not None and age_s > wanted.since_seconds:
            file.seek(0, os.SEEK_END)
        if wanted.tail_lines is not None:
            seek_tail(path, file.seek, wanted.tail_lines)
        while left is None or left > 0:
            was_running = wanted.follow and running()  # asked before reading: nothing is missed
            piece = file.read(CHUNK if left is None else min(CHUNK, left))
            if piece:
                left = None if left is None else left - len(piece)
                yield piece
            elif was_running:
                if file.tell() > path.stat().st_size:
                    file.seek(0)  # it was shortened
                pause(POLL_S)
                yield b""  # lets the server notice that nobody listens
            else:
                return


def seek_tail(path: Path, seek: Callable[[int], int], lines: int) -> None:
    """Set the position to where the last `lines` lines begin."""
    size = path.stat().st_size
    position, needed = size, lines
    with path.open("rb") as file:
        if size:
            file.seek(size - 1)
            needed += file.read(1) == b"\n"  # the end of the last line begins no other
        while position > 0 and lines > 0:
            start = max(0, position - CHUNK)
            file.seek(start)
            block = file.read(position - start)
            found = block.count(b"\n")
            if found >= needed:
                index = len(block)
                for _ in range(needed):
                    index = block.rindex(b"\n", 0, index)
                seek(start + index + 1)
                return
            needed -= found
            position = start
    seek(size if lines <= 0 else 0)
