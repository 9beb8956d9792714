"""What the server does by itself: first objects, old events, and making objects as itself."""

from __future__ import annotations

import asyncio
import uuid
from datetime import datetime, timedelta
from typing import Any

from mtv_operator.embedded.apiserver import bootstrap, builtin, metadata
from mtv_operator.embedded.apiserver.deps import Deps
from mtv_operator.embedded.apiserver.storage import Entry, Key

EVENTS_KEPT = timedelta(hours=1)  # as kube-apiserver's --event-ttl
EVENTS_CHECK_S = 60.0


async def prepare(deps: Deps) -> None:
    """Make what every cluster has, as far as it is not there."""
    staged = [make(deps, *one.place, **one.fields) for one in bootstrap.objects(deps.front_proxy)]
    await asyncio.gather(*(one for one in staged if one is not None))


def make(
    deps: Deps,
    key: Key,
    api_version: str,
    kind: str,
    **fields: Any,  # noqa: ANN401 - any JSON
) -> asyncio.Future[Entry] | None:
    """Stage an object unless there is one of this name."""
    if deps.store.head(key) is not None:
        return None
    served = deps.registry.of_kind(api_version, kind)
    assert served is not None
    place = {"namespace": key.namespace} if key.namespace else {}
    given = fields.pop("metadata", {})
    document: dict[str, Any] = {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": key.name, **place, **given},
        **fields,
    }
    if served.schema is not None:
        document, _ = served.schema.admit(document)
    builtin.default(document, served.info)
    builtin.default_new(document, served.info)
    metadata.prepare_create(document, served.info, str(uuid.uuid4()), deps.clock())
    return deps.store.stage(key, document)


async def expire_events(deps: Deps) -> None:
    """Delete events that nobody has told of for an hour, until cancelled."""
    while True:
        limit = deps.clock() - EVENTS_KEPT
        for entry in deps.store.table("events").select(""):
            if _older(entry.meta.creation_timestamp, limit) and deps.store.head(entry.key) is entry:
                document = entry.document()
                if _older(document.get("lastTimestamp") or document.get("eventTime"), limit):
                    await deps.store.stage(entry.key, document, deleted=True)
        await asyncio.sleep(EVENTS_CHECK_S)


def _older(text: str | None, limit: datetime) -> bool:
    if not text:
        return True
    try:
        return datetime.fromisoformat(text) < limit
    except (ValueError, TypeError):
        return True
