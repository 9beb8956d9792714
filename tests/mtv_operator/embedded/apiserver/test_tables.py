from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mtv import errors
from mtv_operator.embedded.apiserver import ages, jsonpath, kinds, tables

NOW = datetime(2026, 1, 10, tzinfo=UTC)
MADE = "2026-01-09T23:54:28Z"


def info(kind: str) -> kinds.ResourceInfo:
    return next(one for one in kinds.BUILTIN if one.kind == kind)


def rows(kind: str, document: Any, *, wide: bool = False) -> dict[str, Any]:
    """Return the cells of one object by column name."""
    document = {"kind": kind, **document}
    document["metadata"] = {"name": "x", "creationTimestamp": MADE, **document.get("metadata", {})}
    made = tables.table(info(kind), [document], {"resourceVersion": "7"}, now=NOW)
    columns = made["columnDefinitions"]
    assert len(columns) == len(made["rows"][0]["cells"])
    return {
        column["name"]: cell
        for column, cell in zip(columns, made["rows"][0]["cells"], strict=True)
        if wide or not column["priority"]
    }


def container(name: str = "a", ready: bool = True, restarts: int = 0, **state: Any) -> Any:
    return {
        "name": name,
        "ready": ready,
        "restartCount": restarts,
        "state": state or {"running": {}},
    }


def pod(phase: str = "Running", *statuses: Any, **status: Any) -> Any:
    return {
        "spec": {"containers": [{"name": "a"}, {"name": "b"}]},
        "status": {"phase": phase, "containerStatuses": list(statuses), **status},
    }


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        pytest.param(pod("Pending"), ("0/2", "Pending", "0"), id="pending"),
        pytest.param(
            pod("Running", container(), container("b")), ("2/2", "Running", "0"), id="running"
        ),
        pytest.param(
            pod("Pending", container(ready=False, waiting={"reason": "ContainerCreating"})),
            ("0/2", "ContainerCreating", "0"),
            id="creating",
        ),
        pytest.param(
            pod("Failed", container(ready=False, terminated={"reason": "Error", "exitCode": 1})),
            ("0/2", "Error", "0"),
            id="failed",
        ),
        pytest.param(
            pod("Failed", container(ready=False, terminated={"exitCode": 137, "signal": 9})),
            ("0/2", "Signal:9", "0"),
            id="by a signal",
        ),
        pytest.param(
            pod("Succeeded", container(ready=False, terminated={"reason": "Completed"})),
            ("0/2", "Completed", "0"),
            id="completed",
        ),
        pytest.param(
            pod(
                "Running",
                container(ready=False, terminated={"reason": "Completed"}),
                container("b"),
                conditions=[{"type": "Ready", "status": "False"}],
            ),
            ("1/2", "NotReady", "0"),
            id="one of two completed",
        ),
        pytest.param(
            pod(
                "Running",
                {
                    **container(restarts=3),
                    "lastState": {"terminated": {"finishedAt": "2026-01-09T23:59:00Z"}},
                },
            ),
            ("1/2", "Running", "3 (60s ago)"),
            id="restarted",
        ),
        pytest.param(
            {
                "spec": {
                    "containers": [{"name": "a"}],
                    "initContainers": [{"name": "i"}, {"name": "j"}],
                },
                "status": {
                    "phase": "Pending",
                    "initContainerStatuses": [
                        container("i", terminated={"exitCode": 0}),
                        container("j", ready=False),
                    ],
                },
            },
            ("0/1", "Init:1/2", "0"),
            id="initializing",
        ),
        pytest.param(
            {
                "metadata": {"deletionTimestamp": MADE},
                **pod("Running", container(), container("b")),
            },
            ("2/2", "Terminating", "0"),
            id="terminating",
        ),
        pytest.param(pod("Failed", reason="Evicted"), ("0/2", "Evicted", "0"), id="evicted"),
    ],
)
def test_pods(document: Any, expected: tuple[str, str, str]) -> None:
    cells = rows("Pod", document)
    assert (cells["Ready"], cells["Status"], cells["Restarts"]) == expected
    assert cells["Age"] == "5m32s"


def test_pods_wide_has_address_and_node() -> None:
    document = pod("Running", container(), podIP="10.0.0.1")
    document["spec"]["nodeName"] = "n1"
    assert list(rows("Pod", document, wide=True).items())[4:] == [
        ("Age", "5m32s"),
        ("IP", "10.0.0.1"),
        ("Node", "n1"),
        ("Nominated Node", "<none>"),
        ("Readiness Gates", "<none>"),
    ]


def test_pods_that_ended_are_marked() -> None:
    document = {"kind": "Pod", "metadata": {"name": "x"}, **pod("Succeeded")}
    made = tables.table(info("Pod"), [document], {}, now=NOW)
    assert made["rows"][0]["conditions"][0]["reason"] == "Succeeded"


@pytest.mark.parametrize(
    ("kind", "document", "expected"),
    [
        (
            "Node",
            {
                "metadata": {"labels": {"node-role.kubernetes.io/worker": ""}},
                "spec": {"unschedulable": True},
                "status": {
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "nodeInfo": {"kubeletVersion": "v1"},
                },
            },
            {"Status": "Ready,SchedulingDisabled", "Roles": "worker", "Version": "v1"},
        ),
        ("Node", {}, {"Status": "Unknown", "Roles": "<none>"}),
        (
            "PersistentVolumeClaim",
            {
                "spec": {"volumeName": "pv1", "storageClassName": "local"},
                "status": {
                    "phase": "Bound",
                    "capacity": {"storage": "1Gi"},
                    "accessModes": ["ReadWriteMany", "ReadWriteOnce"],
                },
            },
            {
                "Status": "Bound",
                "Volume": "pv1",
                "Capacity": "1Gi",
                "Access Modes": "RWO,RWX",
                "StorageClass": "local",
                "VolumeAttributesClass": "<unset>",
            },
        ),
        (
            "PersistentVolume",
            {
                "spec": {
                    "claimRef": {"namespace": "n", "name": "c"},
                    "capacity": {"storage": "1Gi"},
                    "persistentVolumeReclaimPolicy": "Delete",
                },
                "status": {"phase": "Bound"},
            },
            {"Claim": "n/c", "Capacity": "1Gi", "Reclaim Policy": "Delete", "Status": "Bound"},
        ),
        (
            "StorageClass",
            {
                "metadata": {
                    "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}
                },
                "provisioner": "p",
            },
            {
                "Name": "x (default)",
                "Provisioner": "p",
                "ReclaimPolicy": "Delete",
                "VolumeBindingMode": "Immediate",
                "AllowVolumeExpansion": False,
            },
        ),
        (
            "Service",
            {
                "spec": {
                    "clusterIP": "10.0.0.1",
                    "ports": [{"port": 80, "nodePort": 30000}, {"port": 53, "protocol": "UDP"}],
                }
            },
            {
                "Type": "ClusterIP",
                "Cluster-IP": "10.0.0.1",
                "External-IP": "<none>",
                "Port(s)": "80:30000/TCP,53/UDP",
            },
        ),
        ("Secret", {"type": "Opaque", "data": {"a": "", "b": ""}}, {"Type": "Opaque", "Data": 2}),
        ("ConfigMap", {"data": {"a": ""}, "binaryData": {"b": ""}}, {"Data": 2}),
        ("ServiceAccount", {}, {"Secrets": 0}),
        ("Lease", {"spec": {"holderIdentity": "h"}}, {"Holder": "h"}),
        ("Namespace", {"status": {"phase": "Active"}}, {"Status": "Active"}),
        ("CustomResourceDefinition", {}, {"Created At": MADE}),
        (
            "Job",
            {
                "spec": {"completions": 1},
                "status": {
                    "succeeded": 1,
                    "startTime": "2026-01-09T23:00:00Z",
                    "completionTime": "2026-01-09T23:01:05Z",
                    "conditions": [{"type": "Complete", "status": "True"}],
                },
            },
            {"Status": "Complete", "Completions": "1/1", "Duration": "65s"},
        ),
        (
            "APIService",
            {
                "spec": {"service": {"namespace": "n", "name": "s"}},
                "status": {
                    "conditions": [
                        {"type": "Available", "status": "False", "reason": "ServiceNotFound"}
                    ]
                },
            },
            {"Service": "n/s", "Available": "False (ServiceNotFound)"},
        ),
        ("ValidatingWebhookConfiguration", {"webhooks": [{}, {}]}, {"Webhooks": 2}),
        (
            "EndpointSlice",
            {
                "addressType": "IPv4",
                "ports": [{"port": 1}],
                "endpoints": [{"addresses": [f"10.0.0.{last}"]} for last in range(1, 6)],
            },
            {"Ports": "1", "Endpoints": "10.0.0.1,10.0.0.2,10.0.0.3 + 2 more..."},
        ),
        (
            "Endpoints",
            {"subsets": [{"addresses": [{"ip": "1.2.3.4"}], "ports": [{"port": 9}]}]},
            {"Endpoints": "1.2.3.4:9"},
        ),
        (
            "RoleBinding",
            {"roleRef": {"kind": "Role", "name": "r"}},
            {"Role": "Role/r"},
        ),
        (
            "PodDisruptionBudget",
            {"spec": {"minAvailable": 1}},
            {"Min Available": "1", "Max Unavailable": "N/A", "Allowed Disruptions": 0},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_columns(kind: str, document: Any, expected: dict[str, Any]) -> None:
    cells = rows(kind, document)
    assert {name: cells[name] for name in expected} == expected


def test_events_begin_with_when_they_were_seen_last() -> None:
    cells = rows(
        "Event",
        {
            "involvedObject": {"kind": "Pod", "name": "p"},
            "lastTimestamp": "2026-01-09T23:59:30Z",
            "type": "Normal",
            "reason": "Started",
            "message": " it started \n",
        },
    )
    assert list(cells.items()) == [
        ("Last Seen", "30s"),
        ("Type", "Normal"),
        ("Reason", "Started"),
        ("Object", "pod/p"),
        ("Message", "it started"),
    ]


@pytest.mark.parametrize("kind", [one.kind for one in kinds.BUILTIN])
def test_every_kind_prints_an_object_that_says_nothing(kind: str) -> None:
    cells = rows(kind, {"spec": None, "status": None, "metadata": {"labels": None}}, wide=True)
    assert cells["Name"] == "x"


def test_custom_columns_are_found_by_json_path() -> None:
    crd = {
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
                    "schema": {"openAPIV3Schema": {"type": "object"}},
                    "additionalPrinterColumns": [
                        {
                            "name": "Ready",
                            "type": "string",
                            "jsonPath": ".status.conditions[?(@.type=='Ready')].status",
                        },
                        {"name": "N", "type": "integer", "jsonPath": ".spec.n"},
                        {"name": "When", "type": "date", "jsonPath": ".status.at", "priority": 1},
                        {"name": "All", "type": "string", "jsonPath": ".spec.list"},
                        {"name": "On", "type": "boolean", "jsonPath": ".spec.on"},
                    ],
                }
            ],
        },
    }
    widget = kinds.from_crd(crd)[0]
    document = {
        "metadata": {"name": "w", "uid": "u"},
        "spec": {"n": 3, "list": ["a", 1], "on": True},
        "status": {
            "at": "2026-01-06T20:00:00Z",
            "conditions": [{"type": "A", "status": "x"}, {"type": "Ready", "status": "True"}],
        },
    }
    made = tables.table(widget, [document, {"metadata": {"name": "v"}}], {}, now=NOW)
    assert made["rows"][0]["cells"] == ["w", "True", 3, "3d4h", '["a",1]', True]
    assert made["rows"][1]["cells"] == ["v", None, None, None, None, None]
    assert made["rows"][0]["object"] == {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"name": "w", "uid": "u"},
    }
    assert [column["priority"] for column in made["columnDefinitions"]] == [0, 0, 0, 1, 0, 0]
    whole = tables.table(widget, [document], {}, "Object", NOW)
    assert whole["rows"][0]["object"] == document
    assert "object" not in tables.table(widget, [document], {}, "None", NOW)["rows"][0]


@pytest.mark.parametrize(
    ("duration_s", "expected"),
    [
        (-5, "<invalid>"),
        (-0.5, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (332, "5m32s"),
        (600, "10m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 120, "3h2m"),
        (10 * 3600, "10h"),
        (47 * 3600, "47h"),
        (76 * 3600, "3d4h"),
        (10 * 86400, "10d"),
        (800 * 86400, "2y70d"),
        (9 * 365 * 86400, "9y"),
    ],
)
def test_ages(duration_s: float, expected: str) -> None:
    assert ages.shown(duration_s) == expected
    if duration_s >= 0:
        moment = NOW - timedelta(seconds=duration_s)
        assert ages.since(moment.strftime("%Y-%m-%dT%H:%M:%SZ"), NOW) == expected


def test_ages_of_no_time() -> None:
    assert ages.since(None, NOW) == "<unknown>"
    assert ages.since("yesterday", NOW) == "<invalid>"


DOCUMENT = {
    "spec": {"a.b": 1, "list": [{"n": 1, "t": "x"}, {"n": 2, "t": "y"}], "flag": True, "s": "v"},
    "deep": {"er": {"name": "one"}, "name": "two"},
}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (".spec.s", ["v"]),
        ("spec.s", ["v"]),
        ("{.spec.s}", ["v"]),
        ("$.spec.s", ["v"]),
        (".spec['a.b']", [1]),
        (".spec.a\\.b", [1]),
        (".spec.list[0].n", [1]),
        (".spec.list[-1].n", [2]),
        (".spec.list[5].n", []),
        (".spec.list[*].n", [1, 2]),
        (".spec.list[0:1].n", [1]),
        (".spec.list[0,1].n", [1, 2]),
        (".spec.list[?(@.t=='y')].n", [2]),
        ('.spec.list[?(@.t=="y")].n', [2]),
        (".spec.list[?(@.n>1)].t", ["y"]),
        (".spec.list[?(@.n!=1)].t", ["y"]),
        (".spec.list[?(@.missing)].t", []),
        (".spec.list[?(@.n)].t", ["x", "y"]),
        ("..name", ["two", "one"]),
        (".spec.missing.more", []),
        (".spec.s.more", []),
        (".spec['s','flag']", ["v", True]),
    ],
)
def test_json_path(path: str, expected: list[Any]) -> None:
    assert jsonpath.parse(path)(DOCUMENT) == expected


@pytest.mark.parametrize("path", [".a[", ".a[?(@.x", ".a[x]", "..", ".a b", ".a[?(@.x==)]"])
def test_json_path_malformed(path: str) -> None:
    with pytest.raises(errors.BadInput, match="invalid JSONPath"):
        jsonpath.parse(path)
