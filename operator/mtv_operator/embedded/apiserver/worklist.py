"""Things to look at, each once however often it was named; tried again when that fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from mtv_operator.embedded.apiserver import status

log = logging.getLogger(__name__)

FIRST_RETRY_S = 0.2
LAST_RETRY_S = 30.0

T = TypeVar("T", bound=Hashable)


class Worklist(Generic[T]):
    """A queue without doubles, worked off by one task."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._items: dict[T, None] = {}
        self._failed: dict[T, int] = {}
        self._wake = asyncio.Event()

    def add(self, item: T) -> None:
        """Name something that must be looked at."""
        self._items[item] = None
        self._wake.set()

    def add_later(self, item: T, delay_s: float) -> None:
        """Name something that must be looked at after a while."""
        asyncio.get_running_loop().call_later(delay_s, self.add, item)

    async def run(self, look_at: Callable[[T], Awaitable[None]]) -> None:
        """Look at everything that is named, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._items:
                item = next(iter(self._items))
                del self._items[item]
                try:
                    await look_at(item)
                except status.Refusal as refusal:
                    self._retry(item, refusal)
                else:
                    self._failed.pop(item, None)

    def _retry(self, item: T, refusal: status.Refusal) -> None:
        failed = self._failed[item] = self._failed.get(item, 0) + 1
        delay_s = min(LAST_RETRY_S, FIRST_RETRY_S * 2 ** min(failed - 1, 10))
        log.warning("%s: %s: %s; again in %.1f s", self._name, item, refusal.message, delay_s)
        self.add_later(item, delay_s)
