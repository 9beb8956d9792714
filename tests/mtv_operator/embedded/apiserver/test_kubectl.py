"""Stock kubectl against the server: each command that a user of a cluster knows."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import servers
from servers import ApiServer

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")

WIDGET = """
apiVersion: example.com/v1
kind: Widget
metadata:
  name: {name}
  labels: {{app: web}}
spec:
  cores: {cores}
  disks:
  - {{name: root, size: 10Gi}}
"""
MAP = """
apiVersion: v1
kind: ConfigMap
metadata:
  name: {name}
data:
  key: {value}
"""


@pytest.fixture
def kubectl(server: ApiServer, namespace: str) -> Any:
    def run(*arguments: str, **more: Any) -> str:
        return server.kubectl("-n", namespace, *arguments, **more)

    return run


def apply(kubectl: Any, text: str, *more: str, **options: Any) -> str:
    return str(kubectl("apply", *more, "-f", "-", stdin=text, **options))


def merge(kubectl: Any, name: str, patch: Any, *more: str) -> None:
    kubectl("patch", name, "--type=merge", "-p", json.dumps(patch), *more)


def spec_of(kubectl: Any, name: str) -> Any:
    return json.loads(kubectl("get", "widget", name, "-o", "json"))["spec"]


def test_apply_when_repeated_creates_configures_and_leaves_alone(kubectl: Any) -> None:
    for template, kind in ((WIDGET, "widget.example.com"), (MAP, "configmap")):
        first = template.format(name="a", cores=2, value="x")
        second = template.format(name="a", cores=3, value="z")
        assert apply(kubectl, first) == f"{kind}/a created\n"
        assert apply(kubectl, first) == f"{kind}/a unchanged\n"
        assert apply(kubectl, second) == f"{kind}/a configured\n"
    assert spec_of(kubectl, "a")["cores"] == 3


def test_apply_when_a_field_is_left_out_takes_it_away(kubectl: Any) -> None:
    apply(kubectl, WIDGET.format(name="a", cores=2))
    text = WIDGET.format(name="a", cores=2).replace("  disks:\n  - {name: root, size: 10Gi}\n", "")
    apply(kubectl, text)
    assert "disks" not in spec_of(kubectl, "a")


def test_apply_when_server_side_merges_lists_by_key_and_reports_conflicts(kubectl: Any) -> None:
    text = WIDGET.format(name="a", cores=2)
    assert apply(kubectl, text, "--server-side") == "widget.example.com/a serverside-applied\n"
    other = text.replace("name: root", "name: data")
    apply(kubectl, other, "--server-side", "--field-manager=other")
    assert [one["name"] for one in spec_of(kubectl, "a")["disks"]] == ["root", "data"]
    third = WIDGET.format(name="a", cores=9)
    told = apply(kubectl, third, "--server-side", "--field-manager=third", expect=1)
    assert "conflict" in told
    assert ".spec.cores" in told
    apply(kubectl, third, "--server-side", "--field-manager=third", "--force-conflicts")
    assert spec_of(kubectl, "a")["cores"] == 9


def test_diff_when_something_would_change_shows_it(kubectl: Any) -> None:
    apply(kubectl, WIDGET.format(name="a", cores=2))
    same = kubectl("diff", "-f", "-", stdin=WIDGET.format(name="a", cores=2))
    assert same == ""
    told = kubectl("diff", "-f", "-", stdin=WIDGET.format(name="a", cores=5), expect=1)
    assert "-  cores: 2\n+  cores: 5\n" in told


def test_get_when_formats_differ(kubectl: Any) -> None:
    apply(kubectl, WIDGET.format(name="a", cores=2))
    kubectl(
        "patch",
        "wi",
        "a",
        "--subresource=status",
        "--type=merge",
        "-p",
        '{"status":{"phase":"Up"}}',
    )
    lines = kubectl("get", "wi").splitlines()
    assert lines[0].split() == ["NAME", "CORES", "PHASE", "AGE"]
    assert lines[1].split()[:3] == ["a", "2", "Up"]
    assert "a" in kubectl("get", "widgets", "-o", "wide")
    assert "apiVersion: example.com/v1" in kubectl("get", "widget/a", "-o", "yaml")
    assert kubectl("get", "wi", "-o", "name") == "widget.example.com/a\n"
    assert kubectl("get", "wi", "-o", "jsonpath={.items[*].spec.cores}") == "2"
    assert kubectl("get", "wi", "-l", "app=web", "--no-headers").split()[0] == "a"
    assert "No resources found" in kubectl("get", "wi", "-l", "app!=web")
    assert "widget.example.com/a" in kubectl("get", "all")
    assert kubectl("get", "wi", "a", "--show-labels").split()[-1] == "app=web"
    told = kubectl("get", "wi", "none", expect=1)
    assert told == 'Error from server (NotFound): widgets.example.com "none" not found\n'
    told = kubectl("get", "nothings", expect=1)
    assert 'the server doesn\'t have a resource type "nothings"' in told


def test_get_when_many_are_read_in_chunks(kubectl: Any) -> None:
    text = "---".join(MAP.format(name=f"m{n}", value="x") for n in range(25))
    apply(kubectl, text)
    lines = kubectl("get", "cm", "--chunk-size=7", "--no-headers").splitlines()
    assert len([line for line in lines if line.startswith("m")]) == 25


def test_watch_when_things_happen_shows_a_line_each(server: ApiServer, namespace: str) -> None:
    process = subprocess.Popen(
        ["kubectl", "-n", namespace, "get", "wi", "-w", "--output-watch-events"],
        env={"KUBECONFIG": str(server.kubeconfig), "HOME": str(server.folder), "PATH": "/usr/bin"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        server.kubectl("-n", namespace, "apply", "-f", "-", stdin=WIDGET.format(name="a", cores=2))
        head, added = process.stdout.readline().split(), process.stdout.readline().split()
        assert head == ["EVENT", "NAME", "CORES", "PHASE", "AGE"]
        assert added[:3] == ["ADDED", "a", "2"]
        server.kubectl("-n", namespace, "apply", "-f", "-", stdin=WIDGET.format(name="a", cores=4))
        assert process.stdout.readline().split()[:3] == ["MODIFIED", "a", "4"]
        server.kubectl("-n", namespace, "delete", "wi", "a")
        assert process.stdout.readline().split()[:3] == ["DELETED", "a", "4"]
    finally:
        process.kill()
        process.wait()


def test_describe_when_events_are_there_shows_them(
    server: ApiServer, kubectl: Any, namespace: str
) -> None:
    apply(kubectl, WIDGET.format(name="a", cores=2))
    uid = json.loads(kubectl("get", "wi", "a", "-o", "json"))["metadata"]["uid"]
    server.post(
        f"/api/v1/namespaces/{namespace}/events",
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": "a.1"},
            "involvedObject": {
                "apiVersion": "example.com/v1",
                "kind": "Widget",
                "name": "a",
                "namespace": namespace,
                "uid": uid,
            },
            "reason": "Turned",
            "message": "it turned",
            "type": "Normal",
            "count": 2,
            "firstTimestamp": "2024-01-01T00:00:00Z",
            "lastTimestamp": "2024-01-01T00:01:00Z",
            "source": {"component": "turner"},
        },
    )
    told = kubectl("describe", "wi", "a")
    assert "Cores:  2" in told
    assert "it turned" in told
    assert "turner" in told
    assert "Turned" in kubectl("events")
    assert "it turned" in kubectl("events", "--for", "widget/a")
    assert "Turned" in kubectl("get", "events")
    assert "Status:       Active" in kubectl("describe", "ns", namespace)


def test_edit_when_an_editor_changes_it(kubectl: Any, tmp_path: Path) -> None:
    apply(kubectl, WIDGET.format(name="a", cores=2))
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i 's/cores: 2/cores: 6/' \"$1\"\n")
    editor.chmod(0o755)
    assert "edited" in kubectl("edit", "wi", "a", EDITOR=str(editor))
    assert spec_of(kubectl, "a")["cores"] == 6
    editor.write_text("#!/bin/sh\nsed -i 's/cores: 6$/cores: 600/' \"$1\"\n")
    told = kubectl("edit", "wi", "a", EDITOR=str(editor), expect=1)
    assert 'widgets.example.com "a" is invalid' in told
    copy = Path(told.partition('stored to "')[2].partition('"')[0])
    assert "# * spec.cores: Invalid value: 600" in copy.read_text()
    copy.unlink()
    assert spec_of(kubectl, "a")["cores"] == 6


def test_patch_when_types_differ(kubectl: Any) -> None:
    apply(kubectl, WIDGET.format(name="a", cores=2))
    apply(kubectl, MAP.format(name="m", value="x"))
    kubectl("patch", "wi", "a", "--type=merge", "-p", '{"spec":{"cores":3}}')
    assert spec_of(kubectl, "a")["cores"] == 3
    kubectl(
        "patch", "wi", "a", "--type=json", "-p", '[{"op":"replace","path":"/spec/cores","value":4}]'
    )
    assert spec_of(kubectl, "a")["cores"] == 4
    kubectl("patch", "cm", "m", "-p", '{"data":{"other":"y"}}')
    assert json.loads(kubectl("get", "cm", "m", "-o", "json"))["data"] == {"key": "x", "other": "y"}
    told = kubectl("patch", "wi", "a", "-p", "{}", expect=1)
    assert "strategic-merge-patch+json is not supported by example.com/v1" in told


def test_strategic_patch_when_a_list_has_keys_is_merged_by_them(kubectl: Any) -> None:
    kubectl("run", "p", "--image=one")
    kubectl("patch", "pod", "p", "-p", '{"spec":{"containers":[{"name":"p","image":"two"}]}}')
    containers = json.loads(kubectl("get", "pod", "p", "-o", "json"))["spec"]["containers"]
    assert [(one["name"], one["image"]) for one in containers] == [("p", "two")]
    assert kubectl("get", "pods", "--no-headers").split()[:4] == ["p", "0/1", "Pending", "0"]
    assert 'image "two"' not in kubectl("describe", "pod", "p")


def test_explain_when_asked_tells_types_and_descriptions(kubectl: Any) -> None:
    told = kubectl("explain", "widget.spec.cores")
    assert "FIELD: cores <integer>" in told
    assert "How many cores it has." in told
    assert "-required-" in kubectl("explain", "widgets", "--recursive")
    assert "terminationGracePeriodSeconds" in kubectl("explain", "pod.spec")
    assert "does not exist" in kubectl("explain", "widget.spec.bogus", expect=1)


def test_wait_when_a_condition_comes_true(server: ApiServer, kubectl: Any, namespace: str) -> None:
    apply(kubectl, WIDGET.format(name="a", cores=2))
    waiting = subprocess.Popen(
        ["kubectl", "-n", namespace, "wait", "--for=jsonpath={.status.phase}=Up", "wi/a"],
        env={"KUBECONFIG": str(server.kubeconfig), "HOME": str(server.folder), "PATH": "/usr/bin"},
        stdout=subprocess.PIPE,
        text=True,
    )
    kubectl(
        "patch",
        "wi",
        "a",
        "--subresource=status",
        "--type=merge",
        "-p",
        '{"status":{"phase":"Up"}}',
    )
    assert waiting.communicate(timeout=20)[0] == "widget.example.com/a condition met\n"
    kubectl("wait", "--for=condition=Established", "crd/widgets.example.com", "--timeout=5s")
    assert "timed out" in kubectl("wait", "--for=delete", "wi/a", "--timeout=1s", expect=1)


def test_delete_when_finalizers_and_owners_are_there(
    server: ApiServer, kubectl: Any, namespace: str
) -> None:
    apply(kubectl, WIDGET.format(name="a", cores=2))
    uid = json.loads(kubectl("get", "wi", "a", "-o", "json"))["metadata"]["uid"]
    owner = {"apiVersion": "example.com/v1", "kind": "Widget", "name": "a", "uid": uid}
    apply(kubectl, MAP.format(name="m", value="x"))
    kubectl(
        "patch",
        "cm",
        "m",
        "--type=merge",
        "-p",
        json.dumps({"metadata": {"ownerReferences": [owner]}}),
    )
    merge(kubectl, "wi/a", {"metadata": {"finalizers": ["example.com/x"]}})
    assert "deleted" in kubectl("delete", "wi", "a", "--wait=false")
    assert "deletionTimestamp" in kubectl("get", "wi", "a", "-o", "yaml")
    kubectl("patch", "wi", "a", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    kubectl("wait", "--for=delete", "wi/a", "cm/m", "--timeout=10s")
    apply(kubectl, WIDGET.format(name="b", cores=2))
    assert "deleted" in kubectl("delete", "wi", "b", "--cascade=foreground", "--timeout=10s")
    assert "deleted" in server.kubectl("delete", "ns", namespace, "--timeout=15s")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (WIDGET.format(name="Bad_Name", cores=2), "metadata.name"),
        (WIDGET.format(name="a", cores=200), "spec.cores: Invalid value: 200"),
        (WIDGET.format(name="a", cores='"two"'), "spec.cores"),
        (WIDGET.format(name="a", cores=2) + "  bogus: 1\n", 'unknown field "spec.bogus"'),
        (
            "apiVersion: example.com/v1\nkind: Wodget\nmetadata: {name: a}\n",
            'no matches for kind "Wodget"',
        ),
        ("apiVersion: none/v1\nkind: None\nmetadata: {name: a}\n", 'no matches for kind "None"'),
        ("kind: Widget\nmetadata: {name: a}\n", "apiVersion not set"),
        ("a: [", "error converting YAML to JSON"),
        (MAP.format(name="a", value="x") + "bogus: 1\n", 'unknown field "bogus"'),
        (MAP.format(name="a", value="[1]"), "data.key"),
    ],
    ids=[
        "name is no DNS name",
        "value is out of range",
        "type is wrong",
        "field is unknown",
        "kind is unknown",
        "group is unknown",
        "version is missing",
        "YAML is malformed",
        "field of a built-in kind is unknown",
        "type in a built-in kind is wrong",
    ],
)
def test_create_when_input_is_bad_says_what_is_wrong(kubectl: Any, text: str, told: str) -> None:
    answer = kubectl("create", "-f", "-", stdin=text, expect=1)
    assert told in answer
    assert kubectl("get", "wi", "-o", "name") == ""


def test_label_annotate_and_scale_when_used(kubectl: Any) -> None:
    apply(kubectl, WIDGET.format(name="a", cores=2))
    assert "labeled" in kubectl("label", "wi", "a", "tier=front")
    assert "not labeled" in kubectl("label", "wi", "a", "tier=front")
    assert "--overwrite" in kubectl("label", "wi", "a", "tier=back", expect=1)
    assert "annotated" in kubectl("annotate", "wi", "a", "note=hello")
    assert "scaled" in kubectl("scale", "wi", "a", "--replicas=4")
    assert spec_of(kubectl, "a")["replicas"] == 4
    assert "Expected replicas to be 1, was 4" in kubectl(
        "scale", "wi", "a", "--replicas=5", "--current-replicas=1", expect=1
    )


def test_replace_when_object_was_read_before(kubectl: Any) -> None:
    apply(kubectl, WIDGET.format(name="a", cores=2))
    text = kubectl("get", "wi", "a", "-o", "yaml").replace("cores: 2", "cores: 8")
    assert "replaced" in kubectl("replace", "-f", "-", stdin=text)
    assert "Conflict" in kubectl("replace", "-f", "-", stdin=text, expect=1)


def test_create_when_generators_send_protobuf(server: ApiServer, kubectl: Any) -> None:
    kubectl("create", "configmap", "m", "--from-literal=a=b")
    kubectl("create", "secret", "generic", "s", "--from-literal=user=me", "--type=Opaque")
    secret = json.loads(kubectl("get", "secret", "s", "-o", "json"))
    assert (secret["data"], secret["type"]) == ({"user": "bWU="}, "Opaque")
    kubectl("create", "serviceaccount", "sa")
    assert kubectl("create", "token", "sa").count(".") == 2
    kubectl("create", "role", "r", "--verb=get,list", "--resource=pods")
    kubectl("create", "rolebinding", "rb", "--role=r", "--serviceaccount=x:sa")
    role = json.loads(kubectl("get", "role", "r", "-o", "json"))
    assert role["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]
    kubectl("create", "service", "clusterip", "svc", "--tcp=80:8080")
    service = json.loads(kubectl("get", "svc", "svc", "-o", "json"))["spec"]
    assert (service["ports"][0]["port"], service["ports"][0]["targetPort"]) == (80, 8080)
    kubectl("create", "job", "j", "--image=i", "--", "sleep", "1")
    job = json.loads(kubectl("get", "job", "j", "-o", "json"))["spec"]["template"]["spec"]
    assert job["containers"][0]["command"] == ["sleep", "1"]
    kubectl("create", "pdb", "b", "--selector=a=b", "--min-available=50%")
    budget = json.loads(kubectl("get", "pdb", "b", "-o", "json"))["spec"]
    assert budget["minAvailable"] == "50%"
    assert kubectl("auth", "can-i", "delete", "widgets").strip() == "yes"
    told = kubectl("auth", "can-i", "delete", "widgets", "--as=bob", expect=1)
    assert told.strip() == "no"
    assert "system:masters" in kubectl("auth", "whoami")


def test_discovery_when_read_lists_everything(server: ApiServer, kubectl: Any) -> None:
    lines = kubectl("api-resources", "--no-headers").splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert rows["widgets"] == ["wi", "example.com/v1", "true", "Widget"]
    assert rows["pods"] == ["po", "v1", "true", "Pod"]
    assert rows["persistentvolumeclaims"][0] == "pvc"
    assert "example.com/v1" in kubectl("api-versions").splitlines()
    assert "Server Version: v1." in kubectl("version")
    categories = kubectl("api-resources", "--categories=all", "-o", "name").splitlines()
    assert {"pods", "widgets.example.com"} <= set(categories)


def test_auth_when_nobody_is_known_is_unauthorized(server: ApiServer, tmp_path: Path) -> None:
    text = server.kubeconfig.read_text()
    lines = [line for line in text.splitlines() if "client-" not in line]
    config = tmp_path / "nobody"
    config.write_text("\n".join([*lines, "    token: x.y.z", ""]))
    told = servers.ApiServer.kubectl(server, "get", "pods", expect=1, KUBECONFIG=str(config))
    assert "Unauthorized" in told
