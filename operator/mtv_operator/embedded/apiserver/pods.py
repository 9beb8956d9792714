"""What only pods have: binding to a node, eviction, logs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from mtv_operator.embedded.apiserver import (
    documents,
    label_selectors,
    metadata,
    reading,
    services,
    status,
    verbs,
    writing,
)
from mtv_operator.embedded.apiserver.admission import Review
from mtv_operator.embedded.apiserver.deps import Deps
from mtv_operator.embedded.apiserver.exchange import Exchange
from mtv_operator.embedded.apiserver.http_client import Connection, Endpoint, Unreachable
from mtv_operator.embedded.apiserver.registry import Served
from mtv_operator.embedded.apiserver.requests import Target
from mtv_operator.embedded.apiserver.storage import Entry, Key

BUDGETS = "poddisruptionbudgets.policy"
LOG_OPTIONS = (
    "follow",
    "previous",
    "sinceSeconds",
    "sinceTime",
    "timestamps",
    "tailLines",
    "limitBytes",
)
KUBELET_PORT = 10250

Document = dict[str, Any]


async def _body(exchange: Exchange) -> Document:
    media = documents.media_type(exchange.header(b"content-type"))
    content = await exchange.body()
    document = documents.parse(content, media) if content else {}
    if not isinstance(document, dict):
        raise status.bad_request("the body is not an object")
    return document


# binding


async def bind(deps: Deps, exchange: Exchange, served: Served, target: Target) -> None:
    """POST of a Binding: the pod shall run on this node."""
    binding = await _body(exchange)
    node = (binding.get("target") or {}).get("name")
    if not node:
        raise status.bad_request("target.name: Required value")
    key = Key("pods", target.namespace, target.name)
    entry = deps.store.head(key)
    if entry is None:
        raise status.not_found("", "pods", target.name)
    document = entry.document()
    meta = binding.get("metadata") or {}
    metadata.check_preconditions(document, served.info, meta.get("uid"), None)
    assigned = document["spec"].get("nodeName")
    if assigned:
        text = f'pod {target.name} is already assigned to node "{assigned}"'
        raise status.conflict("", "pods/binding", target.name, text)
    if entry.meta.deletion_timestamp:
        text = f"pod {target.name} is being deleted, cannot be assigned to a host"
        raise status.conflict("", "pods/binding", target.name, text)
    document["spec"]["nodeName"] = node
    if meta.get("annotations"):
        document["metadata"].setdefault("annotations", {}).update(meta["annotations"])
    _scheduled(document, metadata.timestamp(deps.clock()))
    if not exchange.query.dry_run():
        await deps.store.stage(key, document)
    await exchange.answer_object(201, _done())


def _scheduled(document: Document, now: str) -> None:
    conditions = document.setdefault("status", {}).setdefault("conditions", [])
    conditions[:] = [one for one in conditions if one.get("type") != "PodScheduled"]
    conditions.append({"type": "PodScheduled", "status": "True", "lastTransitionTime": now})


def _done() -> Document:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "code": 201,
    }


# eviction


async def evict(deps: Deps, exchange: Exchange, served: Served, target: Target) -> None:
    """POST of an Eviction: a deletion that asks webhooks and disruption budgets first."""
    eviction = await _body(exchange)
    call = verbs.call_of(deps, exchange, served, target)
    entry = deps.store.head(call.key)
    if entry is None:
        raise call.not_found()
    eviction.setdefault("metadata", {}).setdefault("name", target.name)
    review = Review(
        operation="CREATE",
        served=served,
        target=target,
        user=exchange.user,
        before=None,
        after=eviction,
        dry_run=call.dry_run,
        warnings=exchange.warnings,
        kind=("policy", "v1", "Eviction"),
    )
    await deps.admission.mutate(review)
    await deps.admission.validate(review)
    _check_budgets(deps, entry)
    options = verbs.delete_options(
        msgspec.json.encode(eviction.get("deleteOptions") or {}), exchange.query
    )
    await writing.delete(call, options)
    await exchange.answer_object(201, _done())


def _check_budgets(deps: Deps, entry: Entry) -> None:
    """Raise Refusal (429) when a disruption budget does not allow the pod to go now."""
    pod = entry.document()
    if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed", "Pending"):
        return
    namespace = entry.key.namespace
    for budget in deps.store.table(BUDGETS).select(namespace):
        spec = budget.document().get("spec") or {}
        selector = spec.get("selector")
        if selector is None or not label_selectors.matches(selector, entry.meta.labels or {}):
            continue
        pods = [
            one.document()
            for one in deps.store.table("pods").select(namespace)
            if label_selectors.matches(selector, one.meta.labels or {})
        ]
        if disruptions_allowed(spec, pods) < 1:
            name = budget.key.name
            cause = {
                "reason": "DisruptionBudget",
                "message": f"The disruption budget {name} does not allow any disruption now",
            }
            text = "Cannot evict pod as it would violate the pod's disruption budget."
            raise status.too_many_requests(text, 10, [cause])


def disruptions_allowed(spec: Document, pods: Sequence[Document]) -> int:
    """Return how many of a budget's pods may go now. Pure."""
    healthy = sum(1 for pod in pods if _is_ready(pod))
    if spec.get("minAvailable") is not None:
        wanted = share(spec["minAvailable"], len(pods))
    elif spec.get("maxUnavailable") is not None:
        wanted = len(pods) - share(spec["maxUnavailable"], len(pods))
    else:
        wanted = 0
    return healthy - max(0, wanted)


def share(value: int | str, total: int) -> int:
    """Return a number, or a percentage of `total` rounded up. Pure."""
    if isinstance(value, str) and value.endswith("%"):
        return math.ceil(int(value[:-1]) * total / 100)
    return int(value)


def _is_ready(pod: Document) -> bool:
    if pod["metadata"].get("deletionTimestamp"):
        return False
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


# logs


async def log(deps: Deps, exchange: Exchange, served: Served, target: Target) -> None:
    """GET of a container's log, from the node on which it runs."""
    pod = reading.find(deps.store, served, target).document()
    container = _container(pod, exchange.query.text("container"))
    node = pod["spec"].get("nodeName")
    if not node:
        raise status.bad_request(
            f'container "{container}" in pod "{target.name}" is waiting to start: the pod is not'
            " scheduled"
        )
    endpoint = _node_endpoint(deps, node)
    options = {
        name: exchange.query.values[name] for name in LOG_OPTIONS if name in exchange.query.values
    }
    path = f"/containerLogs/{target.namespace}/{target.name}/{quote(container)}"
    if options:
        path += f"?{urlencode(options)}"
    try:
        await _relay(exchange, endpoint, path)
    except Unreachable as error:
        if exchange.started:
            return  # it broke off in the middle: the client sees the connection end
        text = f"Get https://{endpoint.host}:{endpoint.port}{path}: {error}"
        raise status.internal(text) from error


async def _relay(exchange: Exchange, endpoint: Endpoint, path: str) -> None:
    connection = await Connection.open(endpoint)
    try:
        host = f"{endpoint.host}:{endpoint.port}".encode()
        await connection.begin("GET", path, [(b"host", host), (b"connection", b"close")])
        code, _ = await connection.head()
        if code >= 400:
            text = b"".join([part async for part in connection.parts()]).decode().strip()
            raise status.Refusal(code, "NotFound" if code == 404 else "BadRequest", text)
        await exchange.begin(code, [(b"content-type", b"text/plain")])
        async for part in exchange.until_either_ends(connection.parts()):
            await exchange.write(part)
        await exchange.write(b"", more=False)
    finally:
        connection.close()


def _container(pod: Document, asked: str) -> str:
    """Return the container whose log is wanted. Raises Refusal when that is not clear."""
    spec, name = pod["spec"], pod["metadata"]["name"]
    names = [one["name"] for one in spec.get("containers") or ()]
    inits = [one["name"] for one in spec.get("initContainers") or ()]
    if asked:
        if asked not in (*names, *inits):
            raise status.bad_request(f"container {asked} is not valid for pod {name}")
        return asked
    if len(names) == 1:
        return str(names[0])
    chosen = (pod["metadata"].get("annotations") or {}).get(
        "kubectl.kubernetes.io/default-container"
    )
    if chosen in names:
        return str(chosen)
    text = f"a container name must be specified for pod {name}, choose one of: [{' '.join(names)}]"
    if inits:
        text += f" or one of the init containers: [{' '.join(inits)}]"
    raise status.bad_request(text)


def _node_endpoint(deps: Deps, name: str) -> Endpoint:
    entry = deps.store.get(Key("nodes", "", name))
    if entry is None:
        raise status.not_found("", "nodes", name)
    told = entry.document().get("status") or {}
    addresses = {one.get("type"): one.get("address") for one in told.get("addresses") or ()}
    host = addresses.get("InternalIP") or addresses.get("Hostname") or name
    port = ((told.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port")
    front = deps.front_proxy
    tls = services.of_node(front.ca, front.own_certificate, front.own_key)
    return Endpoint(host, port or KUBELET_PORT, tls, host)
