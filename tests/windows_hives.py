"""Makes registry hives for tests, as a program of the system's Python, which has hivex.

    /usr/bin/python3 -I windows_hives.py HIVE < tree.json

A tree is {key: tree, value: [type, data]}; data as `hive_edit.py` takes it. hivex opens hives and
makes none, so an empty one is written here: the header, and one bin with a root key and its
security.
"""

import importlib.util
import json
import pathlib
import struct
import sys

PAGE = 4096
NONE = 0xFFFFFFFF


def cell(content):
    size = -(-(len(content) + 4) // 8) * 8
    return struct.pack("<i", -size) + content.ljust(size - 4, b"\0")


def empty():
    name = b"root"
    key = struct.pack(
        "<2sHQ15I2H", b"nk", 0x2C, 0, 0, 0, 0, 0, NONE, NONE, 0, NONE,
        32 + len(cell(bytes(76 + len(name)))), NONE, 0, 0, 0, 0, 0, len(name), 0,
    ) + name  # fmt: skip
    at = 32 + len(cell(key))
    descriptor = struct.pack("<BBHIIII", 1, 0, 0x8000, 0, 0, 0, 0)
    security = struct.pack("<2sH4I", b"sk", 0, at, at, 1, len(descriptor)) + descriptor
    used = cell(key) + cell(security)
    content = struct.pack("<4sIIQQI", b"hbin", 0, PAGE, 0, 0, 0) + used
    content += struct.pack("<i", PAGE - len(content))
    head = struct.pack("<4sIIQ7I", b"regf", 1, 1, 0, 1, 5, 0, 1, 32, PAGE, 1).ljust(508, b"\0")
    total = 0
    for (word,) in struct.iter_unpack("<I", head):
        total ^= word
    return (head + struct.pack("<I", total)).ljust(PAGE, b"\0") + content.ljust(PAGE, b"\0")


def main():
    import hivex

    root = pathlib.Path(__file__).parents[1]
    script = root / "converters/guest/application/hive_edit.py"
    spec = importlib.util.spec_from_file_location("hive_edit", script)
    edit = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(edit)
    path = pathlib.Path(sys.argv[1])
    path.write_bytes(empty())
    hive = hivex.Hivex(str(path), write=True)

    def fill(node, tree):
        values = [
            {"key": name, "t": one[0], "value": edit.encoded(*one)}
            for name, one in tree.items()
            if isinstance(one, list)
        ]
        if values:
            hive.node_set_values(node, values)
        for name, one in tree.items():
            if isinstance(one, dict):
                fill(hive.node_add_child(node, name), one)

    fill(hive.root(), json.load(sys.stdin))
    hive.commit(None)


if __name__ == "__main__":
    main()
