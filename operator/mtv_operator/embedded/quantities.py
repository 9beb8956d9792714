"""Kubernetes quantities as numbers that can be added: thousandths, rounded up."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction

from mtv import errors

_FORM = re.compile(r"([+-]?\d{1,30}(?:\.\d{0,30})?|[+-]?\.\d{1,30})([eE][+-]?\d{1,2}|[A-Za-z]{0,2})")
_SCALE = {
    "": Fraction(1),
    **{f"{letter}i": Fraction(1024) ** power for power, letter in enumerate("KMGTPE", 1)},
    **{letter: Fraction(1000) ** power for power, letter in enumerate("kMGTPE", 1)},
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
}


def exact(value: str | int | float) -> Fraction:
    """Return a quantity as it is written. Raises BadInput for what is none."""
    match = _FORM.fullmatch(str(value).strip())
    suffix = match[2] if match else ""
    if match is None or (suffix not in _SCALE and not re.fullmatch(r"[eE][+-]?\d{1,2}", suffix)):
        raise errors.BadInput(
            f"{str(value)[:40]!r} is not a quantity", hint="write it like 500m, 512Mi or 2Gi"
        )
    if suffix in _SCALE:
        return Fraction(match[1]) * _SCALE[suffix]
    return Fraction(match[1]) * Fraction(10) ** int(suffix[1:])


def thousandths(value: str | int | float) -> int:
    """Return a quantity in thousandths: millicores for CPU. Rounded up."""
    number = exact(value) * 1000
    return -((-number.numerator) // number.denominator)


def whole(value: str | int | float) -> int:
    """Return a quantity rounded up to a whole number: bytes, for storage."""
    number = exact(value)
    return -((-number.numerator) // number.denominator)


def add(total: dict[str, int], more: Mapping[str, str | int | float]) -> None:
    """Add quantities to a sum in thousandths, name by name."""
    for name, value in more.items():
        total[name] = total.get(name, 0) + thousandths(value)
