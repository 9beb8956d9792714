"""What clients read of a Provider of packages."""

from mtv.inventory import model
from mtv_operator.inventory_api import packages
from mtv_operator.inventory_api.vsphere import Scene

STORE = model.Datastore(id=model.Moref("s"), name="Dummy storage for source provider lab")
NETWORK = model.Network(id=model.Moref("n"), name="VM Network")
DISK = model.Disk(
    key=2000, file="[/srv/a.ova] d.vmdk", base_file="[/srv/a.ova] d.vmdk", capacity_bytes=1 << 20,
    datastore=STORE.id, controller_key=1000, controller_model="lsilogic", bus=model.Bus.SCSI,
    bus_number=0, unit_number=0, package="/srv/a.ova",
)  # fmt: skip
VM = model.VM(
    id=model.Moref("v"), name="a", path="/a.ova/a", uuid="u", instance_uuid="",
    power_state=model.PowerState.OFF, cpu_count=1, cores_per_socket=1, memory_bytes=1 << 30,
    firmware=model.Firmware.BIOS, disks=(DISK,), networks=(NETWORK.id,),
)  # fmt: skip
SCENE = Scene(
    inventory=model.Inventory(
        kind="ova",
        vms={VM.id: VM},
        networks={NETWORK.id: NETWORK},
        datastores={STORE.id: STORE},
    ),
    link="providers/ova/uid",
    revision=1,
)


def described(collection):
    kind = packages.COLLECTIONS[collection]
    return [kind.describe(SCENE, one, 4) for one in kind.all(SCENE.inventory)]


def test_vm_names_its_networks_and_storage_by_id():
    (vm,) = described("vms")
    assert (vm["ovaPath"], vm["ovaSource"]) == ("/srv/a.ova", "Unknown")
    assert vm["networks"] == [{"ID": "n", "id": "n", "name": "VM Network"}]
    assert [disk["ID"] for disk in vm["disks"]] == ["s"]
    assert {one["id"] for one in vm["concerns"]} == {"ova.source.unsupported"}


def test_storage_is_found_under_both_names_that_clients_use():
    assert described("storage") == described("storages")
    assert described("storage")[0]["name"] == STORE.name
