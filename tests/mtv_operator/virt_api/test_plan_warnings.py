"""Fields of plans and maps that have no effect are named when they are applied."""

from __future__ import annotations

from mtv_operator.virt_api import admission, plan_warnings

REFERENCE = {"name": "a", "namespace": "mtv"}
PLAN = {
    "metadata": {"name": "move", "namespace": "mtv"},
    "spec": {
        "targetNamespace": "prod",
        "provider": {"source": REFERENCE, "destination": REFERENCE},
        "map": {"network": REFERENCE, "storage": REFERENCE},
        "vms": [{"name": "web1"}],
    },
}


def plan(**spec: object) -> dict[str, object]:
    return {**PLAN, "spec": {**PLAN["spec"], **spec}}


def test_a_plan_that_asks_for_nothing_special_is_not_warned_of():
    assert plan_warnings.of_plan(PLAN) == ()


def test_each_field_without_effect_is_named():
    said = plan_warnings.of_plan(
        plan(warm=True, transferNetwork=REFERENCE, vms=[{"name": "a", "nbdeClevis": True}])
    )

    assert [one.partition(":")[0] for one in said] == [
        "spec.transferNetwork",
        "spec.vms[].nbdeClevis",
    ]


def test_a_plan_that_cannot_be_decoded_is_left_to_the_schema():
    assert plan_warnings.of_plan({"spec": {"vms": 7}}) == ()


def test_an_offload_plugin_is_named_with_its_entry():
    document = {"spec": {"map": [{}, {"offloadPlugin": {"csiVolumeImport": {}}}]}}

    assert plan_warnings.of_storage_map(document) == [
        "spec.map[1].offloadPlugin: stored, has no effect yet"
    ]


def test_the_review_allows_and_warns():
    request = admission.Request(uid="1", object=plan(serviceAccount="x"))
    verdict = admission.warn_of_plan(request, None)
    answer = admission.answer(request, verdict)["response"]

    assert answer["allowed"] is True
    assert answer["warnings"] == ["spec.serviceAccount: stored, has no effect yet"]
