# ruff: noqa: E501 - messages are whole, so that they can be searched for
from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtv_operator.embedded.apiserver import kinds, patterns, schemas

VM: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "size": {"type": "integer", "default": 1}},
    "required": ["name"],
}
SPEC: dict[str, Any] = {
    "n": {"type": "integer", "minimum": 1, "maximum": 8},
    "ratio": {"type": "number", "minimum": 0, "exclusiveMinimum": True, "multipleOf": 0.5},
    "small": {"type": "integer", "format": "int32"},
    "mode": {"type": "string", "enum": ["a", "b"], "default": "a"},
    "id": {"type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 4},
    "when": {"type": "string", "format": "date-time"},
    "flag": {"type": "boolean"},
    "maybe": {"type": "string", "nullable": True},
    "port": {"x-kubernetes-int-or-string": True},
    "labels": {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 2},
    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    "half": {
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
        "properties": {"known": {"type": "object", "properties": {"x": {"type": "integer"}}}},
    },
    "empty": {"type": "object"},
    "vms": {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "items": VM,
        "maxItems": 3,
    },
    "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
    "opts": {
        "type": "object",
        "default": {},
        "properties": {"depth": {"type": "integer", "default": 3}},
    },
    "template": {
        "type": "object",
        "x-kubernetes-embedded-resource": True,
        "properties": {"spec": {"type": "object", "properties": {"y": {"type": "string"}}}},
    },
    "source": {
        "type": "object",
        "properties": {"url": {"type": "string"}, "path": {"type": "string"}},
        "oneOf": [{"required": ["url"]}, {"required": ["path"]}],
    },
    "ruled": {
        "type": "integer",
        "x-kubernetes-validations": [{"rule": "self > 3", "message": "more"}],
    },
}
SCHEMA = schemas.compile(
    {"type": "object", "properties": {"spec": {"type": "object", "properties": SPEC}}}
)


def admitted(**spec: Any) -> tuple[Any, list[str]]:
    made, warnings = SCHEMA.admit({"apiVersion": "v1", "kind": "X", "metadata": {}, "spec": spec})
    for name, default in (("mode", "a"), ("opts", {"depth": 3})):
        if name not in spec or spec[name] is None or made["spec"].get(name) == default:
            made["spec"].pop(name, None)
    return made["spec"], warnings


@pytest.mark.parametrize(
    ("spec", "kept", "warnings"),
    [
        pytest.param({"bogus": 1, "n": 2}, {"n": 2}, ['unknown field "spec.bogus"'], id="unknown"),
        pytest.param(
            {"vms": [{"name": "a", "x": 1}, {"name": "b", "size": 2}]},
            {"vms": [{"name": "a", "size": 1}, {"name": "b", "size": 2}]},
            ['unknown field "spec.vms[0].x"'],
            id="unknown in a list, default in a list",
        ),
        pytest.param({"labels": {"any": "x"}}, {"labels": {"any": "x"}}, [], id="map keys"),
        pytest.param({"free": {"a": {"b": 1}}}, {"free": {"a": {"b": 1}}}, [], id="preserved"),
        pytest.param(
            {"half": {"other": {"z": 1}, "known": {"x": 1, "z": 2}}},
            {"half": {"other": {"z": 1}, "known": {"x": 1}}},
            ['unknown field "spec.half.known.z"'],
            id="what is specified below preserved fields is pruned",
        ),
        pytest.param(
            {"empty": {"a": 1}}, {"empty": {}}, ['unknown field "spec.empty.a"'], id="no field"
        ),
        pytest.param({"n": None, "flag": None}, {}, [], id="nulls are dropped"),
        pytest.param({"maybe": None}, {"maybe": None}, [], id="null is kept where allowed"),
        pytest.param({"mode": None}, {}, [], id="null gets the default"),
        pytest.param({"labels": {"a": None}}, {"labels": {}}, [], id="null in a map"),
        pytest.param(
            {"template": {"apiVersion": "v1", "kind": "Y", "metadata": {"z": 1}, "spec": {"q": 1}}},
            {"template": {"apiVersion": "v1", "kind": "Y", "metadata": {"z": 1}, "spec": {}}},
            ['unknown field "spec.template.spec.q"'],
            id="an embedded object keeps its identity",
        ),
        pytest.param(
            {"n": "wrong", "vms": "no"}, {"n": "wrong", "vms": "no"}, [], id="wrong types"
        ),
    ],
)
def test_admit(spec: Any, kept: Any, warnings: list[str]) -> None:
    assert admitted(**spec) == (kept, warnings)


def test_admit_fills_in_defaults_of_what_is_a_default_itself() -> None:
    made, _ = SCHEMA.admit({"spec": {}})
    assert made == {"spec": {"mode": "a", "opts": {"depth": 3}}}
    made["spec"]["opts"]["depth"] = 9
    assert SCHEMA.admit({"spec": {}})[0]["spec"]["opts"] == {"depth": 3}


def test_admit_keeps_identity_and_drops_null_times() -> None:
    made, warnings = SCHEMA.admit(
        {"apiVersion": "v1", "kind": "X", "metadata": {"creationTimestamp": None, "name": "a"}}
    )
    assert made == {"apiVersion": "v1", "kind": "X", "metadata": {"name": "a"}}
    assert warnings == []


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"n": "x"}, 'spec.n|FieldValueTypeInvalid|Invalid value: "string": spec.n in body must be of type integer: "string"'),
        ({"n": True}, 'spec.n|FieldValueTypeInvalid|Invalid value: "boolean": spec.n in body must be of type integer: "boolean"'),
        ({"n": 1.5}, 'spec.n|FieldValueTypeInvalid|Invalid value: "number": spec.n in body must be of type integer: "number"'),
        ({"n": 0}, "spec.n|FieldValueInvalid|Invalid value: 0: spec.n in body should be greater than or equal to 1"),
        ({"n": 9}, "spec.n|FieldValueInvalid|Invalid value: 9: spec.n in body should be less than or equal to 8"),
        ({"ratio": 0}, "spec.ratio|FieldValueInvalid|Invalid value: 0: spec.ratio in body should be greater than 0"),
        ({"ratio": 0.75}, "spec.ratio|FieldValueInvalid|Invalid value: 0.75: spec.ratio in body should be a multiple of 0.5"),
        ({"small": 2**31}, "spec.small|FieldValueInvalid|Invalid value: 2147483648: Checked value must be of type integer with format int32 in spec.small"),
        ({"mode": "c"}, 'spec.mode|FieldValueNotSupported|Unsupported value: "c": supported values: "a", "b"'),
        ({"id": "ABC"}, "spec.id|FieldValueInvalid|Invalid value: \"ABC\": spec.id in body should match '^[a-z]+$'"),
        ({"id": "abc\n"}, "spec.id|FieldValueInvalid|Invalid value: \"abc\\n\": spec.id in body should match '^[a-z]+$'"),
        ({"id": "a"}, 'spec.id|FieldValueInvalid|Invalid value: "a": spec.id in body should be at least 2 chars long'),
        ({"id": "abcde"}, "spec.id|FieldValueTooLong|Too long: may not be more than 4 bytes"),
        ({"when": "soon"}, 'spec.when|FieldValueInvalid|Invalid value: "soon": spec.when in body must be of type date-time: "soon"'),
        ({"port": True}, 'spec.port|FieldValueTypeInvalid|Invalid value: "boolean": spec.port in body must be of type integer,string: "boolean"'),
        ({"labels": {"a.b/c": 1}}, 'spec.labels[a.b/c]|FieldValueTypeInvalid|Invalid value: "integer": spec.labels[a.b/c] in body must be of type string: "integer"'),
        ({"labels": {"a": "", "b": "", "c": ""}}, "spec.labels|FieldValueTooMany|Too many: 3: must have at most 2 properties"),
        ({"vms": [{}]}, "spec.vms[0].name|FieldValueRequired|Required value"),
        ({"vms": [{"name": "a"}, {"name": "a"}]}, 'spec.vms[1]|FieldValueDuplicate|Duplicate value: {"name":"a"}'),
        ({"vms": [None]}, 'spec.vms[0]|FieldValueTypeInvalid|Invalid value: "null": spec.vms[0] in body must be of type object: "null"'),
        ({"vms": {}}, 'spec.vms|FieldValueTypeInvalid|Invalid value: "object": spec.vms in body must be of type array: "object"'),
        ({"tags": ["a", "b", "a"]}, 'spec.tags[2]|FieldValueDuplicate|Duplicate value: "a"'),
        ({"template": {"kind": "X"}}, "spec.template.apiVersion|FieldValueRequired|Required value"),
        ({"source": {}}, 'spec.source|FieldValueInvalid|Invalid value: {}: "spec.source" must validate one and only one schema (oneOf). Found none valid'),
        ({"source": {"url": "", "path": ""}}, 'spec.source|FieldValueInvalid|Invalid value: {"url":"","path":""}: "spec.source" must validate one and only one schema (oneOf). Found 2 valid alternatives'),
    ],
)  # fmt: skip
def test_errors_are_worded_as_kubernetes_words_them(spec: Any, expected: str) -> None:
    found = SCHEMA.errors({"spec": spec})
    assert [f"{one.path}|{one.reason}|{one.message}" for one in found] == [expected]


@pytest.mark.parametrize(
    "spec",
    [
        {"n": 3.0},
        {"ratio": 1.5},
        {"port": "http"},
        {"port": 80},
        {"maybe": None},
        {"when": "2024-02-29T10:00:00.5+02:00"},
        {"vms": [{"name": "a"}, {"name": "b"}]},
        {"tags": ["a", "b"]},
        {"source": {"url": "x"}},
        {"ruled": 1},
        {"free": {"x": [1, None]}},
    ],
    ids=json.dumps,
)
def test_errors_of_what_is_right_are_none(spec: Any) -> None:
    assert SCHEMA.errors({"spec": spec}) == []


def test_errors_names_all_of_them() -> None:
    found = SCHEMA.errors({"spec": {"n": "x", "vms": [{}, {"name": 1}], "mode": "z"}})
    assert [one.path for one in found] == [
        "spec.n",
        "spec.vms[0].name",
        "spec.vms[1].name",
        "spec.mode",
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*SPEC, "name", "x", "spec"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(sorted(SPEC)), JSON, max_size=5))
def test_admit_again_changes_nothing_and_checks_never_fail(spec: Any) -> None:
    made, _ = SCHEMA.admit({"spec": copy.deepcopy(spec)})
    SCHEMA.errors(made)
    again, warnings = SCHEMA.admit(copy.deepcopy(made))
    assert again == made
    assert warnings == []


@pytest.mark.parametrize(
    ("pattern", "right", "wrong"),
    [
        (r"^a$", "a", "a\n"),
        (r"^[[:alpha:]_-]+$", "a_-", "1"),
        (r"^[$]\z", "$", "$$"),
        (r"^(?:\d{1,3}\.){3}\d{1,3}$", "1.2.3.4", "1.2.3"),
        (r"^\w+$", "abc", "é"),
    ],
)
def test_patterns_are_read_as_re2_reads_them(pattern: str, right: str, wrong: str) -> None:
    matches = patterns.compiled(pattern)
    assert matches is not None
    assert matches(right)
    assert not matches(wrong)


def test_patterns_that_python_cannot_read_are_passed_over() -> None:
    assert patterns.compiled(r"\pN+") is None
    schema = schemas.compile(
        {"type": "object", "properties": {"a": {"type": "string", "pattern": r"\pN"}}}
    )
    assert schema.errors({"a": "x"}) == []


POD = schemas.compile(next(one.schema or {} for one in kinds.BUILTIN if one.kind == "Pod"))


def test_pods_are_checked_and_get_defaults() -> None:
    pod, warnings = POD.admit(
        {
            "spec": {
                "containers": [
                    {
                        "name": "a",
                        "imge": "x",
                        "ports": [{"containerPort": 80}, {"containerPort": 80}],
                    }
                ],
                "nodeName": None,
            },
            "status": {"conditions": [{"type": "Ready"}]},
        }
    )
    assert warnings == ['unknown field "spec.containers[0].imge"']
    assert pod["spec"]["restartPolicy"] == "Always"
    assert pod["spec"]["containers"][0]["ports"][0]["protocol"] == "TCP"
    assert "nodeName" not in pod["spec"]
    assert POD.errors(pod) == []
    pod["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "1x", "memory": "1.5Gi"}}
    pod["spec"]["restartPolicy"] = "Sometimes"
    assert [one.path for one in POD.errors(pod)] == [
        "spec.containers[0].resources.limits.cpu",
        "spec.restartPolicy",
    ]
