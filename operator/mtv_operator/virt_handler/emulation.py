"""KVM or emulation: what a VM gets on this node, and why. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mtv_operator.virt_handler.kvm_probe import Verdict
from mtv_operator.virt_launcher import libvirt_errors
from mtv_operator.virt_launcher.domain.context import Accelerator

MASKED_CPU = "host,-arch-capabilities"


class Policy(StrEnum):
    """What the administrator said of emulation (`--emulation`).

    `auto` and `allow` emulate where KVM is not usable; `never` does so only where the KubeVirt
    object says `useEmulation`.
    """

    AUTO = "auto"
    ALLOW = "allow"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ability:
    """What this node can do: its KVM, and whether it may emulate."""

    verdict: Verdict
    policy: Policy
    use_emulation: bool = False

    @property
    def may_emulate(self) -> bool:
        """Tell whether emulation is allowed here."""
        return self.policy is not Policy.NEVER or self.use_emulation

    @property
    def why_not_kvm(self) -> str:
        """Return why VMs are emulated here; empty when they need not be."""
        return "" if self.verdict.usable else f"KVM is not usable: {self.verdict.message}"


def choose(ability: Ability, *, pod_has_kvm: bool) -> Accelerator:
    """Return the accelerator of a VM whose pod has `/dev/kvm` or not.

    Raises KVMUnavailable with the reason when there is neither KVM nor the permission to emulate.
    """
    if ability.verdict.usable and pod_has_kvm:
        return Accelerator.KVM
    if ability.may_emulate:
        return Accelerator.EMULATION
    why = ability.why_not_kvm or "the launcher pod has no /dev/kvm"
    raise libvirt_errors.KVMUnavailable(
        why,
        hint="run `mtv doctor` on the node; to run VMs slowly all the same, set "
        "spec.configuration.developerConfiguration.useEmulation in the KubeVirt object",
    )


def cpu_features_off(ability: Ability, accelerator: Accelerator) -> tuple[str, ...]:
    """Return the CPU features that KVM on this node cannot give to a guest."""
    masked = ability.verdict.cpu == MASKED_CPU
    return ("arch-capabilities",) if masked and accelerator is Accelerator.KVM else ()
