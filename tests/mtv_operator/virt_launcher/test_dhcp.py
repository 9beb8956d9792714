"""DHCP answers, byte by byte; the guest may send anything."""

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtv_operator.virt_launcher import dhcp
from mtv_operator.virt_launcher.dhcp import Kind, Lease, Option

MAC = "52:54:00:ab:cd:ef"
LEASE = Lease(
    mac=MAC,
    address="10.0.2.2",
    router="10.0.2.1",
    dns=("10.96.0.10", "1.1.1.1"),
    mtu=1450,
    hostname="web1",
    domain="example.org",
    search=("demo.svc.cluster.local", "example.org"),
)


def packet(
    kind, *, mac=MAC, client="0.0.0.0", flags=0, relay="0.0.0.0", options=(), op=1, length=6
):
    hardware = bytes.fromhex(mac.replace(":", "")).ljust(16, b"\0")
    head = struct.pack(
        "!BBBB4sHH4s4s4s4s16s",
        *(op, 1, length, 0, b"txid", 3, flags, socket.inet_aton(client)),
        *(bytes(4), bytes(4), socket.inet_aton(relay), hardware),
    )
    listed = [(53, bytes([kind])), *options]
    body = b"".join(bytes([code, len(value)]) + value for code, value in listed)
    return head + bytes(192) + dhcp.MAGIC + body + b"\xff"


def options_of(reply):
    found = dhcp.parse_options(reply.packet[dhcp.HEADER_SIZE :])
    assert found is not None
    return found


def test_discover_is_answered_by_an_offer_with_everything_the_guest_needs():
    reply = dhcp.answer(packet(Kind.DISCOVER), LEASE)

    assert reply is not None
    assert reply.destination == "255.255.255.255"
    assert reply.packet[0] == 2
    assert reply.packet[4:8] == b"txid"
    assert reply.packet[16:20] == socket.inet_aton("10.0.2.2")
    assert reply.packet[28:34] == bytes.fromhex("525400abcdef")
    options = options_of(reply)
    assert options[Option.MESSAGE_TYPE] == bytes([Kind.OFFER])
    assert options[Option.MASK] == socket.inet_aton("255.255.255.0")
    assert options[Option.ROUTER] == options[Option.SERVER] == socket.inet_aton("10.0.2.1")
    assert options[Option.DNS] == socket.inet_aton("10.96.0.10") + socket.inet_aton("1.1.1.1")
    assert options[Option.MTU] == struct.pack("!H", 1450)
    assert options[Option.HOSTNAME] == b"web1"
    assert options[Option.DOMAIN] == b"example.org"
    assert options[Option.LEASE_TIME] == struct.pack("!I", 999 * 86400)
    assert options[Option.SEARCH] == b"\4demo\3svc\7cluster\5local\0\7example\3org\0"


@pytest.mark.parametrize(
    ("request_packet", "kind"),
    [
        pytest.param(
            packet(Kind.REQUEST, options=[(50, socket.inet_aton("10.0.2.2"))]), Kind.ACK, id="ours"
        ),
        pytest.param(
            packet(Kind.REQUEST, options=[(50, socket.inet_aton("192.168.1.7"))]),
            Kind.NAK,
            id="an address of its former network",
        ),
        pytest.param(packet(Kind.REQUEST, client="10.0.2.2"), Kind.ACK, id="renews"),
        pytest.param(packet(Kind.REQUEST, client="10.0.2.9"), Kind.NAK, id="renews another"),
        pytest.param(packet(Kind.INFORM, client="10.0.2.2"), Kind.ACK, id="informs"),
    ],
)
def test_request(request_packet, kind):
    reply = dhcp.answer(request_packet, LEASE)

    assert reply is not None
    assert options_of(reply)[Option.MESSAGE_TYPE] == bytes([kind])


def test_renewal_goes_to_the_client_and_refusal_to_everybody():
    renewed = dhcp.answer(packet(Kind.REQUEST, client="10.0.2.2"), LEASE)
    refused = dhcp.answer(packet(Kind.REQUEST, client="10.0.2.9"), LEASE)

    assert renewed is not None
    assert renewed.destination == "10.0.2.2"
    assert refused is not None
    assert refused.destination == "255.255.255.255"
    assert Option.LEASE_TIME not in options_of(refused)


@pytest.mark.parametrize(
    "ignored",
    [
        pytest.param(packet(Kind.DISCOVER, mac="52:54:00:00:00:01"), id="another client"),
        pytest.param(packet(Kind.DISCOVER, relay="10.0.2.9"), id="through a relay"),
        pytest.param(packet(Kind.DISCOVER, op=2), id="a reply"),
        pytest.param(packet(Kind.DISCOVER, length=7), id="not Ethernet"),
        pytest.param(packet(Kind.RELEASE), id="release"),
        pytest.param(packet(Kind.DECLINE), id="decline"),
        pytest.param(packet(99), id="no such kind"),
        pytest.param(
            packet(Kind.REQUEST, options=[(54, socket.inet_aton("10.0.2.7"))]),
            id="for another server",
        ),
        pytest.param(packet(Kind.DISCOVER)[:-3], id="cut in an option"),
        pytest.param(packet(Kind.DISCOVER)[:200], id="cut in the header"),
        pytest.param(b"", id="empty"),
    ],
)
def test_silence(ignored):
    assert dhcp.answer(ignored, LEASE) is None


@given(st.binary(max_size=600))
def test_anything_is_taken_without_a_fault(noise):
    dhcp.answer(noise, LEASE)
    dhcp.answer(packet(Kind.DISCOVER)[:-1] + noise, LEASE)


def test_long_option_is_sent_in_pieces_and_read_back_whole():
    names = tuple(f"{'x' * 60}.number{n}.example.org" for n in range(8))
    reply = dhcp.answer(
        packet(Kind.DISCOVER), Lease(mac=MAC, address="10.0.2.2", router="10.0.2.1", search=names)
    )

    assert reply is not None
    search = options_of(reply)[Option.SEARCH]
    assert len(search) > 255
    assert search.count(b"example") == 8


def test_private_options_outside_their_range_are_left_out():
    lease = Lease(
        mac=MAC, address="10.0.2.2", router="10.0.2.1", private=((224, "yes"), (53, "no"))
    )
    reply = dhcp.answer(packet(Kind.DISCOVER), lease)

    assert reply is not None
    assert options_of(reply)[224] == b"yes"
    assert options_of(reply)[53] == bytes([Kind.OFFER])


def test_resolv_conf_without_what_a_guest_cannot_reach():
    resolver = dhcp.parse_resolv_conf(
        "# comment\nnameserver 127.0.0.53\nnameserver 10.96.0.10 # cluster\n"
        "nameserver fe80::1%eth0\nnameserver\nsearch a.example. b.example\noptions ndots:5\n"
        "nameserver nonsense\n"
    )

    assert resolver.servers == ("10.96.0.10",)
    assert resolver.search == ("a.example", "b.example")
