"""Virtual machines on a real API server: admission, controllers and calls together.

The node is played: pods are bound and started, instances run, by patches.
"""

import json

import pytest
import servers
from kubevirt_objects import vm_document
from runtime_cluster import PODS, SUBRESOURCES, VMIS, VMS, Runtime, claim


def _kinds(found, reason):
    return [one for one in found["items"] if one["reason"] == reason]


def test_vm_is_started_runs_and_is_stopped(runtime: Runtime):
    stored = runtime.create_vm("life", runStrategy="Halted")
    firmware = stored["spec"]["template"]["spec"]["domain"]["firmware"]
    assert firmware["uuid"]
    assert firmware["serial"]
    runtime.until_status("life", "Stopped")
    assert runtime.put("virtualmachines/life/start") == (202, "")
    runtime.until_phase("life", "Scheduling")
    assert runtime.printable("life") == "Starting"
    pod = runtime.boot("life")
    assert pod["metadata"]["labels"]["kubevirt.io"] == "virt-launcher"
    vmi = runtime.vmi("life")
    assert vmi["metadata"]["labels"]["kubevirt.io/nodeName"] == "node1"
    assert vmi["spec"]["domain"]["firmware"]["uuid"] == firmware["uuid"]
    vm = runtime.vm("life")
    assert vm["spec"]["runStrategy"] == "Always"
    assert vm["status"]["created"]
    gate = servers.until(
        lambda: [
            one
            for one in runtime.pod_of("life")["status"].get("conditions", ())
            if one["type"] == "kubevirt.io/virtual-machine-unpaused"
        ],
        "the gate is open",
    )
    assert gate[0]["status"] == "True"
    code, answer = runtime.put("virtualmachines/life/start")
    assert (code, answer["reason"]) == (409, "Conflict")
    assert "VM is already running" in answer["message"]
    assert runtime.put("virtualmachines/life/stop") == (202, "")
    servers.until(
        lambda: "deletionTimestamp" in (runtime.vmi("life") or {}).get("metadata", {}), "it goes"
    )
    runtime.until_status("life", "Stopping")
    runtime.handler_says("life", "Succeeded")
    runtime.end_pod(pod)
    servers.until(lambda: runtime.vmi("life") is None, "the instance is gone")
    runtime.until_status("life", "Stopped")
    assert runtime.put("virtualmachines/life/stop")[0] == 409
    events = runtime.api.get("/api/v1/namespaces/prod/events")
    assert _kinds(events, "SuccessfulCreate")
    assert _kinds(events, "SuccessfulDelete")


def test_vm_is_restarted_as_a_new_instance(runtime: Runtime):
    runtime.create_vm("again", running=True)
    pod = runtime.boot("again")
    first = runtime.vmi("again")["metadata"]["uid"]
    assert runtime.put("virtualmachines/again/restart") == (202, "")
    servers.until(
        lambda: "deletionTimestamp" in (runtime.vmi("again") or {}).get("metadata", {}), "it goes"
    )
    runtime.handler_says("again", "Succeeded")
    runtime.end_pod(pod)
    second = servers.until(
        lambda: (
            found if (found := runtime.vmi("again")) and found["metadata"]["uid"] != first else None
        ),
        "there is a new instance",
    )
    assert second["metadata"]["uid"] != first
    runtime.boot("again")
    servers.until(
        lambda: not runtime.vm("again")["status"].get("stateChangeRequests"), "all is done"
    )


def test_manual_vm_starts_only_when_asked(runtime: Runtime):
    runtime.create_vm("manual", runStrategy="Manual")
    runtime.until_status("manual", "Stopped")
    assert runtime.put("virtualmachines/manual/stop")[0] == 409
    assert runtime.put("virtualmachines/manual/start", {"paused": True}) == (202, "")
    runtime.until_phase("manual", "Scheduling")
    assert runtime.vmi("manual")["spec"]["startStrategy"] == "Paused"


def test_guest_that_never_ran_is_started_again_later(runtime: Runtime):
    runtime.create_vm("crashes", runStrategy="Always")
    pod = runtime.pod_of("crashes")
    terminated = {
        "terminated": {"exitCode": 1, "reason": "Error", "finishedAt": "2026-01-01T00:00:00Z"}
    }
    runtime.until_phase("crashes", "Scheduling")
    runtime.set_pod(f"{PODS}/{pod['metadata']['name']}", "Failed", terminated)
    vm = runtime.until_status("crashes", "CrashLoopBackOff")
    assert vm["status"]["startFailure"]["consecutiveFailCount"] == 1
    assert runtime.put("virtualmachines/crashes/stop") == (202, "")
    runtime.until_status("crashes", "Stopped")
    assert runtime.vm("crashes")["spec"]["runStrategy"] == "Halted"


def test_missing_claim_is_said_and_mended(runtime: Runtime):
    document = vm_document(runStrategy="Always")
    document["metadata"]["name"] = "claimless"
    volumes = document["spec"]["template"]["spec"]["volumes"]
    volumes[0]["persistentVolumeClaim"]["claimName"] = "later"
    runtime.api.post(VMS, document)
    runtime.until_status("claimless", "ErrorPvcNotFound")
    events = runtime.api.get("/api/v1/namespaces/prod/events")
    assert _kinds(events, "FailedPvcNotFound")
    runtime.api.post("/api/v1/namespaces/prod/persistentvolumeclaims", claim("later"))
    runtime.until_status("claimless", "Starting")


def test_deleted_vm_takes_its_instance_along(runtime: Runtime):
    runtime.create_vm("short", runStrategy="Always")
    pod = runtime.boot("short")
    runtime.api.request("DELETE", f"{VMS}/short")
    runtime.until_status("short", "Terminating")
    servers.until(
        lambda: "deletionTimestamp" in runtime.vmi("short")["metadata"], "the instance goes"
    )
    runtime.handler_says("short", "Succeeded")
    runtime.end_pod(pod)
    servers.until(lambda: runtime.api.request("GET", f"{VMS}/short")[0] == 404, "the VM is gone")
    assert runtime.vmi("short") is None


def test_pod_that_vanishes_fails_the_instance_and_the_vm_starts_anew(runtime: Runtime):
    runtime.create_vm("lost", runStrategy="Always")
    pod = runtime.boot("lost")
    first = runtime.vmi("lost")["metadata"]["uid"]
    runtime.end_pod(pod)
    servers.until(
        lambda: (runtime.vmi("lost") or {}).get("metadata", {}).get("uid") not in (None, first),
        "there is a new instance",
    )


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        (
            lambda spec: spec.update(running=True),
            "spec.running",
            "Running and RunStrategy are mutually exclusive",
        ),
        (lambda spec: spec.update(runStrategy="Now"), "spec.runStrategy", "Invalid RunStrategy"),
        (
            lambda spec: spec["template"]["spec"].pop("volumes"),
            "spec.template.spec.domain.devices.disks[0].name",
            "not found",
        ),
        (
            lambda spec: spec["template"]["spec"]["domain"].pop("memory"),
            "spec.template.spec.domain.memory.guest",
            "no memory requested",
        ),
    ],
    ids=["both words", "no strategy", "disk without volume", "no memory"],
)
def test_bad_vm_is_refused_with_the_field(runtime: Runtime, change, field, message):
    document = vm_document(runStrategy="Always")
    document["metadata"]["name"] = "bad"
    change(document["spec"])
    code, answer = runtime.api.request("POST", VMS, document)
    assert code == 422
    assert 'admission webhook "virtualmachine-validator.kubevirt.io" denied' in answer["message"]
    assert message in answer["message"]
    assert answer["details"]["causes"][0]["field"] == field


def test_field_without_effect_is_stored_and_warned_of(runtime: Runtime):
    document = vm_document(runStrategy="Halted")
    document["metadata"]["name"] = "ambitious"
    devices = document["spec"]["template"]["spec"]["domain"]["devices"]
    devices["gpus"] = [{"name": "gpu1", "deviceName": "nvidia.com/A100"}]
    path = runtime.api.folder / "vm.json"
    path.write_text(json.dumps(document))
    said = runtime.api.kubectl("apply", "-f", str(path))
    warning = "spec.template.spec.domain.devices.gpus: stored, has no effect yet"
    assert f"Warning: {warning}" in said
    stored = runtime.vm("ambitious")["spec"]["template"]["spec"]["domain"]["devices"]
    assert stored["gpus"] == devices["gpus"]


def test_status_of_an_instance_is_the_runtimes_own(runtime: Runtime):
    runtime.create_vm("guarded", runStrategy="Always")
    runtime.until_phase("guarded", "Scheduling")
    runtime.merge(f"{VMIS}/guarded", {"status": {"phase": "Succeeded"}})
    assert runtime.vmi("guarded")["status"]["phase"] == "Scheduling"
    code, answer = runtime.api.request(
        "PATCH",
        f"{VMIS}/guarded",
        {"spec": {"hostname": "other"}},
        content_type="application/merge-patch+json",
    )
    assert code == 422
    assert "update of VMI object is restricted" in answer["message"]


def test_kubevirt_object_says_deployed(runtime: Runtime):
    said = runtime.api.kubectl(
        "-n", "kubevirt", "wait", "kv", "kubevirt", "--for", "condition=Available", "--timeout=10s"
    )
    assert "condition met" in said


def test_discovery_and_version_are_served(runtime: Runtime):
    group = runtime.api.get("/apis/subresources.kubevirt.io")
    assert group["preferredVersion"]["version"] == "v1"
    version = runtime.api.get("/apis/subresources.kubevirt.io/v1alpha3/version")
    assert version["gitVersion"].startswith("v")
    listed = runtime.api.get("/apis/subresources.kubevirt.io/v1")
    assert "virtualmachines/start" in {one["name"] for one in listed["resources"]}


def test_unknown_vm_is_404_with_a_status(runtime: Runtime):
    code, answer = runtime.put("virtualmachines/nobody/start")
    assert (code, answer["kind"], answer["reason"]) == (404, "Status", "NotFound")


def test_who_may_not_is_refused(runtime: Runtime):
    runtime.create_vm("private", runStrategy="Halted")
    code, answer = runtime.api.request(
        "PUT", f"{SUBRESOURCES}/virtualmachines/private/start", user="mallory"
    )
    assert code == 403
    assert answer["kind"] == "Status"


def test_virt_api_that_was_killed_is_back(runtime: Runtime):
    assert runtime.process is not None
    runtime.process.kill()
    runtime.process.wait()
    runtime.start_virt_api()
    runtime.create_vm("after", runStrategy="Halted")
    runtime.until_status("after", "Stopped")


def test_instance_type_is_kept_expanded_and_refused_where_it_conflicts(runtime: Runtime):
    group = "/apis/instancetype.kubevirt.io/v1beta1"
    size = {
        "apiVersion": "instancetype.kubevirt.io/v1beta1",
        "kind": "VirtualMachineClusterInstancetype",
        "metadata": {"name": "two"},
        "spec": {"cpu": {"guest": 2}, "memory": {"guest": "2Gi"}},
    }
    runtime.api.post(f"{group}/virtualmachineclusterinstancetypes", size)
    document = vm_document(runStrategy="Halted", instancetype={"name": "two"})
    document["metadata"]["name"] = "sized"
    code, answer = runtime.api.request("POST", VMS, document)
    assert code == 422
    assert {one["field"] for one in answer["details"]["causes"]} == {
        "spec.template.spec.domain.cpu.cores",
        "spec.template.spec.domain.memory",
    }
    domain = document["spec"]["template"]["spec"]["domain"]
    del domain["cpu"], domain["memory"]
    stored = runtime.api.post(VMS, document)
    assert stored["spec"]["instancetype"]["kind"] == "virtualmachineclusterinstancetype"
    ref = servers.until(
        lambda: runtime.vm("sized").get("status", {}).get("instancetypeRef"), "it is kept"
    )
    revisions = "/apis/apps/v1/namespaces/prod/controllerrevisions"
    kept = runtime.api.get(f"{revisions}/{ref['controllerRevisionRef']['name']}")
    assert kept["data"]["spec"]["cpu"] == {"guest": 2}

    runtime.merge(
        f"{group}/virtualmachineclusterinstancetypes/two", {"spec": {"cpu": {"guest": 8}}}
    )
    code, expanded = runtime.api.request("GET", f"{SUBRESOURCES}/virtualmachines/sized/expand-spec")
    assert code == 200
    assert "instancetype" not in expanded["spec"]
    assert expanded["spec"]["template"]["spec"]["domain"]["cpu"]["sockets"] == 2
    assert runtime.put("virtualmachines/sized/start")[0] == 202
    runtime.until_phase("sized", "Scheduling")
    assert runtime.vmi("sized")["spec"]["domain"]["memory"]["guest"] == "2Gi"
