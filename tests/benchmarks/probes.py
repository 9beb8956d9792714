"""What is measured from inside a process: the pure limits, a copy with and without sums, a delta.

    probes.py paired DISK.vmdk DISK.raw OUT N
                                    CPU seconds of nothing but inflating all grains, of nothing but
                                    writing the disk's data, of a copy with and without sums; N
                                    rounds of all of them in turn
    probes.py delta URI OUT SIZE    1 % of the disk in extents of 64 KiB, from NBD
    probes.py range URL OUT N       a flat disk by HTTPS ranges over N connections

Each prints JSON.
"""

from __future__ import annotations

import json
import os
import random
import resource
import ssl
import struct
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[2]))

from converters import extents, pipeline
from converters.extents import Extent
from converters.inflate import inflate
from converters.sinks.raw_file import RawFileSink
from converters.sources.byte_stream import FileStream
from converters.sources.http_connection import Server
from converters.sources.http_range import HttpRange, Part
from converters.sources.nbd_export import NbdExport
from converters.sources.vmdk_stream import VmdkStream

GRAIN = 65536


def cpu_s() -> float:
    """Return the CPU time of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def inflating(path: str) -> float:
    """Inflate all grains from memory; the time counts nothing else."""
    content = memoryview(Path(path).read_bytes())
    places, at = [], 128 * 512
    while at + 16 <= len(content):
        value, size, kind = struct.unpack_from("<QII", content, at)
        if size:
            places.append((at + 12, size))
            at += (12 + size + 511) & -512
        elif kind == 0:
            break
        else:
            at += 512 * (1 + value)
    started = cpu_s()
    for start, size in places:
        inflate(content[start : start + size], GRAIN)
    return cpu_s() - started


def writing(path: str, out: str) -> float:
    """Write the disk's data from memory, 2 MiB at once."""
    buffer = bytearray(2 << 20)
    source = os.open(path, os.O_RDONLY)
    target = os.open(out, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    size = os.fstat(source).st_size
    os.ftruncate(target, size)
    at, spent = 0, 0.0
    while at < size:
        try:
            low = os.lseek(source, at, os.SEEK_DATA)
        except OSError:
            break
        high = os.lseek(source, low, os.SEEK_HOLE)
        for start in range(low, high, len(buffer)):
            view = memoryview(buffer)[: min(len(buffer), high - start)]
            os.preadv(source, [view], start)
            if view.nbytes and view.tobytes().strip(b"\0"):
                started = cpu_s()
                os.pwritev(target, [view], start)
                spent += cpu_s() - started
        at = high
    os.close(source)
    os.close(target)
    os.unlink(out)
    return spent


def copying(path: str, out: str, *, sums: bool) -> float:
    """Copy with or without sums."""
    source, sink = VmdkStream(FileStream(path)), RawFileSink(out)
    started = cpu_s()
    pipeline.copy(source, sink, pipeline.Options(sums=sums))
    spent = cpu_s() - started
    source.close()
    sink.close()
    os.unlink(out)
    return spent


def probe_paired(vmdk: str, raw: str, out: str, rounds: str) -> list[dict[str, float]]:
    """Measure the parts and the whole in turn, so that a busy moment meets all of them."""
    found = []
    for number in range(int(rounds)):
        first = number % 2 == 0
        one = {"inflate": inflating(vmdk), "write": writing(raw, out)}
        for sums in (first, not first):
            one["copy" if sums else "copy without sums"] = copying(vmdk, out, sums=sums)
        found.append(one)
    return found


def probe_delta(uri: str, out: str, size: str) -> dict[str, float]:
    """Apply 1 % of a disk, changed in extents of 64 KiB, to an old copy of it."""
    capacity = int(size)
    chance = random.Random(1)
    places = sorted(chance.sample(range(capacity // GRAIN), max(capacity // GRAIN // 100, 1)))
    delta = extents.merge(Extent(place * GRAIN, GRAIN) for place in places)
    with open(out, "wb") as file:
        file.truncate(capacity)
    source, sink = NbdExport(uri), RawFileSink(out)
    started = time.perf_counter()
    with pipeline.Copy(source, sink, delta=delta) as running:
        running.wait()
        read = running.progress().read_bytes
    wall = time.perf_counter() - started
    source.close()
    return {"changed_bytes": extents.total(delta), "read_bytes": read, "wall_s": wall}


def probe_range(url: str, out: str, connections: str) -> dict[str, float]:
    """Copy a flat disk by ranges; the server's certificate is one of ours, made for the run."""
    parts = urlsplit(url)
    context = ssl.create_default_context(cafile=os.environ["BENCH_CA"])
    server = Server(host=parts.hostname or "", port=parts.port or 443, tls=context)
    size = int(os.environ["BENCH_SIZE"])
    part = Part(offset=0, length=size, target=parts.path)
    source = HttpRange(server, [part], name="flat", connections=int(connections))
    sink = RawFileSink(out)
    started, wall = cpu_s(), time.perf_counter()
    pipeline.copy(source, sink)
    return {"cpu_s": cpu_s() - started, "wall_s": time.perf_counter() - wall, "bytes": size}


if __name__ == "__main__":
    print(json.dumps(globals()[f"probe_{sys.argv[1]}"](*sys.argv[2:])))
