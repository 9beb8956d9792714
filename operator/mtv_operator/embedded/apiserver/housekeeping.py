"""What the server does by itself: first objects, garbage, namespaces that go, old events."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from mtv_operator.embedded.apiserver import builtin, metadata
from mtv_operator.embedded.apiserver.deps import Deps
from mtv_operator.embedded.apiserver.storage import Key

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


async def prepare(deps: Deps) -> None:
    """Make what every cluster has."""
    waiting = []
    for name in NAMESPACES:
        waiting += [make(deps, Key("namespaces", "", name), "v1", "Namespace")]
    await asyncio.gather(*(one for one in waiting if one is not None))


def make(
    deps: Deps, key: Key, api_version: str, kind: str, **fields: object
) -> asyncio.Future[Any] | None:
    """Stage an object unless there is one of this name."""
    if deps.store.head(key) is not None:
        return None
    place = {"namespace": key.namespace} if key.namespace else {}
    document: dict[str, Any] = {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": key.name, **place},
        **fields,
    }
    served = deps.registry.of_kind(api_version, kind)
    assert served is not None
    builtin.default(document, served.info)
    builtin.default_new(document, served.info)
    metadata.prepare_create(document, served.info, str(uuid.uuid4()), deps.clock())
    return deps.store.stage(key, document)


async def run(deps: Deps) -> None:
    """Keep house until cancelled."""
    await asyncio.Event().wait()
