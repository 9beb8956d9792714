"""Reviews and their answers."""

import base64

import msgspec
import pytest
from kubevirt_objects import NOW, instance, instance_spec, vm_document

from mtv.api import configuration
from mtv_operator.virt_api import admission, registration

US, THEM = "system:serviceaccount:kubevirt:kubevirt-handler", "alice"
WORLD = admission.World(
    configuration=configuration.DEFAULT,
    trusted=frozenset({US}),
    now=NOW,
    new_uuid=lambda: "11111111-2222-3333-4444-555555555555",
    instance=lambda namespace, name: None,
    migrations=lambda namespace: [],
)


def _request(new, old=None, *, user=THEM):
    return admission.Request(
        uid="r1",
        operation="UPDATE" if old is not None else "CREATE",
        namespace="prod",
        object=new,
        old_object=old,
        user_info={"username": user},
    )


def _vmi(**spec):
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": "web1", "namespace": "prod"},
        "spec": {**instance_spec(), **spec},
    }


def _patch(verdict, request):
    response = admission.answer(request, verdict)["response"]
    assert response["allowed"]
    return msgspec.json.decode(base64.b64decode(response["patch"]))


def test_defaults_come_as_a_patch_that_only_adds():
    request = _request(vm_document())
    found = _patch(admission.mutate_virtual_machine(request, WORLD), request)
    assert {one["op"] for one in found} == {"add"}
    assert "/spec/template/spec/architecture" in {one["path"] for one in found}


def test_fields_without_effect_are_a_condition_of_the_instance():
    document = _vmi()
    document["spec"]["domain"]["ioThreadsPolicy"] = "auto"
    request = _request(document)
    found = _patch(admission.mutate_instance(request, WORLD), request)
    status = next(one["value"] for one in found if one["path"] == "/status")
    (condition,) = status["conditions"]
    assert (condition["type"], condition["status"]) == ("FieldsIgnored", "True")
    assert "spec.domain.ioThreadsPolicy" in condition["message"]
    warned = admission.validate_instance(request, WORLD).warnings
    assert warned == ["spec.domain.ioThreadsPolicy: stored, has no effect yet"]


def test_status_written_by_others_is_put_back():
    old = msgspec.to_builtins(instance("Running"))
    new = {**old, "status": {"phase": "Failed"}}
    (operation,) = admission.mutate_instance(_request(new, old), WORLD).patch
    assert operation == {"op": "add", "path": "/status", "value": old["status"]}
    assert admission.mutate_instance(_request(new, old, user=US), WORLD).patch == ()


def test_what_goes_is_let_go_whatever_it_says():
    document = vm_document(runStrategy="Never")
    document["metadata"]["deletionTimestamp"] = "2026-03-01T12:00:00Z"
    assert admission.validate_virtual_machine(_request(document), WORLD).causes == ()


def test_change_of_metadata_alone_is_not_judged():
    old = vm_document(runStrategy="Never")
    new = vm_document(runStrategy="Never")
    new["metadata"]["labels"] = {"a": "b"}
    assert admission.validate_virtual_machine(_request(new, old), WORLD).causes == ()


def test_wrong_type_is_refused_with_its_field():
    document = vm_document()
    document["spec"]["template"]["spec"]["domain"]["cpu"] = {"cores": "many"}
    (cause,) = admission.validate_virtual_machine(_request(document), WORLD).causes
    assert cause.field == "spec.template.spec.domain.cpu.cores"


def test_deprecated_running_is_warned_of():
    verdict = admission.validate_virtual_machine(_request(vm_document(running=True)), WORLD)
    assert verdict.warnings == [admission.DEPRECATED_RUNNING]


def test_kind_that_nothing_acts_on_is_warned_of():
    document = {"kind": "VirtualMachineInstanceReplicaSet"}
    (warning,) = admission.validate_stored_only(_request(document), WORLD).warnings
    assert warning == "VirtualMachineInstanceReplicaSet: stored, has no effect yet"


@pytest.mark.parametrize("rows", [registration.MUTATING, registration.VALIDATING])
def test_every_registered_path_is_served(rows):
    assert {path for _, path, *_ in rows} <= admission.WEBHOOKS.keys()


def test_registration_names_service_endpoints_and_both_versions():
    found = registration.objects("10.244.0.1:8443", b"pem")
    kinds = [one["kind"] for one in found]
    assert kinds == [
        "Service",
        "Endpoints",
        "APIService",
        "APIService",
        "MutatingWebhookConfiguration",
        "ValidatingWebhookConfiguration",
    ]
    assert found[1]["subsets"][0]["addresses"] == [{"ip": "10.244.0.1"}]
    on_cluster = registration.objects("0.0.0.0:8443", b"pem", selector={"app": "virt-api"})
    assert "Endpoints" not in [one["kind"] for one in on_cluster]
    assert all(registration.path_of(one) for one in found)
