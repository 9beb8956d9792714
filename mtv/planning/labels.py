"""Labels and annotations by which what a plan made is found again.

The names are Forklift's: its console and `kubectl mtv` select VMs, claims and pods by `plan`,
`migration` and `vmID`, and join disks by `forklift.konveyor.io/disk-source`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from mtv.api import forklift
from mtv.inventory.model import VM
from mtv.planning import names

MIGRATION = "migration"
PLAN = "plan"
PLAN_NAME = "plan-name"
PLAN_NAMESPACE = "plan-namespace"
VM_ID = "vmID"
VM_UUID = "vmUUID"
RESOURCE = "resource"
SHAREABLE = "shareable"

DISK_SOURCE = "forklift.konveyor.io/disk-source"
DISK_INDEX = "forklift.konveyor.io/disk-index"
SANITIZED = "forklift.konveyor.io/sanitized-metadata"
DISPLAY_NAME = "openshift.io/display-name"
ORIGINAL_ID = "original-ID"
DESCRIPTION = "description"
VSPHERE = "vsphere.forklift.konveyor.io"

# Ours: of which state of the source disk a finished transfer is a copy, and that it no longer is.
SOURCE_STATE = "mtv.dev/source-state"
STALE = "mtv.dev/stale"
ROLLED_BACK = "mtv.dev/rolled-back"  # on a target VM: its source runs again
PCI_SLOTS = "mtv.dev/source-pci-slots"


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Which plan and which run of it makes an object."""

    plan_name: str
    plan_namespace: str
    plan_uid: str
    migration_uid: str = ""

    @classmethod
    def of(cls, plan: forklift.Plan, migration: forklift.Migration | None = None) -> Owner:
        """Return the owner for a plan, and a run of it if there is one."""
        return cls(
            plan_name=plan.metadata.name or "",
            plan_namespace=plan.metadata.namespace or "",
            plan_uid=plan.metadata.uid or "",
            migration_uid=(migration.metadata.uid or "") if migration else "",
        )

    def of_plan(self) -> dict[str, str]:
        """Return the labels of everything that the plan makes."""
        labels = {
            PLAN: self.plan_uid,
            PLAN_NAME: names.label_value(self.plan_name),
            PLAN_NAMESPACE: names.label_value(self.plan_namespace),
        }
        if self.migration_uid:
            labels[MIGRATION] = self.migration_uid
        return labels

    def of_vm(self, vm_id: str) -> dict[str, str]:
        """Return the labels of everything that is made for one VM."""
        return {**self.of_plan(), VM_ID: names.label_value(vm_id)}

    def selects(self, labels: Mapping[str, str], vm_id: str = "") -> bool:
        """Tell whether an object with `labels` was made by this plan (for this VM), in any run."""
        return labels.get(PLAN) == self.plan_uid and (
            not vm_id or labels.get(VM_ID) == names.label_value(vm_id)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What a source VM's tags and custom attributes become."""

    labels: dict[str, str]
    annotations: dict[str, str]


def carried(vm: VM, mapping: forklift.TagMapping | None) -> Carried:
    """Turn tags into labels (`<tag>: <category>`) and custom attributes into annotations.

    With `labelTags` only those tags become labels, the others annotations. What had to be renamed
    is recorded, as Forklift does, in one annotation: JSON of original → key.
    """
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    renamed: dict[str, str] = {}
    if mapping is None or not mapping.disabled:
        chosen = set(mapping.label_tags) if mapping else set()
        for tag in vm.tags:
            key = _key(tag.name, renamed)
            wanted = not chosen or bool({tag.name, f"{tag.category}/{tag.name}"} & chosen)
            if key and wanted:
                labels[key] = names.label_value(tag.category)
            elif key:
                annotations[key] = tag.category
    for name, value in vm.custom_values:
        key = _key(name, renamed)
        if key:
            annotations[key] = value
    if renamed:
        annotations[SANITIZED] = json.dumps(renamed, sort_keys=True, ensure_ascii=False)
    return Carried(labels=labels, annotations=annotations)


def _key(name: str, renamed: dict[str, str]) -> str:
    """Return a label key for `name`, and note when it is another; "" if nothing is left of it."""
    key = names.label_value(name)
    if not key:
        return ""
    if key != name:
        renamed[name] = f"{VSPHERE}/{key}"
    return f"{VSPHERE}/{key}"
