"""A source and a target that do what the actions of a plan say, so that `decide` can be run.

Nothing here is of the program: actions are data, and this is what they mean. A crash is an action
that was done and whose status was not stored.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from mtv_planning import plans, source
from simulated_snapshots import Snapshots

from mtv import errors
from mtv.api import core, forklift, kubevirt, meta
from mtv.api.mtv import DiskTransfer, DiskTransferStatus
from mtv.inventory.model import VM, Inventory, PowerState
from mtv.planning import labels
from mtv_operator.adaptation import messages
from mtv_operator.adaptation.messages import Outcome
from mtv_operator.migration import actions, migration, run
from mtv_operator.migration import plan as plans_controller
from mtv_operator.migration.inventory_cache import Phase, View
from mtv_operator.migration.plan import FINALIZER

START = datetime(2026, 1, 1, tzinfo=UTC)
_ready = forklift.Condition(
    type="Ready", status="True", category="Required", last_transition_time=""
)


def provider(name: str, kind: str = "vsphere") -> forklift.Provider:
    url = "https://vcenter.example.org/sdk" if kind == "vsphere" else None
    return forklift.Provider(
        metadata=meta.ObjectMeta(name=name, namespace="mtv", uid=f"p-{name}"),
        spec=forklift.ProviderSpec(
            type=kind, url=url, secret=meta.ObjectReference(name="vcenter", namespace="mtv")
        ),
        status=forklift.ProviderStatus(phase="Ready", conditions=(_ready,)),
    )


@dataclass
class Simulation:
    """The state of everything. Times are simulated."""

    inventory: Inventory
    plan: forklift.Plan
    now: datetime = START
    migrations: list[forklift.Migration] = field(default_factory=list)
    namespaces: set[str] = field(default_factory=set)
    secret_copy: core.Secret | None = None
    claims: dict[str, core.PersistentVolumeClaim] = field(default_factory=dict)
    transfers: dict[str, DiskTransfer] = field(default_factory=dict)
    vms: dict[str, kubevirt.VirtualMachine] = field(default_factory=dict)
    going_down: dict[str, datetime] = field(default_factory=dict)  # guests that shut down
    done: list[actions.OfPlan] = field(default_factory=list)
    guest_s: float | None = 5.0  # how long a guest takes to shut down; None: for ever
    copy_s: float = 20.0
    copied: dict[str, float] = field(default_factory=dict)  # by uid of the transfer
    fails: dict[str, str] = field(default_factory=dict)  # claim name → why the transfer fails
    refuses: dict[str, errors.MigrationError] = field(default_factory=dict)  # by action
    faults: dict[str, dict[str, errors.MigrationError]] = field(default_factory=dict)
    free: int = 10
    network_map: Any = None
    connected: bool = True
    has_provider: bool = True
    snapshots: Snapshots = field(default_factory=Snapshots)
    delta_s: float = 4.0  # how long the copy of what has changed takes
    brought: dict[str, int] = field(default_factory=dict)  # content on the target, by uid
    adapters: dict[str, core.Pod] = field(default_factory=dict)
    adapt_s: float = 3.0
    # What the pods that adapt guests say at their end, one after the other; the last one again.
    said: list[Outcome] = field(default_factory=lambda: [Outcome(way="light", bus="scsi",
        nic_model="virtio", system="linux", facts=("system: Debian",), recipe="r", booted=True,
        committed=True)])  # fmt: skip
    adapting_s: dict[str, float] = field(default_factory=dict)
    _uids: Any = field(default_factory=lambda: itertools.count(1))

    def start(self, **spec: Any) -> forklift.Migration:
        """Add a Migration."""
        number = len(self.migrations)
        one = forklift.Migration(
            metadata=meta.ObjectMeta(
                name=f"run-{number}",
                namespace="mtv",
                uid=f"m-{number}",
                creation_timestamp=f"2026-01-01T00:00:{number:02d}Z",
            ),
            spec=forklift.MigrationSpec(
                plan=meta.ObjectReference(name="move", namespace="mtv"), **spec
            ),
        )
        self.migrations.append(one)
        return one

    def wish(self, **spec: tuple[str, ...]) -> None:
        """Have VMs of the newest Migration rolled back, or accepted."""
        last = self.migrations[-1]
        refs = {key: tuple(forklift.Ref(id=one) for one in vms) for key, vms in spec.items()}
        self.migrations[-1] = msgspec.structs.replace(
            last, spec=msgspec.structs.replace(last.spec, **refs)
        )

    def cancel(self, *vms: str) -> None:
        """Cancel VMs of the newest Migration."""
        last = self.migrations[-1]
        spec = msgspec.structs.replace(last.spec, cancel=tuple(forklift.Ref(id=one) for one in vms))
        self.migrations[-1] = msgspec.structs.replace(last, spec=spec)

    def observe(self) -> plans_controller.Observed:
        return plans_controller.Observed(
            plan=self.plan,
            source=provider("vcenter") if self.has_provider else None,
            destination=provider("host", "openshift"),
            network_map=self.network_map or plans.network_map(plans.POD, plans.PROD),
            storage_map=plans.storage_map(plans.DS1),
            view=View(
                phase=Phase.LOADED if self.connected else Phase.LOST, inventory=self.inventory
            ),
            target=plans.target(
                virtual_machines=tuple(self.vms.values()), claims=tuple(self.claims.values())
            ),
            migrations=tuple(self.migrations),
            secret=core.Secret(data={"user": b"me", "password": b"secret"}),
            secret_copy=self.secret_copy,
            transfers=dict(self.transfers),
            claims=dict(self.claims),
            vms=dict(self.vms),
            faults=self.faults,
            snapshots=dict(self.snapshots.seen),
            adapters=dict(self.adapters),
            free=self.free,
        )

    def step(self, *, crash: bool = False, keep: int | None = None) -> None:
        """Let the controllers look once. `crash`: the status is lost; `keep`: so many actions."""
        if crash or keep is not None:
            self.snapshots.seen.clear()
        observed = self.observe()
        decision = plans_controller.decide(observed, self.now)
        for action in decision.actions[:keep]:
            try:
                self.perform(action)
            except errors.MigrationError as fault:
                vm = actions.vm_of(action)
                if vm:
                    self.faults.setdefault(vm, {})[type(action).__name__] = fault
                return
        if not crash and keep is None and decision.status is not None:
            self.plan = msgspec.structs.replace(self.plan, status=decision.status)
        self._reflect()
        self.check()

    def _reflect(self) -> None:
        self.migrations = [
            msgspec.structs.replace(
                one,
                status=migration.decide(
                    migration.Observed(migration=one, plan=self.plan), self.now
                ).status,
            )
            for one in self.migrations
        ]

    def pass_time(self, seconds: float) -> None:
        """Let guests shut down and disks be copied."""
        self.now += timedelta(seconds=seconds)
        for vm_id, at in list(self.going_down.items()):
            if at <= self.now:
                del self.going_down[vm_id]
                self.power(vm_id, PowerState.OFF)
        self.snapshots.pass_time(self.now)
        for vm in list(self.inventory.vms.values()):
            there = self.snapshots.in_inventory(vm, self.now)
            self.change(vm.id, snapshots=there)
        for name, pod in list(self.adapters.items()):
            self.adapting_s[name] = self.adapting_s.get(name, 0.0) + seconds
            if self.adapting_s[name] >= self.adapt_s and pod.status is None:
                self.adapters[name] = msgspec.structs.replace(pod, status=self._adapted())
        for name, target in list(self.vms.items()):
            if target.spec.run_strategy == "Halted" and is_created(target):
                self.vms[name] = with_created(target, False)
        for name, transfer in list(self.transfers.items()):
            if transfer.spec.checkpoint is not None:
                self.transfers[name] = self._copy_state(transfer, seconds)
            elif not (transfer.status and transfer.status.phase in ("Succeeded", "Failed")):
                self.transfers[name] = self._copy(transfer, seconds)

    def _adapted(self) -> core.PodStatus:
        said = self.said.pop(0) if len(self.said) > 1 else self.said[0]
        ended = core.ContainerStateTerminated(exit_code=0, message=messages.encode(said).decode())
        container = core.ContainerStatus(name="adapt", state=core.ContainerState(terminated=ended))
        return core.PodStatus(phase="Succeeded", container_statuses=(container,))

    def _copy_state(self, transfer: DiskTransfer, seconds: float) -> DiskTransfer:
        """Bring the state of a snapshot to the target, as a DiskTransfer says that it does."""
        status = transfer.status or DiskTransferStatus()
        wanted = transfer.spec.checkpoint
        assert wanted is not None
        ended = status.phase == "Failed" or (
            status.phase == "Succeeded" and status.checkpoint == wanted
        )
        if ended:
            return transfer
        if transfer.spec.suspend:
            return msgspec.structs.replace(
                transfer, status=msgspec.structs.replace(status, phase="Pending")
            )
        vm_id, name = transfer.spec.vm.id, transfer.metadata.name
        if name in self.fails:
            why = meta.Condition(type="Failed", status="True", message=self.fails[name])
            failed = msgspec.structs.replace(status, phase="Failed", conditions=(why,))
            return msgspec.structs.replace(transfer, status=failed)
        if not self.snapshots.has(vm_id, wanted.snapshot):
            why = meta.Condition(type="Failed", status="True", message="no such snapshot")
            failed = msgspec.structs.replace(status, phase="Failed", conditions=(why,))
            return msgspec.structs.replace(transfer, status=failed)
        needs_s = self.copy_s if status.checkpoint is None else self.delta_s
        key = f"{transfer.metadata.uid}/{wanted.snapshot}"
        self.copied[key] = self.copied.get(key, 0.0) + seconds
        if self.copied[key] < needs_s:
            running = msgspec.structs.replace(status, phase="Running")
            return msgspec.structs.replace(transfer, status=running)
        self.brought[transfer.metadata.uid] = self.snapshots.content_of(vm_id, wanted.snapshot)
        done = msgspec.structs.replace(
            status,
            phase="Succeeded",
            checkpoint=wanted,
            delta_bytes=1 << 20,
            delta_seconds=needs_s,
            done_bytes=transfer.spec.disk.capacity_bytes,
        )
        return msgspec.structs.replace(transfer, status=done)

    def _copy(self, transfer: DiskTransfer, seconds: float) -> DiskTransfer:
        done_s = self.copied.get(transfer.metadata.uid, 0.0) + seconds
        self.copied[transfer.metadata.uid] = done_s
        total = transfer.spec.disk.capacity_bytes
        why = self.fails.get(transfer.metadata.name)
        phase = "Failed" if why else "Succeeded" if done_s >= self.copy_s else "Running"
        status = DiskTransferStatus(
            phase=phase,
            total_bytes=total,
            done_bytes=min(int(total * done_s / self.copy_s), total),
            transport="https",
            conditions=(meta.Condition(type="Failed", status="True", message=why),) if why else (),
        )
        return msgspec.structs.replace(transfer, status=status)

    def run(self, seconds: float = 120.0) -> None:
        """Look every second until nothing is active, at most so long."""
        for _ in range(int(seconds)):
            self.step()
            self.step()
            self.pass_time(1.0)
            if not self.active:
                break
        self.step()
        self.step()

    def until(self, phase: str, vm: int = 0) -> None:
        """Look until a VM is in a phase."""
        for _ in range(200):
            self.step()
            if self.status.vms and self.status.vms[vm].phase == phase:
                return
            self.pass_time(1.0)
        raise AssertionError(f"never {phase}: {self.status}")

    @property
    def active(self) -> bool:
        return bool(run.active_uid(self.plan)) or bool(run.pending(self.plan, self.migrations))

    @property
    def status(self) -> forklift.PlanMigrationStatus:
        found = self.plan.status.migration if self.plan.status else None
        return found or forklift.PlanMigrationStatus()

    def conditions(self) -> set[str]:
        return {one.type for one in self.plan.status.conditions} if self.plan.status else set()

    def vm_conditions(self, vm: int = 0) -> set[str]:
        return {one.type for one in self.status.vms[vm].conditions}

    def vm(self, vm_id: str) -> VM:
        return self.inventory.vms[vm_id]  # type: ignore[index]

    def power(self, vm_id: str, state: PowerState) -> None:
        self.change(vm_id, power_state=state)

    def write(self) -> None:
        """Have all guests that run write to their disks."""
        for vm in self.inventory.vms.values():
            if vm.power_state is PowerState.ON:
                self.snapshots.content[vm.id] += 1

    def change(self, vm_id: str, **fields: Any) -> None:
        """Change a source."""
        changed = replace(self.vm(vm_id), **fields)
        self.inventory = replace(self.inventory, vms={**self.inventory.vms, changed.id: changed})

    def check(self) -> None:
        """What must hold at any moment."""
        for target in self.vms.values():
            vm_id = target.metadata.labels[labels.VM_ID]
            runs = target.spec.run_strategy != "Halted" or is_created(target)
            both = runs and self.vm(vm_id).power_state is PowerState.ON
            assert not both, "source and target both run"
            if labels.ROLLED_BACK not in target.metadata.annotations:
                self._check_content(vm_id)
            spec = target.spec.template.spec
            assert spec is not None
            for volume in spec.volumes:
                assert volume.persistent_volume_claim is not None
                assert volume.persistent_volume_claim.claim_name in self.claims

    def _check_content(self, vm_id: str) -> None:
        """The target has what the source had when it was switched off."""
        for one in self.transfers.values():
            if one.spec.vm.id == vm_id and one.spec.checkpoint is not None:
                assert self.brought[one.metadata.uid] == self.snapshots.content[vm_id]

    def count(self, kind: type) -> int:
        return sum(isinstance(one, kind) for one in self.done)

    def perform(self, action: actions.OfPlan) -> None:
        refused = self.refuses.get(type(action).__name__)
        if refused:
            raise refused
        self.done.append(action)
        match action:
            case actions.SetFinalizer(held=held):
                metadata = msgspec.structs.replace(
                    self.plan.metadata, finalizers=(FINALIZER,) if held else ()
                )
                self.plan = msgspec.structs.replace(self.plan, metadata=metadata)
            case actions.EnsureNamespace(name=name):
                self.namespaces.add(name)
            case actions.EnsureSecret(secret=secret):
                self.secret_copy = secret
            case actions.DeleteSecret():
                self.secret_copy = None
            case actions.EnsureClaim(claim=claim):
                self.claims.setdefault(claim.metadata.name, claim)
            case actions.DeleteClaim(name=name):
                self.claims.pop(name, None)
                self.transfers.pop(name, None)
            case actions.EnsureTransfer(transfer=transfer):
                self._create_transfer(transfer)
            case actions.DeleteTransfer(name=name, uid=uid):
                if name in self.transfers and self.transfers[name].metadata.uid == uid:
                    del self.transfers[name]
            case actions.RetryTransfer(name=name, uid=uid):
                there = self.transfers.get(name)
                if there is not None and there.metadata.uid == uid:
                    kept = there.status.checkpoint if there.status else None
                    self.transfers[name] = msgspec.structs.replace(
                        there, status=DiskTransferStatus(phase="Pending", checkpoint=kept)
                    )
            case actions.SetCheckpoint(name=name, uid=uid, checkpoint=checkpoint):
                self._set(name, uid, checkpoint=checkpoint, suspend=None)
            case actions.SuspendTransfer(name=name):
                self._set(name, self.transfers[name].metadata.uid, suspend=True)
            case actions.TakeSnapshot() | actions.RemoveSnapshots():
                self._refuse_in_the_window(action)
                self.snapshots.perform(action, self.vm(action.vm_id), self.now)
            case actions.EnsurePod(pod=pod):
                metadata = msgspec.structs.replace(pod.metadata, uid=f"p-{next(self._uids)}")
                made = msgspec.structs.replace(pod, metadata=metadata)
                self.adapters.setdefault(pod.metadata.name, made)
            case actions.DeletePod(name=name, uid=uid):
                if name in self.adapters and self.adapters[name].metadata.uid == uid:
                    del self.adapters[name]
            case actions.MarkStale(name=name):
                self._annotate(name, {labels.STALE: "true"})
            case actions.Relabel() | actions.Record() | actions.TryVM():
                pass
            case actions.ShutDownGuest(vm_id=vm_id):
                if self.guest_s is not None and vm_id not in self.going_down:
                    self.going_down[vm_id] = self.now + timedelta(seconds=self.guest_s)
            case actions.PowerOff(vm_id=vm_id):
                self.power(vm_id, PowerState.OFF)
            case actions.PowerOn(vm_id=vm_id, target_name=name):
                assert name not in self.vms
                self.power(vm_id, PowerState.ON)
            case actions.CreateVM(vm=vm):
                runs = vm.spec.run_strategy != "Halted"
                self.vms.setdefault(vm.metadata.name, with_created(vm, runs))
            case actions.StopTarget(name=name):
                halted = msgspec.structs.replace(self.vms[name].spec, run_strategy="Halted")
                self.vms[name] = msgspec.structs.replace(self.vms[name], spec=halted)
            case actions.GiveBack(vm_id=vm_id, targets=names, power_on=power_on):
                for name in names:
                    target = self.vms[name]
                    assert not is_created(target)
                    marks = {**target.metadata.annotations, labels.ROLLED_BACK: "true"}
                    metadata = msgspec.structs.replace(target.metadata, annotations=marks)
                    self.vms[name] = msgspec.structs.replace(target, metadata=metadata)
                if power_on:
                    self.power(vm_id, PowerState.ON)

    def _set(self, name: str, uid: str, **fields: Any) -> None:
        there = self.transfers.get(name)
        if there is not None and there.metadata.uid == uid:
            spec = msgspec.structs.replace(there.spec, **fields)
            self.transfers[name] = msgspec.structs.replace(there, spec=spec)

    def _refuse_in_the_window(self, action: actions.TakeSnapshot | actions.RemoveSnapshots) -> None:
        """No snapshot is removed between power-off and the target VM."""
        if isinstance(action, actions.TakeSnapshot) or action.vm_id not in self.inventory.vms:
            return
        vm = next(one for one in self.status.vms if one.id == action.vm_id)
        stopped = any(
            one.type == "SourcePowerOff" and one.reason in ("Asked", "Forced")
            for one in vm.conditions
        )
        ends = vm.error is not None or {"Canceling", "Canceled"} & {o.type for o in vm.conditions}
        off = self.vm(action.vm_id).power_state is PowerState.OFF
        made = any(one.metadata.labels[labels.VM_ID] == vm.id for one in self.vms.values())
        assert made or ends or not (stopped and off), "a snapshot is removed in the window"

    def _create_transfer(self, transfer: DiskTransfer) -> None:
        if transfer.metadata.name in self.transfers:
            return
        assert transfer.spec.target.claim_name in self.claims
        assert self.secret_copy is not None
        metadata = msgspec.structs.replace(transfer.metadata, uid=f"t-{next(self._uids)}")
        self.transfers[transfer.metadata.name] = msgspec.structs.replace(
            transfer, metadata=metadata
        )

    def _annotate(self, name: str, marks: dict[str, str]) -> None:
        if name not in self.transfers:
            return
        one = self.transfers[name]
        metadata = msgspec.structs.replace(
            one.metadata, annotations={**one.metadata.annotations, **marks}
        )
        self.transfers[name] = msgspec.structs.replace(one, metadata=metadata)


def is_created(target: kubevirt.VirtualMachine) -> bool:
    """Tell whether a target has an instance."""
    return bool(target.status and target.status.created)


def with_created(target: kubevirt.VirtualMachine, created: bool) -> kubevirt.VirtualMachine:
    """Return a target with, or without, an instance."""
    status = kubevirt.VirtualMachineStatus(created=created)
    return msgspec.structs.replace(target, status=status)


def of_vms(*vms: VM, annotations: dict[str, str] | None = None, **spec: Any) -> Simulation:
    """Return a simulation with a plan of these VMs."""
    chosen = vms or (source.vm(),)
    return Simulation(
        inventory=source.inventory(*chosen),
        plan=plans.plan(*({"id": one.id} for one in chosen), annotations=annotations, **spec),
    )
