import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtv_operator.embedded.apiserver import kinds, patching

POD = next(info for info in kinds.BUILTIN if info.kind == "Pod")
PVC = next(info for info in kinds.BUILTIN if info.kind == "PersistentVolumeClaim")

SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab~/", max_size=2)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("ab~/", max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text("abc", min_size=1, max_size=1), JSON, max_size=3)


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_nulls(one) for name, one in value.items() if one is not None}
    return value


# RFC 7386, appendix A.
@pytest.mark.parametrize(
    ("document", "patch", "expected"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch_examples_of_the_rfc(document: Any, patch: Any, expected: Any) -> None:
    assert patching.merge_patch(document, patch) == expected


@given(OBJECTS, OBJECTS)
def test_merge_patch_twice_is_once_and_arguments_stay(document: Any, patch: Any) -> None:
    before = copy.deepcopy((document, patch))
    once = patching.merge_patch(document, patch)
    assert patching.merge_patch(once, patch) == once
    assert (document, patch) == before


@given(OBJECTS)
def test_merge_patch_on_nothing_is_the_patch_without_nulls(patch: Any) -> None:
    assert patching.merge_patch({}, patch) == without_nulls(patch)


@pytest.mark.parametrize(
    ("document", "operations", "expected"),
    [
        ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "q"}], {"foo": "bar", "baz": "q"}),
        ({"foo": [1, 3]}, [{"op": "add", "path": "/foo/1", "value": 2}], {"foo": [1, 2, 3]}),
        ({"foo": [1]}, [{"op": "add", "path": "/foo/-", "value": [2]}], {"foo": [1, [2]]}),
        ({"a": 1, "b": 2}, [{"op": "remove", "path": "/a"}], {"b": 2}),
        ({"a": [1, 2, 3]}, [{"op": "remove", "path": "/a/1"}], {"a": [1, 3]}),
        ({"a": 1}, [{"op": "replace", "path": "/a", "value": None}], {"a": None}),
        (
            {"a": {"b": 1}, "c": {}},
            [{"op": "move", "from": "/a/b", "path": "/c/d"}],
            {"a": {}, "c": {"d": 1}},
        ),
        ({"a": [1, 2, 3]}, [{"op": "move", "from": "/a/0", "path": "/a/2"}], {"a": [2, 3, 1]}),
        (
            {"a": {"b": 1}},
            [{"op": "copy", "from": "/a", "path": "/c"}],
            {"a": {"b": 1}, "c": {"b": 1}},
        ),
        ({"a/b": {"~": 1}}, [{"op": "replace", "path": "/a~1b/~0", "value": 2}], {"a/b": {"~": 2}}),
        ({"a": 1}, [{"op": "test", "path": "/a", "value": 1.0}], {"a": 1}),
        ({"a": 1}, [{"op": "test", "path": "/b", "value": None}], {"a": 1}),
        ({"a": 1}, [{"op": "add", "path": "", "value": {"b": 2}}], {"b": 2}),
        ({"": 1}, [{"op": "remove", "path": "/"}], {}),
    ],
)
def test_json_patch_does(document: Any, operations: Any, expected: Any) -> None:
    assert patching.json_patch(document, operations) == expected


@pytest.mark.parametrize(
    ("operations", "problem"),
    [
        ([{"op": "remove", "path": "/missing"}], "doc is missing path: /missing"),
        ([{"op": "replace", "path": "/missing", "value": 1}], "doc is missing path: /missing"),
        ([{"op": "add", "path": "/x/y", "value": 1}], "doc is missing path: /x"),
        ([{"op": "add", "path": "/list/9", "value": 1}], "index 9 is out of bounds"),
        ([{"op": "add", "path": "/list/01", "value": 1}], "'01' is no index"),
        ([{"op": "remove", "path": "/list/-"}], "'-' is no index"),
        ([{"op": "add", "path": "a", "value": 1}], "no JSON pointer"),
        ([{"op": "add", "path": "/a"}], "has no value"),
        ([{"op": "move", "from": "/map", "path": "/map/x"}], "inside its source"),
        ([{"op": "remove", "path": ""}], "whole document"),
        ([{"op": "jump", "path": "/a"}], "unexpected kind of operation: 'jump'"),
        (["add"], "an operation of a JSON patch is an object"),
        ({"op": "add"}, "a list of operations"),
        (
            [
                {"op": "add", "path": "/a", "value": "x" * 1000},
                *[{"op": "copy", "from": "", "path": "/b"}] * 100,
            ],
            "more than",
        ),
        ([{"op": "test", "path": "/a", "value": True}], "testing value /a failed"),
    ],
)
def test_json_patch_that_does_not_fit_says_why(operations: Any, problem: str) -> None:
    document = {"a": 1, "list": [0], "map": {}}
    before = copy.deepcopy(document)
    with pytest.raises(patching.PatchFailed) as caught:
        patching.json_patch(document, operations)
    assert problem in caught.value.message
    assert caught.value.test_failed is ("testing" in problem)
    assert document == before


@given(OBJECTS, st.text("abc~/", max_size=3), JSON)
def test_json_patch_add_test_remove_is_nothing(document: Any, name: str, value: Any) -> None:
    if name in document:
        return
    path = "/" + name.replace("~", "~0").replace("/", "~1")
    operations = [
        {"op": "add", "path": path, "value": value},
        {"op": "test", "path": path, "value": value},
        {"op": "remove", "path": path},
    ]
    assert patching.json_patch(document, operations) == document


def pod(*containers: Any, **spec: Any) -> dict[str, Any]:
    return {"spec": {"containers": list(containers), **spec}}


PORT = {"containerPort": 81}
A, B, C = ({"name": name, "image": f"{name}:1"} for name in "abc")


@pytest.mark.parametrize(
    ("document", "patch", "expected"),
    [
        pytest.param(
            pod(A, B), pod({"name": "b", "image": "b:2"}), pod(A, {"name": "b", "image": "b:2"}),
            id="an item is merged by its key",
        ),
        pytest.param(pod(A), pod(B), pod(A, B), id="a new item is appended"),
        pytest.param(
            pod(A, B), pod({"name": "a", "$patch": "delete"}), pod(B), id="an item is deleted"
        ),
        pytest.param(
            pod(A, B), pod({"$patch": "replace"}, C), pod(C), id="the list is replaced"
        ),
        pytest.param(
            pod(A, nodeSelector={"x": "1"}),
            {"spec": {"nodeSelector": {"$patch": "replace", "y": "2"}}},
            pod(A, nodeSelector={"y": "2"}),
            id="a map is replaced",
        ),
        pytest.param(
            pod(A, nodeSelector={"x": "1"}),
            {"spec": {"nodeSelector": {"x": None, "y": "2"}}},
            pod(A, nodeSelector={"y": "2"}),
            id="null deletes",
        ),
        pytest.param(
            pod({**A, "args": ["1", "2"]}), pod({"name": "a", "args": ["3"]}),
            pod({**A, "args": ["3"]}), id="an atomic list is replaced",
        ),
        pytest.param(
            {"metadata": {"finalizers": ["x", "y"]}},
            {"metadata": {"finalizers": ["z", "x"]}},
            {"metadata": {"finalizers": ["x", "y", "z"]}},
            id="a list of values is a union",
        ),
        pytest.param(
            {"metadata": {"finalizers": ["x", "y"]}},
            {"metadata": {"$deleteFromPrimitiveList/finalizers": ["x"]}},
            {"metadata": {"finalizers": ["y"]}},
            id="a value is deleted from a list",
        ),
        pytest.param(
            pod(A, volumes=[{"name": "v", "emptyDir": {}}]),
            {"spec": {"volumes": [
                {"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}
            ]}},
            pod(A, volumes=[{"name": "v", "hostPath": {"path": "/x"}}]),
            id="only the keys named are retained",
        ),
        pytest.param(
            pod(A, B, C),
            {"spec": {
                "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
                "containers": [{"name": "c", "image": "c:2"}],
            }},
            pod(B, {"name": "c", "image": "c:2"}, A),
            id="items are put in order, and b stays before c as on the server",
        ),
        pytest.param(
            pod({**A, "ports": [{"containerPort": 80, "name": "x"}]}),
            pod({"name": "a", "ports": [{"containerPort": 80, "protocol": "UDP"}, PORT]}),
            pod({**A, "ports": [{"containerPort": 80, "name": "x", "protocol": "UDP"}, PORT]}),
            id="lists inside items are merged",
        ),
        pytest.param(
            {"spec": {}},
            pod({**A, "image": None}, nodeName=None, volumes=[{"name": "v", "$patch": "delete"}]),
            pod({"name": "a"}, volumes=[]),
            id="nulls and directives do not arrive in what is new",
        ),
    ],
)  # fmt: skip
def test_strategic_merge(document: Any, patch: Any, expected: Any) -> None:
    before = copy.deepcopy((document, patch))
    assert patching.strategic_merge(document, patch, POD) == expected
    assert (document, patch) == before


def test_strategic_merge_order_keeps_what_the_client_does_not_know_in_place() -> None:
    document = {"metadata": {"finalizers": ["a", "server", "b"]}}
    patch = {"metadata": {"$setElementOrder/finalizers": ["a", "b", "c"], "finalizers": ["c"]}}
    merged = patching.strategic_merge(document, patch, POD)
    assert merged["metadata"]["finalizers"] == ["a", "server", "b", "c"]


@pytest.mark.parametrize(
    ("patch", "problem"),
    [
        (pod({"image": "x"}), "does not contain declared merge key: name"),
        (pod("x"), "is no object"),
        ({"spec": {"$patch": "paint"}}, "unknown patch type found: paint"),
        ({"spec": {"$retainKeys": ["a"], "b": 1}}, "does not name b"),
    ],
)
def test_strategic_merge_malformed_says_why(patch: Any, problem: str) -> None:
    with pytest.raises(patching.PatchFailed, match=problem):
        patching.strategic_merge(pod(A), patch, POD)


PLAIN = st.recursive(
    SCALARS | st.lists(st.integers(0, 3), max_size=3),
    lambda inner: st.dictionaries(st.text("ab~/", max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(PLAIN, PLAIN)
def test_strategic_merge_without_lists_to_merge_is_a_merge_patch(document: Any, patch: Any) -> None:
    bare = without_nulls(document)
    assert patching.strategic_merge({"data": bare}, {"data": patch}, PVC) == patching.merge_patch(
        {"data": bare}, {"data": patch}
    )
