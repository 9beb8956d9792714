"""Registry hives edited by hivex, in a process of its own: a hive is a stranger's bytes."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from converters.guest import programs

_PYTHON = "/usr/bin/python3"
_MODULE = "/usr/lib/python3/dist-packages/hivex"  # Debian's python3-hivex
_SCRIPT = Path(__file__).with_name("hive_edit.py")
_TIMEOUT_S = 60.0

Edit = Mapping[str, object]


def is_here() -> bool:
    """Whether the system's Python has hivex."""
    return os.access(_PYTHON, os.X_OK) and os.path.exists(_MODULE)


def edited(content: bytes, edits: Sequence[Edit]) -> bytes:
    """Return a hive with these edits; the same bytes where nothing had to change. Raises."""
    with tempfile.TemporaryDirectory(prefix="mtv-guest-") as folder:
        path = Path(folder, "hive")
        path.write_bytes(content)
        script = str(_SCRIPT)
        out = programs.run(
            [_PYTHON, "-I", script, str(path)],
            stdin=json.dumps(list(edits)).encode(),
            timeout_s=_TIMEOUT_S,
        )
        return content if out.strip() == b"0" else path.read_bytes()
