"""What `mtv convert` does, without Typer: importing that takes longer than a small disk.

`plain` reads the usual command lines; `mtv.cli.convert` defines all of them.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sys
from collections.abc import Sequence

from converters import conversion, locating
from converters.conversion import Order, Result, TargetFormat
from converters.locating import Found, FoundDisk
from converters.pipeline import Options
from mtv import errors
from mtv.cli import disk_errors, progress_line

_SIZE = re.compile(r"(?P<number>\d{1,15}(?:\.\d{1,3})?)\s*(?P<unit>[kmgt]?)(?:i?b)?(?:/s)?", re.I)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SUFFIXES = {".qcow2": TargetFormat.QCOW2, ".qcow": TargetFormat.QCOW2}

# Options of `plain`, each with the field of Wish that it fills.
FLAGS = {"--verify": "verify", "--force": "force", "--quiet": "quiet", "-q": "quiet"}
VALUES = {
    "--format": "format", "-f": "format", "--source-format": "source_format",
    "--jobs": "jobs", "-j": "jobs", "--limit": "limit", "--size": "size", "--disk": "disk",
    "--output": "output", "-o": "output",
}  # fmt: skip
MOST_JOBS = 64
PLAIN_OUTPUTS = ("table", "json", "name")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the command line says."""

    source: str
    target: str
    format: TargetFormat | None = None
    source_format: str = ""
    verify: bool = False
    jobs: int = 0
    limit: str = ""
    size: str = ""
    disk: int | None = None
    force: bool = False
    quiet: bool = False
    output: str = "table"


def plain(arguments: Sequence[str]) -> Wish | None:
    """Return what a command line says, or None for one that Typer shall read: help, mistakes."""
    found: dict[str, str] = {}
    flags: dict[str, bool] = {}
    names: list[str] = []
    left = list(arguments)
    while left:
        word = left.pop(0)
        name, equals, value = word.partition("=")
        if word in FLAGS:
            flags[FLAGS[word]] = True
        elif name in VALUES and (equals or left):
            if equals and not name.startswith("--"):
                return None
            value = value if equals else left.pop(0)
            if not value or value.startswith("-"):
                return None
            found[VALUES[name]] = value
        elif word == "-" or not word.startswith("-"):
            names.append(word)
        else:
            return None
    jobs, disk = found.get("jobs", "0"), found.get("disk", "1")
    if (
        len(names) != 2
        or not (jobs.isdecimal() and int(jobs) <= MOST_JOBS)
        or not (disk.isdecimal() and int(disk) >= 1)
        or found.get("format", "raw") not in list(TargetFormat)
        or found.get("output", "table") not in PLAIN_OUTPUTS
    ):
        return None
    return Wish(
        source=names[0],
        target=names[1],
        format=TargetFormat(found["format"]) if "format" in found else None,
        source_format=found.get("source_format", ""),
        verify=flags.get("verify", False),
        jobs=int(jobs),
        limit=found.get("limit", ""),
        size=found.get("size", ""),
        disk=int(disk) if "disk" in found else None,
        force=flags.get("force", False),
        quiet=flags.get("quiet", False),
        output=found.get("output", "table"),
    )


def convert(wish: Wish) -> None:
    """Convert, and print what was done. Raises MigrationError."""
    with disk_errors.translated():
        results, notes = run(wish)
    for note in notes:
        print(f"warning: {note}", file=sys.stderr)
    document = {"disks": [document_of(result) for result in results], "warnings": notes}
    match wish.output:
        case "json":
            json.dump(document, sys.stdout, indent=2, ensure_ascii=False)
            print()
        case "yaml":
            import yaml

            yaml.safe_dump(document, sys.stdout, sort_keys=False, allow_unicode=True)
        case "name":
            for result in results:
                print(result.target)
        case _:
            for result in results:
                print(summary(result))


def run(wish: Wish) -> tuple[list[Result], list[str]]:
    """Convert what is wished for; return what was done, and what is odd. Raises."""
    if wish.source_format and wish.source_format not in locating.SOURCE_FORMATS:
        raise errors.BadInput(
            f"is {wish.source_format!r}, expected one of {', '.join(locating.SOURCE_FORMATS)}",
            field="--source-format",
        )
    size_bytes = parse_size(wish.size, "--size") if wish.size else None
    limit = parse_size(wish.limit, "--limit") if wish.limit else 0
    known = locating.SOURCE_FORMATS.get(wish.source_format)
    results = []
    with locating.open_disks(wish.source, known=known, size_bytes=size_bytes) as found:
        refuse_own_files(found, wish.target)
        for number, disk in enumerate(found.disks(), start=1):
            if wish.disk is not None and number != wish.disk:
                continue
            order = order_for(
                wish,
                disk,
                limit_bytes_per_s=limit,
                single=not found.is_package or wish.disk is not None,
            )
            with progress_line.shown(disk.name, quiet=wish.quiet) as on_stage:
                done = conversion.convert(
                    disk.source, order, version=disk.version, by_tables=disk.by_tables,
                    on_stage=on_stage,
                )  # fmt: skip
                results.append(done)
        if wish.disk is None:
            found.finish()
        if not results:
            which = "disk" if wish.disk is None else f"disk {wish.disk}"
            raise errors.NotFound(f"{wish.source} has no {which}")
        return results, found.warnings


def refuse_own_files(found: Found, target: str) -> None:
    """Refuse to write over what is read."""
    for path in found.files:
        if os.path.exists(target) and os.path.samefile(path, target):
            raise errors.BadInput(
                f"{target} is read by this conversion", hint="name another file as DST"
            )


def order_for(wish: Wish, disk: FoundDisk, *, single: bool, limit_bytes_per_s: int = 0) -> Order:
    """Return how a disk is to be written. Several disks go into a folder, by their own names."""
    target = wish.target
    if os.path.isdir(target) or not single:
        if not os.path.isdir(target):
            if os.path.exists(target) or not target.endswith("/"):
                raise errors.BadInput(
                    f"{wish.source} may have several disks, and {target} is no folder",
                    hint="make the folder first (or end DST with /), or choose one with --disk 1",
                )
            os.makedirs(target, exist_ok=True)
        format_ = wish.format or TargetFormat.RAW
        name = os.path.splitext(disk.name.rsplit("/", 1)[-1].removesuffix(".gz"))[0]
        target = os.path.join(target, f"{name}.{format_.value}")
    else:
        suffix = os.path.splitext(target)[1].lower()
        format_ = wish.format or _SUFFIXES.get(suffix, TargetFormat.RAW)
    copying = Options(limit_bytes_per_s=limit_bytes_per_s)
    if wish.jobs:
        copying = dataclasses.replace(copying, workers=wish.jobs)
    return Order(
        target=target,
        format=format_,
        options=copying,
        verify=wish.verify,
        overwrite=wish.force,
    )


def parse_size(text: str, field: str) -> int:
    """Return the bytes that `100M` or `1.5 GiB` means; units are powers of 1024."""
    match = _SIZE.fullmatch(text.strip())
    value = float(match["number"]) * _UNITS[match["unit"].lower()] if match else 0
    if value < 1:
        raise errors.BadInput(f"is {text!r}, expected a size like 100M or 1.5G", field=field)
    return int(value)


def document_of(result: Result) -> dict[str, object]:
    """Return a result as a JSON value."""
    return {
        "target": result.target,
        "format": result.format,
        "capacityBytes": result.capacity_bytes,
        "readBytes": result.read_bytes,
        "writtenBytes": result.written_bytes,
        "allocatedBytes": result.allocated_bytes,
        "continuedAtBytes": result.continued_at,
        "elapsedSeconds": round(result.elapsed_s, 3),
        "checksum": result.checksum,
        "verified": result.verified,
    }


def summary(result: Result) -> str:
    """Return the line that says what was done."""
    rate = result.capacity_bytes / max(result.elapsed_s, 0.001)
    continued = (
        f", continued at {progress_line.size(result.continued_at)}" if result.continued_at else ""
    )
    return (
        f"{result.target}: {progress_line.size(result.capacity_bytes)} {result.format}, "
        f"{progress_line.size(result.written_bytes)} written in {result.elapsed_s:.1f} s "
        f"({progress_line.size(rate)}/s){continued}, "
        f"{'verified, ' if result.verified else ''}{result.checksum}"
    )
