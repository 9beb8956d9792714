"""Grain directory and grain tables: where the grains of a sparse extent are in its file.

The three formats that have them (hosted sparse, vmfsSparse, seSparse) differ in the width and the
meaning of the entries only. Tables are read when they are needed, so that neither a large disk nor
a lying header takes memory.
"""

from __future__ import annotations

import functools
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from converters.errors import CorruptImage
from converters.images.layers import ImageBytes, Packing, Run, State, Unit
from converters.images.vmdk.header import SECTOR

ABSENT, ZERO = -1, -2  # in place of a grain's place
_DIRECTORY_STEP = 4096  # entries read at once
_KEPT_TABLES = 16

# Turns the entries of a table or directory into places in bytes, ABSENT or ZERO. Raises BadEntry.
Places = Callable[[tuple[int, ...]], list[int]]


class BadEntry(ValueError):
    """An entry that its format does not know. `number` counts from 0 within the table."""

    def __init__(self, number: int, expected: str) -> None:
        super().__init__(expected)
        self.number = number
        self.expected = expected


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """What the header of a sparse extent says; in bytes."""

    capacity_bytes: int
    grain_bytes: int
    table_entries: int
    entry_format: str  # of struct: "I" or "Q"
    directory_place: int
    directory_entries: int
    table_places: Places
    grain_places: Places

    @property
    def entry_bytes(self) -> int:
        """The size of an entry."""
        return struct.calcsize(self.entry_format)

    @property
    def table_span(self) -> int:
        """How much of the disk a table covers."""
        return self.grain_bytes * self.table_entries


class GrainTables:
    """The layer of a sparse extent. `packing` is given where grains are packed.

    May be used by one thread at a time for looking up; the runs may be read by any.
    """

    def __init__(
        self,
        image: ImageBytes,
        geometry: Geometry,
        *,
        packing: Packing | None = None,
    ) -> None:
        self._image = image
        self._geometry = geometry
        self._packing = packing
        self.capacity_bytes = geometry.capacity_bytes
        self._lock = threading.Lock()
        self._table = functools.lru_cache(maxsize=_KEPT_TABLES)(self._read_table)
        self._directory = functools.lru_cache(maxsize=2)(self._read_directory)

    def runs(self, start: int, end: int) -> Iterator[Run]:
        """Yield the runs of `[start, end)`: neighbouring grains are one run."""
        geometry = self._geometry
        span, grain = geometry.table_span, geometry.grain_bytes
        while start < end:
            index = start // span
            high = min((index + 1) * span, end)
            with self._lock:
                place = self._table_place(index)
                places = self._table(place, index) if place >= 0 else None
            if places is None:
                # Neighbouring tables that do not exist are one run, too: an empty disk of 64 TiB
                # has four million of them.
                high = self._absent_until(index, place, end)
                yield Run(start, high - start, _state(place))
            else:
                base = index * span
                first, last = (start - base) // grain, -(-(high - base) // grain)
                for run in self._table_runs(places, first, last, base):
                    low, stop = max(run.offset, start), min(run.end, high)
                    yield run if run.offset == low and run.end == stop else run.part(low, stop)
            start = high

    def in_order(self) -> bool:
        """Return whether the grains lie in the file in the order of the disk."""
        last = -1
        for index in range(self._geometry.directory_entries):
            with self._lock:
                place = self._table_place(index)
                places = self._table(place, index) if place >= 0 else []
            stored = [place for place in places if place >= 0]
            if stored and (stored[0] <= last or stored != sorted(stored)):
                return False
            last = stored[-1] if stored else last
        return True

    def _absent_until(self, index: int, place: int, end: int) -> int:
        """Return where the tables end that are like this one: absent, or zero."""
        span = self._geometry.table_span
        index += 1
        while index * span < end and index < self._geometry.directory_entries:
            with self._lock:
                entries = self._directory(index // _DIRECTORY_STEP)
            at = index % _DIRECTORY_STEP
            if at == 0 and entries.count(place) == len(entries):
                index += len(entries)
            elif entries[at] == place:
                index += 1
            else:
                break
        return min(index * span, end)

    def _table_runs(self, places: list[int], first: int, last: int, base: int) -> Iterator[Run]:
        grain, image, packing = self._geometry.grain_bytes, self._image, self._packing
        most = 2 * grain + SECTOR  # what is packed is never twice as large
        at = first
        while at < last:
            place = places[at]
            until = at + 1
            offset = base + at * grain
            if place < 0:
                while until < last and places[until] == place:
                    until += 1
                yield Run(offset, (until - at) * grain, _state(place))
            elif packing is None:
                following = place + grain
                while until < last and places[until] == following:
                    until += 1
                    following += grain
                yield Run(offset, (until - at) * grain, State.STORED, image, place)
            else:
                # Mostly the next grain follows, and tells where this one ends.
                step = places[until] - place if until < len(places) else 0
                unit = Unit(packing, offset // SECTOR, step if 0 < step < most else most)
                yield Run(offset, grain, State.PACKED, image, place, unit)
            at = until

    def _table_place(self, index: int) -> int:
        if index >= self._geometry.directory_entries:
            raise CorruptImage(
                file=self._image.name, field="size of the grain directory",
                value=self._geometry.directory_entries, expected=f"at least {index + 1}",
            )  # fmt: skip
        return self._directory(index // _DIRECTORY_STEP)[index % _DIRECTORY_STEP]

    def _read_directory(self, step: int) -> list[int]:
        geometry = self._geometry
        first = step * _DIRECTORY_STEP
        count = min(_DIRECTORY_STEP, geometry.directory_entries - first)
        at = geometry.directory_place + first * geometry.entry_bytes
        raw = self._image.read_at(at, count * geometry.entry_bytes)
        places = self._places(geometry.table_places, raw, at, "grain directory entry")
        last = self._image.size_bytes - geometry.table_entries * geometry.entry_bytes
        self._check(places, at, last, "grain directory entry", "the place of a grain table")
        self._refuse_twins(places, at)
        return places

    def _refuse_twins(self, places: list[int], at: int) -> None:
        """Refuse a directory that names a table twice: a small file would be looked at forever."""
        seen: set[int] = set()
        for number, place in enumerate(places):
            if place >= 0 and place in seen:
                raise CorruptImage(
                    file=self._image.name, offset=at + number * self._geometry.entry_bytes,
                    field="grain directory entry", value=place // SECTOR,
                    expected="the sector of a table of its own",
                )  # fmt: skip
            seen.add(place)

    def _read_table(self, place: int, index: int) -> list[int]:
        geometry = self._geometry
        raw = self._image.read_at(place, geometry.table_entries * geometry.entry_bytes)
        left = geometry.capacity_bytes - index * geometry.table_span
        count = min(-(-left // geometry.grain_bytes), geometry.table_entries)
        raw = raw[: count * geometry.entry_bytes]
        places = self._places(geometry.grain_places, raw, place, "grain table entry")
        # A grain is at least one sector, packed or not; the last of a file may be cut.
        self._check(
            places, place, self._image.size_bytes - 1, "grain table entry", "the place of a grain"
        )
        return places

    def _places(self, meaning: Places, raw: bytes, at: int, field: str) -> list[int]:
        entries = struct.unpack(
            f"<{len(raw) // self._geometry.entry_bytes}{self._geometry.entry_format}", raw
        )
        try:
            return meaning(entries)
        except BadEntry as fault:
            raise CorruptImage(
                file=self._image.name, offset=at + fault.number * self._geometry.entry_bytes,
                field=field, value=entries[fault.number], expected=fault.expected,
            ) from fault  # fmt: skip

    def _check(self, places: list[int], at: int, last: int, field: str, expected: str) -> None:
        if places and max(places) > last:
            number = next(i for i, place in enumerate(places) if place > last)
            raise CorruptImage(
                file=self._image.name, offset=at + number * self._geometry.entry_bytes, field=field,
                value=places[number] // SECTOR,
                expected=f"{expected} within the {self._image.size_bytes // SECTOR} sectors "
                "of the file",
                hint="it was cut short, or is damaged: fetch it again",
            )  # fmt: skip


def _state(place: int) -> State:
    return State.ABSENT if place == ABSENT else State.ZERO


def sectors_to_places(entries: tuple[int, ...]) -> list[int]:
    """Return places for entries that are sectors, 0 for none."""
    return [entry * SECTOR if entry else ABSENT for entry in entries]


def sectors_with_zero_grains(entries: tuple[int, ...]) -> list[int]:
    """Return places for entries that are sectors, 0 for none and 1 for a grain of zeros."""
    return [entry * SECTOR if entry > 1 else ZERO if entry else ABSENT for entry in entries]
