"""Names of people become names that Kubernetes accepts, always the same way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtv.planning import names


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("web1", "web1"),
        ("Web Server_01 (old)", "web-server-01-old"),
        ("db.example.org", "db.example.org"),
        ("..db..prod-.", "db.prod"),
        ("a__b  c+d*e/f\\g", "a-b-c-d-e-f-g"),
        ("-_-", None),
        ("《》", None),
        ("Zürich", "zrich"),
        ("x" * 80, "x" * 63),
        ("x" * 62 + ".y", "x" * 62),
        ("%2f", "2f"),
    ],
)
def test_vm_name_follows_forklifts_rules(name: str, target: str | None) -> None:
    made = names.vm_name(name, vm_id="vm-1")
    assert names.is_vm_name(made)
    if target is None:
        assert made.startswith("vm-")
    else:
        assert made == target


@given(st.text(max_size=100), st.text(max_size=10))
def test_every_name_becomes_a_vm_name_and_again_the_same(name: str, vm_id: str) -> None:
    made = names.vm_name(name, vm_id=vm_id)
    assert names.is_vm_name(made)
    assert names.vm_name(name, vm_id=vm_id) == made
    assert names.vm_name(made, vm_id=vm_id) == made


@given(st.lists(st.text(alphabet="ab", min_size=1, max_size=3), max_size=12))
def test_unique_names_never_meet(wanted: list[str]) -> None:
    taken: set[str] = set()
    for index, name in enumerate(wanted):
        made = names.unique(name, taken, key=f"vm-{index}")
        assert made not in taken
        assert names.is_dns_label(made)
        taken.add(made)


def test_unique_keeps_within_the_limit() -> None:
    made = names.unique("x" * 63, {"x" * 63}, key="vm-1")
    assert len(made) == 63
    assert made == names.unique("x" * 63, {"x" * 63}, key="vm-1")


@given(st.text(max_size=100))
def test_label_values_are_accepted_by_kubernetes(text: str) -> None:
    assert names.is_label_value(names.label_value(text))


@given(st.text(max_size=100))
def test_labels_are_dns_labels(text: str) -> None:
    assert names.is_dns_label(names.label(text, otherwise="net-0", limit=20))
