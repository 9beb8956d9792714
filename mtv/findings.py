"""What `mtv doctor` finds: one line for each thing that was looked at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Grade(StrEnum):
    """How a thing stands."""

    OK = "ok"
    WARNING = "warning"  # works, but not everything or not well
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at: what was seen, and what to do where that is not good."""

    subject: str
    grade: Grade
    seen: str
    remedy: str = ""


def ok(subject: str, seen: str) -> Finding:
    """Return a finding that is as it should be."""
    return Finding(subject=subject, grade=Grade.OK, seen=seen)


def warning(subject: str, seen: str, remedy: str) -> Finding:
    """Return a finding that one can live with."""
    return Finding(subject=subject, grade=Grade.WARNING, seen=seen, remedy=remedy)


def failed(subject: str, seen: str, remedy: str) -> Finding:
    """Return a finding that must be mended first."""
    return Finding(subject=subject, grade=Grade.FAILED, seen=seen, remedy=remedy)
