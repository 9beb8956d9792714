"""Drivers for Windows, from a virtio-win folder or ISO that the user supplies.

Its layout is `<driver>/<release>/<architecture>/<files>`; only what this guest needs is read.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path

from converters.errors import SourceRefused, UnsupportedGuest

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,60}\.(?:sys|inf|cat|dll)$", re.I)
_MOST_FILE, _MOST_ALL = 16 << 20, 64 << 20
WANTED = ("viostor", "vioscsi", "netkvm", "vioserial", "balloon")
_AGENT = re.compile(r"qemu-ga-x86_64\.msi$", re.I)


def checked(path: str, sha256: str) -> None:
    """Compare an ISO with its checksum. Raises SourceRefused."""
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256.lower():
        raise SourceRefused(f"has the SHA-256 {found}, expected {sha256}", file=path)


def read(path: str, release: str, architecture: str = "amd64") -> dict[str, bytes]:
    """Return `<driver>/<file>` with its content for one release of Windows. Raises.

    A driver that is not there for the release is left out.
    """
    found: dict[str, bytes] = {}
    total = 0
    try:
        path = _iso_in(path)
        for name, content in _files(path, release.lower(), architecture.lower()):
            total += len(content)
            if total > _MOST_ALL:
                raise UnsupportedGuest(f"the drivers have more than {_MOST_ALL >> 20} MiB")
            found[name] = content
    except OSError as fault:
        raise SourceRefused(f"cannot be read: {fault.strerror or fault}", file=path) from fault
    return found


def _iso_in(path: str) -> str:
    """Return the only ISO of a folder that has nothing else: a claim has no other way."""
    if not os.path.isdir(path):
        return path
    names = [name for name in os.listdir(path) if name != "lost+found"]
    alone = len(names) == 1 and names[0].lower().endswith(".iso")
    return os.path.join(path, names[0]) if alone else path


def _files(path: str, release: str, architecture: str) -> Iterator[tuple[str, bytes]]:
    if os.path.isdir(path):
        yield from _of_folder(Path(path), release, architecture)
    else:
        yield from _of_iso(path, release, architecture)


def _of_folder(root: Path, release: str, architecture: str) -> Iterator[tuple[str, bytes]]:
    for driver in _named(root):
        if driver.name.lower() == "guest-agent":
            for one in driver.iterdir():
                if _AGENT.match(one.name) and one.is_file():
                    yield "agent/qemu-ga-x86_64.msi", _content(one)
        if driver.name.lower() not in WANTED:
            continue
        for version in _named(driver):
            if version.name.lower() != release:
                continue
            for place in _named(version):
                if place.name.lower() != architecture:
                    continue
                for one in sorted(place.iterdir()):
                    if _NAME.match(one.name) and one.is_file():
                        yield f"{driver.name.lower()}/{one.name.lower()}", _content(one)


def _named(folder: Path) -> Iterator[Path]:
    yield from (one for one in sorted(folder.iterdir()) if one.is_dir())


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(_MOST_FILE + 1)
    if len(content) > _MOST_FILE:
        raise UnsupportedGuest(f"has more than {_MOST_FILE >> 20} MiB", file=str(path))
    return content


def _of_iso(path: str, release: str, architecture: str) -> Iterator[tuple[str, bytes]]:
    import pycdlib
    from pycdlib.pycdlibexception import PyCdlibException

    image = pycdlib.PyCdlib()
    try:
        image.open(path)
        names = "joliet_path" if image.has_joliet() else "rr_path"
        for folder, _, files in image.walk(**{names: "/"}):
            parts = [part.lower() for part in folder.strip("/").split("/")]
            is_driver = len(parts) == 3 and parts[0] in WANTED
            if is_driver and parts[1:] != [release, architecture]:
                continue
            for name in files:
                agent = parts == ["guest-agent"] and _AGENT.match(name)
                if not agent and not (is_driver and _NAME.match(name)):
                    continue
                out = io.BytesIO()
                image.get_file_from_iso_fp(out, **{names: f"{folder.rstrip('/')}/{name}"})
                if len(out.getvalue()) > _MOST_FILE:
                    raise UnsupportedGuest(f"{name} has more than {_MOST_FILE >> 20} MiB")
                yield ("agent/qemu-ga-x86_64.msi" if agent else f"{parts[0]}/{name.lower()}",
                       out.getvalue())  # fmt: skip
    except PyCdlibException as fault:
        raise SourceRefused(f"is no ISO 9660 image: {fault}", file=path) from fault
    finally:
        if image._initialized:
            image.close()
