"""What this node says of itself: it takes VMs, it lives, it has KVM or not. As a controller.

Labels and annotations are upstream's; `mtv.dev/kvm` tells what the probe found. Where no kubelet
takes device plugins, device resources are patched into the node's status.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from mtv.api import core, well_known
from mtv_operator.objects import Client, Key
from mtv_operator.reconciling import Decision
from mtv_operator.virt_handler import conditions
from mtv_operator.virt_handler.emulation import Ability

NAME = "node"
HEARTBEAT_S = 60.0
UNKNOWN_NODE_S = 2.0  # the node registers itself, maybe after us
KVM_ANNOTATION = "mtv.dev/kvm"
OFFERED = "1000"  # as upstream: a device file may be opened by everybody who has it
TUN_DEVICE, VHOST_DEVICE = Path("/dev/net/tun"), Path("/dev/vhost-net")


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The Node object, and what is true here."""

    node: core.Node | None
    ability: Ability
    port: int
    tun: bool
    vhost_net: bool
    plugins: bool = False  # the kubelet counts devices itself


@dataclass(frozen=True, slots=True)
class PatchMetadata:
    """Change labels and annotations."""

    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class PatchStatus:
    """Change resources."""

    body: dict[str, Any]


Action = PatchMetadata | PatchStatus


def decide(observed: Observed, now: datetime) -> Decision[Action, None]:
    """Return the patches that make the node say what is so. Pure."""
    node = observed.node
    if node is None:
        return Decision(requeue_after_s=UNKNOWN_NODE_S)
    verdict = observed.ability.verdict
    annotations = {
        well_known.HEARTBEAT: conditions.timestamp(now),
        well_known.HANDLER_PORT: str(observed.port),
        KVM_ANNOTATION: f"{verdict.reason}: {verdict.message}",
    }
    labels = {well_known.SCHEDULABLE: "true"}
    actions: list[Action] = [
        PatchMetadata({"metadata": {"labels": labels, "annotations": annotations}})
    ]
    if observed.plugins:
        return Decision(actions=tuple(actions), requeue_after_s=HEARTBEAT_S)
    offered = {
        well_known.KVM: OFFERED if verdict.usable else "0",
        well_known.TUN: OFFERED if observed.tun else "0",
        well_known.VHOST_NET: OFFERED if observed.vhost_net else "0",
    }
    status = node.status or core.NodeStatus()
    change = {
        field: missing
        for field, present in (("capacity", status.capacity), ("allocatable", status.allocatable))
        if (missing := {k: v for k, v in offered.items() if str(present.get(k, "0")) != v})
    }
    if change:
        actions.append(PatchStatus({"status": change}))
    return Decision(actions=tuple(actions), requeue_after_s=HEARTBEAT_S)


class NodeReport:
    """Keeps the Node object up to date."""

    def __init__(
        self, *, client: Client, node: str, ability: Ability, port: int, plugins: bool = False
    ) -> None:
        self.client = client
        self.node = node
        self.ability = ability
        self.port = port
        self.plugins = plugins

    @property
    def name(self) -> str:
        """How queues and logs call it."""
        return NAME

    def observe(self, key: Key) -> Observed:
        """Return the node."""
        return Observed(
            node=self.client.find(core.Node, key.name),
            ability=self.ability,
            port=self.port,
            tun=TUN_DEVICE.exists(),
            vhost_net=VHOST_DEVICE.exists(),
            plugins=self.plugins,
        )

    def decide(self, observed: Observed, now: datetime) -> Decision[Action, None]:
        """Return what to patch."""
        return decide(observed, now)

    def perform(self, observed: Observed, action: Action) -> None:
        """Patch. Raises MigrationError."""
        subresource = "status" if isinstance(action, PatchStatus) else ""
        self.client.patch(core.Node, self.node, "", action.body, subresource=subresource)

    def write_status(self, observed: Observed, status: None) -> None:
        """Do nothing: all is patched."""

    def leave(self) -> None:
        """Say that this node takes no more VMs. Raises MigrationError."""
        body = {"metadata": {"labels": {well_known.SCHEDULABLE: "false"}}}
        self.client.patch(core.Node, self.node, "", body)
