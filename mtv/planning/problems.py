"""What keeps a plan from running, or what one should know before it does.

A problem becomes a condition of the Plan: Forklift's types, categories and reasons, so that its
clients show them; types that Forklift does not have are listed at `OURS`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Category(StrEnum):
    """Forklift's categories of a condition, worst first. The first two block."""

    CRITICAL = "Critical"
    ERROR = "Error"
    WARN = "Warn"
    ADVISORY = "Advisory"


BLOCKING = frozenset({Category.CRITICAL, Category.ERROR})

OURS = {
    "FieldNotHonoured": "fields of the plan that are stored and have no effect yet",
    "NetworkShared": "several NICs of a VM are attached to the same network",
    "NicNotConnected": "NICs that are connected to nothing at the source are left out",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One finding about a plan, or about one VM of it (`item` names it)."""

    type: str
    category: Category
    reason: str
    message: str
    item: str = ""
    suggestion: str = ""
    field: str = ""  # spec.vms[0].targetName

    @property
    def blocks(self) -> bool:
        """Whether the plan must not run because of it."""
        return self.category in BLOCKING

    def __str__(self) -> str:
        where = " ".join(part for part in (self.item, self.field) if part)
        return f"{where}: {self.message}" if where else self.message


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """All problems of one type and reason, as one condition shows them."""

    type: str
    category: Category
    reason: str
    message: str
    suggestion: str
    items: tuple[str, ...]


def grouped(problems: Iterable[Problem]) -> tuple[Group, ...]:
    """Put problems of the same type together, in the order in which they were found.

    A condition has one message: that of the first problem of the worst category. The items say
    the rest, each with its own words where they differ.
    """
    by_type: dict[str, list[Problem]] = {}
    for problem in problems:
        by_type.setdefault(problem.type, []).append(problem)
    return tuple(_group(kind, found) for kind, found in by_type.items())


def _group(kind: str, found: list[Problem]) -> Group:
    worst = min(found, key=lambda problem: list(Category).index(problem.category))
    same = {problem.message for problem in found} == {worst.message}
    items = [
        (problem.item if same and problem.item else str(problem))
        for problem in found
        if problem.item or problem.field or not same
    ]
    return Group(
        type=kind,
        category=worst.category,
        reason=worst.reason,
        message=worst.message,
        suggestion=worst.suggestion,
        items=tuple(dict.fromkeys(items)),
    )
