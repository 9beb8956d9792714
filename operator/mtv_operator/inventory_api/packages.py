"""An inventory of OVAs and OVFs as Forklift's inventory API shows it. Pure.

VMs have the fields of `vsphere`, so that one table fits both, and those by which clients find the
networks and the storage of a package: `ID`, in capitals, as Forklift's providers of this type.
"""

from __future__ import annotations

from collections.abc import Mapping

from mtv.inventory.model import VM, Datastore
from mtv_operator.inventory_api import vsphere
from mtv_operator.inventory_api.vsphere import ALL, Collection, Document, Scene


def vm_document(scene: Scene, vm: VM, detail: int) -> Document:
    """Return a VM."""
    found = vsphere.vm_document(scene, vm, detail)
    if detail < 1:
        return found
    names = {one.id: one.name for one in scene.inventory.networks.values()}
    from_vmware = ("ovf.source", "VMware") in vm.extra_config
    return found | {
        "ovaPath": vm.disks[0].package if vm.disks else "",
        "ovaSource": "VMware" if from_vmware else "Unknown",
        "networks": [{"ID": one, "id": one, "name": names.get(one, "")} for one in vm.networks],
        "disks": [
            {**described, "ID": disk.datastore or "", "name": disk.file, "filePath": disk.file}
            for described, disk in zip(found["disks"], vm.disks, strict=True)
        ],
    }


def storage_document(scene: Scene, store: Datastore, detail: int) -> Document:
    """Return the storage that all disks of a Provider lie on."""
    return {**vsphere.datastore_document(scene, store, detail), "variant": "OVA"}


_STORAGE = Collection(all=lambda all_: all_.datastores.values(), describe=storage_document)
COLLECTIONS: Mapping[str, Collection] = {
    "vms": Collection(
        all=lambda all_: all_.vms.values(), describe=vm_document, list_detail=ALL
    ),
    "workloads": Collection(
        all=lambda all_: all_.vms.values(),
        describe=lambda scene, vm, _detail: vm_document(scene, vm, ALL),
    ),
    "networks": vsphere.COLLECTIONS["networks"],
    "storage": _STORAGE,
    "storages": _STORAGE,
}  # fmt: skip
