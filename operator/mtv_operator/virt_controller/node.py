"""A node whose virt-handler is silent gets no more launcher pods. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from mtv.api import core, well_known
from mtv_operator.reconciling import Decision
from mtv_operator.virt_controller import conditions, instance_conditions


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A node."""

    node: core.Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """Set the label `kubevirt.io/schedulable` to false; virt-handler's next heartbeat opens it."""

    since: str


def decide(observed: Observed, now: datetime) -> Decision[Close, None]:
    """Return whether to close the node, or when to look again."""
    node = observed.node
    beat = node.metadata.annotations.get(well_known.HEARTBEAT)
    if not beat or node.metadata.labels.get(well_known.SCHEDULABLE) != "true":
        return Decision()
    silent = instance_conditions.silent_since(node, now)
    if silent is not None:
        return Decision(actions=(Close(since=silent),))
    try:
        left = conditions.time_of(beat) + instance_conditions.HEARTBEAT_TIMEOUT - now
    except (ValueError, TypeError):
        return Decision()
    return Decision(requeue_after_s=left.total_seconds() + 1.0)
