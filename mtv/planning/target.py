"""What is known of the cluster that VMs are moved to, as far as planning asks.

None means "not known": then nothing is said about it, rather than something wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mtv.api import core, forklift, kubevirt
from mtv.planning import labels

# A class without a provisioner has only volumes that somebody made by hand.
STATIC_PROVISIONER = "kubernetes.io/no-provisioner"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The destination at one moment. Network attachments are named `namespace/name`."""

    storage_classes: Mapping[str, core.StorageClass] | None = None
    network_attachments: frozenset[str] | None = None
    virtual_machines: tuple[kubevirt.VirtualMachine, ...] = ()
    claims: tuple[core.PersistentVolumeClaim, ...] = ()
    hooks: Mapping[str, forklift.Hook] | None = None
    no_hooks: str = ""  # why hooks cannot be run here; "" where they can
    secrets: frozenset[str] | None = None
    names: Mapping[str, str] = field(default_factory=dict)  # target names given before, by VM id

    def vm_names(self, namespace: str, owner: labels.Owner) -> frozenset[str]:
        """Return the names of VMs in `namespace` that this plan did not make."""
        return frozenset(
            vm.metadata.name or ""
            for vm in self.virtual_machines
            if vm.metadata.namespace == namespace and not owner.selects(vm.metadata.labels)
        )

    def claim_names(self, namespace: str, owner: labels.Owner) -> frozenset[str]:
        """Return the names of claims in `namespace` that this plan did not make."""
        return frozenset(
            claim.metadata.name or ""
            for claim in self.claims
            if claim.metadata.namespace == namespace and not owner.selects(claim.metadata.labels)
        )

    def macs(self, owner: labels.Owner) -> dict[str, str]:
        """Return who has which MAC, in lower case, of VMs that this plan did not make."""
        found: dict[str, str] = {}
        for vm in self.virtual_machines:
            if owner.selects(vm.metadata.labels) or vm.spec.template.spec is None:
                continue
            for nic in vm.spec.template.spec.domain.devices.interfaces:
                if nic.mac_address:
                    name = f"{vm.metadata.namespace}/{vm.metadata.name}"
                    found[nic.mac_address.lower().replace("-", ":")] = name
        return found
