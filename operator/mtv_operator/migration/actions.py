"""What a running plan does to the world, as data. Each may be done twice: the second time does
nothing. `effects` does them."""

from __future__ import annotations

from dataclasses import dataclass

from mtv.api import batch, core, forklift, kubevirt
from mtv.api.mtv import Checkpoint, DiskTransfer
from mtv.planning import labels


@dataclass(frozen=True, slots=True, kw_only=True)
class SetFinalizer:
    """Keep the Plan from vanishing before what it made has been taken away; or let it go."""

    plan: forklift.Plan
    held: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureNamespace:
    """Make the target namespace, if there is none."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureSecret:
    """Make the copy of the provider's secret what it should be."""

    secret: core.Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteSecret:
    """Take the copy of the provider's secret away."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureClaim:
    """Make a claim, if it is not there."""

    claim: core.PersistentVolumeClaim


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteClaim:
    """Take a claim away that no VM has, and with it what was copied."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureTransfer:
    """Make a transfer, owned by the claim that it fills, if it is not there."""

    transfer: DiskTransfer


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteTransfer:
    """End a transfer, or take the record of one away. What it has written stays."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryTransfer:
    """Have a transfer that failed go on from its journal: its source has not changed since."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetCheckpoint:
    """Have a transfer bring this state of its disk to the target, and go on if it was suspended."""

    namespace: str
    name: str
    uid: str
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class SuspendTransfer:
    """End the pod of a transfer; what it knows of the target stays."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeSnapshot:
    """Have a snapshot of this name taken, if it is not there, or look how far that is.

    What is found is remembered (`source_snapshots`); nothing is waited for, nothing is raised.
    """

    provider: str
    vm_id: str
    prefix: str  # of the names of our snapshots of this VM
    name: str
    quiesce: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveSnapshots:
    """Have our snapshots of a VM removed, one after the other, or look how far that is."""

    provider: str
    vm_id: str
    prefix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsurePod:
    """Make a pod, if it is not there; it goes when the claim `owner` goes."""

    pod: core.Pod
    owner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletePod:
    """End a pod."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkStale:
    """Note on a transfer that its source has run since, so that no later run trusts it."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Relabel:
    """Make what an earlier run left part of this one."""

    transfer: DiskTransfer
    labels: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutDownGuest:
    """Ask the guest to shut down."""

    provider: str
    vm_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerOff:
    """Switch the source off."""

    provider: str
    vm_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerOn:
    """Switch the source on again, unless its target VM exists by now: never both."""

    provider: str
    vm_id: str
    namespace: str
    target_name: str
    plan_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StopTarget:
    """Halt a target VM."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveBack:
    """Mark halted targets as rolled back, and switch their source on, if it was on."""

    provider: str
    vm_id: str
    namespace: str
    targets: tuple[str, ...]
    power_on: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TryVM:
    """Ask the API server whether it would take the target VM; nothing is stored."""

    vm: kubevirt.VirtualMachine


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateVM:
    """Make the target VM, if it is not there, and give it its claims."""

    vm: kubevirt.VirtualMachine
    claims: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Tell what happened, as an Event of the Plan."""

    plan: forklift.Plan
    reason: str
    message: str
    warning: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureHook:
    """Make the Job of a hook and the files that it finds, if they are not there."""

    job: batch.Job
    config_map: core.ConfigMap


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteJob:
    """End the Job of a hook."""

    namespace: str
    name: str
    uid: str


OfPlan = (
    SetFinalizer
    | EnsureNamespace
    | EnsureSecret
    | DeleteSecret
    | EnsureClaim
    | DeleteClaim
    | EnsureTransfer
    | DeleteTransfer
    | RetryTransfer
    | SetCheckpoint
    | SuspendTransfer
    | TakeSnapshot
    | RemoveSnapshots
    | EnsurePod
    | DeletePod
    | MarkStale
    | Relabel
    | ShutDownGuest
    | PowerOff
    | PowerOn
    | StopTarget
    | GiveBack
    | TryVM
    | CreateVM
    | EnsureHook
    | DeleteJob
    | Record
)


def vm_of(action: OfPlan) -> str:
    """Return the source VM that an action is about; "" if it is about none alone."""
    match action:
        case ShutDownGuest() | PowerOff() | PowerOn() | GiveBack():
            return action.vm_id
        case CreateVM(vm=vm) | TryVM(vm=vm):
            return vm.metadata.labels.get(labels.VM_ID, "")
        case EnsureTransfer(transfer=made):
            return made.metadata.labels.get(labels.VM_ID, "")
        case EnsureClaim(claim=claim):
            return claim.metadata.labels.get(labels.VM_ID, "")
        case EnsureHook(job=job):
            return job.metadata.labels.get(labels.VM_ID, "")
        case _:
            return ""
