from datetime import UTC, datetime

from mtv.api import core, meta
from mtv_operator.virt_handler import node_report
from mtv_operator.virt_handler.emulation import Ability, Policy
from mtv_operator.virt_handler.kvm_probe import Verdict
from mtv_operator.virt_handler.node_report import Observed, PatchMetadata, PatchStatus

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def observed(*, usable: bool, **status) -> Observed:
    verdict = Verdict(usable=usable, reason="Proved" if usable else "Emulated", message="why")
    node = core.Node(metadata=meta.ObjectMeta(name="n"), status=core.NodeStatus(**status))
    ability = Ability(verdict=verdict, policy=Policy.NEVER)
    return Observed(node=node, ability=ability, port=8186, tun=True, vhost_net=False)


def test_node_says_that_it_takes_vms_and_what_it_offers():
    decision = node_report.decide(observed(usable=True), NOW)

    offered = {"devices.kubevirt.io/kvm": "1000", "devices.kubevirt.io/tun": "1000"}
    assert decision.actions == (
        PatchMetadata(
            {
                "metadata": {
                    "labels": {"kubevirt.io/schedulable": "true"},
                    "annotations": {
                        "kubevirt.io/heartbeat": "2026-01-02T03:04:05Z",
                        "mtv.dev/handler-port": "8186",
                        "mtv.dev/kvm": "Proved: why",
                    },
                }
            }
        ),
        PatchStatus({"status": {"capacity": offered, "allocatable": offered}}),
    )
    assert decision.requeue_after_s == 60


def test_resources_that_are_right_are_not_patched():
    offered = {"devices.kubevirt.io/kvm": "1000", "devices.kubevirt.io/tun": 1000}

    decision = node_report.decide(observed(usable=True, capacity=offered, allocatable=offered), NOW)

    assert [type(one) for one in decision.actions] == [PatchMetadata]


def test_kvm_that_is_not_usable_is_taken_back():
    offered = {"devices.kubevirt.io/kvm": "1000", "devices.kubevirt.io/tun": "1000"}

    decision = node_report.decide(
        observed(usable=False, capacity=offered, allocatable=offered), NOW
    )

    gone = {"devices.kubevirt.io/kvm": "0"}
    assert decision.actions[1] == PatchStatus({"status": {"capacity": gone, "allocatable": gone}})


def test_node_that_has_not_registered_is_waited_for():
    ability = Ability(verdict=Verdict(usable=True, reason="", message=""), policy=Policy.NEVER)
    nobody = Observed(node=None, ability=ability, port=1, tun=False, vhost_net=False)

    assert node_report.decide(nobody, NOW).actions == ()
