"""Admission webhooks: what else may change or refuse a write."""

from __future__ import annotations

from typing import Any

from mtv_operator.embedded.apiserver.exchange import Exchange
from mtv_operator.embedded.apiserver.registry import Served
from mtv_operator.embedded.apiserver.requests import Target
from mtv_operator.embedded.apiserver.storage import Store

Document = dict[str, Any]


class Admission:
    """Calls the webhooks that are configured."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def mutate(
        self,
        exchange: Exchange,
        operation: str,
        served: Served,
        target: Target,
        before: Document | None,
        after: Document,
    ) -> Document:
        """Return the object as mutating webhooks leave it."""
        return after

    async def validate(
        self,
        exchange: Exchange,
        operation: str,
        served: Served,
        target: Target,
        before: Document | None,
        after: Document | None,
    ) -> None:
        """Raise Refusal when a validating webhook denies the write."""
