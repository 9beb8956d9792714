"""The controllers of migrations and evacuations: what their decisions read and order."""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

import msgspec

from mtv import errors
from mtv.api import (
    configuration,
    core,
    installation,
    json_patch,
    kubevirt,
    migrations,
    well_known,
)
from mtv_operator.objects import Cache, Client, Key
from mtv_operator.reconciling import Decision
from mtv_operator.virt_controller import evacuation, instance, migration, migration_queue
from mtv_operator.virt_controller.launcher_pod import Surroundings
from mtv_operator.virt_controller.migration import Migration, Observed, Status, Vmi
from mtv_operator.virt_controller.migration_queue import Waiting

COMPONENT = "virtualmachine-controller"


class MigrationController:
    """Makes target pods, hands migrations over to the handlers, and says how they end."""

    name = "virtual-machine-instance-migration"

    def __init__(
        self,
        client: Client,
        *,
        migrations: Cache[Migration],
        instances: Cache[Vmi],
        pods: Cache[core.Pod],
        claims: Cache[core.PersistentVolumeClaim],
        nodes: Cache[core.Node],
        installations: Cache[installation.KubeVirt],
        image: str,
    ) -> None:
        self._client, self._image = client, image
        self._migrations, self._instances, self._pods = migrations, instances, pods
        self._claims, self._nodes, self._installations = claims, nodes, installations

    def observe(self, key: Key) -> Observed | None:
        """Return the migration with its VMI, their pods, and the other migrations."""
        found = self._migrations.get(*key)
        if found is None:
            return None
        vmi = self._instances.get(key.namespace, found.spec.vmi_name or "")
        if vmi is None:
            vmi = self._client.find(Vmi, found.spec.vmi_name or "", key.namespace)
        installed = self._installations.get(configuration.NAMESPACE, configuration.NAME)
        settings = configuration.of(installed)
        return Observed(
            migration=found,
            instance=vmi,
            pods=tuple(self._pods.by_owner(vmi.metadata.uid)) if vmi is not None else (),
            around=Surroundings(
                image=self._image,
                configuration=settings,
                offers=instance.offers_of(tuple(self._nodes.list())),
                claims=self._claims_of(vmi) if vmi is not None else {},
            ),
            settings=settings.migrations,
            busy=self._busy(found),
            waiting=self._waiting(found),
            policy=self._policy(found, vmi),
            older=self._older(found),
        )

    def _claims_of(self, vmi: Vmi) -> dict[str, core.PersistentVolumeClaim]:
        namespace = vmi.metadata.namespace
        found = {name: self._claims.get(namespace, name) for name in instance.claim_names(vmi)}
        return {name: claim for name, claim in found.items() if claim is not None}

    def _busy(self, found: Migration) -> tuple[str, ...]:
        """Return the source node of each other migration that has begun and not ended."""
        nodes = []
        for one in self._migrations.list():
            phase = (one.status.phase if one.status else None) or "Pending"
            if one.metadata.uid == found.metadata.uid or phase in (*migration.FINAL, "Pending"):
                continue
            vmi = self._instances.get(one.metadata.namespace, one.spec.vmi_name or "")
            nodes.append((vmi.status.node_name if vmi and vmi.status else None) or "")
        return tuple(nodes)

    def _waiting(self, found: Migration) -> tuple[Waiting, ...]:
        """Return the other migrations that could begin now."""
        waits = []
        for one in self._migrations.list():
            phase = (one.status.phase if one.status else None) or "Pending"
            vmi = self._instances.get(one.metadata.namespace, one.spec.vmi_name or "")
            going = one.metadata.deletion_timestamp is not None
            if one.metadata.uid == found.metadata.uid or phase != "Pending" or going or not vmi:
                continue
            waits.append(migration.queued(one, vmi))
        return tuple(one for one in waits if one is not None)

    def _policy(self, found: Migration, vmi: Vmi | None) -> migrations.MigrationPolicy | None:
        """Return the policy by which a migration is done that is about to be handed over."""
        if vmi is None or found.status is None or found.status.phase != "Scheduled":
            return None
        try:
            policies = self._client.list(migrations.MigrationPolicy)
        except errors.NotFound:
            return None  # the API has no policies
        namespace = self._client.find(core.Namespace, vmi.metadata.namespace)
        labels = namespace.metadata.labels if namespace is not None else {}
        return migration_queue.policy_of(vmi.metadata.labels, labels, policies)

    def _older(self, found: Migration) -> tuple[Migration, ...]:
        """Return the finished migrations of the same VMI, the oldest first."""
        same = [
            one
            for one in self._migrations.list(found.metadata.namespace)
            if one.spec.vmi_name == found.spec.vmi_name
            and one.metadata.uid != found.metadata.uid
            and one.status is not None
            and one.status.phase in migration.FINAL
        ]
        return tuple(sorted(same, key=lambda one: one.metadata.creation_timestamp or ""))

    def decide(self, observed: Observed, now: datetime) -> migration.Plan:
        """Return what the migration needs."""
        return migration.decide(observed, now)

    def write_status(self, observed: Observed, status: Status) -> None:
        """Store the status."""
        if status != observed.migration.status:
            changed = msgspec.structs.replace(observed.migration, status=status)
            self._client.replace_status(changed)

    def perform(self, observed: Observed, action: migration.Action) -> None:
        """Carry out one action. Raises MigrationError."""
        found = observed.migration
        namespace = found.metadata.namespace
        match action:
            case migration.CreatePod(pod=pod):
                self._create(found, pod)
            case migration.DeletePod(name=name, uid=uid):
                self._client.delete(core.Pod, name, namespace, uid=uid)
            case migration.ChangeInstance(before=before, after=after):
                self._change(before, after)
            case migration.Forget(name=name, uid=uid):
                self._client.delete(Migration, name, namespace, uid=uid)
            case migration.Say(reason=reason, message=message, type=kind):
                self._client.record(found, reason, message, type=kind, component=COMPONENT)
            case migration.Release():
                self._release(found)
            case _:
                assert_never(action)

    def _create(self, found: Migration, pod: core.Pod) -> None:
        try:
            self._client.create(pod)
        except errors.AlreadyExists:
            return  # made by an earlier pass; its name is ours alone
        message = f"Created migration target pod {pod.metadata.name}"
        self._client.record(found, "SuccessfulCreate", message, component=COMPONENT)

    def _change(self, before: Vmi, after: Vmi) -> None:
        changes = json_patch.changes(msgspec.to_builtins(before), msgspec.to_builtins(after))
        metadata = before.metadata
        tested = [json_patch.same_version(metadata.resource_version), *changes]
        self._client.json_patch(Vmi, metadata.name, metadata.namespace, tested)

    def _release(self, found: Migration) -> None:
        metadata = found.metadata
        kept = [one for one in metadata.finalizers if one != well_known.MIGRATION_FINALIZER]
        operations = [
            json_patch.same_version(metadata.resource_version),
            {"op": "replace", "path": "/metadata/finalizers", "value": kept},
        ]
        try:
            self._client.json_patch(type(found), metadata.name, metadata.namespace, operations)
        except errors.NotFound:
            return


class EvacuationController:
    """Makes a migration for each VMI that shall leave its node."""

    name = "evacuation"

    def __init__(self, client: Client, instances: Cache[Vmi], migrations: Cache[Migration]) -> None:
        self._client, self._instances, self._migrations = client, instances, migrations

    def observe(self, key: Key) -> evacuation.Observed | None:
        """Return the VMI and its migrations; where it shall leave, as they are stored now."""
        found = self._instances.get(*key)
        if found is None or found.status is None or not found.status.evacuation_node_name:
            return None
        stored = self._client.list(kubevirt.VirtualMachineInstanceMigration, key.namespace)
        same = tuple(one for one in stored if one.spec.vmi_name == key.name)
        return evacuation.Observed(instance=found, migrations=same)

    def decide(
        self, observed: evacuation.Observed, now: datetime
    ) -> Decision[evacuation.Evacuate, None]:
        """Return whether to migrate it."""
        return evacuation.decide(observed, now)

    def write_status(self, observed: evacuation.Observed, status: None) -> None:
        """Do nothing: the migration does."""

    def perform(self, observed: evacuation.Observed, action: evacuation.Evacuate) -> None:
        """Create the migration."""
        self._client.create(action.migration)
