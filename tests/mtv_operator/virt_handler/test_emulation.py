import pytest

from mtv_operator.virt_handler import emulation
from mtv_operator.virt_handler.emulation import Ability, Policy
from mtv_operator.virt_handler.kvm_probe import Verdict
from mtv_operator.virt_launcher import libvirt_errors
from mtv_operator.virt_launcher.domain.context import Accelerator

GOOD = Verdict(usable=True, reason="Proved", message="fast", cpu="host")
BAD = Verdict(usable=False, reason="Emulated", message="KVM crawls at 0.7 MIPS")


@pytest.mark.parametrize(
    ("verdict", "policy", "use_emulation", "pod_has_kvm", "expected"),
    [
        pytest.param(GOOD, Policy.NEVER, False, True, Accelerator.KVM, id="KVM"),
        pytest.param(GOOD, Policy.ALLOW, True, True, Accelerator.KVM, id="KVM before emulation"),
        pytest.param(GOOD, Policy.AUTO, False, False, Accelerator.EMULATION, id="pod without KVM"),
        pytest.param(BAD, Policy.AUTO, False, True, Accelerator.EMULATION, id="auto"),
        pytest.param(BAD, Policy.ALLOW, False, True, Accelerator.EMULATION, id="allow"),
        pytest.param(BAD, Policy.NEVER, True, True, Accelerator.EMULATION, id="useEmulation"),
    ],
)
def test_accelerator(verdict, policy, use_emulation, pod_has_kvm, expected):
    ability = Ability(verdict=verdict, policy=policy, use_emulation=use_emulation)

    assert emulation.choose(ability, pod_has_kvm=pod_has_kvm) is expected


@pytest.mark.parametrize(
    ("verdict", "pod_has_kvm", "words"),
    [(BAD, True, "KVM crawls at 0.7 MIPS"), (GOOD, False, "the launcher pod has no /dev/kvm")],
)
def test_neither_kvm_nor_permission_is_said_with_the_reason(verdict, pod_has_kvm, words):
    ability = Ability(verdict=verdict, policy=Policy.NEVER)

    with pytest.raises(libvirt_errors.KVMUnavailable, match=words) as caught:
        emulation.choose(ability, pod_has_kvm=pod_has_kvm)

    assert "useEmulation" in caught.value.hint


def test_feature_that_the_node_hides_is_switched_off_for_kvm_only():
    masked = Verdict(usable=True, reason="Proved", message="", cpu="host,-arch-capabilities")
    ability = Ability(verdict=masked, policy=Policy.NEVER)

    assert emulation.cpu_features_off(ability, Accelerator.KVM) == ("arch-capabilities",)
    assert emulation.cpu_features_off(ability, Accelerator.EMULATION) == ()
