"""Certificates that are replaced under a running process: connections made later use the new ones.

The kubelet swaps a mounted Secret's files at once for all of them; whoever reads between two
swaps sees a pair that does not fit, and tries again at the next look.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

log = logging.getLogger(__name__)


class Reloading:
    """TLS contexts, and the files that they were made of."""

    def __init__(self, files: Sequence[Path], load: Callable[[], None]) -> None:
        self._files = tuple(files)
        self._load = load
        self._seen = self._times()

    def look(self) -> bool:
        """Load the files again if they changed; tell whether they were."""
        now = self._times()
        if now == self._seen:
            return False
        try:
            self._load()
        except (OSError, ssl.SSLError, ValueError) as fault:
            log.warning("the new certificate cannot be used yet: %s", fault)
            return False
        self._seen = now
        log.info("took the new certificate")
        return True

    def _times(self) -> tuple[int, ...]:
        return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in self._files)
