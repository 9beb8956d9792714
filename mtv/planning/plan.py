"""A Plan against an inventory: every object that would be made, and every reason not to.

    Plan + maps + inventory + what is known of the target  →  PlannedPlan

Pure: the same arguments give the same names, the same objects, the same problems. `mtv plan
check` prints the result, `mtv import --dry-run` too, and the controller makes objects of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mtv.api import core, forklift, kubevirt
from mtv.api.mtv import DiskTransfer
from mtv.errors import BadInput
from mtv.inventory.model import VM, Disk, Inventory
from mtv.planning import (
    boot,
    concerns,
    estimate,
    hardware,
    labels,
    map_checks,
    mappings,
    names,
    plan_checks,
    power_off,
    transfers,
    virtual_machine,
    vm_checks,
    volumes,
)
from mtv.planning.concerns import Concern
from mtv.planning.estimate import Estimate
from mtv.planning.mappings import Networks, Reason, Storage, StoragePair, Unresolved
from mtv.planning.problems import Category, Problem
from mtv.planning.target import Target
from mtv.planning.volumes import PlannedVolume

__all__ = ["PlannedPlan", "PlannedVM", "Target", "build", "map_checks"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedVM:
    """What becomes of one entry of the plan. `vm` is None when it was not found."""

    index: int
    entry: forklift.PlanVM
    vm: VM | None
    target_name: str = ""
    concerns: tuple[Concern, ...] = ()
    problems: tuple[Problem, ...] = ()
    volumes: tuple[PlannedVolume, ...] = ()
    transfers: tuple[DiskTransfer, ...] = ()  # of the volumes that this VM has copied
    virtual_machine: kubevirt.VirtualMachine | None = None
    estimate: Estimate = estimate.NOTHING

    @property
    def id(self) -> str:
        """The source's identifier, as far as it is known."""
        return self.vm.id if self.vm else self.entry.id or ""

    @property
    def name(self) -> str:
        """The source's name, as far as it is known."""
        return self.vm.name if self.vm else self.entry.name or ""

    @property
    def claims(self) -> tuple[core.PersistentVolumeClaim, ...]:
        """The claims that are made for this VM: one for each of its transfers."""
        copied = {transfer.spec.target.claim_name for transfer in self.transfers}
        return tuple(one.claim for one in self.volumes if one.claim_name in copied)

    @property
    def blocked(self) -> bool:
        """Whether this VM cannot be migrated as it is."""
        return self.virtual_machine is None or any(problem.blocks for problem in self.problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPlan:
    """The whole plan."""

    name: str
    namespace: str
    target_namespace: str
    vms: tuple[PlannedVM, ...]
    general: tuple[Problem, ...]  # those that belong to no VM

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All problems, the plan's own first."""
        return (*self.general, *(problem for vm in self.vms for problem in vm.problems))

    @property
    def blocked(self) -> bool:
        """Whether the plan must not run."""
        return any(problem.blocks for problem in self.problems)

    @property
    def estimate(self) -> Estimate:
        """Bytes to copy."""
        return estimate.total(vm.estimate for vm in self.vms)

    def objects(
        self,
    ) -> Iterator[core.PersistentVolumeClaim | DiskTransfer | kubevirt.VirtualMachine]:
        """Yield every object that would be made, in the order of making."""
        for vm in self.vms:
            yield from vm.claims
            yield from vm.transfers
            if vm.virtual_machine:
                yield vm.virtual_machine


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    """What is the same for all VMs of the plan."""

    plan: forklift.Plan
    provider: forklift.Provider
    inventory: Inventory
    networks: Networks
    storage: Storage
    target: Target
    owner: labels.Owner
    power_off: power_off.PowerOff
    together: frozenset[str]
    was_on: Mapping[str, bool]
    decided: Mapping[str, hardware.Hardware]


def build(
    inventory: Inventory,
    plan: forklift.Plan,
    network_map: forklift.NetworkMap | None,
    storage_map: forklift.StorageMap | None,
    *,
    provider: forklift.Provider,
    target: Target | None = None,
    migration: forklift.Migration | None = None,
    was_on: Mapping[str, bool] | None = None,
    decided: Mapping[str, hardware.Hardware] | None = None,
) -> PlannedPlan:
    """Plan everything. Raises nothing: what is wrong is in `problems`.

    `was_on` tells, by VM id, whether the source ran before the migration stopped it; `decided`
    the devices that a guest was made ready for.
    """
    target = target or Target()
    read_networks = mappings.networks(network_map, inventory) if network_map else None
    read_storage = mappings.storage(storage_map, inventory) if storage_map else None
    found = [
        mappings.find(entry, inventory.vms, field=f"spec.vms[{index}]", kind="VM")
        for index, entry in enumerate(plan.spec.vms)
    ]
    scene = _Scene(
        plan=plan,
        provider=provider,
        inventory=inventory,
        networks=read_networks or Networks(),
        storage=read_storage or Storage(),
        target=target,
        owner=labels.Owner.of(plan, migration),
        power_off=_power_off(plan),
        together=frozenset(vm.id for vm in found if isinstance(vm, VM)),
        was_on=was_on or {},
        decided=decided or {},
    )
    return PlannedPlan(
        name=plan.metadata.name or "",
        namespace=plan.metadata.namespace or "",
        target_namespace=plan.spec.target_namespace,
        vms=_vms(scene, found),
        general=plan_checks.check(plan, read_networks, read_storage, target, provider=provider),
    )


def _power_off(plan: forklift.Plan) -> power_off.PowerOff:
    try:
        return power_off.parse(plan.metadata.annotations)
    except BadInput:
        return power_off.PowerOff()  # `plan_checks` reports it


def _vms(scene: _Scene, found: Sequence[VM | Unresolved]) -> tuple[PlannedVM, ...]:
    target_names = _Names(scene)
    volumes_by_file: dict[str, PlannedVolume] = {}
    seen: set[str] = set()
    planned: list[PlannedVM] = []
    for index, (entry, vm) in enumerate(zip(scene.plan.spec.vms, found, strict=True)):
        if isinstance(vm, Unresolved):
            planned.append(PlannedVM(index=index, entry=entry, vm=None, problems=(_unknown(vm),)))
            continue
        name, problems = target_names.of(index, entry, vm)
        if vm.id in seen:
            problems.append(_twice(vm, index))
        seen.add(vm.id)
        one = _plan_vm(scene, index, entry, vm, name, volumes_by_file)
        planned.append(replace(one, problems=(*problems, *one.problems)))
    return tuple(_with_mac_conflicts(scene, planned))


def _unknown(reference: Unresolved) -> Problem:
    found = reference.reason is Reason.NOT_FOUND
    return Problem(
        type="VMNotFound" if found else "VMRefNotValid",
        category=Category.CRITICAL,
        reason=reference.reason,
        message=reference.message,
        field=reference.field,
    )


def _twice(vm: VM, index: int) -> Problem:
    return Problem(
        type="DuplicateVM",
        category=Category.CRITICAL,
        reason="NotUnique",
        message="the VM stands twice in the plan",
        item=vm_checks.item(vm.id, vm.name),
        field=f"spec.vms[{index}]",
    )


class _Names:
    """Gives each VM of a plan its target name, and says what is wrong with it."""

    def __init__(self, scene: _Scene) -> None:
        self._scene = scene
        namespace = scene.plan.spec.target_namespace
        self._there = scene.target.vm_names(namespace, scene.owner)
        self._explicit = [entry.target_name for entry in scene.plan.spec.vms if entry.target_name]
        self._given: set[str] = set()

    def of(self, index: int, entry: forklift.PlanVM, vm: VM) -> tuple[str, list[Problem]]:
        """Return the name for one VM; calls must come in the plan's order."""
        wanted = entry.target_name or self._scene.target.names.get(vm.id, "")
        if wanted:
            name, problems = wanted, self._of_explicit(index, wanted, vm)
        else:
            name, problems = self._of_source(index, vm)
        if name in self._there:
            problems.append(
                self._problem(
                    vm,
                    "VMAlreadyExists",
                    "NotUnique",
                    f"{self._scene.plan.spec.target_namespace}/{name} exists and is not of this "
                    "plan",
                    suggestion="delete that VM, or give this one a targetName",
                )
            )
        self._given.add(name)
        return name, problems

    def _of_explicit(self, index: int, name: str, vm: VM) -> list[Problem]:
        field = f"spec.vms[{index}].targetName"
        problems = []
        if not names.is_vm_name(name):
            message = f"{name!r} is no DNS-1123 name of at most {names.LABEL_MAX} characters"
            problems.append(
                self._problem(vm, "TargetNameNotValid", "NotValid", message, field=field)
            )
        if self._explicit.count(name) > 1:
            message = f"target name {name!r} is given to two VMs of the plan"
            problems.append(self._problem(vm, "DuplicateVM", "NotUnique", message, field=field))
        return problems

    def _of_source(self, index: int, vm: VM) -> tuple[str, list[Problem]]:
        plain = names.vm_name(vm.name, vm_id=vm.id)
        taken = self._given | set(self._explicit)
        if plain != vm.name:
            taken |= self._there  # a name that we make up must not meet one that is there
        name = names.unique(plain, taken, key=vm.id)
        if name == vm.name:
            return name, []
        problem = self._problem(
            vm,
            "TargetNameNotValid",
            "NotUnique" if plain == vm.name else "NotValid",
            f"the VM will be called {name!r}",
            field="",
            category=Category.WARN,
            suggestion=f"set spec.vms[{index}].targetName for a name of your own",
        )
        return name, [problem]

    def _problem(
        self,
        vm: VM,
        kind: str,
        reason: str,
        message: str,
        *,
        field: str = "",
        suggestion: str = "",
        category: Category = Category.CRITICAL,
    ) -> Problem:
        return Problem(
            type=kind,
            category=category,
            reason=reason,
            message=message,
            item=vm_checks.item(vm.id, vm.name),
            field=field,
            suggestion=suggestion,
        )


def _plan_vm(
    scene: _Scene,
    index: int,
    entry: forklift.PlanVM,
    vm: VM,
    name: str,
    volumes_by_file: dict[str, PlannedVolume],
) -> PlannedVM:
    field = f"spec.vms[{index}]"
    disks, unmapped = _disks(scene, entry, vm)
    attachments = scene.networks.attach(vm.nics, scene.inventory)
    found = concerns.evaluate(vm, scene.inventory)
    facts = vm_checks.Facts(
        plan=scene.plan,
        entry=entry,
        vm=vm,
        inventory=scene.inventory,
        item=vm_checks.item(vm.id, vm.name),
        field=field,
        disks=[disk for disk, _ in disks],
        unmapped_disks=unmapped,
        attachments=attachments,
        concerns=found,
        power_off=scene.power_off,
        together=scene.together,
    )
    planned = PlannedVM(
        index=index,
        entry=entry,
        vm=vm,
        target_name=name,
        concerns=found,
        problems=vm_checks.check(facts),
    )
    try:
        made = _objects(scene, planned, vm, disks, attachments, field, volumes_by_file)
    except BadInput as fault:
        problem = facts.problem(
            "NotValid", Category.CRITICAL, "NotValid", str(fault), suggestion=fault.hint
        )
        return replace(planned, problems=(*planned.problems, problem))
    return replace(made, problems=(*made.problems, *_foreign_claims(scene, made, facts)))


def _disks(
    scene: _Scene, entry: forklift.PlanVM, vm: VM
) -> tuple[list[tuple[Disk, StoragePair]], list[Disk]]:
    """Return the disks that are migrated with their storage, and those that have none."""
    shared = entry.migrate_shared_disks
    if shared is None:
        shared = scene.plan.spec.migrate_shared_disks is not False
    mapped, unmapped = [], []
    for disk in volumes.in_order(vm.disks):
        if disk.shared and not shared:
            continue
        pair = scene.storage.of(disk)
        if pair is None:
            unmapped.append(disk)
        else:
            mapped.append((disk, pair))
    return mapped, unmapped


def _objects(
    scene: _Scene,
    planned: PlannedVM,
    vm: VM,
    disks: Sequence[tuple[Disk, StoragePair]],
    attachments: Sequence[mappings.Attachment],
    field: str,
    volumes_by_file: dict[str, PlannedVolume],
) -> PlannedVM:
    entry = planned.entry
    only = [disk for disk, _ in disks]
    root = boot.disk_of(vm, only, root_disk=entry.root_disk or "", field=f"{field}.rootDisk")
    own = volumes.plan_volumes(
        scene.plan,
        entry,
        vm,
        target_name=planned.target_name,
        disks=disks,
        root=root,
        owner=scene.owner,
        field=field,
    )
    placed = tuple(_once(volume, volumes_by_file) for volume in own)
    _refuse_equal_names(placed)
    copied = [volume for volume, theirs in zip(own, placed, strict=True) if volume is theirs]
    return replace(
        planned,
        volumes=placed,
        transfers=tuple(
            transfers.plan_transfer(scene.plan, scene.provider, vm, volume, owner=scene.owner)
            for volume in copied
        ),
        estimate=estimate.of(vm, [volume.disk for volume in copied]),
        virtual_machine=virtual_machine.build(
            scene.plan,
            entry,
            vm,
            name=planned.target_name,
            volumes=placed,
            nics=virtual_machine.interfaces(scene.plan, entry, attachments, field=field),
            root=root,
            hardware=hardware.choose(scene.plan.spec, scene.decided.get(vm.id)),
            owner=scene.owner,
            strategy=virtual_machine.run_strategy(
                scene.plan, entry, vm, was_on=scene.was_on.get(vm.id)
            ),
        ),
    )


def _once(volume: PlannedVolume, volumes_by_file: dict[str, PlannedVolume]) -> PlannedVolume:
    """Return `volume`, or one on the claim that another VM of the plan copies this disk into."""
    file = volume.disk.base_file
    first = volumes_by_file.setdefault(file, volume) if file else volume
    return volume if first is volume else replace(volume, claim=first.claim)


def _refuse_equal_names(placed: Sequence[PlannedVolume]) -> None:
    seen = [volume.claim_name for volume in placed]
    twice = next((name for name in seen if seen.count(name) > 1), None)
    if twice:
        raise BadInput(
            f"the template makes {twice!r} for two disks of one VM",
            field="pvcNameTemplate",
            hint="use {{.DiskIndex}} in it",
        )


def _foreign_claims(scene: _Scene, planned: PlannedVM, facts: vm_checks.Facts) -> Iterator[Problem]:
    there = scene.target.claim_names(scene.plan.spec.target_namespace, scene.owner)
    for volume in planned.volumes:
        if volume.claim_name in there:
            yield facts.problem(
                "NotValid",
                Category.CRITICAL,
                "NotUnique",
                f"claim {volume.claim_name} exists and is not of this plan",
                suggestion="change pvcNameTemplate, or set pvcNameTemplateUseGenerateName to true",
            )


def _with_mac_conflicts(scene: _Scene, planned: Sequence[PlannedVM]) -> Iterator[PlannedVM]:
    """Add a problem for each MAC that a VM of the target, or an earlier one here, has already."""
    holders = scene.target.macs(scene.owner)
    for one in planned:
        macs = _macs(one)
        problems = [
            Problem(
                type="MacConflicts",
                category=Category.CRITICAL,
                reason="NotUnique",
                message=f"MAC {mac} is that of {holders[mac]} already",
                item=vm_checks.item(one.id, one.name),
            )
            for mac in macs
            if holders.get(mac, one.id) != one.id
        ]
        holders |= {mac: one.id for mac in macs if mac not in holders}
        yield replace(one, problems=(*one.problems, *problems))


def _macs(planned: PlannedVM) -> list[str]:
    template = planned.virtual_machine.spec.template.spec if planned.virtual_machine else None
    found = template.domain.devices.interfaces if template else ()
    return [nic.mac_address.lower().replace("-", ":") for nic in found if nic.mac_address]
