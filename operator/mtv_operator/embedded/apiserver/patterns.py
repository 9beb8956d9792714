"""Regular expressions and formats of schemas: RE2's syntax read by Python's engine. Pure."""

from __future__ import annotations

import base64
import binascii
import functools
import ipaddress
import re
import uuid
from collections.abc import Callable
from datetime import date, datetime
from typing import Any
from urllib.parse import urlsplit

_POSIX_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": "\\t ",
    "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-/:-@\\[-`{-~",
    "space": "\\s",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
_TOKEN = re.compile(r"\\.|\[:(\^?)(\w+):\]|\[|\]|\$|.", re.DOTALL)


@functools.lru_cache(maxsize=1024)
def compiled(text: str) -> Callable[[str], Any] | None:
    """Return the search of an RE2 pattern; None when Python cannot express it.

    Classes are ASCII as in RE2, and `$` is the end of the text.
    """
    try:
        return re.compile(_translated(text), re.ASCII).search
    except (re.error, OverflowError, RecursionError):
        return None


def _translated(text: str) -> str:
    parts = []
    inside = False  # a character class
    for match in _TOKEN.finditer(text):
        token = match.group()
        if match.group(2) and inside:
            token = _POSIX_CLASSES.get(match.group(2), token)
        elif token == "[" and inside:
            token = "\\["
        elif token == "[":
            inside = True
        elif token == "]":
            inside = False
        elif (token == "$" and not inside) or token == "\\z":
            token = "\\Z"
        parts.append(token)
    return "".join(parts)


def _parses(parse: Callable[[str], object]) -> Callable[[str], bool]:
    def holds(value: str) -> bool:
        try:
            parse(value)
        except (ValueError, binascii.Error):
            return False
        return True

    return holds


_DATE_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?([Zz]|[+-]\d\d:\d\d)"
)
_HOST = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9]([-A-Za-z0-9]{0,62})(\.[A-Za-z0-9][-A-Za-z0-9]{0,62})*"
)
_DURATION = re.compile(
    r"[+-]?(\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)(\d+(\.\d*)?(ns|us|µs|ms|s|m|h))*|0"
)
_MAC = re.compile(r"([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}")


def _is_date_time(value: str) -> bool:
    return bool(_DATE_TIME.fullmatch(value)) and _parses(datetime.fromisoformat)(
        value[:10] + "T00:00:00"
    )


FORMATS: dict[str, Callable[[str], bool]] = {
    "byte": _parses(functools.partial(base64.b64decode, validate=True)),
    "cidr": _parses(functools.partial(ipaddress.ip_network, strict=False)),
    "date": _parses(date.fromisoformat),
    "date-time": _is_date_time,
    "duration": lambda value: bool(_DURATION.fullmatch(value)),
    "email": lambda value: "@" in value[1:-1],
    "hostname": lambda value: bool(_HOST.fullmatch(value)),
    "ipv4": _parses(ipaddress.IPv4Address),
    "ipv6": _parses(ipaddress.IPv6Address),
    "mac": lambda value: bool(_MAC.fullmatch(value)),
    "uri": lambda value: bool(urlsplit(value).scheme),
    "uuid": _parses(uuid.UUID),
}
