"""The controller of VirtualMachineInstances: what `instance.decide` reads and orders."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import assert_never

import msgspec

from mtv import errors
from mtv.api import configuration, core, installation, json_patch, kubevirt, well_known
from mtv_operator.objects import Cache, Client, Key
from mtv_operator.virt_controller import (
    backend_storage,
    conditions,
    instance,
    phases,
    virtual_machine,
)
from mtv_operator.virt_controller.instance import Observed, Vmi

COMPONENT = "virtualmachine-controller"


class InstanceController:
    """Makes launcher pods, hands instances over to virt-handler, and lets them go at the end."""

    name = "virtual-machine-instance"

    def __init__(
        self,
        client: Client,
        *,
        instances: Cache[Vmi],
        pods: Cache[core.Pod],
        claims: Cache[core.PersistentVolumeClaim],
        nodes: Cache[core.Node],
        vms: Cache[kubevirt.VirtualMachine],
        installations: Cache[installation.KubeVirt],
        image: str,
        attachments: Cache[core.Pod] | None = None,
    ) -> None:
        self._client, self._image = client, image
        self._attachments = attachments
        self._instances, self._pods, self._claims = instances, pods, claims
        self._nodes, self._vms, self._installations = nodes, vms, installations

    def observe(self, key: Key) -> Observed | None:
        """Return the instance with its pods, claims and node."""
        found = self._instances.get(*key)
        if found is None:
            return None
        node = found.status.node_name if found.status else None
        installed = self._installations.get(configuration.NAMESPACE, configuration.NAME)
        launchers = self._pods_of(found)
        return Observed(
            instance=found,
            pods=launchers,
            attachments=self._attached(launchers),
            claims={name: self._claim(key.namespace, name) for name in instance.claim_names(found)},
            configuration=configuration.of(installed),
            offers=instance.offers_of(tuple(self._nodes.list())),
            image=self._image,
            owner_exists=self._owner_exists(found),
            node=self._nodes.get("", node) if node else None,
        )

    def _pods_of(self, found: Vmi) -> tuple[core.Pod, ...]:
        """Return the instance's pods; that there are none is asked again before it counts."""
        known = self._pods.by_owner(found.metadata.uid)
        if known or phases.of(found) in phases.BEFORE_POD:
            return tuple(known)
        labels = f"{well_known.CREATED_BY}={found.metadata.uid}"
        return tuple(self._client.list(core.Pod, found.metadata.namespace, labels=labels))

    def _attached(self, launchers: tuple[core.Pod, ...]) -> tuple[core.Pod, ...]:
        known = self._attachments
        if known is None:
            return ()
        return tuple(one for pod in launchers for one in known.by_owner(pod.metadata.uid))

    def _claim(self, namespace: str, name: str) -> core.PersistentVolumeClaim | None:
        known = self._claims.get(namespace, name)
        return known or self._client.find(core.PersistentVolumeClaim, name, namespace)

    def _owner_exists(self, found: Vmi) -> bool:
        owner = virtual_machine.controller_of(found)
        if owner is None or owner.kind != kubevirt.VirtualMachine.kind_name():
            return False
        vm = self._vms.get(found.metadata.namespace, owner.name)
        return vm is not None and vm.metadata.uid == owner.uid

    def decide(self, observed: Observed, now: datetime) -> instance.Plan:
        """Return what the instance needs."""
        return instance.decide(observed, now)

    def write_status(self, observed: Observed, status: Vmi) -> None:
        """Patch what differs: labels, finalizers and status, if it is still the same version."""
        before = observed.instance
        changes = json_patch.changes(msgspec.to_builtins(before), msgspec.to_builtins(status))
        if not changes:
            return
        metadata = before.metadata
        tested = [json_patch.same_version(metadata.resource_version), *changes]
        try:
            self._client.json_patch(type(before), metadata.name, metadata.namespace, tested)
        except errors.NotFound:
            return  # it is gone: nothing to say any more

    def perform(self, observed: Observed, action: instance.Action) -> None:
        """Carry out one action."""
        found = observed.instance
        match action:
            case instance.CreatePod(pod=pod):
                self._create(observed, pod)
            case instance.DeletePod(name=name, uid=uid):
                if self._client.delete(core.Pod, name, found.metadata.namespace, uid=uid):
                    self._say(found, "SuccessfulDelete", f"Deleted virtual machine pod {name}")
            case instance.OpenGate(pod=pod, unpaused=unpaused):
                self._set_gate(pod, unpaused=unpaused)
            case instance.Say(reason=reason, message=message, type=kind):
                self._say(found, reason, message, kind)
            case _:
                assert_never(action)

    def _create_state(self, observed: Observed) -> None:
        """Make the claim for what the VM keeps beside its disks; one that is there is kept."""
        settings = observed.configuration
        wanted = backend_storage.claim(
            observed.instance, settings.vm_state_storage_class, observed.claims
        )
        if wanted is not None:
            with contextlib.suppress(errors.AlreadyExists):
                self._client.create(wanted)

    def _create(self, observed: Observed, pod: core.Pod) -> None:
        found = observed.instance
        try:
            self._create_state(observed)
            self._client.create(pod)
        except errors.AlreadyExists:
            return  # made by an earlier pass; its name is ours alone
        except errors.NeedsOperator as fault:
            said = instance.not_synchronized(
                observed, found, "FailedCreate", str(fault), datetime.now(UTC)
            )
            for action in said[1]:
                self.perform(observed, action)
            self.write_status(observed, said[0])
            raise
        name = pod.metadata.name
        self._say(found, "SuccessfulCreate", f"Created virtual machine pod {name}")

    def _set_gate(self, pod: core.Pod, *, unpaused: bool) -> None:
        """Set the pod's condition that its readiness waits for."""
        new = core.PodCondition(
            type=well_known.UNPAUSED_GATE,
            status="True" if unpaused else "False",
            reason="NotPaused" if unpaused else "Paused",
            message="the virtual machine is " + ("not paused" if unpaused else "paused"),
            last_transition_time=conditions.timestamp(datetime.now(UTC)),
        )
        found = pod.status.conditions if pod.status else ()
        kept = [msgspec.to_builtins(one) for one in found if one.type != new.type]
        value = [*kept, msgspec.to_builtins(new)]
        metadata = pod.metadata
        operations = [
            json_patch.same_version(metadata.resource_version),
            {"op": "add", "path": "/status/conditions", "value": value},
        ]
        try:
            self._client.json_patch(
                core.Pod, metadata.name, metadata.namespace, operations, subresource="status"
            )
        except errors.NotFound:
            return  # the pod is gone

    def _say(self, found: Vmi, reason: str, message: str, kind: str = "Normal") -> None:
        self._client.record(found, reason, message, type=kind, component=COMPONENT)
