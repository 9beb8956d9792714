"""Reads the packages of a place, and watches for new ones. Nothing is logged in, nothing is held.

A package that cannot be read is a note of the inventory where there are others (it may still be on
its way into the folder), and an error where it is the only one.
"""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from converters import errors as conversion
from converters import package_contents, web_packages
from converters.sources.http_connection import Authorization, Open
from mtv import errors
from mtv.inventory.model import Inventory
from mtv.providers.ova import credentials, inventory, location
from mtv.providers.ova.inventory import Package
from mtv.providers.ova.location import Kind, Location

POLL_S = 5.0
_DEEPEST = 3  # folders below the place; Forklift looks two deep
_MOST_FILES = 20_000
_TRANSFER_USER = 107  # whom the copies run as

State = tuple[tuple[str, int, int], ...]


class Session:
    """Packages at one place."""

    def __init__(
        self,
        url: str,
        *,
        name: str,
        user: str = "",
        password: str = "",
        ca_pem: str = "",
        insecure: bool = False,
    ) -> None:
        self.location = location.parse(url)
        self.name = name
        self._authorization: Authorization = credentials.Basic(user, password) if user else Open()
        self._tls: ssl.SSLContext | None = credentials.context(ca_pem, insecure=insecure)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing is held."""

    def pull(self) -> Inventory:
        """Read all packages. Raises MigrationError."""
        if self.location.kind is Kind.WEB:
            return inventory.build(self.name, (self._fetch(),), ())
        top = Path(self.location.text)
        if top.is_dir():
            return self._pull_folder(top)
        return inventory.build(self.name, (_read(top, top.name),), _unreadable(top, top.name))

    def watch(
        self,
        on_change: Callable[[Inventory], None],
        stop: threading.Event,
        *,
        on_lost: Callable[[errors.MigrationError], None] | None = None,
    ) -> None:
        """Call `on_change` with the inventory, and again after each change, until `stop` is set.

        Raises MigrationError when the place is not there or cannot be read.
        """
        known: State | None = None
        while not stop.is_set():
            state = self._state()
            if state != known:
                on_change(self.pull())
                known = state
            stop.wait(POLL_S)

    def _state(self) -> State:
        """Return what tells whether anything is new. What is at a URL is read once."""
        if self.location.kind is Kind.WEB:
            return ()
        top = Path(self.location.text)
        found = [top] if top.is_file() else [*_files(top)]
        return tuple(
            (str(one), seen.st_size, seen.st_mtime_ns)
            for one in found
            if (seen := _stat(one)) is not None
        )

    def _pull_folder(self, top: Path) -> Inventory:
        packages: list[Package] = []
        notes: list[str] = []
        for path in _files(top):
            if path.suffix.lower() not in location.SUFFIXES:
                continue
            name = str(path.relative_to(top))
            notes += _unreadable(path, name)
            try:
                packages.append(_read(path, name))
            except errors.MigrationError as fault:
                notes.append(f"{name}: {fault}")
        return inventory.build(self.name, packages, notes)

    def _fetch(self) -> Package:
        where: Location = self.location
        try:
            files = web_packages.open_files(
                where.text, tls=self._tls, authorization=self._authorization
            )
            contents = package_contents.look_at(files, stop_at_disk=True)
        except conversion.ConversionError as fault:
            raise translated(fault) from fault
        return Package(name=where.name, location=where.text, contents=contents, version="")


def translated(fault: conversion.ConversionError) -> errors.MigrationError:
    """Return what a failure to read a package means to whoever named it."""
    if isinstance(fault, conversion.SourceBroken):
        return errors.SourceUnavailable(str(fault), hint=fault.hint)
    if isinstance(fault, conversion.SourceUnauthorized):
        return errors.Forbidden(str(fault), hint=fault.hint)
    return errors.SourceRefused(str(fault), hint=fault.hint)


def _read(path: Path, name: str) -> Package:
    try:
        contents = package_contents.look(str(path))
    except conversion.ConversionError as fault:
        raise translated(fault) from fault
    seen = _stat(path)
    version = f"{seen.st_size:x}-{seen.st_mtime_ns:x}" if seen is not None else ""
    return Package(name=name, location=str(path), contents=contents, version=version)


def _files(top: Path) -> Iterator[Path]:
    """Yield the files below a folder, in order; links and what is hidden are passed over."""
    if not top.is_dir():
        raise errors.SourceUnavailable(
            f"{top} is not there", hint="is the folder mounted on the machine of the controller?"
        )
    count = 0
    for folder, folders, names in os.walk(top):
        depth = len(Path(folder).relative_to(top).parts)
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        if depth >= _DEEPEST:
            folders.clear()
        for name in sorted(names):
            if name.startswith(".") or count >= _MOST_FILES:
                continue
            count += 1
            yield Path(folder, name)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _unreadable(path: Path, name: str) -> tuple[str, ...]:
    """Say that a package can be read by us, and not by who copies it."""
    seen = _stat(path)
    if seen is None or seen.st_uid == _TRANSFER_USER or seen.st_mode & 0o004:
        return ()
    return (f"{name}: only its owner may read it, and copies are made by user {_TRANSFER_USER}: "
            f"chmod o+r {path}",)  # fmt: skip
