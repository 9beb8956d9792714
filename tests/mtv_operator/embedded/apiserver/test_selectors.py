from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtv import errors
from mtv_operator.embedded.apiserver import selectors

LABELS = {"app": "web", "tier": "front", "kubevirt.io/size": "4", "empty": ""}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("app=web", True),
        ("app==web", True),
        ("app = web , tier=front", True),
        ("app=db", False),
        ("app!=db", True),
        ("missing!=x", True),
        ("app in (db, web)", True),
        ("app in (db,cache)", False),
        ("app notin (db)", True),
        ("missing notin (x)", True),
        ("missing in (x)", False),
        ("app", True),
        ("missing", False),
        ("!missing", True),
        ("!app", False),
        ("empty=", True),
        ("empty", True),
        ("missing=", False),
        ("kubevirt.io/size>3", True),
        ("kubevirt.io/size<3", False),
        ("missing>3", False),
        ("app in (web),tier in (back)", False),
        ("in=x", False),
    ],
)
def test_labels_match(text: str, expected: bool) -> None:
    assert selectors.parse_labels(text)(LABELS) is expected


@pytest.mark.parametrize(
    "text",
    [
        "=x",
        "a=b=c",
        "a in b",
        "a in (b",
        "a,,b",
        "a=b,",
        "!",
        "a!b",
        "a>x",
        "-a=b",
        "a=b c",
        "a/b/c=d",
    ],
)
def test_labels_malformed_names_the_selector(text: str) -> None:
    with pytest.raises(errors.BadInput) as caught:
        selectors.parse_labels(text)
    assert f'selector "{text}"' in str(caught.value)
    assert caught.value.field == "labelSelector"


NAMES = st.from_regex(r"[a-z]([a-z0-9]{0,6})", fullmatch=True)


@given(st.dictionaries(NAMES, NAMES, max_size=4), NAMES, st.sets(NAMES, min_size=1, max_size=3))
def test_labels_opposites_never_agree(labels: dict[str, str], key: str, values: set[str]) -> None:
    listed = ",".join(values)
    one = min(values)
    for yes, no in (
        (f"{key} in ({listed})", f"{key} notin ({listed})"),
        (f"{key}={one}", f"{key}!={one}"),
        (key, f"!{key}"),
    ):
        assert selectors.parse_labels(yes)(labels) is not selectors.parse_labels(no)(labels)


@given(st.text(max_size=20))
def test_selectors_any_text_is_parsed_or_bad_input(text: str) -> None:
    for parse in (selectors.parse_labels, selectors.parse_fields):
        try:
            test: Any = parse(text)
        except errors.BadInput:
            continue
        assert test({}) in (True, False)


POD = {
    "metadata": {"name": "a", "namespace": "n"},
    "spec": {"nodeName": "node1", "hostNetwork": True},
    "status": {"phase": "Running", "n": 3},
    "involvedObject": {"kind": "Pod", "name": "x=y,z"},
    "source": {"component": "kubelet"},
    "type": "Warning",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("metadata.name=a", True),
        ("metadata.name==a,metadata.namespace=n", True),
        ("metadata.name=b", False),
        ("status.phase!=Running", False),
        ("status.phase!=Pending,spec.nodeName!=", True),
        ("spec.nodeName=", False),
        ("spec.schedulerName=", True),
        ("spec.unschedulable=false", True),
        ("spec.hostNetwork=true", True),
        ("status.n=3", True),
        ("involvedObject.name=x\\=y\\,z", True),
        ("source=kubelet", True),
        ("type=Warning,involvedObject.kind=Pod", True),
        ("metadata.name.deeper=x", False),
    ],
)
def test_fields_match(text: str, expected: bool) -> None:
    assert selectors.parse_fields(text)(POD) is expected


@pytest.mark.parametrize("text", ["metadata.name", "=x", "a=\\x"])
def test_fields_malformed_names_the_selector(text: str) -> None:
    with pytest.raises(errors.BadInput, match="invalid selector") as caught:
        selectors.parse_fields(text)
    assert text in str(caught.value)
