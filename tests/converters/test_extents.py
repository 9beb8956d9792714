"""Arithmetic of extents, against sets of bytes."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters import extents
from converters.errors import ConversionError
from converters.extents import Extent, ExtentSet, Kind
from converters.journal import Journal, State, decode

lists = st.lists(st.builds(Extent, st.integers(0, 300), st.integers(0, 40)), max_size=12)


def bytes_of(items):
    return {at for item in items for at in range(item.offset, item.end)}


def sorted_apart(items):
    return all(a.end < b.offset for a, b in itertools.pairwise(items))


@given(lists)
def test_merge_when_given_any_extents_keeps_their_bytes_in_order(items):
    merged = extents.merge(items)
    assert bytes_of(merged) == bytes_of(items)
    assert sorted_apart(merged)


def test_merge_when_gap_is_small_joins_over_it():
    assert extents.merge([Extent(0, 10), Extent(15, 5)], gap=5) == [Extent(0, 20)]
    assert extents.merge([Extent(0, 10), Extent(16, 5)], gap=5) == [Extent(0, 10), Extent(16, 5)]


@given(lists, lists)
def test_subtract_when_given_holes_leaves_the_other_bytes(items, holes):
    left = extents.subtract(extents.merge(items), extents.merge(holes))
    assert bytes_of(left) == bytes_of(items) - bytes_of(holes)
    assert sorted_apart(extents.merge(left))


@given(lists, lists)
def test_intersect_when_given_a_window_leaves_its_bytes(items, window):
    both = list(extents.intersect(extents.merge(items), extents.merge(window)))
    assert bytes_of(both) == bytes_of(items) & bytes_of(window)


def test_intersect_when_extents_have_kinds_keeps_them():
    zeros = [Extent(0, 100, Kind.ZERO)]
    assert list(extents.intersect(zeros, [Extent(50, 100)])) == [Extent(50, 50, Kind.ZERO)]


@given(lists, st.integers(1, 50))
def test_split_when_cut_keeps_the_bytes_and_crosses_no_multiple(items, size):
    pieces = list(extents.split(extents.merge(items), size))
    assert bytes_of(pieces) == bytes_of(items)
    assert all(piece.offset // size == (piece.end - 1) // size for piece in pieces)


@given(lists, st.integers(1, 64), st.integers(1, 340))
def test_align_when_widened_covers_whole_units_within_the_disk(items, unit, capacity):
    aligned = extents.align(items, unit, capacity)
    wanted = {at for at in bytes_of(items) if at < capacity}
    units = {at // unit for at in wanted}
    assert bytes_of(aligned) == {at for at in range(capacity) if at // unit in units}


@given(lists)
def test_extent_set_when_extents_are_added_in_any_order_is_their_union(items):
    both = ExtentSet()
    for item in items:
        both.add(item)
    assert bytes_of(both.extents()) == bytes_of(items)
    assert sorted_apart(both.extents())
    assert both.total_bytes == len(bytes_of(items))


@given(lists, st.integers(0, 2**64 - 1))
def test_journal_when_written_and_read_is_the_same(items, block_sum):
    journal = Journal(State(extents=tuple(extents.merge(items)), block_sum=block_sum))
    state = journal.state()
    assert decode(state.encode(), capacity_bytes=1000) == state


@pytest.mark.parametrize(
    "text",
    ["", "x", "0;1-", "0;5-3", "0;0-10,8-20", "0;0-3e9", "-1;0-1", "1ffffffffffffffff;0-1", "0;a"],
)
def test_journal_when_text_is_no_journal_is_not_believed(text):
    with pytest.raises(ConversionError, match="journal is"):
        decode(text, capacity_bytes=1000)


def test_journal_when_settled_adds_extents_and_sums():
    seen = []
    journal = Journal(on_settled=lambda it: seen.append(it.settled_bytes))
    journal.settle([Extent(10, 10)], 2**64 - 1)
    journal.settle([Extent(0, 10), Extent(40, 2)], 3)
    assert journal.state() == State(extents=(Extent(0, 20), Extent(40, 2)), block_sum=2)
    assert seen == [10, 22]
