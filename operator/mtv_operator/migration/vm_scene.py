"""What the run of one VM looks at, and what it returns. Data, and the few words around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from mtv import errors
from mtv.api import batch, core, forklift, kubevirt
from mtv.api.mtv import DiskTransfer
from mtv.inventory.model import PowerState
from mtv.planning import labels
from mtv.planning.plan import PlannedPlan, PlannedVM
from mtv.planning.power_off import PowerOff
from mtv_operator.migration import actions, conditions, itinerary, progress
from mtv_operator.migration.warm import Seen

LOOK_S = 0.5  # until the next look at a task of vSphere
WAIT_S = 1.0  # until the next look at what sends no event

Faults = Mapping[str, errors.MigrationError]  # by the name of the action that was refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutovers:
    """When VMs may be cut over: what is said of one VM counts more than what is said of all."""

    every: datetime | None = None
    by_vm: Mapping[str, datetime] = field(default_factory=dict)

    @classmethod
    def of(cls, migration: forklift.Migration | None) -> Cutovers:
        """Return what a Migration asks for; nothing if there is none."""
        if migration is None:
            return cls()
        spec = migration.spec
        by_vm = {one.id: _moment(one.cutover) for one in spec.vm_cutover}
        return cls(
            every=_moment(spec.cutover or ""),
            by_vm={vm: at for vm, at in by_vm.items() if at is not None},
        )

    def at(self, vm: forklift.VMStatus) -> datetime | None:
        """Return when a VM may be cut over; None while nobody has said."""
        return self.by_vm.get(vm.id or "", self.every)


def _moment(text: str) -> datetime | None:
    try:
        return conditions.moment(text)
    except ValueError:
        return None  # nobody is switched off for what cannot be read


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What the VMs of a run have in common, and what is seen of the target."""

    plan: forklift.Plan
    planned: PlannedPlan
    owner: labels.Owner
    provider: str  # key of its inventory
    current: bool  # whether the inventory is connected, not that of an earlier connection
    power_off: PowerOff
    secret_copy: core.Secret | None  # as it should be
    secret_is_current: bool  # whether it is like that
    transfers: Mapping[str, DiskTransfer]
    claims: Mapping[str, core.PersistentVolumeClaim]
    vms: Mapping[str, kubevirt.VirtualMachine]
    run: Mapping[str, forklift.VMStatus]  # all VMs of the run, by id
    snapshots: Mapping[str, Seen] = field(default_factory=dict)  # of ours, by VM id
    cutovers: Cutovers = field(default_factory=Cutovers)
    shutdowns_s: tuple[int, ...] = ()  # how long guests of other plans took
    faults: Mapping[str, Faults] = field(default_factory=dict)  # by VM id
    hooks: Mapping[str, forklift.Hook] = field(default_factory=dict)  # by namespace/name
    jobs: Mapping[str, batch.Job] = field(default_factory=dict)  # of hooks, by name
    workloads: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # VMs that have hooks
    adapters: Mapping[str, core.Pod] = field(default_factory=dict)  # the pods that adapt guests
    image: str = "mtv"  # of such pods

    def faults_of(self, vm: forklift.VMStatus) -> Faults:
        """Return what the actions of a VM were refused with."""
        return self.faults.get(vm.id or "", {})

    def of(self, vm: forklift.VMStatus) -> PlannedVM | None:
        """Return what is planned for a VM; None when it is no longer in the inventory."""
        return next((one for one in self.planned.vms if one.vm and one.id == vm.id), None)

    def target_of(self, vm: forklift.VMStatus) -> kubevirt.VirtualMachine | None:
        """Return the VM that this plan made of `vm`, unless it was rolled back."""
        return next(
            (
                one
                for one in self._made_of(vm)
                if labels.ROLLED_BACK not in one.metadata.annotations
            ),
            None,
        )

    def rolled_back_of(self, vm: forklift.VMStatus) -> kubevirt.VirtualMachine | None:
        """Return the VM that this plan made of `vm` and that was rolled back."""
        return next(
            (one for one in self._made_of(vm) if labels.ROLLED_BACK in one.metadata.annotations),
            None,
        )

    def _made_of(self, vm: forklift.VMStatus) -> Iterator[kubevirt.VirtualMachine]:
        for one in self.vms.values():
            if self.owner.selects(one.metadata.labels, vm.id or ""):
                yield one

    def transfers_of(self, vm: forklift.VMStatus) -> list[DiskTransfer]:
        """Return the transfers that this plan made for a VM, in any run."""
        return [
            one
            for one in self.transfers.values()
            if self.owner.selects(one.metadata.labels, vm.id or "")
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """Where a VM is next, and what is to be done on the way there, before that is stored."""

    vm: forklift.VMStatus
    actions: tuple[actions.OfPlan, ...] = ()
    requeue_after_s: float | None = None


# What is done in one phase: what is seen, the VM, what is planned for it, now → where it is next.
Of = Callable[[Scene, forklift.VMStatus, PlannedVM, datetime], Advance]


def sentence(fault: errors.MigrationError) -> str:
    """Return an error and its way out."""
    return f"{fault} ({fault.hint})" if fault.hint else str(fault)


def failed(vm: forklift.VMStatus, *reasons: str) -> Advance:
    """Return the VM with an error, which is stored before anything is undone."""
    return Advance(vm=progress.erred(vm, reasons))


def onward(vm: forklift.VMStatus, now: datetime) -> forklift.VMStatus:
    """Return the VM in its next phase."""
    phase = itinerary.next_phase(vm.phase, itinerary.course_of(vm))
    return progress.entered(vm, phase, now)


def power_of(planned: PlannedVM) -> PowerState | None:
    """Return the power state of the source, as the inventory has it."""
    return planned.vm.power_state if planned.vm else None
