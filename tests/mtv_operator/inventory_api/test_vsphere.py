"""The shapes of the inventory API, of inventories made by hand."""

from __future__ import annotations

from dataclasses import replace

from mtv_planning import source

from mtv.inventory import model
from mtv.inventory.model import Moref
from mtv_operator.inventory_api import vsphere
from mtv_operator.inventory_api.vsphere import Scene


def scene(*vms: model.VM, **changes) -> Scene:
    return Scene(
        inventory=source.inventory(*vms, **changes), link="providers/vsphere/u-1", revision=3
    )


def test_vm_has_the_keys_that_tables_of_clients_show():
    vm = source.vm()
    found = vsphere.vm_document(scene(vm), vm, vsphere.ALL)
    assert found["id"] == vm.id
    assert found["selfLink"] == f"providers/vsphere/u-1/vms/{vm.id}"
    assert found["powerState"] == str(vm.power_state)
    assert found["memoryMB"] == vm.memory_bytes >> 20
    assert [disk["capacity"] for disk in found["disks"]] == [d.capacity_bytes for d in vm.disks]
    assert {"name", "cpuCount", "storageUsed", "guestId", "concerns"} <= found.keys()
    assert all({"id", "label", "category", "assessment"} <= one.keys() for one in found["concerns"])


def test_detail_zero_says_only_which_it_is():
    vm = source.vm()
    found = vsphere.vm_document(scene(vm), vm, 0)
    assert found.keys() == {"id", "parent", "path", "revision", "name", "selfLink"}


def test_templates_and_shadows_are_no_virtual_machines():
    vm = source.vm()
    shown = scene(
        vm,
        replace(vm, id=Moref("vm-t"), is_template=True),
        replace(vm, id=Moref("vm-g"), uuid="", host=None),
    )
    found = vsphere.COLLECTIONS["vms"].all(shown.inventory)
    assert [one.id for one in found] == [vm.id]


def test_tree_of_folders_leads_from_the_datacenter_to_the_vm():
    def folder(identifier, name, parent, kind="Folder"):
        return model.Folder(
            id=Moref(identifier), name=name, kind=kind, parent=Moref(parent), path=f"/{name}"
        )

    folders = [
        folder("dc-1", "DC0", "root", "Datacenter"),
        folder("f-vm", "vm", "dc-1"),
        folder("f-host", "host", "dc-1"),
        folder("f-web", "web", "f-vm"),
    ]
    vm = replace(source.vm(), folder=Moref("f-web"))
    shown = scene(vm, folders={one.id: one for one in folders})
    (datacenter,) = vsphere.tree(shown, "vm", 0)["children"]
    assert (datacenter["kind"], datacenter["object"]["name"]) == ("Datacenter", "DC0")
    (web,) = datacenter["children"]
    assert (web["kind"], web["object"]["name"]) == ("Folder", "web")
    assert [one["object"]["id"] for one in web["children"]] == [vm.id]


def test_workload_holds_its_host_and_cluster():
    vm = source.vm()
    shown = scene(vm)
    found = vsphere.workload_document(shown, vm, vsphere.ALL)
    assert found["host"]["id"] == "host-1"
    assert found["host"]["cluster"]["id"] == "domain-c1"
