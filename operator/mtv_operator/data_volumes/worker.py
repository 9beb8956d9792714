"""Fills one claim, inside its pod: from a URL, a mounted image, a mounted claim, or an upload.

It may be killed and begun again at any moment: the disk is then written anew. It ends with 0 when
the disk is complete; else it says why in the pod's termination message.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import msgspec

from converters import conversion, locating
from converters.conversion import Order, TargetFormat
from converters.errors import ConversionError, SourceBroken, SourceRefused, TargetTooSmall
from converters.images.identify import START_BYTES, Format, identify
from converters.sources.byte_stream import ByteStream
from converters.sources.contract import Source
from converters.sources.raw_stream import RawStream
from converters.sources.vmdk_stream import VmdkStream
from converters.sources.wrapped_stream import Peeked
from mtv.api import cdi
from mtv_operator.data_volumes import names, upload_server, worker_pod
from mtv_operator.data_volumes.streams import FileObjectStream, spool

log = logging.getLogger("data-volume")

IMAGE = "disk.img"
SECTOR = 512
TIMEOUT_S = 60.0
TERMINATION_LOG = "/dev/termination-log"


def run() -> NoReturn:
    """Run the process."""
    parser = argparse.ArgumentParser(prog="mtv-data-volume", description=__doc__)
    parser.add_argument("--source", required=True, help="a cdi.DataVolumeSource as JSON")
    parser.add_argument("--capacity", type=int, required=True, help="bytes of the largest disk")
    given = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(1))
    source = msgspec.json.decode(given.source, type=cdi.DataVolumeSource)
    try:
        fill(source, given.capacity)
    except (ConversionError, OSError) as fault:
        hint = fault.hint if isinstance(fault, ConversionError) else ""
        message = f"{fault}. {hint}" if hint else str(fault)
        log.error("%s", message)
        with contextlib.suppress(OSError):
            Path(TERMINATION_LOG).write_text(message[:4000])
        logging.shutdown()
        os._exit(1)
    log.info("the disk is complete")
    logging.shutdown()
    os._exit(0)


def fill(source: cdi.DataVolumeSource, capacity: int) -> None:
    """Fill the claim. Raises ConversionError, OSError."""
    if source.upload is not None:
        key = (Path(worker_pod.KEY) / "key").read_bytes()
        upload_server.serve(names.PORT, key, lambda stream: write(stream, capacity))
        return
    if source.http is not None:
        with contextlib.closing(_download(source.http)) as stream:
            write(stream, capacity)
        return
    path = _in_image() if source.registry is not None else _in_claim()
    with locating.open_disks(str(path)) as found:
        for disk in found.disks():
            copy(disk.source, capacity)


def _in_image() -> Path:
    """Return the disk in the mounted image: the only file in /disk, as container disks have it."""
    folder = Path(worker_pod.IMAGE) / "disk"
    files = [one for one in sorted(folder.iterdir())] if folder.is_dir() else []
    inside = [one for one in files if one.is_file() and not one.is_symlink()]
    if len(inside) != 1:
        raise SourceRefused(f"the image has {len(inside)} files in /disk, expected one")
    return inside[0]


def _in_claim() -> Path:
    device = Path(worker_pod.SOURCE_DEVICE)
    path = device if device.exists() else Path(worker_pod.SOURCE) / IMAGE
    if not path.exists():
        raise SourceRefused(f"the source claim has no {IMAGE}")
    return path


def _download(source: cdi.DataVolumeSourceHTTP) -> FileObjectStream:
    """Return the body of a URL; redirects are followed. Raises SourceBroken, SourceRefused."""
    context = ssl.create_default_context()
    for path in sorted(Path(worker_pod.CERTIFICATES).glob("*")):
        if path.is_file():
            context.load_verify_locations(path)
    request = urllib.request.Request(source.url, headers=dict(_headers(source)))
    login = Path(worker_pod.LOGIN)
    if login.is_dir():
        import base64

        pair = b"%s:%s" % tuple((login / one).read_bytes() for one in ("accessKeyId", "secretKey"))
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(pair).decode()}")
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))
    try:
        answer = opener.open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as fault:
        kind = SourceBroken if fault.code >= 500 else SourceRefused
        raise kind(f"the server answers {fault.code} {fault.reason}", file=source.url) from fault
    except OSError as fault:
        reason = getattr(fault, "reason", fault)
        raise SourceBroken(f"cannot be fetched: {reason}", file=source.url) from fault
    length = answer.headers.get("Content-Length", "")
    announced = int(length) if length.isdecimal() else None
    return FileObjectStream(source.url.rpartition("/")[2] or "disk", answer, announced)


def _headers(source: cdi.DataVolumeSourceHTTP) -> Iterator[tuple[str, str]]:
    for line in source.extra_headers:
        name, _, value = line.partition(":")
        yield name.strip(), value.strip()


def write(stream: ByteStream, capacity: int) -> None:
    """Write the disk that a stream holds, whatever its format. Raises ConversionError."""
    peeked = Peeked(stream, START_BYTES)
    match identify(peeked.start):
        case Format.RAW if peeked.announced_bytes and not peeked.start.startswith(b"\xfd7zXZ\0"):
            copy(RawStream(peeked), capacity)
        case Format.VMDK_SPARSE:
            copy(VmdkStream(peeked), capacity)
        case _:
            _through_scratch(peeked, capacity)


def _through_scratch(stream: ByteStream, capacity: int) -> None:
    """Write a disk that cannot be read forwards: by a file of its own first."""
    path = Path(worker_pod.SCRATCH) / "image"
    path.unlink(missing_ok=True)
    spool(stream, path)
    with ExitStack() as stack:
        stack.callback(path.unlink)
        found = stack.enter_context(locating.open_disks(str(path)))
        disks = found.disks()
        copy(next(disks).source, capacity)
        if next(disks, None) is not None:
            raise SourceRefused("there is more than one disk in it", file=stream.name)


def copy(source: Source, capacity: int) -> None:
    """Copy a disk to the claim. Raises ConversionError."""
    device = Path(worker_pod.DEVICE)
    target = device if device.exists() else Path(worker_pod.DATA) / IMAGE
    if capacity and source.capacity_bytes > capacity:
        raise TargetTooSmall(
            f"the disk has {source.capacity_bytes} bytes, and the claim room for {capacity}",
            file=source.name,
            hint="ask for a larger volume",
        )
    order = Order(target=str(target), format=TargetFormat.RAW, overwrite=True)
    done = conversion.convert(source, order, on_stage=lambda _: None)
    log.info("%s: %d bytes, %d written", source.name, done.capacity_bytes, done.written_bytes)
    if target != device:
        size = -(-done.capacity_bytes // SECTOR) * SECTOR  # QEMU and guests count sectors
        with target.open("r+b") as file:
            file.truncate(size)
            os.fsync(file.fileno())
        target.chmod(0o660)


if __name__ == "__main__":
    run()
