"""Times of cutovers as users write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mtv import errors
from mtv.api import forklift, meta
from mtv.cli import cutover

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", "2026-01-31T12:00:00Z"),
        ("never", None),
        ("30m", "2026-01-31T12:30:00Z"),
        ("+1h30m", "2026-01-31T13:30:00Z"),
        ("2026-02-01T22:00:00+02:00", "2026-02-01T20:00:00Z"),
        ("2026-02-01T22:00:00Z", "2026-02-01T22:00:00Z"),
    ],
)
def test_time_is_read(text: str, expected: str | None) -> None:
    assert cutover.parse(text, NOW) == expected


def test_clock_time_is_the_next_one_of_that_kind() -> None:
    text = (NOW + timedelta(hours=2)).astimezone().strftime("%H:%M")
    assert cutover.parse(text, NOW) == "2026-01-31T14:00:00Z"
    text = (NOW - timedelta(hours=2)).astimezone().strftime("%H:%M")
    assert cutover.parse(text, NOW) == "2026-02-01T10:00:00Z"


@pytest.mark.parametrize("text", ["soon", "25:99", "30", "m"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(errors.BadInput, match="is no time"):
        cutover.parse(text, NOW)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("1h30m", 5400)])
def test_span_is_read(text: str, seconds: int) -> None:
    assert cutover.span(text, "--max-downtime") == seconds


def test_empty_span_is_none_and_a_bad_one_is_refused() -> None:
    assert cutover.span("", "--max-downtime") is None
    with pytest.raises(errors.BadInput, match="--max-downtime"):
        cutover.span("quick", "--max-downtime")


def test_cutover_of_one_vm_leaves_those_of_others() -> None:
    other = forklift.VMCutover(id="vm-1", cutover="2026-01-01T00:00:00Z")
    spec = forklift.MigrationSpec(plan=meta.ObjectReference(name="web"), vm_cutover=(other,))
    migration = forklift.Migration(metadata=meta.ObjectMeta(name="run"), spec=spec)
    assert cutover.patch(migration, "2026-02-01T00:00:00Z", ["vm-2"]) == {
        "spec": {
            "vmCutover": [
                {"id": "vm-1", "cutover": "2026-01-01T00:00:00Z"},
                {"id": "vm-2", "cutover": "2026-02-01T00:00:00Z"},
            ]
        }
    }
    assert cutover.patch(migration, None, ["vm-1"]) == {"spec": {"vmCutover": []}}
    assert cutover.patch(migration, None, None) == {"spec": {"cutover": None, "vmCutover": None}}
