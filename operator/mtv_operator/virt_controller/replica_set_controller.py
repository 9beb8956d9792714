"""The controller of VirtualMachineInstanceReplicaSets: what their decisions read and order."""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

import msgspec

from mtv import errors
from mtv.api import json_patch, kubevirt, meta
from mtv_operator.objects import Cache, Client, Key
from mtv_operator.virt_controller import replica_set
from mtv_operator.virt_controller.replica_set import Observed

COMPONENT = "virtualmachinereplicaset-controller"


class ReplicaSetController:
    """Keeps as many instances as a set wants."""

    name = "virtual-machine-instance-replica-set"

    def __init__(
        self,
        client: Client,
        sets: Cache[replica_set.Set],
        instances: Cache[kubevirt.VirtualMachineInstance],
    ) -> None:
        self._client, self._sets, self._instances = client, sets, instances

    def observe(self, key: Key) -> Observed | None:
        """Return the set and the instances of its namespace."""
        found = self._sets.get(*key)
        if found is None:
            return None
        return Observed(replica_set=found, instances=tuple(self._instances.list(key.namespace)))

    def decide(self, observed: Observed, now: datetime) -> replica_set.Plan:
        """Return what the set needs."""
        return replica_set.decide(observed, now)

    def write_status(self, observed: Observed, status: replica_set.Status) -> None:
        """Store the status where it differs."""
        if status != observed.replica_set.status:
            changed = msgspec.structs.replace(observed.replica_set, status=status)
            self._client.replace_status(changed)

    def perform(self, observed: Observed, action: replica_set.Action) -> None:
        """Carry out one action. Raises MigrationError."""
        found = observed.replica_set
        match action:
            case replica_set.Create(instance=instance):
                self._create(found, instance)
            case replica_set.Delete(name=name, uid=uid):
                kind = kubevirt.VirtualMachineInstance
                if self._client.delete(kind, name, found.metadata.namespace, uid=uid):
                    message = f"Stopped the virtual machine by deleting the VMI {name}"
                    self._say(found, "SuccessfulDelete", message)
            case replica_set.Adopt(instance=instance):
                self._adopt(found, instance)
            case _:
                assert_never(action)

    def _create(self, found: replica_set.Set, new: kubevirt.VirtualMachineInstance) -> None:
        try:
            self._client.create(new)
        except errors.AlreadyExists:
            return  # made by an earlier pass
        except errors.NeedsOperator as fault:
            self._say(found, "FailedCreate", str(fault), kind="Warning")
            raise
        message = f"Started the virtual machine by creating the VMI {new.metadata.name}"
        self._say(found, "SuccessfulCreate", message)

    def _adopt(self, found: replica_set.Set, instance: kubevirt.VirtualMachineInstance) -> None:
        metadata = instance.metadata
        owners = msgspec.to_builtins((*metadata.owner_references, meta.owner_of(found)))
        operations = [
            json_patch.same_version(metadata.resource_version),
            {"op": "add", "path": "/metadata/ownerReferences", "value": owners},
        ]
        try:
            self._client.json_patch(type(instance), metadata.name, metadata.namespace, operations)
        except errors.NotFound:
            return  # it is gone

    def _say(
        self, found: replica_set.Set, reason: str, message: str, *, kind: str = "Normal"
    ) -> None:
        self._client.record(found, reason, message, type=kind, component=COMPONENT)
