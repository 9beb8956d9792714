"""The status of the KubeVirt object, which install scripts wait for. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import msgspec

from mtv.api import installation
from mtv_operator.reconciling import Decision
from mtv_operator.virt_controller import conditions

DEPLOYED = "Deployed"
_CONDITIONS = (
    ("Available", "True", "AllComponentsReady", "All components are ready."),
    ("Progressing", "False", "AllComponentsReady", "All components are ready."),
    ("Degraded", "False", "AllComponentsReady", "All components are ready."),
    ("Created", "True", "AllResourcesCreated", "All resources were created."),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The KubeVirt object, and our version."""

    kubevirt: installation.KubeVirt
    version: str


def decide(observed: Observed, now: datetime) -> Decision[None, installation.KubeVirtStatus]:
    """Return the status that says `Deployed`."""
    before = observed.kubevirt.status or installation.KubeVirtStatus()
    times = {one.type: (one.status, one.last_transition_time) for one in before.conditions}
    found = []
    for kind, status, reason, message in _CONDITIONS:
        old_status, old_time = times.get(kind, ("", None))
        time = old_time if old_status == status else conditions.timestamp(now)
        found.append(
            installation.KubeVirtCondition(
                type=kind, status=status, reason=reason, message=message, last_transition_time=time
            )
        )
    new = msgspec.structs.replace(
        before,
        phase=DEPLOYED,
        conditions=tuple(found),
        default_architecture="amd64",
        operator_version=observed.version,
        observed_kube_virt_version=observed.version,
        target_kube_virt_version=observed.version,
        observed_generation=observed.kubevirt.metadata.generation,
    )
    return Decision(status=new if new != before else None)
