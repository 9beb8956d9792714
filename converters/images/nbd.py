"""The NBD protocol: newstyle negotiation, structured replies, block status. Pure.

Facts: "The NBD protocol", doc/proto.md of the reference implementation. Big-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

from converters.errors import CorruptImage, UnsupportedImage

GREETING = b"NBDMAGICIHAVEOPT"
OPTION_MAGIC = b"IHAVEOPT"
OPTION_REPLY_MAGIC = 0x3E889045565A9
REQUEST_MAGIC = 0x25609513
SIMPLE_MAGIC, STRUCTURED_MAGIC = 0x67446698, 0x668E33EF

FIXED_NEWSTYLE, NO_ZEROES = 1, 2
MULTI_CONN = 1 << 8
OPT_ABORT, OPT_TLS, OPT_GO, OPT_STRUCTURED, OPT_SET_META = 2, 5, 7, 8, 10
REP_ACK, REP_INFO, REP_META = 1, 3, 4
REP_ERROR = 1 << 31
INFO_EXPORT, INFO_BLOCK_SIZE = 0, 3
READ, DISCONNECT, BLOCK_STATUS = 0, 2, 7
CHUNK_DONE = 1
CHUNK_NONE, CHUNK_DATA, CHUNK_HOLE, CHUNK_STATUS = 0, 1, 2, 5
CHUNK_ERROR = 1 << 15
STATE_ZERO = 2  # base:allocation: reads as zeros
ALLOCATION = b"base:allocation"

OPTION_REPLY = struct.Struct(">QIII")  # magic, option, type, length
REQUEST = struct.Struct(">IHHQQI")  # magic, flags, type, cookie, offset, length
SIMPLE = struct.Struct(">IQ")  # error, cookie; behind the magic
STRUCTURED = struct.Struct(">HHQI")  # flags, type, cookie, length; behind the magic
EXPORT = struct.Struct(">QH")  # size, flags
MOST_OPTION_REPLY = 64 * 1024
MOST_STATUS = 1 << 20  # bytes of one reply: 131072 extents
DEFAULT_PORT = 10809


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where an export is: a UNIX socket, or a host and port."""

    export: str
    socket: str = ""
    host: str = ""
    port: int = DEFAULT_PORT
    tls: bool = False
    tls_name: str = ""  # whose certificate is expected, where that is not the host
    tls_folder: str = ""  # ca-cert.pem, and client-cert.pem with client-key.pem if it wants one


def parse_uri(uri: str) -> Address:
    """Return the address in `nbd://host:port/export` or `nbd+unix:///export?socket=path`.

    `nbds` in place of `nbd` wants TLS; as with libnbd, `tls-certificates=FOLDER` says where the
    certificates are, `tls-hostname=NAME` whose is expected. Raises UnsupportedImage for the rest.
    """
    try:
        address = _address(uri)
    except ValueError:
        address = None  # the port is no number, or the host no address
    if address is None:
        raise UnsupportedImage(
            field="URI", value=uri,
            expected="nbd[s]://host:port/export or nbd[s]+unix:///export?socket=path",
        )  # fmt: skip
    return address


def _address(uri: str) -> Address | None:
    parts = urlsplit(uri)
    export = unquote(parts.path.removeprefix("/"))
    query = parse_qs(parts.query)

    def only(name: str) -> str:
        values = query.get(name, [])
        return values[0] if len(values) == 1 else ""

    tls = parts.scheme.startswith("nbds")
    if parts.scheme in ("nbd+unix", "nbds+unix") and only("socket"):
        return Address(
            export=export, socket=only("socket"), tls=tls,
            tls_name=only("tls-hostname"), tls_folder=only("tls-certificates"),
        )  # fmt: skip
    if parts.scheme in ("nbd", "nbds") and parts.hostname:
        return Address(
            export=export, host=parts.hostname, port=parts.port or DEFAULT_PORT, tls=tls,
            tls_name=only("tls-hostname"),
            tls_folder=only("tls-certificates"),
        )  # fmt: skip
    return None


def option(kind: int, content: bytes = b"") -> bytes:
    """Return an option request."""
    return OPTION_MAGIC + struct.pack(">II", kind, len(content)) + content


def go(export: str) -> bytes:
    """Return the option that opens an export, and asks for its block sizes."""
    name = export.encode()
    return option(
        OPT_GO, struct.pack(">I", len(name)) + name + struct.pack(">HH", 1, INFO_BLOCK_SIZE)
    )


def set_meta(export: str) -> bytes:
    """Return the option that asks for the allocation map."""
    name = export.encode()
    return option(
        OPT_SET_META,
        struct.pack(">I", len(name)) + name + struct.pack(">II", 1, len(ALLOCATION)) + ALLOCATION,
    )


def request(kind: int, cookie: int, offset: int, length: int) -> bytes:
    """Return a request."""
    return REQUEST.pack(REQUEST_MAGIC, 0, kind, cookie, offset, length)


def parse_status(content: bytes, context: int, *, file: str) -> list[tuple[int, bool]]:
    """Return length and "reads as zeros" of each extent in a block status chunk.

    Raises CorruptImage.
    """
    if len(content) < 12 or len(content) % 8 != 4:
        raise CorruptImage(
            file=file, field="size of a block status", value=len(content), expected="4 + 8 × n"
        )
    (said,) = struct.unpack_from(">I", content)
    if said != context:
        return []
    extents = []
    for length, flags in struct.iter_unpack(">II", content[4:]):
        if not length:
            raise CorruptImage(
                file=file, field="length in a block status", value=0, expected="at least 1"
            )
        extents.append((length, bool(flags & STATE_ZERO)))
    return extents


def error_text(content: bytes) -> tuple[int, str]:
    """Return number and message of an error chunk."""
    if len(content) < 6:
        return 0, ""
    number, length = struct.unpack_from(">IH", content)
    return number, content[6 : 6 + length].decode("utf-8", "replace")
