"""Where packages lie, as the URL of a Provider says it: a file, a folder, or an address. Pure."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote, urlsplit

from mtv import errors

SUFFIXES = (".ova", ".ovf")
HINT = "an absolute path of a folder or an .ova, or https://host/path/to/file.ova"
# `host:/export`, as NFS writes it and Forklift's providers of this type have it.
_EXPORT = re.compile(r"[^/:\s]+:/.*")


class Kind(StrEnum):
    """What is there."""

    PATH = "path"
    WEB = "web"


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """A place of packages. `text` is an absolute path, or a URL with a host."""

    kind: Kind
    text: str

    @property
    def name(self) -> str:
        """The last part: what people call it."""
        path = urlsplit(self.text).path if self.kind is Kind.WEB else self.text
        return unquote(os.path.basename(path.rstrip("/"))) or self.text

    @property
    def folder(self) -> str:
        """The folder that a package and the files beside it lie in."""
        return self.text.rpartition("/")[0] or "/"


def parse(url: str) -> Location:
    """Return what a URL means. Raises BadInput."""
    text = url.strip()
    scheme = text.partition("://")[0].lower() if "://" in text else ""
    if scheme in ("http", "https"):
        return _web(text)
    if scheme == "file":
        text = unquote(urlsplit(text).path)
    elif scheme:
        raise errors.BadInput(f"{scheme}:// is not read", field="spec.url", hint=HINT)
    elif _EXPORT.fullmatch(text):
        raise errors.BadInput(
            f"{text!r} is an NFS export, which is not mounted here",
            field="spec.url",
            hint="mount it on the node, and give the path of the mount",
        )
    if not text.startswith("/") or ".." in text.split("/") or "\0" in text:
        raise errors.BadInput(f"{url!r} is no absolute path", field="spec.url", hint=HINT)
    return Location(kind=Kind.PATH, text=os.path.normpath(text))


def _web(text: str) -> Location:
    parts = urlsplit(text)
    try:
        known = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        known = False
    if not known:
        raise errors.BadInput(f"{text!r} names no host", field="spec.url", hint=HINT)
    if parts.username or parts.password:
        raise errors.BadInput(
            "a password in the URL would be shown to everybody",
            field="spec.url",
            hint="put user and password into the Secret",
        )
    if not parts.path.lower().endswith(SUFFIXES):
        raise errors.BadInput(
            f"{text!r} ends neither in .ova nor in .ovf", field="spec.url", hint=HINT
        )
    return Location(kind=Kind.WEB, text=text)
