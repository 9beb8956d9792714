"""The kubelet's device plugin protocol on the wire. Pure.

Kubernetes, `staging/src/k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1/api.proto`. The few messages
are small enough to be written by hand: strings and messages inside messages, nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

VERSION = "v1beta1"
REGISTER = "/v1beta1.Registration/Register"
PLUGIN = "v1beta1.DevicePlugin"
EMPTY = b""
_LENGTH_DELIMITED = 2  # protobuf's wire types
_WIDTHS = {1: 8, 5: 4}  # of the fixed ones


def register_request(endpoint: str, resource: str) -> bytes:
    """Return RegisterRequest: `endpoint` is our socket's name beside the kubelet's."""
    return b"".join((_text(1, VERSION), _text(2, endpoint), _text(3, resource)))


def devices(names: Iterable[str]) -> bytes:
    """Return ListAndWatchResponse: these devices, all healthy."""
    return b"".join(_field(1, _text(1, name) + _text(2, "Healthy")) for name in names)


def containers(allocate_request: bytes) -> int:
    """Return for how many containers an AllocateRequest asks. Raises ValueError."""
    return sum(1 for number, _ in _fields(allocate_request) if number == 1)


def allocation(paths: Sequence[str], count: int) -> bytes:
    """Return AllocateResponse: each of `count` containers gets the devices at `paths`."""
    device = b"".join(
        _field(3, _text(1, path) + _text(2, path) + _text(3, "mrw")) for path in paths
    )
    return _field(1, device) * count


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(content)) + content


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode())


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the length-delimited fields of a message; others are passed over."""
    at = 0
    while at < len(message):
        tag, at = _read_varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            _, at = _read_varint(message, at)
        elif kind == _LENGTH_DELIMITED:
            length, at = _read_varint(message, at)
            if at + length > len(message):
                raise ValueError("a field is longer than the message")
            yield number, message[at : at + length]
            at += length
        elif kind in _WIDTHS:
            at += _WIDTHS[kind]
        else:
            raise ValueError(f"wire type {kind} is not known")


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while at < len(message) and shift < 64:
        byte = message[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
    raise ValueError("a number does not end")
