"""The controller of the KubeVirt object on a cluster: certificates, components, their state."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec

from mtv.api import apps, configuration
from mtv.api import installation as installation_api
from mtv_operator.certificates import keeping, rotation
from mtv_operator.installation import documents, workloads
from mtv_operator.installation.settings import Settings
from mtv_operator.objects import Cache, Client, Key
from mtv_operator.reconciling import Decision
from mtv_operator.virt_controller import installation
from mtv_operator.virt_controller.installation import Component
from mtv_operator.virt_operator import certificates, components
from mtv_operator.virt_operator.components import There

log = logging.getLogger("virt-operator")

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
OWN = "virt-operator"
PLACER = "virt-operator-placement"  # a manager that applies less than before takes fields away
LOOK_S = 60.0
# Who takes the installation away deletes us too: what is gone is made again only if we stay.
MISSED_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The KubeVirt object, what there is of certificates, and the components."""

    kubevirt: installation_api.KubeVirt
    version: str
    stored: keeping.Stored
    components: tuple[Component, ...]
    there: Mapping[str, There | None]
    settings: Settings


Status = installation_api.KubeVirtStatus


Action = rotation.Action | components.Action


def decide(observed: Observed, now: datetime) -> Decision[Action, Status]:
    """Return what to store, what to make, and the status. Pure but for new keys."""
    actions = keeping.decide(STORE, observed.stored, certificates.lifetimes(observed.kubevirt), now)
    status = installation.decide(
        installation.Observed(
            kubevirt=observed.kubevirt, version=observed.version, components=observed.components
        ),
        now,
    )
    kept = components.decide(observed.kubevirt.spec, observed.settings, observed.there)
    # Something is missing that may be on its way out: look again soon.
    soon = len(observed.there) < len(observed.components)
    return Decision(
        status=status.status,
        actions=(*actions, *kept),
        requeue_after_s=MISSED_S if soon else LOOK_S,
    )


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
        settings: Settings,
    ) -> None:
        self._client = client
        self._kubevirts = kubevirts
        self._deployments, self._daemon_sets = deployments, daemon_sets
        self._version = version
        self._settings = settings
        self._missed_since: dict[str, float] = {}

    def observe(self, key: Key) -> Observed | None:
        """Return all of it. Secrets are read each time: nobody else changes them."""
        kubevirt = self._kubevirts.get(*key)
        if kubevirt is None or kubevirt.metadata.deletion_timestamp:
            return None
        deployments = {name: self._deployments.get(NAMESPACE, name) for name in WORKLOADS}
        handlers = self._daemon_sets.get(NAMESPACE, HANDLERS)
        return Observed(
            kubevirt=kubevirt,
            settings=self._settings,
            there=self._known({**deployments, HANDLERS: handlers}),
            version=self._version,
            stored=keeping.read(self._client, STORE),
            components=(
                *(_deployment(name, found) for name, found in deployments.items()),
                _daemon_set(HANDLERS, handlers),
            ),
        )

    def _known(
        self, found: Mapping[str, apps.Deployment | apps.DaemonSet | None]
    ) -> dict[str, There | None]:
        """Return the components; those that are not missed for long yet are left out."""
        own = self._deployments.get(NAMESPACE, OWN)
        stays = own is not None and not own.metadata.deletion_timestamp
        now = time.monotonic()
        known: dict[str, There | None] = {}
        for name, one in found.items():
            if one is not None:
                self._missed_since.pop(name, None)
                if not one.metadata.deletion_timestamp:
                    annotations = one.metadata.annotations
                    known[name] = There(placement=annotations.get(workloads.PLACEMENT, ""))
            elif stays and now - self._missed_since.setdefault(name, now) >= MISSED_S:
                known[name] = None
        return known

    def decide(self, observed: Observed, now: datetime) -> Decision[Action, Status]:
        """Decide."""
        return decide(observed, now)

    def perform(self, observed: Observed, action: Action) -> None:
        """Store or make one object. Raises Conflict when somebody else did meanwhile."""
        match action:
            case components.Make(document=document):
                self._apply(document, OWN)
            case components.Place(document=document):
                self._apply(document, PLACER)
            case _:
                keeping.perform(self._client, STORE, observed.stored, action)

    def _apply(self, document: components.Document, manager: str) -> None:
        self._client.raw(
            "PATCH",
            documents.path_of(document),
            document,
            content_type="application/apply-patch+yaml",
            query=[("fieldManager", manager), ("force", "true")],
        )
        log.info("applied %s", documents.title(document))

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
