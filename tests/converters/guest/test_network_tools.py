"""Two NICs, whatever configures them: names stay with their MACs, and no file of a tool changes."""

import pytest
import small_guests as guests

from converters.guest.application import adapt
from converters.guest.decision import Bus, Nic, Tools, Wish
from converters.guest.inspection import inspect

reason = guests.can_change()
pytestmark = pytest.mark.skipif(bool(reason), reason=reason)

FIRST, SECOND = "00:50:56:aa:00:01", "00:50:56:aa:00:02"
KEYFILE = """[connection]
id={0}
type=ethernet
interface-name={0}
[ipv4]
address1={1}
method=manual
"""
TOOLS = {
    "ifupdown": {
        "/etc/network/interfaces": "auto ens192 ens224\niface ens192 inet static\n"
        "  address 10.1.0.5/24\niface ens224 inet static\n  address 10.2.0.5/24\n",
    },
    "netplan": {
        "/etc/netplan/00-installer.yaml": "network:\n  version: 2\n  ethernets:\n"
        "    ens192:\n      addresses: [10.1.0.5/24]\n"
        "    ens224:\n      addresses: [10.2.0.5/24]\n",
    },
    "keyfiles of NetworkManager": {
        f"/etc/NetworkManager/system-connections/{name}.nmconnection": KEYFILE.format(name, address)
        for name, address in (("ens192", "10.1.0.5/24"), ("ens224", "10.2.0.5/24"))
    },
    "ifcfg of Red Hat": {
        "/etc/sysconfig/network-scripts/ifcfg-ens192": "DEVICE=ens192\nIPADDR=10.1.0.5\n",
        "/etc/sysconfig/network-scripts/ifcfg-ens224": "DEVICE=ens224\nIPADDR=10.2.0.5\n",
    },
    "networkd": {
        "/etc/systemd/network/10-a.network": "[Match]\nName=ens192\n[Network]\n"
        "Address=10.1.0.5/24\n",
        "/etc/systemd/network/20-b.network": "[Match]\nName=ens224\n[Network]\n"
        "Address=10.2.0.5/24\n",
    },
    "wicked": {
        "/etc/sysconfig/network/ifcfg-ens192": "BOOTPROTO='static'\nIPADDR='10.1.0.5/24'\n",
        "/etc/sysconfig/network/ifcfg-ens224": "BOOTPROTO='static'\nIPADDR='10.2.0.5/24'\n",
    },
    "cloud-init": {
        "/etc/cloud/cloud.cfg.d/50-net.cfg": "network:\n  version: 1\n  config:\n"
        "  - type: physical\n    name: ens192\n    subnets:\n    - {type: static, address: "
        "10.1.0.5/24}\n  - type: physical\n    name: ens224\n    subnets:\n"
        "    - {type: static, address: 10.2.0.5/24}\n",
    },
}


def guest(folder, files):
    tree = guests.debian()
    del tree.files["/etc/network/interfaces"]
    tree.files |= files
    return guests.debian_disk(folder, tree)


@pytest.mark.parametrize(
    "nics",
    [
        pytest.param(
            (
                Nic(mac=SECOND, addresses=("10.2.0.5/24",)),
                Nic(mac=FIRST, addresses=("10.1.0.5/24",)),
            ),
            id="known by the addresses that the source reported",
        ),
        pytest.param(
            (Nic(mac=FIRST, slot=192), Nic(mac=SECOND, slot=224)), id="known by VMware's slots"
        ),
    ],
)
@pytest.mark.parametrize("tool", TOOLS)
def test_two_nics_keep_their_names_and_no_file_of_the_tool_changes(tmp_path, tool, nics):
    files = TOOLS[tool]
    disk = guest(tmp_path, files)
    result = adapt.adapt(
        adapt.Order(
            disks=(str(disk),), wish=Wish(bus=Bus.SCSI, nics=nics), tools=Tools(), packages={}
        )
    )
    assert dict(result.decision.names) == {FIRST: "ens192", SECOND: "ens224"}
    with inspect.open_disks([str(disk)]) as disks:
        tree = inspect.look(disks, [str(disk)]).tree
        assert tree is not None
        for path, content in files.items():
            assert tree.read(path) == content.encode()
        for mac, name in ((FIRST, "ens192"), (SECOND, "ens224")):
            text = tree.text(f"/etc/systemd/network/05-mtv-{name}.link")
            assert f"MACAddress={mac}" in text
            assert f"Name={name}" in text


def test_a_nic_that_matches_nothing_is_named_in_a_warning(tmp_path):
    disk = guest(tmp_path, TOOLS["netplan"])
    nics = (Nic(mac=FIRST), Nic(mac=SECOND))
    result = adapt.adapt(
        adapt.Order(
            disks=(str(disk),), wish=Wish(nics=nics), tools=Tools(), packages={}, dry_run=True
        )
    )
    assert not result.decision.names
    assert any(FIRST in warning for warning in result.decision.warnings)
