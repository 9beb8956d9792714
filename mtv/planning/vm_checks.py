"""Problems of one VM of a plan. One check, one function; `CHECKS` lists them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mtv.api import forklift
from mtv.inventory.model import VM, Disk, DiskMode, Inventory, PowerState
from mtv.planning import concerns, plan_checks
from mtv.planning.concerns import Concern
from mtv.planning.mappings import Attachment, Destination
from mtv.planning.power_off import PowerOff
from mtv.planning.problems import Category, Problem

# Concerns that matter only if something is written into the guest.
_OF_CONVERSION = frozenset({"vmware.guestDisks.freespace"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that the checks of one VM look at."""

    plan: forklift.Plan
    entry: forklift.PlanVM
    vm: VM
    inventory: Inventory
    item: str  # how the VM is named in conditions
    field: str  # spec.vms[0]
    disks: Sequence[Disk]  # those that are migrated
    unmapped_disks: Sequence[Disk]
    attachments: Sequence[Attachment]
    concerns: Sequence[Concern]
    power_off: PowerOff
    together: frozenset[str]  # ids of the VMs of the plan

    def problem(
        self,
        kind: str,
        category: Category,
        reason: str,
        message: str,
        *,
        suggestion: str = "",
        field: str = "",
    ) -> Problem:
        """Make a problem of this VM."""
        return Problem(
            type=kind,
            category=category,
            reason=reason,
            message=message,
            item=self.item,
            suggestion=suggestion,
            field=f"{self.field}.{field}" if field else "",
        )


def item(vm_id: str, name: str) -> str:
    """Name a VM as Forklift's conditions do."""
    return f"id:{vm_id} name:'{name}'"


def check(facts: Facts) -> tuple[Problem, ...]:
    """Return every problem of one VM."""
    return tuple(problem for one in CHECKS for problem in one(facts))


def _storage(facts: Facts) -> Iterator[Problem]:
    for disk in facts.unmapped_disks:
        datastore = facts.inventory.datastores.get(disk.datastore) if disk.datastore else None
        name = datastore.name if datastore else disk.datastore or "none"
        yield facts.problem(
            "VMStorageNotMapped",
            Category.CRITICAL,
            "NotValid",
            f"the storage map has no entry for datastore {name!r}, which holds {disk.file}",
            suggestion=f"add source {name!r} to the StorageMap",
        )


def _no_disks(facts: Facts) -> Iterator[Problem]:
    if not facts.disks and not facts.unmapped_disks:
        yield facts.problem(
            "VMStorageNotSupported",
            Category.WARN,
            "NotSet",
            "the VM has no disks to migrate: only its definition is",
        )


def _networks(facts: Facts) -> Iterator[Problem]:
    for attachment in facts.attachments:
        if attachment.pair is None:
            network = attachment.nic.network
            known = facts.inventory.networks.get(network) if network else None
            name = known.name if known else network or "none"
            yield facts.problem(
                "VMNetworksNotMapped",
                Category.CRITICAL,
                "NotValid",
                f"the network map has no entry for network {name!r} of NIC {attachment.nic.mac}",
                suggestion=f"add source {name!r} to the NetworkMap (destination: ignored leaves "
                "the NIC out)",
            )
        if attachment.shared and attachment.pair:
            yield facts.problem(
                "NetworkShared",
                Category.ADVISORY,
                "NotUnique",
                f"NIC {attachment.nic.mac} shares {attachment.pair.attachment} with another NIC",
            )
    on_pod = [one for one in facts.attachments if _on(one, Destination.POD)]
    if len(on_pod) > 1:
        macs = ", ".join(one.nic.mac for one in on_pod)
        yield facts.problem(
            "VMMultiplePodNetworkMappings",
            Category.CRITICAL,
            "NotUnique",
            f"{len(on_pod)} NICs ({macs}) are mapped to the pod network, which takes one per VM",
            suggestion="map the others to multus networks, or ignore them",
        )
    for nic in facts.vm.nics:
        if nic.network is None:
            yield facts.problem(
                "NicNotConnected",
                Category.ADVISORY,
                "NotSet",
                f"NIC {nic.mac} is connected to no network and is left out",
            )


def _addresses(facts: Facts) -> Iterator[Problem]:
    if facts.plan.spec.preserve_static_ips is False:
        return
    if any(_on(one, Destination.POD) for one in facts.attachments):
        yield facts.problem(
            "NetMapPreservingIPsOnPodNetwork",
            Category.WARN,
            "NotSupported",
            "the pod network gives each VM an address of its own: static addresses are not kept",
            suggestion="map the network to a multus network, or set preserveStaticIPs to false",
        )
    if not facts.vm.guest_networks and facts.inventory.kind != "ova":
        yield facts.problem(
            "VMMissingGuestIPs",
            Category.WARN,
            "MissingGuestInformation",
            "the guest reports no addresses that could be preserved",
            suggestion="start the VM with VMware Tools running",
        )


def _sizes(facts: Facts) -> Iterator[Problem]:
    for disk in facts.disks:
        if disk.capacity_bytes <= 0:
            yield facts.problem(
                "InvalidDiskSizes",
                Category.CRITICAL,
                "NotValid",
                f"{disk.file} has a capacity of {disk.capacity_bytes} bytes",
            )


def _critical(facts: Facts) -> Iterator[Problem]:
    for concern in facts.concerns:
        if concern.category is not concerns.Category.CRITICAL:
            continue
        if concern.id in _OF_CONVERSION and facts.plan.spec.skip_guest_conversion:
            continue
        yield facts.problem(
            "VMCriticalConcerns",
            Category.CRITICAL,
            "NotValid",
            f"{concern.label}: {concern.assessment}",
        )


def _shutdown(facts: Facts) -> Iterator[Problem]:
    """A guest that cannot be asked would keep the migration waiting, then fail it."""
    running = facts.vm.power_state is PowerState.ON
    if running and not facts.vm.tools_running and facts.power_off.needs_tools:
        yield facts.problem(
            "GuestToolsIssue",
            Category.CRITICAL,
            "NotValid",
            "the VM is on and its VMware Tools do not run, so it cannot be shut down cleanly",
            suggestion="shut it down from inside, or allow force by the plan's annotation "
            "mtv.dev/power-off: force-after=5m",
        )


def _disk_kinds(facts: Facts) -> Iterator[Problem]:
    rdm = [disk.file for disk in facts.disks if disk.rdm]
    if rdm:
        yield facts.problem(
            "RDMDiskWarning",
            Category.WARN,
            "NotSupported",
            f"raw device mappings are copied as ordinary disks: {', '.join(rdm)}",
        )
    independent = [
        disk.file
        for disk in facts.disks
        if disk.mode in {DiskMode.INDEPENDENT_PERSISTENT, DiskMode.INDEPENDENT_NONPERSISTENT}
    ]
    if independent:
        when = " when the VM is off" if plan_checks.is_warm(facts.plan.spec) else ""
        yield facts.problem(
            "IndependentDiskWarning",
            Category.WARN,
            "NotSupported",
            f"independent disks are in no snapshot and are copied cold{when}: "
            f"{', '.join(independent)}",
        )
    if facts.vm.consolidation_needed:
        yield facts.problem(
            "VMConsolidationNeeded",
            Category.WARN,
            "ConsolidationNeeded",
            "left-over delta files make the disks slow to read",
            suggestion="consolidate the VM's disks in vSphere first",
        )


def _tracking(facts: Facts) -> Iterator[Problem]:
    """Say what a warm migration costs where nobody keeps account of changes."""
    if not plan_checks.is_warm(facts.plan.spec):
        return
    frozen = [disk for disk in facts.disks if not disk.mode.startswith("independent")]
    # What a disk says by itself counts where one says that it is tracked.
    says = facts.vm.change_tracking and any(disk.change_tracking for disk in frozen)
    untracked = [disk for disk in frozen if says and not disk.change_tracking]
    if not facts.vm.change_tracking:
        untracked = frozen
    if untracked:
        size_gib = sum(disk.capacity_bytes for disk in untracked) / (1 << 30)
        files = ", ".join(disk.file for disk in untracked)
        yield facts.problem(
            "VMMissingChangedBlockTracking",
            Category.WARN,
            "MissingChangedBlockTracking",
            f"changed block tracking is off: each precopy, and the cutover, reads all of {files} "
            f"({size_gib:.1f} GiB) and compares it with what was copied; only changes are written",
            suggestion="enable changed block tracking (ctkEnabled) on the VM and its disks, and "
            "power it off and on once, or take and remove a snapshot",
        )


def _shared(facts: Facts) -> Iterator[Problem]:
    for disk in facts.disks:
        others = concerns.sharing_vms(disk, facts.vm, facts.inventory)
        if not others:
            continue
        outside = [one.name for one in others if one.id not in facts.together]
        running = [
            one.name
            for one in others
            if one.id not in facts.together and one.power_state is PowerState.ON
        ]
        if running:
            yield facts.problem(
                "SharedDisks",
                Category.CRITICAL,
                "NotValid",
                f"{disk.file} is also used by {', '.join(running)}, which runs and is not in "
                "this plan: the copy would be torn",
                suggestion="add the VM to the plan, power it off, or set migrateSharedDisks to "
                "false",
            )
        elif outside:
            yield facts.problem(
                "SharedWarnDisks",
                Category.WARN,
                "NotUnique",
                f"{disk.file} is also used by {', '.join(outside)}, which is not in this plan",
            )
        if not disk.shared and not outside:
            yield facts.problem(
                "SharedWarnDisks",
                Category.WARN,
                "NotUnique",
                f"{disk.file} is attached to {len(others) + 1} VMs of this plan: it is copied once",
            )


def _secrets(facts: Facts) -> Iterator[Problem]:
    entry = facts.entry
    if entry.nbde_clevis and entry.luks and entry.luks.name:
        yield facts.problem(
            "LuksAndClevisIncompatibility",
            Category.WARN,
            "NotSupported",
            "nbdeClevis is set, so the LUKS keys are not used",
            field="luks",
        )


def _on(attachment: Attachment, destination: Destination) -> bool:
    return attachment.pair is not None and attachment.pair.destination is destination


CHECKS: tuple[Callable[[Facts], Iterator[Problem]], ...] = (
    _storage,
    _no_disks,
    _networks,
    _addresses,
    _sizes,
    _critical,
    _shutdown,
    _disk_kinds,
    _tracking,
    _shared,
    _secrets,
)
