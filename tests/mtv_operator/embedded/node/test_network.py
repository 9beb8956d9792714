"""The pod network: namespaces with addresses that reach each other and the machine."""

import getpass
import os
import socket
import subprocess
import uuid

import pytest

from mtv import errors
from mtv_operator.embedded.node import network

NETWORK = network.PodNetwork(bridge="mtvtest0", cidr="10.251.0.0/16")


def test_node_network_when_asked_gives_each_node_its_own_part():
    assert NETWORK.gateway == "10.251.0.1"
    assert NETWORK.node_network(1) == "10.251.1.0/24"
    with pytest.raises(errors.BadInput, match="holds 3 nodes"):
        network.PodNetwork(bridge="x", cidr="10.0.0.0/22").node_network(4)


def test_port_name_when_uid_is_long_fits_the_kernels_limit():
    assert len(network.port_name(str(uuid.uuid4()))) <= 15


def test_mac_when_made_of_an_address_is_local_and_unicast():
    first = int(network.mac_of("10.251.1.2").split(":")[0], 16)
    assert first & 0b11 == 0b10


@pytest.fixture
def bridge():
    network.ensure_bridge(NETWORK, "mtv:test")
    yield
    network.remove_bridge(NETWORK)


@pytest.mark.netns
@pytest.mark.skipif(os.geteuid() != 0, reason=f"needs root, runs as {getpass.getuser()}")
@pytest.mark.usefixtures("bridge")
class TestOnThisMachine:
    def test_attach_when_two_pods_reach_each_other_and_the_gateway(self):
        first, second = str(uuid.uuid4()), str(uuid.uuid4())
        try:
            network.attach(NETWORK, first, "10.251.1.2")
            network.attach(NETWORK, second, "10.251.1.3")
            for address in ("10.251.1.3", NETWORK.gateway):
                code = f"import socket; socket.create_connection(('{address}', 9), 3)"
                done = subprocess.run(
                    ["ip", "netns", "exec", network.namespace_name(first), "python3", "-c", code],
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert "ConnectionRefusedError" in done.stderr, "an answer, and it is: nobody here"
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("10.251.1.2", 9), 3)
        finally:
            network.detach(first)
            network.detach(second)

    def test_attach_when_repeated_mends_what_was_left_half_done(self):
        uid = str(uuid.uuid4())
        name = network.namespace_name(uid)
        try:
            network.ip("netns", "add", name)  # as if killed after the first step
            network.attach(NETWORK, uid, "10.251.1.4")
            before = network.links(name)
            network.attach(NETWORK, uid, "10.251.1.4")
            assert [one["ifindex"] for one in network.links(name)] == [
                one["ifindex"] for one in before
            ]
        finally:
            network.detach(uid)
            network.detach(uid)
        assert name not in network.namespaces()

    def test_bridge_when_of_another_owner_is_refused(self):
        network.ensure_bridge(NETWORK, "mtv:test")
        with pytest.raises(errors.TargetRefused, match="belongs to mtv:test"):
            network.ensure_bridge(NETWORK, "mtv:other")
