"""Which extents are read again."""

import random

from hypothesis import given
from hypothesis import strategies as st

from converters.extents import Extent
from mtv_operator.transfer import verifying

MIB = 1 << 20


@given(st.integers(1, 5000), st.integers(0, 5000), st.integers())
def test_sample_is_of_what_was_copied_now_and_not_too_small(mib, earlier, seed):
    known = [Extent(0, min(earlier, mib) * MIB)] if earlier else []
    chosen = verifying.choose(mib * MIB, known, random.Random(seed))
    left = mib - min(earlier, mib)
    assert len(chosen) == len(set(chosen)) == min(left, max(mib // 20, 64))
    assert all(earlier <= at < mib for at in chosen)


def test_extent_that_was_copied_in_part_earlier_is_not_chosen():
    chosen = verifying.choose(3 * MIB, [Extent(0, MIB + 4096)], random.Random(1))
    assert chosen == [2]
