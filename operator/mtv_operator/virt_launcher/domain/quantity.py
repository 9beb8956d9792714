"""Kubernetes quantities as whole numbers of bytes."""

from __future__ import annotations

import re
from fractions import Fraction

from mtv import errors

_FORM = re.compile(
    r"([+-]?)(\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})(?:([eE][+-]?\d{1,3})|([A-Za-z]{1,2}))?"
)
_SCALE = {
    **{
        suffix: Fraction(1024) ** power
        for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)
    },
    **{
        suffix: Fraction(1000) ** power
        for power, suffix in enumerate(("k", "M", "G", "T", "P", "E"), 1)
    },
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
}


def whole(value: str | int | float, field: str) -> int:
    """Return the quantity rounded up to a whole number, as Kubernetes does.

    Raises BadInput naming `field` for what is not a quantity, or is negative.
    """
    match = _FORM.fullmatch(str(value).strip())
    if match is None or (match[4] and match[4] not in _SCALE):
        raise errors.BadInput(
            f"{str(value)[:40]!r} is not a quantity", field=field, hint="write it like 512Mi or 2Gi"
        )
    if match[1] == "-":
        raise errors.BadInput(f"{value} is negative", field=field)
    number = Fraction(match[2])
    if match[3]:
        exponent = int(match[3][1:])
        if abs(exponent) > 30:
            raise errors.BadInput(f"{value} is out of range", field=field)
        number *= Fraction(10) ** exponent
    if match[4]:
        number *= _SCALE[match[4]]
    return -((-number.numerator) // number.denominator)
