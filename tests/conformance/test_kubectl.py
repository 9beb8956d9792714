"""What people do with a stock kubectl, against the running API server."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import servers
from servers import until

POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "labels": {"app": "web"}},
    "spec": {
        "containers": [
            {
                "name": "a",
                "image": "nginx:1",
                "ports": [{"containerPort": 80}],
                "env": [{"name": "X", "value": "1"}],
            },
            {"name": "b", "image": "busybox", "command": ["sleep", "1"]},
        ],
        "volumes": [{"name": "v", "emptyDir": {}}],
    },
}
VM: dict[str, Any] = {
    "apiVersion": "kubevirt.io/v1",
    "kind": "VirtualMachine",
    "metadata": {"name": "vm1"},
    "spec": {
        "runStrategy": "Halted",
        "template": {
            "spec": {
                "domain": {
                    "devices": {"disks": [{"name": "root", "disk": {"bus": "virtio"}}]},
                    "memory": {"guest": "1Gi"},
                },
                "volumes": [{"name": "root", "persistentVolumeClaim": {"claimName": "root"}}],
            }
        },
    },
}
CONFIG: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "cm"},
    "data": {"a": "1", "b": "2"},
}


def test_version_is_understood(kubectl: Any) -> None:
    assert "Server Version: v1.33.0+mtv" in kubectl("version")


def test_api_resources_lists_kinds_with_their_short_names(kubectl: Any) -> None:
    lines = [line.split() for line in kubectl("api-resources").splitlines()]
    for line in (
        ["pods", "po", "v1", "true", "Pod"],
        ["virtualmachines", "vm,vms", "kubevirt.io/v1", "true", "VirtualMachine"],
        ["storageclasses", "sc", "storage.k8s.io/v1", "false", "StorageClass"],
    ):
        assert line in lines
    assert "kubevirt.io/v1" in kubectl("api-versions").split()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("pods", ["KIND:       Pod", "spec\t<PodSpec>", "Containers that run together"]),
        ("pods.spec.containers", ["FIELD: containers <[]Container>", "name\t<string> -required-"]),
        ("pvc.spec.resources.requests", ["<map[string]Quantity>"]),
        ("vm", ["GROUP:      kubevirt.io", "KIND:       VirtualMachine", "metadata\t<ObjectMeta>"]),
        ("vm.spec.template.spec.domain.devices.disks.bootOrder", ["<integer>"]),
        ("crd.spec.versions.schema.openAPIV3Schema", ["FIELD: openAPIV3Schema <JSONSchemaProps>"]),
        ("events", ["involvedObject"]),
        ("jobs.spec.template.spec.nodeName", ["<string>"]),
    ],
)
def test_explain(kubectl: Any, path: str, expected: list[str]) -> None:
    said = kubectl("explain", path)
    for text in expected:
        assert text in said


@pytest.mark.parametrize("kind", ["pods", "crds", "vm", "plans", "nodes", "disktransfers"])
def test_explain_recursive(kubectl: Any, kind: str) -> None:
    assert len(kubectl("explain", kind, "--recursive").splitlines()) > 30


def test_explain_what_is_not_there_says_so(kubectl: Any) -> None:
    assert 'field "bogus" does not exist' in kubectl.refused("explain", "pods.spec.bogus")
    assert "doesn't have a resource type" in kubectl.refused("explain", "bogus")


def test_client_side_apply_merges_lists_by_their_keys(kubectl: Any) -> None:
    assert kubectl("apply", "-f", "-", stdin=POD) == "pod/web created\n"
    assert kubectl("apply", "-f", "-", stdin=POD) == "pod/web unchanged\n"
    changed = with_image(POD, "nginx:2")
    assert "nginx:2" in kubectl.run("diff", "-f", "-", stdin=changed).stdout
    assert kubectl("apply", "-f", "-", stdin=changed) == "pod/web configured\n"
    spec = kubectl.object("pod", "web")["spec"]
    assert [one["image"] for one in spec["containers"]] == ["nginx:2", "busybox"]
    assert spec["containers"][0]["env"] == [{"name": "X", "value": "1"}]


def with_image(pod: dict[str, Any], image: str) -> dict[str, Any]:
    first, *others = pod["spec"]["containers"]
    return {**pod, "spec": {**pod["spec"], "containers": [{**first, "image": image}, *others]}}


def test_client_side_apply_removes_what_is_no_longer_there(kubectl: Any) -> None:
    kubectl("apply", "-f", "-", stdin=CONFIG)
    kubectl("patch", "configmap", "cm", "-p", '{"data":{"c":"3"}}')
    kubectl("apply", "-f", "-", stdin={**CONFIG, "data": {"a": "9"}})
    assert kubectl.object("cm", "cm")["data"] == {"a": "9", "c": "3"}


def test_client_side_apply_of_a_custom_resource(kubectl: Any) -> None:
    assert "created" in kubectl("apply", "-f", "-", stdin=VM)
    running = {**VM, "spec": {**VM["spec"], "runStrategy": "Always"}}
    assert "configured" in kubectl("apply", "-f", "-", stdin=running)
    made = kubectl.object("vm", "vm1")
    assert made["spec"]["runStrategy"] == "Always"
    assert made["metadata"]["generation"] == 2


def test_strict_validation_names_unknown_fields(kubectl: Any) -> None:
    wrong = {**VM, "spec": {**VM["spec"], "bogus": 1}}
    said = kubectl.refused("apply", "-f", "-", stdin=wrong)
    assert 'strict decoding error: unknown field "spec.bogus"' in said
    done = kubectl.run("apply", "--validate=warn", "-f", "-", stdin=wrong)
    assert done.returncode == 0
    assert 'Warning: unknown field "spec.bogus"' in done.stderr
    assert "bogus" not in kubectl.object("vm", "vm1")["spec"]
    pod = {**POD, "spec": {**POD["spec"], "nodeNam": "x"}}
    assert 'unknown field "spec.nodeNam"' in kubectl.refused("create", "-f", "-", stdin=pod)


def test_validation_names_every_field(kubectl: Any) -> None:
    domain = {"cpu": {"cores": "many"}, "devices": {"disks": [{"disk": {}}]}}
    wrong = {**VM, "spec": {"runStrategy": 1, "template": {"spec": {"domain": domain}}}}
    said = kubectl.refused("apply", "-f", "-", stdin=wrong)
    assert 'The VirtualMachine "vm1" is invalid:' in said
    where = "spec.template.spec.domain"
    for line in (
        "spec.runStrategy in body must be of type string",
        f'* {where}.cpu.cores: Invalid value: "string": {where}.cpu.cores in body must be of type'
        ' integer: "string"',
        f"* {where}.devices.disks[0].name: Required value",
    ):
        assert line in said


def test_unknown_kind_is_said_in_plain_words(kubectl: Any) -> None:
    unknown = {"apiVersion": "example.com/v1", "kind": "Nothing", "metadata": {"name": "x"}}
    said = kubectl.refused("apply", "-f", "-", stdin=unknown)
    assert 'no matches for kind "Nothing" in version "example.com/v1"' in said


def test_server_side_apply_conflict_and_force(kubectl: Any) -> None:
    apply = ("apply", "--server-side", "-f", "-")
    assert "serverside-applied" in kubectl(*apply, "--field-manager=one", stdin=POD)
    changed = with_image(POD, "nginx:2")
    said = kubectl.refused(*apply, "--field-manager=two", stdin=changed)
    assert (
        'Apply failed with 1 conflict: conflict with "one":'
        ' .spec.containers[name="a"].image' in said
    )
    kubectl(*apply, "--field-manager=two", "--force-conflicts", stdin=changed)
    made = kubectl.object("pod", "web")
    assert made["spec"]["containers"][0]["image"] == "nginx:2"
    owners = {one["manager"]: one["fieldsV1"] for one in made["metadata"]["managedFields"]}
    containers = owners["two"]["f:spec"]["f:containers"]
    assert "f:image" in containers['k:{"name":"a"}']
    assert "f:image" not in owners["one"]["f:spec"]["f:containers"]['k:{"name":"a"}']


def test_server_side_apply_removes_what_is_no_longer_applied(kubectl: Any) -> None:
    apply = ("apply", "--server-side", "-f", "-")
    kubectl(*apply, stdin=CONFIG)
    kubectl("label", "configmap", "cm", "by=label")
    kubectl(*apply, stdin={**CONFIG, "data": {"b": "2"}})
    made = kubectl.object("cm", "cm")
    assert made["data"] == {"b": "2"}
    assert made["metadata"]["labels"] == {"by": "label"}


def test_server_side_apply_takes_over_from_client_side(kubectl: Any) -> None:
    kubectl("apply", "-f", "-", stdin=POD)
    done = kubectl.run("apply", "--server-side", "-f", "-", stdin=with_image(POD, "nginx:2"))
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    owners = kubectl.object("pod", "web")["metadata"]["managedFields"]
    assert ("kubectl", "Apply") in [(one["manager"], one["operation"]) for one in owners]
    assert "kubectl-client-side-apply" not in [one["manager"] for one in owners]


def test_dry_run_on_the_server_stores_nothing(kubectl: Any) -> None:
    assert "(server dry run)" in kubectl("apply", "--dry-run=server", "-f", "-", stdin=VM)
    assert "NotFound" in kubectl.refused("get", "vm", "vm1")


@pytest.mark.parametrize(
    ("kind", "patch"),
    [
        ("strategic", '{"spec":{"containers":[{"name":"b","image":"busybox:2"}]}}'),
        ("json", '[{"op":"replace","path":"/spec/containers/1/image","value":"busybox:2"}]'),
        (
            "merge",
            '{"spec":{"containers":[{"name":"a","image":"nginx:1"},'
            '{"name":"b","image":"busybox:2"}]}}',
        ),
    ],
)
def test_patch_of_each_kind(kubectl: Any, kind: str, patch: str) -> None:
    kubectl("create", "-f", "-", stdin={**POD, "spec": {"containers": POD["spec"]["containers"]}})
    done = kubectl.run("patch", "pod", "web", "--type", kind, "-p", patch)
    if kind == "merge":  # it replaces the list, and a pod's containers may not change so much
        assert "pod updates may not change fields" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    images = [one["image"] for one in kubectl.object("pod", "web")["spec"]["containers"]]
    assert images == ["nginx:1", "busybox:2"]


def test_patch_whose_test_fails_is_refused(kubectl: Any) -> None:
    kubectl("create", "-f", "-", stdin=CONFIG)
    patch = '[{"op":"test","path":"/data/a","value":"x"},{"op":"remove","path":"/data/b"}]'
    assert "test" in kubectl.refused("patch", "cm", "cm", "--type", "json", "-p", patch)
    assert kubectl.object("cm", "cm")["data"] == CONFIG["data"]


def test_strategic_patch_of_a_custom_resource_is_refused(kubectl: Any) -> None:
    kubectl("create", "-f", "-", stdin=VM)
    said = kubectl.refused("patch", "vm", "vm1", "--type", "strategic", "-p", "{}")
    assert "UnsupportedMediaType" in said or "not supported" in said


def test_edit(kubectl: Any, tmp_path: Path) -> None:
    kubectl("create", "-f", "-", stdin=CONFIG)
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i \'s/a: "1"/a: "7"/\' "$1"\n')
    editor.chmod(editor.stat().st_mode | stat.S_IXUSR)
    done = subprocess.run(
        [kubectl.program, "edit", "configmap", "cm"],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(kubectl.home),
            "KUBECONFIG": str(kubectl.server.kubeconfig),
            "KUBE_EDITOR": str(editor),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert kubectl.object("cm", "cm")["data"]["a"] == "7"


def header(text: str) -> list[str]:
    return text.splitlines()[0].split()


def test_get_prints_the_columns_of_each_kind(kubectl: Any) -> None:
    kubectl("apply", "-f", "-", stdin=[POD, VM, CONFIG])
    lines = kubectl("get", "pods", "-o", "wide").splitlines()
    assert lines[0].split() == (
        [
            "NAME",
            "READY",
            "STATUS",
            "RESTARTS",
            "AGE",
            "IP",
            "NODE",
            "NOMINATED",
            "NODE",
            "READINESS",
            "GATES",
        ]
    )
    assert lines[1].split()[:4] == ["web", "0/2", "Pending", "0"]
    assert header(kubectl("get", "vm")) == ["NAME", "AGE", "STATUS", "READY"]
    assert header(kubectl("get", "cm")) == ["NAME", "DATA", "AGE"]
    assert "default" in kubectl("get", "serviceaccounts")
    assert header(kubectl("get", "crds")) == ["NAME", "CREATED", "AT"]
    assert "pod/web" in kubectl("get", "all")


def test_get_with_selectors(kubectl: Any) -> None:
    other = {**POD, "metadata": {"name": "other", "labels": {"app": "db", "tier": "back"}}}
    kubectl("apply", "-f", "-", stdin=[POD, other])
    for selector, expected in (
        ("app=web", "pod/web\n"),
        ("app in (web,db)", "pod/other\npod/web\n"),
        ("app notin (web)", "pod/other\n"),
        ("!tier", "pod/web\n"),
        ("app!=web,tier", "pod/other\n"),
    ):
        assert kubectl("get", "pods", "-l", selector, "-o", "name") == expected
    assert kubectl("get", "pods", "--field-selector", "metadata.name=web", "-o", "name") == (
        "pod/web\n"
    )
    assert "unable to parse requirement" in kubectl.refused("get", "pods", "-l", "a in b")
    assert "web" not in kubectl("get", "pods", "--field-selector", "status.phase!=Pending")


@pytest.mark.parametrize(
    "output",
    [
        ("-o", "jsonpath={.items[*].metadata.name}"),
        ("-o", "custom-columns=N:.metadata.name", "--no-headers"),
        ("--sort-by=.metadata.name", "--no-headers"),
        ("-L", "app", "--no-headers"),
        ("--show-labels", "--no-headers"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else value,
)
def test_get_in_other_shapes(kubectl: Any, output: tuple[str, ...]) -> None:
    kubectl("create", "-f", "-", stdin=POD)
    assert kubectl("get", "pods", *output).startswith("web")


def test_watch_prints_changes_as_rows(kubectl: Any) -> None:
    kubectl("create", "-f", "-", stdin=CONFIG)
    watch = subprocess.Popen(
        [kubectl.program, "get", "configmap", "cm", "--watch"],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(kubectl.home),
            "KUBECONFIG": str(kubectl.server.kubeconfig),
        },
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert watch.stdout is not None
        assert watch.stdout.readline().split() == ["NAME", "DATA", "AGE"]
        assert watch.stdout.readline().split()[:2] == ["cm", "2"]
        kubectl("patch", "cm", "cm", "-p", '{"data":{"c":"3"}}')
        assert watch.stdout.readline().split()[:2] == ["cm", "3"]
    finally:
        watch.kill()
        watch.wait()


def test_describe_shows_the_object_and_its_events(kubectl: Any) -> None:
    kubectl("apply", "-f", "-", stdin=[POD, VM])
    uid = kubectl.object("vm", "vm1")["metadata"]["uid"]
    namespace = kubectl.object("vm", "vm1")["metadata"]["namespace"]
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "vm1.1"},
        "involvedObject": {
            "apiVersion": "kubevirt.io/v1",
            "kind": "VirtualMachine",
            "name": "vm1",
            "namespace": namespace,
            "uid": uid,
        },
        "reason": "Started",
        "message": "it was started",
        "type": "Normal",
        "count": 1,
        "firstTimestamp": "2026-01-01T00:00:00Z",
        "lastTimestamp": "2026-01-01T00:00:00Z",
        "source": {"component": "test"},
    }
    kubectl("create", "-f", "-", stdin=event)
    said = kubectl("describe", "vm", "vm1")
    assert "Run Strategy:  Halted" in said
    assert "it was started" in said
    assert "Service Account:  default" in kubectl("describe", "pod", "web")
    for listed in (kubectl("events"), kubectl("get", "events")):
        assert "virtualmachine/vm1" in listed.lower()
        assert "it was started" in listed
    assert "it was started" in kubectl("events", "--for", "virtualmachine/vm1")


@pytest.mark.parametrize(
    "kind", ["namespace", "serviceaccount", "crd", "configmap", "clusterrole", "storageclass"]
)
def test_describe_of_kinds(kubectl: Any, kind: str) -> None:
    kubectl("describe", kind)


def test_wait_for_a_condition_and_for_deletion(kubectl: Any) -> None:
    kubectl("create", "-f", "-", stdin=VM)
    status = '{"status":{"conditions":[{"type":"Ready","status":"True"}]}}'
    kubectl("patch", "vm", "vm1", "--subresource", "status", "--type", "merge", "-p", status)
    kubectl("wait", "vm/vm1", "--for=condition=Ready", "--timeout=10s")
    kubectl("wait", "vm/vm1", "--for=jsonpath={.spec.runStrategy}=Halted", "--timeout=10s")
    finalizers = '{"metadata":{"finalizers":["example.com/x"]}}'
    kubectl("patch", "vm", "vm1", "--type", "merge", "-p", finalizers)
    kubectl("delete", "vm", "vm1", "--wait=false")
    assert kubectl.object("vm", "vm1")["metadata"]["deletionTimestamp"]
    kubectl("patch", "vm", "vm1", "--type", "merge", "-p", '{"metadata":{"finalizers":null}}')
    kubectl("wait", "vm/vm1", "--for=delete", "--timeout=10s")


def test_delete_takes_what_is_owned(kubectl: Any) -> None:
    kubectl("create", "-f", "-", stdin=VM)
    uid = kubectl.object("vm", "vm1")["metadata"]["uid"]
    owner = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "name": "vm1", "uid": uid}
    owned = {**CONFIG, "metadata": {"name": "cm", "ownerReferences": [owner]}}
    kubectl("create", "-f", "-", stdin=owned)
    kubectl("delete", "vm", "vm1")
    until(lambda: kubectl.run("get", "cm", "cm").returncode != 0, "the configmap is gone")


def test_replace_label_annotate(kubectl: Any) -> None:
    kubectl("create", "-f", "-", stdin=CONFIG)
    kubectl("replace", "-f", "-", stdin={**CONFIG, "data": {"z": "1"}})
    kubectl("label", "cm", "cm", "x=1")
    kubectl("annotate", "cm", "cm", "y=2")
    kubectl("label", "cm", "cm", "x-")
    made = kubectl.object("cm", "cm")
    assert made["data"] == {"z": "1"}
    assert made["metadata"]["annotations"] == {"y": "2"}
    assert not made["metadata"].get("labels")


def test_create_of_kinds_by_words(kubectl: Any) -> None:
    kubectl("create", "secret", "generic", "s", "--from-literal=k=v")
    assert kubectl.object("secret", "s")["data"] == {"k": "dg=="}
    kubectl("create", "configmap", "c", "--from-literal=k=v")
    kubectl("create", "serviceaccount", "sa")
    kubectl("create", "role", "r", "--verb=get", "--resource=pods")
    kubectl("create", "rolebinding", "rb", "--role=r", "--serviceaccount=default:sa")
    kubectl("create", "service", "clusterip", "svc", "--tcp=80:8080")
    kubectl("create", "job", "j", "--image=busybox")
    kubectl("create", "poddisruptionbudget", "p", "--selector=a=b", "--min-available=1")
    kubectl("run", "p", "--image=busybox")
    assert kubectl("create", "token", "sa").count(".") == 2
    assert kubectl("auth", "can-i", "create", "pods") == "yes\n"


def test_openapi_is_read_by_older_tools_as_protobuf(kubectl: Any) -> None:
    said = kubectl("explain", "vm.spec", "--output=plaintext-openapiv2")
    assert "runStrategy" in said


def test_server_keeps_running(api_server: servers.ApiServer) -> None:
    assert api_server.get("/readyz") == "ok"
    assert "Traceback" not in api_server.log.read_text()
