"""Bridge binding in a network namespace: a pod's device is given up, and known ever after."""

import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from guest import launched

from mtv_operator.virt_handler import guest_network, links, pod_network

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]
MAC = "02:58:0a:f6:01:05"


def ip(namespace: str, *arguments: str) -> str:
    return subprocess.run(
        ["ip", "-n", namespace, *arguments], check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture
def namespace() -> Iterator[str]:
    """A namespace as a pod's: eth0 with address, MAC and default route."""
    name = f"mtvtest-{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        ip(name, "link", "add", "eth0", "address", MAC, "type", "veth", "peer", "name", "wire")
        ip(name, "addr", "add", "10.246.1.5/16", "dev", "eth0")
        ip(name, "link", "set", "wire", "up")
        ip(name, "link", "set", "eth0", "up")
        ip(name, "route", "add", "default", "via", "10.246.0.1")
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def bridged() -> guest_network.Bridged:
    (nic,) = guest_network.plan(launched.vmi(interfaces=({"name": "default", "bridge": {}},)))
    assert isinstance(nic, guest_network.Bridged)
    return nic


def test_guest_takes_over_what_the_device_had_however_often_it_is_asked(namespace):
    path = Path("/run/netns", namespace)
    first = pod_network.apply(path, [bridged()])

    again = pod_network.apply(path, [bridged()])

    (found,) = again
    assert again == first
    assert (found.mac, found.address, found.prefix) == (MAC, "10.246.1.5", 16)
    assert (found.router, found.server) == ("10.246.0.1", "169.254.75.10")
    assert "10.246.1.5" not in ip(namespace, "addr", "show", "eth0-nic")
    assert MAC not in ip(namespace, "link", "show", "eth0-nic")
    assert "master k6t-eth0" in ip(namespace, "link", "show", "eth0-nic")
    assert "master k6t-eth0" in ip(namespace, "link", "show", "tap0")
    # Whoever looks at the pod still finds its address and its way out.
    assert pod_network.read(path).addresses == ("10.246.1.5",)
    assert "via 10.246.0.1 dev eth0" in ip(namespace, "route", "show", "default")


def test_device_that_was_given_up_half_way_is_given_up(namespace):
    nic = bridged()
    path = Path("/run/netns", namespace)

    def half_way() -> None:
        with links.IPRoute() as route:
            links._make_stand_in(route, nic)

    pod_network.namespaces.inside(path, half_way)
    ip(namespace, "link", "set", "eth0", "down")  # loses the route, as a kill here would

    (found,) = pod_network.apply(path, [nic])

    assert (found.mac, found.address, found.router) == (MAC, "10.246.1.5", "10.246.0.1")
    assert "via 10.246.0.1 dev eth0" in ip(namespace, "route", "show", "default")
