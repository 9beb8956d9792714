"""DHCP for exactly one guest: what the masquerade network answers. Pure; `dhcp_server` serves it.

RFC 2131 (protocol), RFC 2132 (options), RFC 3397 (domain search), RFC 3396 (long options). The
one client is known by its MAC address, and always gets the same address; everybody else is not
answered. A packet that cannot be understood is ignored: the guest is not trusted.
"""

from __future__ import annotations

import dataclasses
import enum
import ipaddress
import struct
from dataclasses import dataclass

from mtv import errors

MAGIC = b"\x63\x82\x53\x63"
HEADER_SIZE = 240  # up to and with the magic cookie
LEAST_SIZE = 300  # BOOTP's; some relays and clients drop shorter ones
LEASE_S = 999 * 24 * 3600  # as upstream: the address never changes while the VM lives
CLIENT_PORT = 68
_HEADER = struct.Struct("!BBBB4sHH4s4s4s4s16s")


class Kind(enum.IntEnum):
    """Message types of option 53."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7
    INFORM = 8


class Option(enum.IntEnum):
    """The options that we read or send."""

    PAD = 0
    MASK = 1
    ROUTER = 3
    DNS = 6
    HOSTNAME = 12
    DOMAIN = 15
    MTU = 26
    NTP = 42
    REQUESTED_ADDRESS = 50
    LEASE_TIME = 51
    MESSAGE_TYPE = 53
    SERVER = 54
    TFTP_SERVER = 66
    BOOT_FILE = 67
    SEARCH = 119
    END = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """What the one guest is told. Addresses are dotted; `private` are options 224 to 254."""

    mac: str
    address: str
    router: str
    server: str = ""  # the router, unless it is given
    prefix: int = 24
    dns: tuple[str, ...] = ()
    mtu: int = 1500
    hostname: str = ""
    domain: str = ""
    search: tuple[str, ...] = ()
    ntp: tuple[str, ...] = ()
    tftp_server: str = ""
    boot_file: str = ""
    private: tuple[tuple[int, str], ...] = ()


def with_given_options(
    lease: Lease,
    *,
    ntp: tuple[str, ...],
    tftp_server: str,
    boot_file: str,
    private: tuple[tuple[int, str], ...],
) -> Lease:
    """Return the lease with what the VMI's `dhcpOptions` add. Raises BadInput naming the field."""
    field = "spec.domain.devices.interfaces[].dhcpOptions"
    for server in ntp:
        try:
            ipaddress.IPv4Address(server)
        except ValueError:
            raise errors.BadInput(
                f"{server[:60]!r} is not an IPv4 address", field=f"{field}.ntpServers"
            ) from None
    for code, _ in private:
        if not 224 <= code <= 254:
            raise errors.BadInput(
                f"option {code} is not private",
                field=f"{field}.privateOptions",
                hint="private options are 224 to 254",
            )
    return dataclasses.replace(
        lease, ntp=ntp, tftp_server=tftp_server, boot_file=boot_file, private=private
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A client's packet, as far as we care. Addresses are four bytes."""

    kind: int
    transaction: bytes
    flags: int
    client_address: bytes
    mac: str
    hardware: bytes
    relay: bytes
    options: dict[int, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A packet, and the address to send it to (port 68)."""

    packet: bytes
    destination: str


def parse_request(packet: bytes) -> Request | None:
    """Return the request, or None for anything that is not one from an Ethernet client."""
    if len(packet) < HEADER_SIZE or packet[236:240] != MAGIC:
        return None
    op, hardware_type, length, _, transaction, _, flags, client, _, _, relay, hardware = (
        _HEADER.unpack_from(packet)
    )
    if (op, hardware_type, length) != (1, 1, 6):
        return None
    options = parse_options(packet[HEADER_SIZE:])
    if options is None or len(options.get(Option.MESSAGE_TYPE, b"")) != 1:
        return None
    return Request(
        kind=options[Option.MESSAGE_TYPE][0],
        transaction=transaction,
        flags=flags,
        client_address=client,
        mac=":".join(f"{byte:02x}" for byte in hardware[:6]),
        hardware=hardware,
        relay=relay,
        options=options,
    )


def parse_options(raw: bytes) -> dict[int, bytes] | None:
    """Return the options by code; None if one is cut short. A repeated one is joined (RFC 3396)."""
    found: dict[int, bytes] = {}
    position = 0
    while position < len(raw):
        code = raw[position]
        if code == Option.END:
            break
        if code == Option.PAD:
            position += 1
            continue
        if position + 1 >= len(raw):
            return None
        size = raw[position + 1]
        value = raw[position + 2 : position + 2 + size]
        if len(value) != size:
            return None
        found[code] = found.get(code, b"") + value
        position += 2 + size
    return found


def answer(packet: bytes, lease: Lease) -> Reply | None:
    """Return the reply to one packet, or None where silence is right."""
    request = parse_request(packet)
    if request is None or request.mac != lease.mac.lower() or any(request.relay):
        return None
    server = _packed(lease.server or lease.router)
    if request.options.get(Option.SERVER, server) != server:
        return None  # the client took another server's offer
    match request.kind:
        case Kind.DISCOVER:
            return _reply(request, lease, Kind.OFFER)
        case Kind.REQUEST:
            wanted = request.options.get(Option.REQUESTED_ADDRESS, request.client_address)
            right = wanted in (_packed(lease.address), bytes(4))
            return _reply(request, lease, Kind.ACK if right else Kind.NAK)
        case Kind.INFORM:
            return _reply(request, lease, Kind.ACK)
        case _:
            return None


def _reply(request: Request, lease: Lease, kind: Kind) -> Reply:
    refused = kind is Kind.NAK
    informed = request.kind == Kind.INFORM
    address = bytes(4) if refused or informed else _packed(lease.address)
    client = bytes(4) if refused else request.client_address
    head = _HEADER.pack(
        *(2, 1, 6, 0, request.transaction, 0, request.flags),
        *(client, address, bytes(4), bytes(4), request.hardware),
    )
    sent: list[tuple[int, bytes]] = [
        (Option.MESSAGE_TYPE, bytes([kind])),
        (Option.SERVER, _packed(lease.server or lease.router)),
    ]
    if not refused:
        if not informed:
            sent.append((Option.LEASE_TIME, struct.pack("!I", LEASE_S)))
        sent += _options(lease)
    body = b"".join(_encoded(code, value) for code, value in sent) + bytes([Option.END])
    packet = head + bytes(64 + 128) + MAGIC + body
    # A client that renews listens on its address; one that has none yet hears broadcasts only.
    renewing = any(client) and not request.flags & 0x8000
    destination = str(ipaddress.IPv4Address(client)) if renewing else "255.255.255.255"
    return Reply(packet=packet.ljust(LEAST_SIZE, b"\0"), destination=destination)


def _options(lease: Lease) -> list[tuple[int, bytes]]:
    """Return the options that describe the network, those with a value only."""
    mask = (0xFFFFFFFF << (32 - lease.prefix)) & 0xFFFFFFFF
    found: list[tuple[int, bytes]] = [
        (Option.MASK, struct.pack("!I", mask)),
        (Option.ROUTER, _packed(lease.router) if lease.router else b""),
        (Option.DNS, b"".join(map(_packed, lease.dns))),
        (Option.MTU, struct.pack("!H", min(max(lease.mtu, 68), 65535))),
        (Option.HOSTNAME, lease.hostname.encode("ascii", "ignore")),
        (Option.DOMAIN, lease.domain.encode("ascii", "ignore")),
        (Option.SEARCH, b"".join(map(_domain_name, lease.search))),
        (Option.NTP, b"".join(map(_packed, lease.ntp))),
        (Option.TFTP_SERVER, lease.tftp_server.encode()),
        (Option.BOOT_FILE, lease.boot_file.encode()),
    ]
    found += [(code, value.encode()) for code, value in lease.private if 224 <= code <= 254]
    return [(code, value) for code, value in found if value]


def _encoded(code: int, value: bytes) -> bytes:
    """Return an option on the wire, in as many pieces as its length needs."""
    pieces = [value[start : start + 255] for start in range(0, len(value), 255)]
    return b"".join(bytes([code, len(piece)]) + piece for piece in pieces)


def _domain_name(name: str) -> bytes:
    """Return a name as labels; nothing for one that DNS does not allow."""
    labels = name.rstrip(".").encode("ascii", "ignore").split(b".")
    if not all(0 < len(label) < 64 for label in labels):
        return b""
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def _packed(address: str) -> bytes:
    return ipaddress.IPv4Address(address).packed


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolver:
    """What a pod's `resolv.conf` says, as far as a guest can use it."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()


def parse_resolv_conf(text: str) -> Resolver:
    """Return IPv4 name servers and search domains. Loopback ones are of no use to the guest."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    for line in text.splitlines():
        words = line.split("#")[0].split(";")[0].split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver":
            try:
                address = ipaddress.IPv4Address(words[1])
            except ValueError:
                continue
            if not address.is_loopback and not address.is_unspecified:
                servers.append(str(address))
        elif words[0] in ("search", "domain"):
            search = tuple(word.rstrip(".") for word in words[1:] if word != ".")
    return Resolver(servers=tuple(servers), search=search)
