"""Sums of Kubernetes quantities, for what nodes have and pods ask for."""

from __future__ import annotations

from collections.abc import Mapping

from mtv.api.quantities import thousandths, whole

__all__ = ["add", "thousandths", "whole"]


def add(total: dict[str, int], more: Mapping[str, str | int | float]) -> None:
    """Add quantities to a sum in thousandths, name by name."""
    for name, value in more.items():
        total[name] = total.get(name, 0) + thousandths(value)
