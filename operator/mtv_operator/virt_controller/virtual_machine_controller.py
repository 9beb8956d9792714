"""The controller of VirtualMachines: what `virtual_machine.decide` reads and orders."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import assert_never

import msgspec

from mtv import errors
from mtv.api import apps, cdi, json_patch, kubevirt, meta, well_known
from mtv_operator.instancetypes import lookup
from mtv_operator.objects import Cache, Client, Key
from mtv_operator.virt_controller import conditions, data_volume_templates, virtual_machine
from mtv_operator.virt_controller.virtual_machine import Observed

COMPONENT = "virtualmachine-controller"


class VirtualMachineController:
    """Makes instances of VMs, and ends them."""

    name = "virtual-machine"

    def __init__(
        self,
        client: Client,
        vms: Cache[kubevirt.VirtualMachine],
        instances: Cache[kubevirt.VirtualMachineInstance],
        data_volumes: Cache[cdi.DataVolume] | None = None,
    ) -> None:
        self._client, self._vms, self._instances = client, vms, instances
        self._data_volumes = data_volumes

    def observe(self, key: Key) -> Observed | None:
        """Return the VM and the instance of its name."""
        vm = self._vms.get(*key)
        if vm is None:
            return None
        return Observed(
            vm=vm,
            instance=self._instances.get(*key),
            data_volumes=self._volumes_of(vm),
            named=lookup.of_vm(vm, self._client),
        )

    def _volumes_of(self, vm: kubevirt.VirtualMachine) -> dict[str, cdi.DataVolume]:
        """Return the DataVolumes of a VM's templates that exist."""
        found = {}
        for name in data_volume_templates.names(vm):
            known = self._data_volumes
            one = known.get(vm.metadata.namespace, name) if known is not None else None
            one = one or self._client.find(cdi.DataVolume, name, vm.metadata.namespace)
            if one is not None:
                found[name] = one
        return found

    def decide(self, observed: Observed, now: datetime) -> virtual_machine.Plan:
        """Return what the VM needs."""
        return virtual_machine.decide(observed, now)

    def write_status(self, observed: Observed, status: kubevirt.VirtualMachineStatus) -> None:
        """Store the status where it differs."""
        if status != observed.vm.status:
            self._client.replace_status(msgspec.structs.replace(observed.vm, status=status))

    def perform(self, observed: Observed, action: virtual_machine.Action) -> None:
        """Carry out one action."""
        vm, instance = observed.vm, observed.instance
        match action:
            case virtual_machine.AddFinalizer():
                self._set_finalizers(vm, (*vm.metadata.finalizers, well_known.VM_FINALIZER))
            case virtual_machine.RemoveFinalizer():
                self._set_finalizers(vm, _without(vm, well_known.VM_FINALIZER))
            case virtual_machine.CreateInstance(instance=new):
                self._create(observed, new)
            case virtual_machine.CreateDataVolume(volume=volume):
                self._create_data_volume(vm, volume)
            case virtual_machine.StoreRevision(revision=revision):
                self._store(vm, revision)
            case virtual_machine.Say(reason=reason, message=message, type=kind):
                self._client.record(vm, reason, message, type=kind, component=COMPONENT)
            case virtual_machine.SwitchOn():
                self._switch_on(vm)
            case virtual_machine.DeleteInstance(uid=uid):
                self._delete(vm, uid)
            case virtual_machine.Adopt() | virtual_machine.ReleaseInstance():
                assert instance is not None
                self._hold(vm, instance, action)
            case virtual_machine.MarkGeneration(generation=generation):
                assert instance is not None
                path = json_patch.pointer("metadata", "annotations", well_known.VM_GENERATION)
                self._patch(instance, [{"op": "replace", "path": path, "value": str(generation)}])
            case _:
                assert_never(action)

    def _create(self, observed: Observed, new: kubevirt.VirtualMachineInstance) -> None:
        vm = observed.vm
        try:
            self._client.create(new)
        except errors.AlreadyExists:
            return  # ours from an earlier pass, or somebody's: the next look at the cache tells
        except errors.NeedsOperator as fault:
            self._client.record(vm, "FailedCreate", str(fault), type="Warning", component=COMPONENT)
            self._say_failure(observed, str(fault))
            raise
        self._client.record(
            vm,
            "SuccessfulCreate",
            "Started the virtual machine by creating the new virtual machine instance "
            f"{vm.metadata.name}",
            component=COMPONENT,
        )

    def _create_data_volume(self, vm: kubevirt.VirtualMachine, volume: cdi.DataVolume) -> None:
        try:
            self._client.create(volume)
        except errors.AlreadyExists:
            return
        message = f"Created DataVolume {volume.metadata.name}"
        self._client.record(vm, "SuccessfulDataVolumeCreate", message, component=COMPONENT)

    def _store(self, vm: kubevirt.VirtualMachine, revision: apps.ControllerRevision) -> None:
        """Keep a revision. One of the same name has the same uid and generation in it."""
        try:
            self._client.create(revision)
        except errors.AlreadyExists:
            return
        message = f"Created ControllerRevision {revision.metadata.name}"
        self._client.record(vm, "SuccessfulCreate", message, component=COMPONENT)

    def _say_failure(self, observed: Observed, message: str) -> None:
        """Store why the instance cannot be made."""
        status = observed.vm.status or kubevirt.VirtualMachineStatus()
        known = conditions.find(status.conditions, "Failure")
        if known is not None and known.message == message:
            return
        failure = virtual_machine.Condition(
            type="Failure", status="True", reason="FailedCreate", message=message
        )
        found = conditions.put(status.conditions, failure, datetime.now(UTC))
        self.write_status(observed, msgspec.structs.replace(status, conditions=found))

    def _delete(self, vm: kubevirt.VirtualMachine, uid: str) -> None:
        kind, metadata = kubevirt.VirtualMachineInstance, vm.metadata
        if self._client.delete(kind, metadata.name, metadata.namespace, uid=uid):
            self._client.record(
                vm,
                "SuccessfulDelete",
                "Stopped the virtual machine by deleting the virtual machine instance "
                f"{metadata.name}",
                component=COMPONENT,
            )

    def _switch_on(self, vm: kubevirt.VirtualMachine) -> None:
        """Make a Halted VM one that runs, in the word that its spec uses."""
        if vm.spec.running is not None:
            change = {"op": "replace", "path": "/spec/running", "value": True}
        else:
            change = {"op": "add", "path": "/spec/runStrategy", "value": "Always"}
        self._patch(vm, [change])

    def _hold(
        self,
        vm: kubevirt.VirtualMachine,
        instance: kubevirt.VirtualMachineInstance,
        action: virtual_machine.Adopt | virtual_machine.ReleaseInstance,
    ) -> None:
        """Take an instance that has no owner, or let go of one that has ended."""
        if isinstance(action, virtual_machine.ReleaseInstance):
            self._set_finalizers(instance, _without(instance, well_known.VM_FINALIZER))
            return
        owners = (*instance.metadata.owner_references, meta.owner_of(vm))
        value = msgspec.to_builtins(owners)
        self._patch(instance, [{"op": "add", "path": "/metadata/ownerReferences", "value": value}])

    def _set_finalizers(self, target: meta.Object, finalizers: tuple[str, ...]) -> None:
        if finalizers:
            change = {"op": "add", "path": "/metadata/finalizers", "value": list(finalizers)}
        else:
            change = {"op": "remove", "path": "/metadata/finalizers"}
        self._patch(target, [change])

    def _patch(self, target: meta.Object, operations: list[json_patch.Operation]) -> None:
        metadata = target.metadata
        tested = [json_patch.same_version(metadata.resource_version), *operations]
        try:
            self._client.json_patch(type(target), metadata.name, metadata.namespace, tested)
        except errors.NotFound:
            return  # it is gone: nothing to change any more


def _without(target: meta.Object, finalizer: str) -> tuple[str, ...]:
    return tuple(one for one in target.metadata.finalizers if one != finalizer)
