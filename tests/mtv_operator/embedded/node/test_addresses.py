"""Addresses of pods: never twice, kept over restarts, given out in turn."""

import pytest

from mtv import errors
from mtv_operator.embedded.node import addresses


def test_take_when_owner_has_an_address_returns_it_again(tmp_path):
    pool = addresses.Pool(tmp_path, "10.244.1.0/24")
    assert pool.take("a") == "10.244.1.1"
    assert addresses.Pool(tmp_path, "10.244.1.0/24").take("a") == "10.244.1.1"


def test_take_when_an_address_was_given_back_prefers_a_fresh_one(tmp_path):
    pool = addresses.Pool(tmp_path, "10.244.1.0/24")
    pool.take("a")
    pool.give_back("a")
    assert pool.take("b") == "10.244.1.2"


def test_take_when_all_are_taken_says_so_and_goes_round_after_one_is_free(tmp_path):
    pool = addresses.Pool(tmp_path, "10.244.1.0/30")
    assert [pool.take("a"), pool.take("b")] == ["10.244.1.1", "10.244.1.2"]
    with pytest.raises(errors.TargetRefused, match="all 2 pod addresses"):
        pool.take("c")
    pool.give_back("a")
    assert pool.take("c") == "10.244.1.1"


def test_keep_only_when_owners_are_gone_frees_their_addresses(tmp_path):
    pool = addresses.Pool(tmp_path, "10.244.1.0/24")
    pool.take("a")
    pool.take("b")
    assert pool.keep_only({"b"}) == ["a"]
    assert list(pool.taken().values()) == ["b"]
