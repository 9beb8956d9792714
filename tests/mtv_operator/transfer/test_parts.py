"""The parts of a transfer by themselves: which journal is believed, notes, endings, rates."""

import os
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters import errors as conversion
from converters.extents import Extent
from converters.journal import State
from mtv import errors
from mtv.api import conditions
from mtv.api.meta import Condition
from mtv.providers.vsphere import disks, endpoint
from mtv_operator.transfer import checkpoints, endings, report, target
from mtv_operator.transfer.checkpoints import Known

MIB = 1 << 20
SIZE = 100 * MIB


def text(end):
    return State(extents=(Extent(0, end),), block_sum=end).encode()


def start(*, seekable=True, revision="r1", **known):
    return checkpoints.starting_state(
        Known(boot="boot-1", **known), seekable=seekable, revision=revision, capacity_bytes=SIZE
    )


def notes(*, synced=0, written=0, boot="boot-1", revision="r1"):
    kept = {target.REVISION: revision}
    if synced:
        kept[target.SYNCED] = text(synced)
    if written:
        kept[target.JOURNAL] = f"{boot} {text(written)}"
    return kept


CASES = {
    "nothing is known": ({"notes": {}}, 0),
    "written during this boot": ({"notes": notes(synced=MIB, written=9 * MIB)}, 9 * MIB),
    "written before a restart": (
        {"notes": notes(synced=MIB, written=9 * MIB, boot="boot-0")},
        MIB,
    ),
    "the status knows more": (
        {
            "notes": notes(synced=MIB),
            "status_journal": text(5 * MIB),
            "status_revision": "r1",
        },
        5 * MIB,
    ),
    "the status tells of another file": (
        {"notes": {}, "status_journal": text(5 * MIB), "status_revision": "r1"},
        0,
    ),
    "a device has only the status": (
        {
            "notes": {},
            "lasting_notes": False,
            "status_journal": text(5 * MIB),
            "status_revision": "r1",
        },
        5 * MIB,
    ),
    "a journal that cannot be read": (
        {"notes": {**notes(), target.SYNCED: "nonsense"}},
        0,
    ),
    "a journal of a larger disk": ({"notes": notes(synced=2 * SIZE)}, 0),
}


@pytest.mark.parametrize(("known", "expected"), CASES.values(), ids=CASES)
def test_starting_state_believes_what_can_be_believed(known, expected):
    state, why = start(**known)
    assert sum(extent.length for extent in state.extents) == expected
    assert why == ""


def test_starting_state_when_the_source_changed_begins_again_and_says_so():
    state, why = start(notes=notes(synced=MIB), revision="r2")
    assert (state.extents, why) == ((), "the disk was changed in the source")


def test_starting_state_when_the_stream_cannot_be_resumed_says_so():
    state, why = start(notes=notes(synced=MIB), seekable=False)
    assert (state.extents, why) == ((), "this transport cannot be resumed")


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_starting_state_is_total(journal, synced, status):
    start(
        notes={target.JOURNAL: journal, target.SYNCED: synced, target.REVISION: "r1"},
        status_journal=status,
        status_revision="r1",
    )


ENDINGS = [
    (conversion.TargetFull("no space left"), "TargetFull", 75),
    (conversion.TargetTooSmall("x"), "TargetTooSmall", 69),
    (conversion.CorruptImage("x"), "SourceCorrupt", 65),
    (conversion.SourceBroken("x"), "SourceUnavailable", 75),
    (conversion.SourceUnauthorized("x"), "SourceForbidden", 77),
    (conversion.SourceChanged("x"), "SourceChanged", 75),
    (errors.Forbidden("x"), "SourceForbidden", 77),
    (disks.DiskLocked("x"), "SourceLocked", 69),
    (endpoint.CertificateRejected("x", presented="", hint=""), "SourceCertificate", 69),
    (errors.SourceUnavailable("x"), "SourceUnavailable", 75),
    (errors.TargetUnavailable("x"), "TargetUnavailable", 75),
    (target.TargetForeign("x"), "TargetForeign", 69),
    (KeyError("x"), "InternalError", 70),
]


@pytest.mark.parametrize(("fault", "cause", "code"), ENDINGS, ids=lambda one: type(one).__name__)
def test_of_fault_names_the_cause_and_whether_to_try_again(fault, cause, code):
    ending = endings.of_fault(fault)
    assert (ending.cause, ending.exit_code) == (cause, code)
    assert ending.cause in endings.CAUSES
    assert ending.retryable == (code == 75)


def test_of_fault_adds_the_remedy():
    fault = conversion.TargetFull("no space left", file="disk.img", hint="add space")
    assert endings.of_fault(fault).message == "disk.img: no space left; add space"


@pytest.mark.parametrize("kind", ["attributes", "sidecar"])
def test_notes_are_kept_until_they_are_cleared(tmp_path, kind):
    disk = tmp_path / "disk.img"
    disk.write_bytes(b"x")
    make = {
        "attributes": lambda: target.AttributeNotes(str(disk)),
        "sidecar": lambda: target.SidecarNotes(str(tmp_path / target.SIDECAR)),
    }[kind]
    first = make()
    first.write({"a": "1", "b": "2"})
    first.write({"b": "3"})
    assert make().read() == {"a": "1", "b": "3"}
    again = make()
    again.read()
    again.clear("a", "nothing")
    assert make().read() == {"b": "3"}


def test_attribute_notes_when_a_value_is_too_long_keep_the_older_one(tmp_path):
    disk = tmp_path / "disk.img"
    disk.write_bytes(b"x")
    notes = target.AttributeNotes(str(disk))
    notes.write({"journal": "short"})
    notes.write({"journal": "x" * 100_000})
    assert notes.read() == {"journal": "short"}


def test_file_target_when_another_process_writes_waits_for_it(tmp_path):
    first = target.FileTarget(str(tmp_path), "uid-1", MIB)
    with pytest.raises(errors.TargetUnavailable, match="still writes"):
        target.FileTarget(str(tmp_path), "uid-1", MIB)
    first.close()
    target.FileTarget(str(tmp_path), "uid-1", MIB).close()


def test_file_target_when_an_unfinished_one_is_anothers_starts_over(tmp_path):
    first = target.FileTarget(str(tmp_path), "uid-1", MIB)
    first.sink.prepare(MIB, ())
    first.notes.write({target.SYNCED: text(MIB), target.REVISION: "r1"})
    first.close()
    second = target.FileTarget(str(tmp_path), "uid-2", MIB)
    assert second.notes.read() == {target.TRANSFER: "uid-2"}
    second.close()


def test_file_target_when_a_link_or_a_pipe_is_in_its_place_is_refused(tmp_path):
    os.symlink("/etc/passwd", tmp_path / "disk.img")
    with pytest.raises(target.TargetForeign, match="not a regular file"):
        target.FileTarget(str(tmp_path), "uid-1", MIB)


def test_open_target_when_nothing_is_mounted_says_so(tmp_path):
    with pytest.raises(errors.TargetUnavailable, match="is there"):
        target.open_target(str(tmp_path / "no"), str(tmp_path / "such"), "uid", MIB)


def test_rate_is_that_of_the_last_seconds():
    rate = report.Rate()
    assert rate.of(0, 0.0) == 0
    for second in range(1, 20):
        last = rate.of(second * 10 if second < 10 else 90 + (second - 9) * 1000, float(second))
    assert 800 < last <= 1000


def test_conditions_keep_their_time_until_their_status_changes():
    first, later = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    one = conditions.changed((), first, new=[Condition(type="A", status="True", message="x")])
    two = conditions.changed(one, later, new=[Condition(type="A", status="True", message="y")])
    assert (two[0].message, two[0].last_transition_time) == ("y", "2026-01-01T00:00:00Z")
    three = conditions.changed(two, later, new=[Condition(type="A", status="False")])
    assert three[0].last_transition_time == "2026-01-02T00:00:00Z"
    assert conditions.changed(three, later, without=["A"]) == ()
