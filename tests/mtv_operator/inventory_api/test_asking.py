"""Who asks, and what they ask of a list."""

from __future__ import annotations

import pytest

from mtv_operator.inventory_api import application, asking
from mtv_operator.inventory_api.asking import Caller, Question, Refusal


def test_certificate_names_a_user_and_its_groups():
    subject = ((("organizationName", "ops"),), (("commonName", "ann"),))
    found = asking.of_certificate({"subject": subject})
    assert found == Caller(user="ann", groups=("ops", "system:authenticated"))


@pytest.mark.parametrize("peer", [None, {}, {"subject": ((("organizationName", "ops"),),)}])
def test_certificate_without_a_name_is_nobody(peer):
    assert asking.of_certificate(peer) is None


def test_review_asks_for_the_provider_by_name():
    found = asking.review(Caller(user="ann"), Question(verb="get", namespace="mtv", name="vc"))
    assert found["spec"]["resourceAttributes"] == {
        "group": "forklift.konveyor.io",
        "resource": "providers",
        "verb": "get",
        "namespace": "mtv",
        "name": "vc",
    }


@pytest.mark.parametrize("query", [{"detail": "x"}, {"limit": "-1"}, {"offset": "1.5"}])
def test_query_that_is_no_number_is_refused(query):
    with pytest.raises(Refusal) as refused:
        application.page_of(query)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [("", True), ("web1", True), ("web", False), ("vm/web1", True), ("/DC0/vm/web1", True),
     ("m/web1", False)],
)  # fmt: skip
def test_name_is_that_or_the_end_of_the_path(wanted, expected):
    assert application.named("web1", "/DC0/vm/web1", wanted) is expected


def test_page_is_a_part_of_the_list():
    numbers = [{"n": at} for at in range(5)]
    page = application.page_of({"limit": "2", "offset": "3"})
    assert application.cut(numbers, page) == [{"n": 3}, {"n": 4}]
