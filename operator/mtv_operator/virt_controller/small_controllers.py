"""The controllers of nodes and the installation itself."""

from __future__ import annotations

from datetime import datetime

import msgspec

from mtv.api import core, well_known
from mtv.api import installation as installation_api
from mtv_operator.objects import Cache, Client, Key
from mtv_operator.reconciling import Decision
from mtv_operator.virt_controller import installation, instance_conditions, node

COMPONENT = "virt-controller"


class NodeController:
    """Closes nodes whose virt-handler is silent."""

    name = "node"

    def __init__(self, client: Client, nodes: Cache[core.Node]) -> None:
        self._client, self._nodes = client, nodes

    def observe(self, key: Key) -> node.Observed | None:
        """Return the node."""
        found = self._nodes.get(*key)
        return node.Observed(node=found) if found is not None else None

    def decide(self, observed: node.Observed, now: datetime) -> Decision[node.Close, None]:
        """Return whether to close it."""
        return node.decide(observed, now)

    def write_status(self, observed: node.Observed, status: None) -> None:
        """Do nothing: a node's status is not ours."""

    def perform(self, observed: node.Observed, action: node.Close) -> None:
        """Close the node."""
        found = observed.node
        labels = {well_known.SCHEDULABLE: "false"}
        self._client.patch(core.Node, found.metadata.name, "", {"metadata": {"labels": labels}})
        self._client.record(
            found,
            instance_conditions.NODE_UNRESPONSIVE,
            f"virt-handler is silent since {action.since}: no VMs are started here",
            type="Warning",
            component=COMPONENT,
        )


class InstallationController:
    """Says on the KubeVirt object that the runtime is deployed."""

    name = "kubevirt"

    def __init__(
        self, client: Client, installations: Cache[installation_api.KubeVirt], version: str
    ) -> None:
        self._client, self._installations, self._version = client, installations, version

    def observe(self, key: Key) -> installation.Observed | None:
        """Return the KubeVirt object."""
        found = self._installations.get(*key)
        if found is None:
            return None
        return installation.Observed(kubevirt=found, version=self._version)

    def decide(
        self, observed: installation.Observed, now: datetime
    ) -> Decision[None, installation_api.KubeVirtStatus]:
        """Return its status."""
        return installation.decide(observed, now)

    def write_status(
        self, observed: installation.Observed, status: installation_api.KubeVirtStatus
    ) -> None:
        """Store the status."""
        self._client.replace_status(msgspec.structs.replace(observed.kubevirt, status=status))

    def perform(self, observed: installation.Observed, action: None) -> None:
        """Do nothing: there are no actions."""
