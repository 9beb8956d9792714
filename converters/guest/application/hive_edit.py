"""Edits a registry hive; a program of its own, run by the system's Python, which has hivex.

    /usr/bin/python3 -I hive_edit.py HIVE < edits.json

The edits are a list of {"path": "A\\\\B", "values": {name: [type, value]}} and {"path", "remove":
true}; `%` at the beginning of a path means the current control set. A key that is there keeps its
other values; one that has all of them already is left alone, so that a second run changes nothing.
Values: 1, 2 a text; 3 bytes in hexadecimal; 4 a number; 7 texts. Standard library and hivex only.
"""

from __future__ import annotations

import json
import struct
import sys
from typing import Any

SZ, EXPAND, BINARY, DWORD, MULTI = 1, 2, 3, 4, 7


def encoded(kind: int, value: Any) -> bytes:  # noqa: ANN401 - JSON
    """Return a value as a hive has it."""
    if kind in (SZ, EXPAND):
        return str(value + "\0").encode("utf-16-le")
    if kind == MULTI:
        return ("".join(one + "\0" for one in value) + "\0").encode("utf-16-le")
    if kind == DWORD:
        return struct.pack("<I", value)
    return bytes.fromhex(value)


def number_of_set(hive: Any) -> int:  # noqa: ANN401 - hivex has no types
    """Return the number of the control set that Windows starts with."""
    select = hive.node_get_child(hive.root(), "Select")
    return int(hive.value_dword(hive.node_get_value(select, "Current")))


def find(hive: Any, path: str, *, make: bool) -> Any:  # noqa: ANN401
    """Return the key of a path, made if need be; None where it is not there."""
    node = hive.root()
    for name in path.split("\\"):
        below = hive.node_get_child(node, name)
        if below is None and not make:
            return None
        node = below or hive.node_add_child(node, name)
    return node


def apply(hive: Any, edit: dict[str, Any], current: int) -> bool:  # noqa: ANN401
    """Make one edit; tell whether it changed anything."""
    path = edit["path"].replace("%", f"ControlSet{current:03d}", 1)
    if edit.get("remove"):
        node = find(hive, path, make=False)
        if node is None:
            return False
        hive.node_delete_child(node)
        return True
    there = find(hive, path, make=False)
    if edit.get("only_if_there") and there is None:
        return False
    wanted = {name: (kind, encoded(kind, value)) for name, (kind, value) in edit["values"].items()}
    if there is not None:
        has = {hive.value_key(one): hive.value_value(one) for one in hive.node_values(there)}
        if all(has.get(name) == value for name, value in wanted.items()):
            return False
    node = find(hive, path, make=True)
    for name, (kind, value) in wanted.items():
        hive.node_set_value(node, {"key": name, "t": kind, "value": value})
    return True


def main() -> None:
    """Edit; print how many edits changed something."""
    import hivex  # type: ignore[import-not-found]

    edits = json.load(sys.stdin)
    hive = hivex.Hivex(sys.argv[1], write=True)
    uses_set = any(edit["path"].startswith("%") for edit in edits)
    current = number_of_set(hive) if uses_set else 0
    modern = hive.node_get_child(hive.root(), "DriverDatabase") is not None
    changed = 0
    for edit in edits:
        if edit.get("modern", modern) == modern:
            changed += apply(hive, edit, current)
    if changed:
        hive.commit(None)
    print(changed)


if __name__ == "__main__":
    main()
