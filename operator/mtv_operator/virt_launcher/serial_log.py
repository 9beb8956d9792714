"""What the guest wrote on its serial line, kept small."""

from __future__ import annotations

import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)

MOST_BYTES = 4 << 20


def trim(path: Path) -> None:
    """Begin the log anew when it has grown; QEMU appends, so that it goes on at the new end."""
    try:
        if path.stat().st_size > MOST_BYTES:
            path.with_name(path.name + ".1").write_bytes(path.read_bytes())
            os.truncate(path, 0)
    except FileNotFoundError:
        pass
    except OSError as fault:
        log.warning("the serial log %s cannot be trimmed: %s", path, fault)
