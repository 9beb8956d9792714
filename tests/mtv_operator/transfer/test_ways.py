"""What has to come to a target, and what is known of the rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters import extents
from converters.extents import Extent
from converters.journal import State
from mtv.api.mtv import Checkpoint, DiskTransferStatus
from mtv_operator.transfer import ways

MIB = 1 << 20
BLOCK = 64 << 10
SIZE = 64 * MIB + 512
FIRST = Checkpoint(snapshot="snapshot-1", change_id="52 aa/1")
SECOND = Checkpoint(snapshot="snapshot-2", change_id="52 aa/2")
WHOLE = State(extents=(Extent(0, SIZE),)).encode()
SOME = State(extents=(Extent(MIB, BLOCK),), block_sum=7).encode()


def status(**more):
    return DiskTransferStatus(**{"checkpoint": FIRST, "checksum": "xxh3:00000000000000ff", **more})


CASES = {
    "all is known": (status(), SECOND, ""),
    "an earlier delta was not finished": (status(pending_delta=SOME), SECOND, ""),
    "not tracked now": (status(), Checkpoint(snapshot="snapshot-2"), "not tracked"),
    "not tracked then": (status(checkpoint=Checkpoint(snapshot="s")), SECOND, "were not tracked"),
    "no checksum": (status(checksum=None), SECOND, "checksum"),
    "a comparison was not finished": (status(pending_delta=WHOLE), SECOND, "comparison"),
    "nonsense": (status(pending_delta="nonsense"), SECOND, "checksum"),
}


@pytest.mark.parametrize(("there", "wanted", "why"), CASES.values(), ids=CASES)
def test_delta_is_for_what_is_known(there, wanted, why):
    found = ways.against_delta(ways.known(there, SIZE), wanted, SIZE)
    assert why in found
    assert bool(found) is bool(why)


def test_delta_brings_what_an_earlier_one_may_have_left_newer():
    there = ways.known(status(pending_delta=SOME), SIZE)
    areas = ways.delta_areas(there, [Extent(5 * MIB + 3, 10)], 0, SIZE)
    assert areas == [Extent(MIB, BLOCK), Extent(5 * MIB, BLOCK)]
    way = ways.delta(there, SECOND, areas, 3, SIZE)
    assert extents.merge([*way.rest.extents, *areas]) == extents.whole(SIZE)
    assert ways.pending(way, SIZE) == State(extents=tuple(areas), block_sum=3).encode()
    assert "snapshot-1" in way.revision
    assert "snapshot-2" in way.revision


@given(st.lists(st.tuples(st.integers(0, SIZE), st.integers(1, 3 * MIB)), max_size=50))
def test_areas_cover_what_changed_by_whole_blocks(changed):
    there = ways.known(status(), SIZE)
    wanted = [Extent(at, length) for at, length in changed]
    areas = ways.delta_areas(there, wanted, MIB, SIZE)
    on_disk = list(extents.intersect(extents.merge(wanted), extents.whole(SIZE)))
    assert extents.subtract(on_disk, areas) == []
    assert all(
        one.offset % BLOCK == 0 and one.end in (SIZE, one.end // BLOCK * BLOCK) for one in areas
    )
    if areas:
        way = ways.whole(FIRST, wanted, SIZE)
        assert not list(extents.intersect(way.rest.extents, on_disk))


def test_areas_are_so_few_that_a_status_holds_them():
    size = 1 << 40
    scattered = [Extent(at * 3 * BLOCK, BLOCK) for at in range(100_000)]
    areas = ways.delta_areas(ways.known(status(), size), scattered, 0, size)
    assert len(areas) <= ways.MOST_AREAS
    assert extents.subtract(scattered, areas) == []


def test_first_copy_goes_on_with_the_longest_journal_that_has_a_change_id():
    journals = [
        (State(extents=(Extent(0, 2 * MIB),), block_sum=10), "whole snapshot-1 52 aa/1"),
        (State(extents=(Extent(0, MIB),), block_sum=4), "whole snapshot-0 52 aa/0"),
        (State(extents=(Extent(0, 9 * MIB),), block_sum=4), "delta snapshot-0 52 aa/0 to x"),
        (State(extents=(Extent(0, 8 * MIB),), block_sum=4), "whole snapshot-7"),
    ]
    state, change_id = ways.unfinished(journals)
    assert (state.block_sum, change_id) == (10, "52 aa/1")
    gone = ways.outdated(state, [Extent(MIB + 5, 1), Extent(40 * MIB, 1)], SIZE)
    assert gone == [Extent(MIB, BLOCK)]
    way = ways.rebased(SECOND, state, gone, 11)
    assert extents.total(way.rest.extents) == 2 * MIB - BLOCK
    assert way.rest.block_sum == (1 << 64) - 1
    assert way.revision == ways.whole(SECOND, (), SIZE).revision


def test_checkpoint_without_change_id_takes_the_old_one_away():
    assert ways.encoded(Checkpoint(snapshot="s")) == {"snapshot": "s", "changeId": None}
