"""The status of the KubeVirt object, which install scripts wait for. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import msgspec

from mtv.api import installation
from mtv_operator.reconciling import Decision
from mtv_operator.virt_controller import conditions

DEPLOYING, DEPLOYED = "Deploying", "Deployed"
READY = "AllComponentsReady"


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One of the workloads that the runtime consists of; numbers are of its pods."""

    name: str
    there: bool
    wanted: int
    updated: int
    available: int

    @property
    def trouble(self) -> str:
        """Return what it still lacks; empty when it is ready."""
        if not self.there:
            return f"{self.name} is missing"
        if self.updated < self.wanted:
            return f"{self.name}: {self.updated} of {self.wanted} pods are up to date"
        if self.available < self.wanted:
            return f"{self.name}: {self.available} of {self.wanted} pods are available"
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The KubeVirt object, our version, and the workloads; none where processes are supervised."""

    kubevirt: installation.KubeVirt
    version: str
    components: tuple[Component, ...] = ()


def decide(observed: Observed, now: datetime) -> Decision[None, installation.KubeVirtStatus]:
    """Return the status; `Deployed` stays once all components were ready."""
    before = observed.kubevirt.status or installation.KubeVirtStatus()
    trouble = [one.trouble for one in observed.components if one.trouble]
    deployed = not trouble or before.phase == DEPLOYED
    new = msgspec.structs.replace(
        before,
        phase=DEPLOYED if deployed else DEPLOYING,
        conditions=_dated(before.conditions, _conditions(trouble, deployed), now),
        default_architecture="amd64",
        operator_version=observed.version,
        observed_kube_virt_version=observed.version if deployed else None,
        target_kube_virt_version=observed.version,
        observed_generation=observed.kubevirt.metadata.generation,
    )
    return Decision(status=new if new != before else None)


def _conditions(trouble: list[str], deployed: bool) -> Iterable[tuple[str, str, str, str]]:
    """Return type, status, reason and message of each condition, as upstream has them."""
    ready = "All components are ready."
    message = "; ".join(trouble) or ready
    if not trouble:
        states = (("Available", "True"), ("Progressing", "False"), ("Degraded", "False"))
        reason = READY
    elif deployed:
        states = (("Available", "True"), ("Progressing", "True"), ("Degraded", "True"))
        reason = "ComponentsNotReady"
    else:
        states = (("Available", "False"), ("Progressing", "True"), ("Degraded", "False"))
        reason = "DeploymentInProgress"
    found = [(kind, status, reason, message) for kind, status in states]
    return [*found, ("Created", "True", "AllResourcesCreated", "All resources were created.")]


def _dated(
    before: Iterable[installation.KubeVirtCondition],
    wanted: Iterable[tuple[str, str, str, str]],
    now: datetime,
) -> tuple[installation.KubeVirtCondition, ...]:
    """Return conditions with the time of their last change of status."""
    times = {one.type: (one.status, one.last_transition_time) for one in before}
    found = []
    for kind, status, reason, message in wanted:
        old_status, old_time = times.get(kind, ("", None))
        time = old_time if old_status == status else conditions.timestamp(now)
        found.append(
            installation.KubeVirtCondition(
                type=kind, status=status, reason=reason, message=message, last_transition_time=time
            )
        )
    return tuple(found)
