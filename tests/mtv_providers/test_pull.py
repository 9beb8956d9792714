"""The inventory as it is read from the double: every kind of disk, NIC and surrounding."""

import threading
import time

import pytest
import servers
import vcenters

from mtv.inventory.model import Bus, PowerState, Tag

pytestmark = pytest.mark.vcenter


@pytest.fixture(scope="module")
def inventory(vcenter):
    vcenter.mend()
    with vcenter.session() as session:
        return session.pull()


@pytest.fixture
def vm(inventory):
    by_name = {one.name: one for one in inventory.vms.values()}
    return by_name.__getitem__


def test_pull_gives_hardware_firmware_and_tags(vm):
    web = vm("web1")
    assert (web.cpu_count, web.cores_per_socket, web.memory_bytes) == (4, 2, 2 << 30)
    assert (web.firmware, web.secure_boot, web.vtpm) == ("efi", True, True)
    assert web.path == "/DC0/vm/Prod/Web/web1"
    assert web.tags == (Tag(category="env", name="prod"), Tag(category="team", name="web"))
    assert web.power_state is PowerState.OFF


def test_pull_gives_names_as_people_see_them(vm):
    assert vm("a/b%c").disks[0].file == "[LocalDS_0] a_b_c/disk-0.vmdk"


def test_pull_gives_every_kind_of_controller(vm):
    found = {(d.controller_model, d.bus, d.bus_number) for d in vm("buses").disks}
    assert found == {
        ("pvscsi", Bus.SCSI, 1),
        ("lsilogic", Bus.SCSI, 2),
        ("lsilogic-sas", Bus.SCSI, 3),
        ("buslogic", Bus.SCSI, 0),
        ("ahci", Bus.SATA, 0),
        ("nvme", Bus.NVME, 0),
        ("ide", Bus.IDE, 0),
    }


def test_pull_gives_independent_mapped_and_shared_disks(vm):
    independent, physical, virtual, multiwriter, clustered, _ = vm("special").disks
    assert independent.mode == "independent_persistent"
    assert (physical.rdm, physical.rdm_physical) == (True, True)
    assert (virtual.rdm, virtual.rdm_physical) == (True, False)
    assert multiwriter.shared
    assert clustered.shared
    assert vm("sharer").disks[0].base_file == multiwriter.base_file


def test_pull_gives_the_chain_of_a_disk_under_snapshots(vm):
    layers = vm("layers")
    (disk,) = layers.disks
    assert disk.file == "[LocalDS_0] layers/disk-0-000002.vmdk"
    assert disk.base_file == "[LocalDS_0] layers/disk-0.vmdk"
    assert disk.parent_files == ("[LocalDS_0] layers/disk-0-000001.vmdk", disk.base_file)
    assert disk.change_tracking
    assert disk.change_id.endswith("/2")
    first, second = layers.snapshots
    assert (first.name, second.name, second.parent) == ("first", "second", first.id)
    assert second.current


def test_pull_gives_every_kind_of_nic_and_network(inventory, vm):
    nics = vm("web1").nics
    networks = [inventory.networks[nic.network] for nic in nics]
    assert [nic.model for nic in nics] == ["vmxnet3", "e1000e", "e1000", "vmxnet3"]
    assert nics[0].mac == "00:50:56:aa:bb:01"
    assert [nic.start_connected for nic in nics] == [True, True, False, True]
    assert [(network.name, network.variant) for network in networks] == [
        ("VM Network", "Standard"),
        ("Trunk", "DvPortGroup"),
        ("Plain", "Standard"),
        ("DC0_NSXPG0", "DvPortGroup"),  # the simulator backs opaque networks by a port group
    ]
    opaque = [one for one in inventory.networks.values() if one.variant == "OpaqueNetwork"]
    assert [one.opaque_id for one in opaque] == [networks[3].opaque_id]
    assert (networks[1].vlan, networks[2].vlan) == ("1-100,200", "7")


def test_pull_gives_what_vms_stand_on(inventory):
    assert {"LocalDS_0", "LocalDS_1"} <= {one.name for one in inventory.datastores.values()}
    assert {"DC0_C0_H0", "DC0_H0"} <= {one.name for one in inventory.hosts.values()}
    assert "DC0_C0" in {one.name for one in inventory.clusters.values()}
    for vm in inventory.vms.values():
        assert vm.host in inventory.hosts
        assert vm.datacenter in inventory.folders
        for disk in vm.disks:
            assert disk.datastore in inventory.datastores


def test_watch_tells_each_change_and_survives_the_end_of_the_session(mended):
    seen = []
    stop = threading.Event()

    def names(**wanted):
        return {
            v.name
            for v in seen[-1].vms.values()
            if all(getattr(v, k) == w for k, w in wanted.items())
        }

    with mended.session() as session:
        lost = []
        thread = threading.Thread(
            target=session.watch, args=(seen.append, stop), kwargs={"on_lost": lost.append}
        )
        thread.start()
        try:
            servers.until(lambda: seen, "the first inventory", 30)
            mended.change("buses", power="on")
            servers.until(lambda: "buses" in names(power_state=PowerState.ON), "it is on", 30)
            mended.change("buses", annotation="changed")
            servers.until(lambda: "buses" in names(annotation="changed"), "it is changed", 30)
            mended.control("POST", "expire-sessions")
            servers.until(lambda: lost, "the break is told", 30)
            mended.control("POST", "vms", {"name": "late", "disks": [{"sizeMB": 1}]})
            servers.until(lambda: "late" in names(), "the new one", 30)
            mended.change("late", destroy=True)
            servers.until(lambda: "late" not in names(), "it is gone", 30)
        finally:
            mended.change("buses", power="off")
            stop.set()
            began = time.monotonic()
            thread.join()
            assert time.monotonic() - began < 3


def test_pull_of_1000_vms_is_complete(tmp_path):
    """What it costs is measured by tests/benchmarks/bench_inventory.py."""
    with (
        vcenters.running({}, "-extra-vms", "1000", folder=tmp_path) as vcenter,
        vcenter.session() as session,
    ):
        assert len(session.pull().vms) == 1000
