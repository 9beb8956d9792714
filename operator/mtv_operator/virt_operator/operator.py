"""The controller of the KubeVirt object on a cluster: certificates, and the components' state."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import msgspec

from mtv.api import apps, configuration
from mtv.api import installation as installation_api
from mtv_operator.certificates import keeping, rotation
from mtv_operator.objects import Cache, Client, Key
from mtv_operator.reconciling import Decision
from mtv_operator.virt_controller import installation
from mtv_operator.virt_controller.installation import Component
from mtv_operator.virt_operator import certificates

NAMESPACE = configuration.NAMESPACE
WORKLOADS = ("virt-api", "virt-controller")
HANDLERS = "virt-handler"
STORE = keeping.Store(
    namespace=NAMESPACE,
    authority=certificates.AUTHORITY,
    identities=certificates.SERVERS,
    labels={
        "app.kubernetes.io/managed-by": "virt-operator",
        "app.kubernetes.io/part-of": "kubevirt",
    },
)
LOOK_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The KubeVirt object, what there is of certificates, and the components."""

    kubevirt: installation_api.KubeVirt
    version: str
    stored: keeping.Stored
    components: tuple[Component, ...]


Status = installation_api.KubeVirtStatus


def decide(observed: Observed, now: datetime) -> Decision[rotation.Action, Status]:
    """Return which certificates to store, and the status. Pure but for new keys."""
    actions = keeping.decide(STORE, observed.stored, certificates.lifetimes(observed.kubevirt), now)
    status = installation.decide(
        installation.Observed(
            kubevirt=observed.kubevirt, version=observed.version, components=observed.components
        ),
        now,
    )
    return Decision(status=status.status, actions=actions, requeue_after_s=LOOK_S)


class VirtOperator:
    """Keeps the installation that the KubeVirt object stands for."""

    name = "kubevirt"

    def __init__(
        self,
        client: Client,
        *,
        kubevirts: Cache[installation_api.KubeVirt],
        deployments: Cache[apps.Deployment],
        daemon_sets: Cache[apps.DaemonSet],
        version: str,
    ) -> None:
        self._client = client
        self._kubevirts = kubevirts
        self._deployments, self._daemon_sets = deployments, daemon_sets
        self._version = version

    def observe(self, key: Key) -> Observed | None:
        """Return all of it. Secrets are read each time: nobody else changes them."""
        kubevirt = self._kubevirts.get(*key)
        if kubevirt is None or kubevirt.metadata.deletion_timestamp:
            return None
        return Observed(
            kubevirt=kubevirt,
            version=self._version,
            stored=keeping.read(self._client, STORE),
            components=(
                *(_deployment(name, self._deployments.get(NAMESPACE, name)) for name in WORKLOADS),
                _daemon_set(HANDLERS, self._daemon_sets.get(NAMESPACE, HANDLERS)),
            ),
        )

    def decide(self, observed: Observed, now: datetime) -> Decision[rotation.Action, Status]:
        """Decide."""
        return decide(observed, now)

    def perform(self, observed: Observed, action: rotation.Action) -> None:
        """Store one Secret or ConfigMap. Raises Conflict when somebody else did meanwhile."""
        keeping.perform(self._client, STORE, observed.stored, action)

    def write_status(self, observed: Observed, status: Status) -> None:
        """Store the status. Raises Conflict."""
        self._client.replace_status(msgspec.structs.replace(observed.kubevirt, status=status))


def _deployment(name: str, found: apps.Deployment | None) -> Component:
    status = (found and found.status) or apps.DeploymentStatus()
    spec = (found and found.spec) or apps.DeploymentSpec()
    return Component(
        name=f"Deployment {name}",
        there=found is not None,
        wanted=1 if spec.replicas is None else spec.replicas,
        updated=status.updated_replicas or 0,
        available=status.available_replicas or 0,
    )


def _daemon_set(name: str, found: apps.DaemonSet | None) -> Component:
    status = (found and found.status) or apps.DaemonSetStatus()
    return Component(
        name=f"DaemonSet {name}",
        there=found is not None,
        wanted=status.desired_number_scheduled or 0,
        updated=status.updated_number_scheduled or 0,
        available=status.number_available or 0,
    )
