"""Sizes in a VMI's spec as whole numbers of bytes."""

from __future__ import annotations

from mtv import errors
from mtv.api import meta, quantities


def whole(value: meta.Quantity, field: str) -> int:
    """Return the quantity rounded up to a whole number, as Kubernetes does.

    Raises BadInput naming `field` for what is not a quantity, or is negative.
    """
    size = quantities.whole(value, field)
    if size < 0:
        raise errors.BadInput(f"{value} is negative", field=field)
    return size
