"""Kubernetes quantities as numbers, and numbers as quantities."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction

from mtv import errors
from mtv.api import meta

_FORM = re.compile(
    r"([+-]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30}))(?:([eE][+-]?\d{1,2})|([A-Za-z]{1,2}))?"
)
_SCALE = {
    **{f"{letter}i": Fraction(1024) ** power for power, letter in enumerate("KMGTPE", 1)},
    **{letter: Fraction(1000) ** power for power, letter in enumerate("kMGTPE", 1)},
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
}
_BINARY = ("Ki", "Mi", "Gi", "Ti", "Pi", "Ei")


def exact(value: meta.Quantity, field: str = "") -> Fraction:
    """Return a quantity as it is written. Raises BadInput naming `field` for what is none."""
    match = _FORM.fullmatch(str(value).strip())
    if match is None or (match[3] and match[3] not in _SCALE):
        raise errors.BadInput(
            f"{str(value)[:40]!r} is not a quantity",
            field=field,
            hint="write it like 500m, 512Mi or 2Gi",
        )
    number = Fraction(match[1])
    if match[2]:
        number *= Fraction(10) ** int(match[2][1:])
    return number * _SCALE[match[3]] if match[3] else number


def whole(value: meta.Quantity, field: str = "") -> int:
    """Return a quantity rounded up to a whole number: bytes, for memory and storage."""
    return _up(exact(value, field))


def size(value: meta.Quantity, field: str = "") -> int:
    """Return a quantity of bytes, rounded up. Raises BadInput naming `field` for less than none."""
    found = whole(value, field)
    if found < 0:
        raise errors.BadInput(f"{value} is negative", field=field)
    return found


def add(total: dict[str, int], more: Mapping[str, meta.Quantity]) -> None:
    """Add quantities to a sum in thousandths, name by name: what nodes have and pods ask for."""
    for name, value in more.items():
        total[name] = total.get(name, 0) + thousandths(value)


def thousandths(value: meta.Quantity, field: str = "") -> int:
    """Return a quantity in thousandths, rounded up: millicores, for CPU."""
    return _up(exact(value, field) * 1000)


def of_bytes(count: int) -> str:
    """Return a number of bytes as the largest binary unit that says it exactly: `512Mi`."""
    unit = ""
    for one in _BINARY:
        if count == 0 or count % 1024:
            break
        count //= 1024
        unit = one
    return f"{count}{unit}"


def of_millicores(count: int) -> str:
    """Return millicores as a quantity: `100m`, `2`."""
    return str(count // 1000) if count % 1000 == 0 else f"{count}m"


def _up(number: Fraction) -> int:
    return -((-number.numerator) // number.denominator)
