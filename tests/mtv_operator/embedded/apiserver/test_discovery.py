from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from mtv_operator.embedded.apiserver import discovery, kinds, openapi


def definition(schema: dict[str, Any] | None = None) -> dict[str, Any]:
    mode = {"type": "string", "default": "Slow"}
    spec = {"type": "object", "properties": {"cores": {"type": "integer"}, "mode": mode}}
    usual = {"type": "object", "properties": {"spec": spec}}
    paths = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}
    first = {"name": "v1", "served": True, "storage": True}
    second = {"name": "v1beta1", "served": True, "storage": False}
    return {
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [
                {
                    **first,
                    "subresources": {"status": {}, "scale": paths},
                    "schema": {"openAPIV3Schema": schema or usual},
                },
                {**second, "schema": {"openAPIV3Schema": usual}},
            ],
        },
    }


INFOS = [*kinds.BUILTIN, *kinds.from_crd(definition())]


@dataclass(frozen=True)
class Elsewhere:
    group: str
    version: str
    resources: tuple[dict[str, Any], ...]


SUBRESOURCES = Elsewhere(
    "subresources.kubevirt.io",
    "v1",
    (
        {
            "name": "virtualmachineinstances/console",
            "namespaced": True,
            "kind": "",
            "verbs": ["get"],
        },
        {"name": "version", "namespaced": False, "kind": "Version", "verbs": ["get"]},
    ),
)


def test_groups_have_their_versions_best_first() -> None:
    groups = {one["name"]: one for one in discovery.group_list(INFOS)["groups"]}
    assert "" not in groups
    assert groups["example.com"] == {
        "name": "example.com",
        "versions": [
            {"groupVersion": "example.com/v1", "version": "v1"},
            {"groupVersion": "example.com/v1beta1", "version": "v1beta1"},
        ],
        "preferredVersion": {"groupVersion": "example.com/v1", "version": "v1"},
    }
    assert discovery.group(INFOS, "example.com") == {
        "kind": "APIGroup",
        "apiVersion": "v1",
        **groups["example.com"],
    }
    assert discovery.group(INFOS, "nothing") is None


def test_versions_are_ranked() -> None:
    versions = ["v1", "v1alpha1", "v2beta1", "v10", "v1beta2", "foo", "v2"]
    ranked = sorted(versions, key=discovery.version_rank, reverse=True)
    assert ranked == ["v10", "v2", "v1", "v2beta1", "v1beta2", "v1alpha1", "foo"]


def test_resources_are_listed_with_their_subresources() -> None:
    found = {one["name"]: one for one in discovery.resource_list(INFOS, "", "v1")["resources"]}
    assert found["pods"]["shortNames"] == ["po"]
    assert found["pods/binding"] == {
        "name": "pods/binding",
        "singularName": "",
        "namespaced": True,
        "kind": "Binding",
        "verbs": ["create"],
    }
    assert found["pods/eviction"]["group"] == "policy"
    widgets = discovery.resource_list(INFOS, "example.com", "v1")["resources"]
    assert [one["name"] for one in widgets] == ["widgets", "widgets/status", "widgets/scale"]
    assert widgets[2]["group"] == "autoscaling"


@pytest.mark.parametrize("version", ["v2", "v2beta1"])
def test_aggregated_discovery_has_everything(version: str) -> None:
    core = discovery.aggregated_list(INFOS, core=True, version=version)
    assert core["apiVersion"] == f"apidiscovery.k8s.io/{version}"
    assert [item["metadata"] for item in core["items"]] == [{}]
    rest = discovery.aggregated_list(INFOS, [SUBRESOURCES], core=False, version=version)
    groups = {item["metadata"]["name"]: item["versions"] for item in rest["items"]}
    assert [one["version"] for one in groups["example.com"]] == ["v1", "v1beta1"]
    resource = groups["example.com"][0]["resources"][0]
    assert resource["responseKind"] == {"group": "example.com", "version": "v1", "kind": "Widget"}
    assert resource["subresources"][1] == {
        "subresource": "scale",
        "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"},
        "verbs": ["get", "patch", "update"],
    }
    elsewhere = groups["subresources.kubevirt.io"][0]
    assert elsewhere["freshness"] == "Current"
    console = elsewhere["resources"][0]
    assert (console["resource"], console["verbs"]) == ("virtualmachineinstances", [])
    assert console["subresources"][0]["subresource"] == "console"
    gone = Elsewhere("gone.example.com", "v1", ())
    stale = discovery.aggregated_list(INFOS, [gone], core=False)["items"][-1]["versions"][0]
    assert (stale["resources"], stale["freshness"]) == ([], "Stale")


def references(value: Any) -> set[str]:
    if isinstance(value, list):
        return {found for one in value for found in references(one)}
    if not isinstance(value, dict):
        return set()
    own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
    return own | {found for one in value.values() for found in references(one)}


def test_openapi_v3_refers_to_nothing_that_is_missing() -> None:
    index = openapi.v3_index(INFOS)["paths"]
    assert index["api/v1"]["serverRelativeURL"].startswith("/openapi/v3/api/v1?hash=")
    for root in index:
        *group, version = root.split("/")[1:]
        document = openapi.v3(INFOS, "".join(group), version)
        assert document is not None
        known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
        assert references(document) <= known
    assert openapi.v3(INFOS, "nothing", "v1") is None


def test_openapi_v3_says_how_lists_are_merged_and_which_patches_are_taken() -> None:
    document = openapi.v3(INFOS, "", "v1")
    assert document is not None
    schemas = document["components"]["schemas"]
    containers = schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    assert containers["x-kubernetes-patch-strategy"] == "merge"
    assert containers["x-kubernetes-list-map-keys"] == ["name"]
    pod = schemas["io.k8s.api.core.v1.Pod"]
    assert pod["x-kubernetes-group-version-kind"] == [{"group": "", "version": "v1", "kind": "Pod"}]
    patch = document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"]
    assert "application/strategic-merge-patch+json" in patch["requestBody"]["content"]
    assert {"dryRun", "fieldValidation"} <= {one["name"] for one in patch["parameters"]}
    widgets = openapi.v3(INFOS, "example.com", "v1")
    assert widgets is not None
    path = "/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"
    content = widgets["paths"][path]["patch"]["requestBody"]["content"]
    assert "application/strategic-merge-patch+json" not in content


def test_openapi_v3_address_changes_with_the_schema() -> None:
    other = [*kinds.BUILTIN, *kinds.from_crd(definition({"type": "object"}))]
    before, after = (openapi.v3_index(infos)["paths"] for infos in (INFOS, other))
    assert before["api/v1"] == after["api/v1"]
    assert before["apis/example.com/v1"] != after["apis/example.com/v1"]
    assert before["apis/example.com/v1beta1"] == after["apis/example.com/v1beta1"]


def test_openapi_v2_refers_to_nothing_that_is_missing_and_knows_no_newer_words() -> None:
    document = openapi.v2(INFOS)
    known = {f"#/definitions/{name}" for name in document["definitions"]}
    assert references(document) <= known
    widget = document["definitions"]["com.example.v1.Widget"]
    assert widget["properties"]["spec"]["properties"]["cores"]["type"] == "integer"
    assert "default" not in widget["properties"]["spec"]["properties"]["mode"]


def test_openapi_v2_as_protobuf_has_the_same_definitions() -> None:
    encoded = openapi.v2_protobuf(INFOS)
    for name in openapi.v2(INFOS)["definitions"]:
        assert name.encode() in encoded


def test_version_is_one_that_clients_can_parse() -> None:
    told = discovery.version()
    assert (told["major"], told["minor"]) == ("1", "33")
    assert told["gitVersion"].startswith("v1.33.0+mtv.")
