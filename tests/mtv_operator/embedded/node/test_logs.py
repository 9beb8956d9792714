"""Logs: tails, limits, following, and which start of a container is read."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtv import errors
from mtv_operator.embedded.node import logs, runner
from mtv_operator.embedded.node.attempts import PodFolder
from mtv_operator.embedded.node.logs import Wanted


def read(path, running=lambda: False, **fields):
    return b"".join(logs.read(path, Wanted(**fields), running=running, pause=lambda _: None))


@settings(deadline=None)  # machines that run tests are busy
@given(
    lines=st.lists(st.text(alphabet="ab", max_size=5), max_size=8),
    last=st.sampled_from(["", "\n"]),
    count=st.integers(0, 10),
)
def test_tail_is_the_last_lines(tmp_path_factory, lines, last, count):
    text = "\n".join(lines) + (last if lines else "")
    path = tmp_path_factory.mktemp("log") / "log"
    path.write_text(text)
    whole = text.splitlines(keepends=True)
    expected = "".join(whole[-count:]) if count else ""
    assert read(path, tail_lines=count).decode() == expected


def test_tail_reaches_over_many_blocks(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"first\n" + b"x" * (3 * logs.CHUNK) + b"\nlast\n")
    assert read(path, tail_lines=2) == b"x" * (3 * logs.CHUNK) + b"\nlast\n"
    assert read(path, tail_lines=9).startswith(b"first\n")


def test_limit_ends_the_log(tmp_path):
    path = tmp_path / "log"
    path.write_text("hello world")
    assert read(path, limit_bytes=5) == b"hello"


def test_following_reads_what_comes_until_the_container_has_ended(tmp_path):
    path = tmp_path / "log"
    path.write_text("one\n")
    turns = iter([True, True, False])

    def running():
        alive = next(turns)
        if alive:
            with path.open("a") as file:
                file.write("more\n")
        return alive

    assert read(path, running=running, follow=True) == b"one\nmore\nmore\n"


@pytest.mark.parametrize("query", [{"tailLines": "x"}, {"limitBytes": "-1"}])
def test_parameter_that_is_no_number_is_named(query):
    with pytest.raises(errors.BadInput, match=next(iter(query))):
        logs.parse(query)


def test_previous_start_is_asked_for_by_name(tmp_path):
    folder = PodFolder(tmp_path)
    with pytest.raises(errors.BadInput, match="waiting to start"):
        logs.choose(folder, "c", Wanted())
    for number in (0, 1):
        (folder.begin("c", number, 0) / "fault").write_text("")
        state = folder.container("c", number)
        (state / "process").write_text('{"pid": 1, "startTime": 1, "bootId": "x"}')
        (state / "exit").write_text("0")
    assert logs.choose(folder, "c", Wanted()).number == 1
    assert logs.choose(folder, "c", Wanted(previous=True)).number == 0


def test_log_that_grew_too_long_keeps_its_newer_half(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "LOG_LIMIT_BYTES", 100)
    path = tmp_path / "log"
    path.write_text("".join(f"line {number:03}\n" for number in range(50)))
    runner.shorten(path)
    assert path.read_text().splitlines()[-1] == "line 049"
    assert path.stat().st_size <= 50


@pytest.mark.parametrize(
    ("before", "after", "patch"),
    [
        ({}, {"a": 1}, {"a": 1}),
        ({"a": 1, "b": 2}, {"a": 1}, {"b": None}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"x": 1}}, {"a": {"y": None}}),
        ({"a": [1]}, {"a": [1]}, {}),
    ],
)
def test_difference_is_the_merge_patch_between_two_documents(before, after, patch):
    assert runner.difference(before, after) == patch
