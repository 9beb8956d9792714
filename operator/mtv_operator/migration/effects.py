"""What the actions of a plan do. Each may be repeated: what is done already is left as it is.

The power of a source is switched through the session of its inventory.
"""

from __future__ import annotations

import contextlib
from typing import assert_never

import msgspec

from mtv import errors
from mtv.api import batch, core, forklift, kubevirt, meta
from mtv.api.mtv import DiskTransfer
from mtv.inventory.model import Moref
from mtv.planning import labels
from mtv.providers.vsphere import power
from mtv_operator.migration import actions, plan, source_snapshots
from mtv_operator.migration.inventory_cache import Inventories
from mtv_operator.migration.source_snapshots import Ledger
from mtv_operator.objects import Client

replace = msgspec.structs.replace


def perform(
    client: Client, inventories: Inventories, ledger: Ledger, action: actions.OfPlan
) -> None:
    """Carry out one action; what is seen of snapshots goes into `ledger`. Raises MigrationError."""
    match action:
        case actions.SetFinalizer():
            _set_finalizer(client, action)
        case actions.EnsureNamespace(name=name):
            _ensure(client, core.Namespace(metadata=meta.ObjectMeta(name=name)))
        case actions.EnsureSecret(secret=secret):
            _ensure_secret(client, secret)
        case actions.DeleteSecret(namespace=namespace, name=name):
            client.delete(core.Secret, name, namespace)
        case actions.EnsureClaim(claim=claim):
            _ensure(client, claim)
        case actions.DeleteClaim(namespace=namespace, name=name, uid=uid):
            client.delete(core.PersistentVolumeClaim, name, namespace, uid=uid)
        case actions.EnsureTransfer(transfer=transfer):
            _ensure_transfer(client, transfer)
        case actions.DeleteTransfer(namespace=namespace, name=name, uid=uid):
            client.delete(DiskTransfer, name, namespace, uid=uid)
        case actions.RetryTransfer():
            _retry_transfer(client, action)
        case actions.SetCheckpoint():
            _set_checkpoint(client, action)
        case actions.SuspendTransfer(namespace=namespace, name=name):
            with contextlib.suppress(errors.NotFound):
                client.patch(DiskTransfer, name, namespace, {"spec": {"suspend": True}})
        case actions.TakeSnapshot() | actions.RemoveSnapshots():
            source_snapshots.look(ledger, inventories, action)
        case actions.EnsureHook(job=job, config_map=files):
            _ensure(client, files)
            _ensure(client, job)
        case actions.DeleteJob(namespace=namespace, name=name, uid=uid):
            client.delete(batch.Job, name, namespace, uid=uid)
        case actions.EnsurePod():
            _ensure_pod(client, action)
        case actions.DeletePod(namespace=namespace, name=name, uid=uid):
            client.delete(core.Pod, name, namespace, uid=uid)
        case actions.MarkStale(namespace=namespace, name=name):
            body = {"metadata": {"annotations": {labels.STALE: "true"}}}
            with contextlib.suppress(errors.NotFound):
                client.patch(DiskTransfer, name, namespace, body)
        case actions.Relabel():
            _relabel(client, action)
        case actions.ShutDownGuest() | actions.PowerOff() | actions.PowerOn():
            _switch(client, inventories, action)
        case actions.StopTarget(namespace=namespace, name=name):
            halted = {"spec": {"runStrategy": "Halted", "running": None}}
            with contextlib.suppress(errors.NotFound):
                client.patch(kubevirt.VirtualMachine, name, namespace, halted)
        case actions.GiveBack():
            _give_back(client, inventories, action)
        case actions.TryVM(vm=vm):
            _try_vm(client, vm)
        case actions.CreateVM():
            _create_vm(client, action)
        case actions.Record(plan=target, reason=reason, message=message, warning=warning):
            kind = "Warning" if warning else "Normal"
            client.record(target, reason, message, type=kind, component="mtv-controller")
        case _:
            assert_never(action)


def _ensure(client: Client, wanted: meta.Object) -> None:
    with contextlib.suppress(errors.AlreadyExists):
        client.create(wanted)


def _set_finalizer(client: Client, action: actions.SetFinalizer) -> None:
    current = action.plan.metadata.finalizers
    others = [one for one in current if one != plan.FINALIZER]
    wanted = [*others, plan.FINALIZER] if action.held else others
    client.patch(
        forklift.Plan,
        action.plan.metadata.name,
        action.plan.metadata.namespace,
        {
            "metadata": {
                "finalizers": wanted,
                "resourceVersion": action.plan.metadata.resource_version,
            }
        },
    )


def _ensure_secret(client: Client, wanted: core.Secret) -> None:
    namespace, name = wanted.metadata.namespace, wanted.metadata.name
    there = client.find(core.Secret, name, namespace)
    if there is None:
        _ensure(client, wanted)
    elif there.data != wanted.data:
        metadata = replace(
            there.metadata, labels={**there.metadata.labels, **wanted.metadata.labels}
        )
        client.replace(replace(there, metadata=metadata, data=wanted.data))


def _ensure_transfer(client: Client, wanted: DiskTransfer) -> None:
    """Make the transfer as a dependant of its claim. Raises Conflict while an old one is going."""
    namespace, claim_name = wanted.metadata.namespace, wanted.spec.target.claim_name
    claim = client.find(core.PersistentVolumeClaim, claim_name, namespace)
    if claim is None or claim.metadata.deletion_timestamp:
        raise errors.TargetUnavailable(f"claim {namespace}/{claim_name} is not there yet")
    owner = meta.owner_of(claim, controller=False)
    metadata = replace(wanted.metadata, owner_references=(owner,))
    try:
        client.create(replace(wanted, metadata=metadata))
    except errors.AlreadyExists:
        there = client.find(DiskTransfer, wanted.metadata.name, namespace)
        if there is None or there.metadata.deletion_timestamp:
            raise errors.TargetUnavailable(
                f"the transfer before {namespace}/{wanted.metadata.name} is not gone yet"
            ) from None


def _retry_transfer(client: Client, action: actions.RetryTransfer) -> None:
    """Put a failed transfer back to Pending; its journal and the count of its attempts stay."""
    there = client.find(DiskTransfer, action.name, action.namespace)
    if there is None or there.metadata.uid != action.uid or there.status is None:
        return
    if there.status.phase != "Failed":
        return
    kept = tuple(one for one in there.status.conditions if one.status != "True")
    status = replace(there.status, phase="Pending", completed=None, conditions=kept)
    client.replace_status(replace(there, status=status))


def _set_checkpoint(client: Client, action: actions.SetCheckpoint) -> None:
    checkpoint = msgspec.to_builtins(action.checkpoint)
    wanted = {"snapshot": action.checkpoint.snapshot, "changeId": None, **checkpoint}
    body = {"metadata": {"uid": action.uid}, "spec": {"checkpoint": wanted, "suspend": None}}
    with contextlib.suppress(errors.NotFound):
        client.patch(DiskTransfer, action.name, action.namespace, body)


def _ensure_pod(client: Client, action: actions.EnsurePod) -> None:
    """Make the pod as a dependant of a claim that it works on."""
    wanted = action.pod
    claim = client.find(core.PersistentVolumeClaim, action.owner, wanted.metadata.namespace)
    if claim is not None:
        owner = meta.owner_of(claim, controller=False)
        wanted = replace(wanted, metadata=replace(wanted.metadata, owner_references=(owner,)))
    _ensure(client, wanted)


def _relabel(client: Client, action: actions.Relabel) -> None:
    there = action.transfer.metadata
    if all(there.labels.get(key) == value for key, value in action.labels.items()):
        return
    body = {"metadata": {"labels": action.labels}}
    for kind, name in (
        (DiskTransfer, there.name),
        (core.PersistentVolumeClaim, action.transfer.spec.target.claim_name),
    ):
        client.patch(kind, name, there.namespace, body)


def _switch(
    client: Client,
    inventories: Inventories,
    action: actions.ShutDownGuest | actions.PowerOff | actions.PowerOn,
) -> None:
    session, vm_id = inventories.session(action.provider), Moref(action.vm_id)
    match action:
        case actions.ShutDownGuest():
            power.shut_down_guest(session, vm_id)
        case actions.PowerOff():
            power.power_off(session, vm_id)
        case actions.PowerOn():
            _refuse_two(client, action)
            power.power_on(session, vm_id)
        case _:
            assert_never(action)


def _give_back(client: Client, inventories: Inventories, action: actions.GiveBack) -> None:
    """Raise TargetUnavailable while a target could still run: never both."""
    for name in action.targets:
        target = client.find(kubevirt.VirtualMachine, name, action.namespace)
        where = f"{action.namespace}/{name}"
        if target is not None:
            if target.spec.run_strategy != "Halted":
                raise errors.TargetUnavailable(f"the target {where} was started again")
            mark = {"metadata": {"annotations": {labels.ROLLED_BACK: "true"}}}
            client.patch(kubevirt.VirtualMachine, name, action.namespace, mark)
        if client.find(kubevirt.VirtualMachineInstance, name, action.namespace) is not None:
            raise errors.TargetUnavailable(f"the target {where} is still being stopped")
    if action.power_on:
        power.power_on(inventories.session(action.provider), Moref(action.vm_id))


def _refuse_two(client: Client, action: actions.PowerOn) -> None:
    """Raise Conflict if the target VM exists: source and target must never run both."""
    found = client.find(kubevirt.VirtualMachine, action.target_name, action.namespace)
    if found is not None and found.metadata.labels.get(labels.PLAN) == action.plan_uid:
        raise errors.Conflict(f"VM {action.namespace}/{action.target_name} exists by now")


def _try_vm(client: Client, wanted: kubevirt.VirtualMachine) -> None:
    """Raise what the API server and its webhooks would refuse the VM with."""
    path = wanted.resource.path(wanted.metadata.namespace)
    with contextlib.suppress(errors.AlreadyExists):
        client.raw("POST", path, msgspec.to_builtins(wanted), query=[("dryRun", "All")])


def _create_vm(client: Client, action: actions.CreateVM) -> None:
    wanted = action.vm.metadata
    try:
        made = client.create(action.vm)
    except errors.AlreadyExists:
        made = client.get(kubevirt.VirtualMachine, wanted.name, wanted.namespace)
        rolled_back = labels.ROLLED_BACK in made.metadata.annotations
        if rolled_back or made.metadata.labels.get(labels.PLAN) != wanted.labels.get(labels.PLAN):
            raise
    for name in action.claims:
        _adopt(client, made, name)


def _adopt(client: Client, owner: kubevirt.VirtualMachine, claim_name: str) -> None:
    """Have a claim go when its VM does. A shared one goes with the last."""
    claim = client.get(core.PersistentVolumeClaim, claim_name, owner.metadata.namespace)
    if any(one.uid == owner.metadata.uid for one in claim.metadata.owner_references):
        return
    owners = (*claim.metadata.owner_references, meta.owner_of(owner, controller=False))
    client.replace(replace(claim, metadata=replace(claim.metadata, owner_references=owners)))
