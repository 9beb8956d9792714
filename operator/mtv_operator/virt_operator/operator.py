"""The controller of the KubeVirt object on a cluster: certificates, and the components' state."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

import msgspec

from mtv import errors
from mtv.api import apps, configuration, core, meta
from mtv.api import installation as installation_api
from mtv_operator.objects import Cache, Client, Key
from mtv_operator.reconciling import Decision
from mtv_operator.virt_controller import installation
from mtv_operator.virt_controller.installation import Component
from mtv_operator.virt_operator import certificates
from mtv_operator.virt_operator.certificates import KeepAuthority, KeepBundle, KeepServer

NAMESPACE = configuration.NAMESPACE
WORKLOADS = ("virt-api", "virt-controller")
HANDLERS = "virt-handler"
LABELS = {"app.kubernetes.io/managed-by": "virt-operator", "app.kubernetes.io/part-of": "kubevirt"}
LOOK_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The KubeVirt object, what there is of certificates, and the components."""

    kubevirt: installation_api.KubeVirt
    version: str
    authority: core.Secret | None
    bundle: core.ConfigMap | None
    servers: Mapping[str, core.Secret]
    components: tuple[Component, ...]


Status = installation_api.KubeVirtStatus


def decide(observed: Observed, now: datetime) -> Decision[certificates.Action, Status]:
    """Return which certificates to store, and the status. Pure but for new keys."""
    authority, bundle = observed.authority, observed.bundle
    actions = certificates.decide(
        authority.data if authority is not None else {},
        bundle.data.get(certificates.BUNDLE, "") if bundle is not None else "",
        {name: secret.data for name, secret in observed.servers.items()},
        certificates.lifetimes(observed.kubevirt),
        now,
    )
    status = installation.decide(
        installation.Observed(
            kubevirt=observed.kubevirt, version=observed.version, components=observed.components
        ),
        now,
    )
    return Decision(status=status.status, actions=tuple(actions), requeue_after_s=LOOK_S)


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
        find = self._client.find
        servers = {name: find(core.Secret, name, NAMESPACE) for name in certificates.SERVERS}
        return Observed(
            kubevirt=kubevirt,
            version=self._version,
            authority=find(core.Secret, certificates.AUTHORITY, NAMESPACE),
            bundle=find(core.ConfigMap, certificates.AUTHORITY, NAMESPACE),
            servers={name: secret for name, secret in servers.items() if secret is not None},
            components=(
                *(_deployment(name, self._deployments.get(NAMESPACE, name)) for name in WORKLOADS),
                _daemon_set(HANDLERS, self._daemon_sets.get(NAMESPACE, HANDLERS)),
            ),
        )

    def decide(self, observed: Observed, now: datetime) -> Decision[certificates.Action, Status]:
        """Decide."""
        return decide(observed, now)

    def perform(self, observed: Observed, action: certificates.Action) -> None:
        """Store one Secret or ConfigMap. Raises Conflict when somebody else did meanwhile."""
        match action:
            case KeepAuthority(data=data):
                self._keep(_secret(certificates.AUTHORITY, data, "Opaque"), observed.authority)
            case KeepBundle(text=text):
                data_ = {certificates.BUNDLE: text}
                wanted = core.ConfigMap(metadata=_metadata(certificates.AUTHORITY), data=data_)
                self._keep(wanted, observed.bundle)
            case KeepServer(name=name, pair=pair):
                content = {
                    certificates.CERTIFICATE: pair.certificate,
                    certificates.KEY: pair.key,
                }
                secret = _secret(name, content, "kubernetes.io/tls")
                self._keep(secret, observed.servers.get(name))
            case _:
                assert_never(action)

    def _keep(self, wanted: core.Secret | core.ConfigMap, there: meta.Object | None) -> None:
        if there is None:
            with contextlib.suppress(errors.AlreadyExists):
                self._client.create(wanted)
            return
        version = there.metadata.resource_version
        metadata = msgspec.structs.replace(wanted.metadata, resource_version=version)
        self._client.replace(msgspec.structs.replace(wanted, metadata=metadata))

    def write_status(self, observed: Observed, status: Status) -> None:
        """Store the status. Raises Conflict."""
        self._client.replace_status(msgspec.structs.replace(observed.kubevirt, status=status))


def _metadata(name: str) -> meta.ObjectMeta:
    return meta.ObjectMeta(name=name, namespace=NAMESPACE, labels=LABELS)


def _secret(name: str, data: dict[str, bytes], kind: str) -> core.Secret:
    return core.Secret(metadata=_metadata(name), type=kind, data=data)


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
