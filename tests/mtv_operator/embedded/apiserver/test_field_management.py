from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtv import errors
from mtv_operator.embedded.apiserver import field_management, field_sets, kinds, shapes
from mtv_operator.embedded.apiserver.field_management import ApplyConflict

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)
POD = next(info for info in kinds.BUILTIN if info.kind == "Pod")
CONFIG = next(info for info in kinds.BUILTIN if info.kind == "ConfigMap")
WIDGET = kinds.from_crd(
    {
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "properties": {
                                "spec": {
                                    "type": "object",
                                    "properties": {
                                        "cores": {"type": "integer"},
                                        "tags": {
                                            "type": "array",
                                            "x-kubernetes-list-type": "set",
                                            "items": {"type": "string"},
                                        },
                                        "args": {"type": "array", "items": {"type": "string"}},
                                        "disks": {
                                            "type": "array",
                                            "x-kubernetes-list-type": "map",
                                            "x-kubernetes-list-map-keys": ["name"],
                                            "items": {
                                                "type": "object",
                                                "properties": {
                                                    "name": {"type": "string"},
                                                    "size": {"type": "string"},
                                                },
                                            },
                                        },
                                        "whole": {
                                            "type": "object",
                                            "x-kubernetes-map-type": "atomic",
                                            "additionalProperties": {"type": "string"},
                                        },
                                    },
                                },
                                "status": {
                                    "type": "object",
                                    "x-kubernetes-preserve-unknown-fields": True,
                                },
                            },
                        }
                    },
                }
            ],
        },
    }
)[0]


def widget(status: Any = None, **spec: Any) -> dict[str, Any]:
    made = {
        "apiVersion": "example.com/v1",
        "kind": "Widget",
        "metadata": {"name": "w", "namespace": "n"},
        "spec": spec,
    }
    return made | {"status": status} if status else made


def applied(live: Any, document: Any, manager: str = "one", *, force: bool = False) -> Any:
    return field_management.apply(live, document, manager, force, WIDGET, NOW)


def entry(document: Any, manager: str, operation: str = "Apply", subresource: str = "") -> Any:
    return next(
        one
        for one in document["metadata"]["managedFields"]
        if one["manager"] == manager
        and one["operation"] == operation
        and one.get("subresource", "") == subresource
    )


def managers(document: Any) -> list[str]:
    return [one["manager"] for one in document["metadata"].get("managedFields", [])]


def test_apply_creates_and_owns_what_was_applied() -> None:
    made = applied(None, widget(cores=2, tags=["a"], args=["x"], disks=[{"name": "d"}]))
    assert made["spec"] == {"cores": 2, "tags": ["a"], "args": ["x"], "disks": [{"name": "d"}]}
    assert entry(made, "one") == {
        "manager": "one",
        "operation": "Apply",
        "apiVersion": "example.com/v1",
        "time": "2026-01-02T03:04:05Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": {
            "f:spec": {
                "f:cores": {},
                "f:tags": {'v:"a"': {}},
                "f:args": {},
                "f:disks": {'k:{"name":"d"}': {".": {}, "f:name": {}}},
            }
        },
    }


def test_apply_of_labels_owns_each_but_not_the_identity() -> None:
    document = widget()
    document["metadata"]["labels"] = {"a": "1"}
    assert entry(applied(None, document), "one")["fieldsV1"] == {
        "f:metadata": {"f:labels": {"f:a": {}}},
        "f:spec": {},
    }


def test_apply_twice_changes_nothing_not_even_the_time() -> None:
    made = applied(None, widget(cores=2))
    again = field_management.apply(made, widget(cores=2), "one", False, WIDGET, LATER)
    assert again == made


def test_apply_merges_lists_by_their_keys() -> None:
    live = applied(None, widget(disks=[{"name": "a", "size": "1"}, {"name": "b"}], tags=["x"]))
    made = applied(
        live,
        widget(disks=[{"name": "b", "size": "2"}, {"name": "c"}], tags=["y"], args=["1"]),
        "two",
    )
    assert made["spec"] == {
        "disks": [{"name": "a", "size": "1"}, {"name": "b", "size": "2"}, {"name": "c"}],
        "tags": ["x", "y"],
        "args": ["1"],
    }
    assert managers(made) == ["one", "two"]


def test_apply_removes_what_is_no_longer_applied() -> None:
    live = applied(None, widget(cores=2, tags=["a", "b"], disks=[{"name": "a"}, {"name": "b"}]))
    made = applied(live, widget(tags=["b"], disks=[{"name": "b"}]))
    assert made["spec"] == {"tags": ["b"], "disks": [{"name": "b"}]}


def test_apply_keeps_what_others_own_too() -> None:
    live = applied(applied(None, widget(cores=2, args=["x"])), widget(cores=2), "two")
    made = applied(live, widget(args=["x"]))
    assert made["spec"] == {"cores": 2, "args": ["x"]}
    assert entry(made, "two")["fieldsV1"] == {"f:spec": {"f:cores": {}}}
    made = applied(made, widget(args=["x"]), "two")
    assert made["spec"] == {"args": ["x"]}


def test_apply_keeps_what_an_update_set_meanwhile() -> None:
    live = applied(None, widget(disks=[{"name": "a"}]))
    after = copy.deepcopy(live)
    after["spec"]["disks"][0]["size"] = "9"
    live = field_management.track(live, after, "web", "Update", WIDGET, NOW)
    made = applied(live, widget(disks=[{"name": "a"}], cores=1))
    assert made["spec"] == {"disks": [{"name": "a", "size": "9"}], "cores": 1}


def test_apply_conflict_names_managers_and_fields() -> None:
    live = applied(None, widget(cores=2, disks=[{"name": "a", "size": "1"}], whole={"x": "1"}))
    wanted = widget(cores=3, disks=[{"name": "a", "size": "2"}], whole={"y": "1"})
    with pytest.raises(ApplyConflict) as caught:
        applied(live, wanted, "two")
    assert caught.value.conflicts == [
        ("one", ".spec.cores"),
        ("one", '.spec.disks[name="a"].size'),
        ("one", ".spec.whole"),
    ]
    assert caught.value.message == (
        'Apply failed with 3 conflicts: conflicts with "one":\n- .spec.cores\n'
        '- .spec.disks[name="a"].size\n- .spec.whole'
    )
    assert caught.value.causes[0] == {
        "reason": "FieldManagerConflict",
        "message": 'conflict with "one"',
        "field": ".spec.cores",
    }
    made = applied(live, wanted, "two", force=True)
    assert made["spec"] == wanted["spec"]
    assert entry(made, "one")["fieldsV1"] == {
        "f:spec": {"f:disks": {'k:{"name":"a"}': {".": {}, "f:name": {}}}}
    }


def test_apply_conflict_with_two_managers_lists_both() -> None:
    live = applied(applied(None, widget(cores=2)), widget(args=["x"]), "zero")
    with pytest.raises(ApplyConflict) as caught:
        applied(live, widget(cores=3, args=["y"]), "two")
    assert caught.value.message == (
        'Apply failed with 2 conflicts: conflicts with "one":\n- .spec.cores\n'
        'conflicts with "zero":\n- .spec.args'
    )


def test_apply_conflict_with_an_update_says_how_and_when() -> None:
    live = field_management.track(None, widget(cores=2), "web", "Update", WIDGET, NOW)
    with pytest.raises(ApplyConflict) as caught:
        applied(live, widget(cores=3))
    assert caught.value.message == (
        'Apply failed with 1 conflict: conflict with "web" using example.com/v1 at'
        " 2026-01-02T03:04:05Z: .spec.cores"
    )


def test_apply_of_the_same_value_is_no_conflict_and_is_shared() -> None:
    live = applied(None, widget(cores=2))
    made = applied(live, widget(cores=2), "two")
    assert managers(made) == ["one", "two"]
    made = applied(made, widget(), "one")
    assert made["spec"] == {"cores": 2}


def test_apply_forgives_kubectl_what_kubectl_applied_before() -> None:
    document = widget(cores=2)
    document["metadata"]["annotations"] = {
        field_management.LAST_APPLIED: '{"spec":{"cores":2},"metadata":{"annotations":{}}}'
    }
    live = field_management.track(
        None, document, "kubectl-client-side-apply", "Update", WIDGET, NOW
    )
    made = applied(live, widget(cores=3), "kubectl")
    assert made["spec"] == {"cores": 3}
    live["spec"]["cores"] = 5
    with pytest.raises(ApplyConflict):
        applied(live, widget(cores=3), "kubectl")


def test_apply_of_status_is_another_owner_than_apply_of_the_object() -> None:
    live = applied(None, widget(cores=2))
    made = field_management.apply(
        live, widget(status={"phase": "Up"}, cores=9), "one", False, WIDGET, NOW, "status"
    )
    assert made["spec"] == {"cores": 2}
    assert made["status"] == {"phase": "Up"}
    assert entry(made, "one", subresource="status")["fieldsV1"] == {"f:status": {"f:phase": {}}}
    again = applied(made, widget(status={"phase": "Down"}, cores=3))
    assert again["status"] == {"phase": "Up"}


def test_apply_on_an_object_without_owners_gives_them_one() -> None:
    with pytest.raises(ApplyConflict, match="before-first-apply"):
        applied(widget(cores=2), widget(cores=3))


def test_apply_with_managed_fields_is_refused() -> None:
    document = widget()
    document["metadata"]["managedFields"] = [{"manager": "x"}]
    with pytest.raises(errors.BadInput, match=r"metadata.managedFields: must be nil"):
        applied(None, document)


def test_track_of_a_new_object_owns_everything_but_the_identity() -> None:
    document = widget(cores=2, disks=[{"name": "a"}])
    document["metadata"] |= {"uid": "u", "labels": {"l": "1"}, "finalizers": ["f"]}
    made = field_management.track(None, document, "web", "Update", WIDGET, NOW)
    assert entry(made, "web", "Update")["fieldsV1"] == {
        "f:metadata": {
            "f:labels": {".": {}, "f:l": {}},
            "f:finalizers": {".": {}, 'v:"f"': {}},
        },
        "f:spec": {
            ".": {},
            "f:cores": {},
            "f:disks": {".": {}, 'k:{"name":"a"}': {".": {}, "f:name": {}}},
        },
    }


def test_track_takes_changed_fields_from_their_owners() -> None:
    live = applied(None, widget(cores=2, args=["x"], disks=[{"name": "a"}]))
    after = copy.deepcopy(live)
    after["spec"]["cores"] = 3
    del after["spec"]["args"]
    made = field_management.track(live, after, "web", "Update", WIDGET, LATER)
    assert entry(made, "one")["fieldsV1"] == {
        "f:spec": {"f:disks": {'k:{"name":"a"}': {".": {}, "f:name": {}}}}
    }
    assert entry(made, "one")["time"] == "2026-01-02T03:04:05Z"
    assert entry(made, "web", "Update")["fieldsV1"] == {"f:spec": {"f:cores": {}}}
    assert entry(made, "web", "Update")["time"] == "2026-01-02T03:05:05Z"


def test_track_drops_an_owner_that_owns_nothing_any_more() -> None:
    live = applied(None, widget(cores=2))
    after = copy.deepcopy(live)
    after["spec"]["cores"] = 3
    assert managers(field_management.track(live, after, "web", "Update", WIDGET, NOW)) == ["web"]


def test_track_without_a_change_changes_nothing() -> None:
    live = field_management.track(None, widget(cores=2), "web", "Update", WIDGET, NOW)
    after = copy.deepcopy(live)
    del after["metadata"]["managedFields"]
    assert field_management.track(live, after, "other", "Update", WIDGET, LATER) == live


def test_track_of_status_has_its_own_entry() -> None:
    live = field_management.track(None, widget(cores=2), "web", "Update", WIDGET, NOW)
    after = copy.deepcopy(live) | {"status": {"phase": "Up"}}
    made = field_management.track(live, after, "web", "Update", WIDGET, NOW, "status")
    assert entry(made, "web", "Update", "status")["fieldsV1"] == {
        "f:status": {".": {}, "f:phase": {}}
    }
    assert "f:spec" in entry(made, "web", "Update")["fieldsV1"]


def test_track_resets_on_request() -> None:
    live = field_management.track(None, widget(cores=2), "web", "Update", WIDGET, NOW)
    after = copy.deepcopy(live)
    after["metadata"]["managedFields"] = [{}]
    made = field_management.track(live, after, "web", "Update", WIDGET, NOW)
    assert "managedFields" not in made["metadata"]


def test_track_refuses_managed_fields_that_are_none() -> None:
    document = widget()
    document["metadata"]["managedFields"] = [{"manager": "x", "operation": "Paint"}]
    with pytest.raises(errors.BadInput, match=r"metadata.managedFields\[0\]"):
        field_management.track(None, document, "web", "Update", WIDGET, NOW)


def test_track_joins_the_oldest_when_there_are_too_many() -> None:
    live = widget(cores=0)
    for number in range(14):
        after = copy.deepcopy(live)
        after["metadata"].setdefault("labels", {})[f"l{number}"] = "x"
        live = field_management.track(
            live, after, f"m{number:02}", "Update", WIDGET, NOW + timedelta(seconds=number)
        )
    assert managers(live) == ["ancient-changes", *(f"m{number:02}" for number in range(5, 14))]
    ancient = entry(live, "ancient-changes", "Update")["fieldsV1"]["f:metadata"]["f:labels"]
    assert set(ancient) == {".", "f:l0", "f:l1", "f:l2", "f:l3", "f:l4"}


def test_pods_are_known_by_the_keys_of_their_lists_with_defaults() -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "a", "ports": [{"containerPort": 80}]}]},
    }
    made = field_management.apply(None, pod, "one", False, POD, NOW)
    containers = entry(made, "one")["fieldsV1"]["f:spec"]["f:containers"]
    assert list(containers['k:{"name":"a"}']["f:ports"]) == [
        'k:{"containerPort":80,"protocol":"TCP"}'
    ]


SPECS = st.fixed_dictionaries(
    {},
    optional={
        "cores": st.integers(0, 2),
        "tags": st.lists(st.sampled_from("abc"), unique=True, max_size=3),
        "args": st.lists(st.sampled_from("xy"), max_size=2),
        "disks": st.lists(
            st.fixed_dictionaries(
                {"name": st.sampled_from("abc")}, optional={"size": st.sampled_from("12")}
            ),
            max_size=3,
            unique_by=lambda disk: disk["name"],
        ),
        "whole": st.dictionaries(st.sampled_from("pq"), st.just("1"), max_size=2),
        "free": st.dictionaries(st.sampled_from("pq"), st.integers(0, 1), max_size=2),
    },
)


@given(SPECS, SPECS)
def test_apply_by_one_owner_alone_is_what_was_applied_last(first: Any, second: Any) -> None:
    made = applied(applied(None, widget(**first)), widget(**second))
    assert kept(made["spec"]) == kept(second)
    assert applied(made, widget(**second)) == made


def kept(spec: Any) -> Any:
    """Return a spec without what says nothing, its lists by name."""
    named = dict(spec)
    for name in ("tags", "disks"):
        if name in named:
            named[name] = sorted(
                named[name], key=lambda one: one if name == "tags" else one["name"]
            )
    return {name: value for name, value in named.items() if value not in ([], {})}


@given(SPECS, SPECS, SPECS)
def test_apply_by_force_holds_and_every_field_has_an_owner(one: Any, two: Any, three: Any) -> None:
    made = applied(None, widget(**one), "a")
    made = applied(made, widget(**two), "b", force=True)
    made = applied(made, widget(**three), "a", force=True)
    shape = shapes.of(WIDGET)
    owned: Any = {}
    for owner in made["metadata"]["managedFields"]:
        owned = field_sets.union(owned, owner["fieldsV1"])
    bare = {name: value for name, value in made.items() if name == "spec"}
    unowned = field_sets.difference(field_sets.of_object(bare, shape), owned)
    assert list(field_sets.paths(unowned)) == []
    wanted = field_sets.of_object({"spec": three}, shape)
    assert list(field_sets.paths(field_sets.difference(wanted, entry_fields(made, "a")))) == []


def entry_fields(document: Any, manager: str) -> Any:
    found = [one for one in document["metadata"]["managedFields"] if one["manager"] == manager]
    return found[0]["fieldsV1"] if found else {}


@given(SPECS, SPECS)
def test_track_owns_exactly_the_differences(first: Any, second: Any) -> None:
    live = field_management.track(None, widget(**first), "a", "Update", WIDGET, NOW)
    after = {**widget(**second), "metadata": copy.deepcopy(live["metadata"])}
    made = field_management.track(live, after, "b", "Update", WIDGET, NOW)
    assert ("b" in managers(made)) == bool(list(field_sets.paths(entry_fields(made, "b"))))
    if first == second:
        assert managers(made) == ["a"]
    both = field_sets.intersection(entry_fields(made, "a"), entry_fields(made, "b"))
    assert list(field_sets.paths(both)) == []


SETS: st.SearchStrategy[Any] = st.recursive(
    st.just({}),
    lambda inner: st.dictionaries(
        st.sampled_from(["f:a", "f:b", 'k:{"n":1}']), inner, max_size=3
    ).flatmap(lambda node: st.sampled_from([node, {**node, ".": {}}] if node else [node])),
    max_leaves=6,
)


@given(SETS, SETS)
def test_sets_obey_the_laws_of_sets(one: Any, other: Any) -> None:
    one.pop(".", None)
    other.pop(".", None)
    have, more = set(field_sets.paths(one)), set(field_sets.paths(other))
    assert set(field_sets.paths(field_sets.union(one, other))) == have | more
    assert set(field_sets.paths(field_sets.intersection(one, other))) == have & more
    assert set(field_sets.paths(field_sets.difference(one, other))) == have - more
