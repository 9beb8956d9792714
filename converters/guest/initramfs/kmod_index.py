"""Indexes of kernel modules as kmod reads them, written without depmod.

depmod would parse the guest's module files; here only its text indexes are filtered, and written
again as the binary tries that modprobe and udev look into. Source: kmod's `tools/depmod.c` and
`libkmod/libkmod-index.c` say the format: big-endian, nodes below their parents' offsets.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

_MAGIC, _VERSION = 0xB007F457, 0x00020001
_PREFIX, _VALUES, _CHILDREN = 0x80000000, 0x40000000, 0x20000000


@dataclass(slots=True)
class _Node:
    prefix: str = ""
    values: list[tuple[int, str]] = field(default_factory=list)
    children: dict[int, _Node] = field(default_factory=dict)


def build(entries: Iterable[tuple[str, str, int]]) -> bytes:
    """Return an index of (key, value, priority). Keys that are not ASCII are left out."""
    root = _Node()
    for key, value, priority in entries:
        if key.isascii() and value.isascii() and "\0" not in key and "\0" not in value:
            _insert(root, key, value, priority)
    out = bytearray(struct.pack(">III", _MAGIC, _VERSION, 0))
    offset = _write(root, out)
    struct.pack_into(">I", out, 8, offset)
    return bytes(out)


def _insert(node: _Node, key: str, value: str, priority: int) -> None:
    while True:
        common = 0
        while common < min(len(node.prefix), len(key)) and node.prefix[common] == key[common]:
            common += 1
        if common < len(node.prefix):  # the prefix is longer than what both share: split
            below = _Node(node.prefix[common + 1 :], node.values, node.children)
            node.children = {ord(node.prefix[common]): below}
            node.values = []
            node.prefix = node.prefix[:common]
        key = key[common:]
        if not key:
            if (priority, value) not in node.values:
                node.values.append((priority, value))
                node.values.sort()
            return
        letter = ord(key[0])
        key = key[1:]
        if letter not in node.children:
            node.children[letter] = _Node(key, [(priority, value)])
            return
        node = node.children[letter]


def _write(node: _Node, out: bytearray) -> int:
    """Write a node behind those below it; return its place with the flags of what it has."""
    places = {letter: _write(child, out) for letter, child in node.children.items()}
    offset, flags = len(out), 0
    if node.prefix:
        out += node.prefix.encode() + b"\0"
        flags |= _PREFIX
    if places:
        first, last = min(places), max(places)
        out += bytes((first, last))
        for letter in range(first, last + 1):
            out += struct.pack(">I", places.get(letter, 0))
        flags |= _CHILDREN
    if node.values:
        out += struct.pack(">I", len(node.values))
        for priority, value in node.values:
            out += struct.pack(">I", priority) + value.encode() + b"\0"
        flags |= _VALUES
    return offset | flags
