import hashlib
import shutil
import subprocess

import pytest
from guest import launched

from mtv import errors
from mtv_operator.virt_handler import guest_network, order
from mtv_operator.virt_handler.pod_network import Connected
from mtv_operator.virt_launcher.protocol import Options

LAN = {"name": "lan", "multus": {"networkName": "vlan7"}}


def test_guest_gets_upstreams_addresses_and_a_mac_that_stays():
    vmi = launched.vmi()

    (network,) = guest_network.plan(vmi)

    assert isinstance(network, guest_network.GuestNetwork)
    assert (network.address, network.gateway, network.prefix) == ("10.0.2.2", "10.0.2.1", 24)
    assert (network,) == guest_network.plan(vmi)
    assert int(network.mac[:2], 16) & 3 == 2  # local, unicast


def test_spec_says_network_mac_ports_and_queues():
    interface = {
        "name": "default",
        "masquerade": {},
        "macAddress": "00-50-56-AB-CD-EF",
        "ports": [{"port": 443}, {"port": 53, "protocol": "UDP"}, {"port": 80}],
    }
    vmi = launched.vmi(interfaces=(interface,), devices={"networkInterfaceMultiqueue": True})

    (network,) = guest_network.plan(vmi, vcpus=4)

    assert isinstance(network, guest_network.GuestNetwork)
    assert (network.mac, network.queues) == ("00:50:56:ab:cd:ef", 4)
    assert [f"{one.protocol}/{one}" for one in network.ports] == ["tcp/80", "tcp/443", "udp/53"]
    rules = guest_network.rules(network)
    assert "tcp dport { 80, 443 } counter dnat to 10.0.2.2" in rules
    assert "udp dport { 53 } counter dnat to 10.0.2.2" in rules
    assert "\n    counter dnat" not in rules


def test_vmi_without_a_nic_has_no_network():
    assert guest_network.plan(launched.vmi(interfaces=())) == ()


@pytest.mark.parametrize(
    ("interfaces", "field", "words"),
    [
        pytest.param(
            ({"name": "a", "masquerade": {}}, {"name": "b", "masquerade": {}}),
            "spec.domain.devices.interfaces", "2 NICs are on the pod network", id="two NICs",
        ),
        pytest.param(
            ({"name": "a", "sriov": {}},),
            "spec.domain.devices.interfaces[a]", "binding sriov", id="sriov",
        ),
        pytest.param(
            ({"name": "a", "masquerade": {}, "ports": [{"port": 70000}]},),
            "spec.domain.devices.interfaces[a].ports", "70000", id="a port that is none",
        ),
    ],
)  # fmt: skip
def test_what_is_not_supported_is_named(interfaces, field, words):
    with pytest.raises(errors.BadInput, match=words) as caught:
        guest_network.plan(launched.vmi(interfaces=interfaces))

    assert caught.value.field == field


@pytest.mark.skipif(not shutil.which("nft", path="/usr/sbin:/usr/bin"), reason="needs nft")
@pytest.mark.parametrize("ports", [(), (guest_network.Port("tcp", 80, 90),)])
def test_rules_are_what_nft_understands(ports):
    (network,) = guest_network.plan(launched.vmi())
    script = guest_network.rules(
        guest_network.GuestNetwork(
            interface="default",
            mac=network.mac,
            address="10.0.2.2",
            gateway="10.0.2.1",
            prefix=24,
            ports=ports,
        )
    )

    checked = subprocess.run(
        ["unshare", "--net", "nft", "--check", "-f", "-"],
        input=script,
        text=True,
        capture_output=True,
    )

    if "Operation not permitted" in checked.stderr:
        pytest.skip("needs root")
    assert checked.returncode == 0, checked.stderr


def test_nics_on_other_networks_have_names_and_macs_of_their_own():
    nics = guest_network.plan(
        launched.vmi(
            interfaces=({"name": "default", "masquerade": {}}, {"name": "lan", "bridge": {}}),
            networks=[{"name": "default", "pod": {}}, LAN],
        )
    )

    assert [nic.interface for nic in nics] == ["default", "lan"]
    lan = nics[1]
    assert isinstance(lan, guest_network.Bridged)
    assert lan.device == f"pod{hashlib.sha256(b'lan').hexdigest()[:11]}"
    assert lan.mac != nics[0].mac
    names = (lan.device, lan.bridge, lan.tap, lan.port, lan.stand_in)
    assert len(set(names)) == 5
    assert max(map(len, names)) <= 15  # the kernel's IFNAMSIZ


def test_order_says_taps_and_dhcp_for_those_that_have_an_address():
    nics = guest_network.plan(
        launched.vmi(
            interfaces=({"name": "default", "masquerade": {}}, {"name": "lan", "bridge": {}}),
            networks=[{"name": "default", "pod": {}}, LAN],
        )
    )
    connected = (
        Connected(mac=nics[0].mac, mtu=1400, address="10.0.2.2", router="10.0.2.1"),
        Connected(mac=nics[1].mac, mtu=9000),
    )

    options = order.with_networks(Options(), nics, connected, vhost=True)

    taps = [(tap.device, tap.mtu, tap.vhost, tap.pod_device) for tap in options.taps]
    assert taps == [
        ("tap0", 1400, True, "eth0"),
        (nics[1].tap, 9000, True, nics[1].device),
    ]
    assert [(one.bridge, one.mtu) for one in options.networks] == [("k6t-eth0", 1400)]
