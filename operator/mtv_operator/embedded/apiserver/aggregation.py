"""Aggregated APIs: requests for their groups are passed on, websockets too.

After Kubernetes' kube-aggregator: this server has found out who asks and whether they may; it says
so in X-Remote-* headers, and proves itself by the front-proxy certificate.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec

from mtv_operator.embedded.apiserver import metadata, services, status, writing
from mtv_operator.embedded.apiserver.deps import Deps
from mtv_operator.embedded.apiserver.exchange import Exchange, User
from mtv_operator.embedded.apiserver.http_client import Connection, Endpoint, Headers, Unreachable
from mtv_operator.embedded.apiserver.storage import Change, Key

log = logging.getLogger(__name__)

API_SERVICES = "apiservices.apiregistration.k8s.io"
CHECK_S = 30.0
CHECK_FAILED_S = 1.0
CHECK_TIMEOUT_S = 5.0
AGGREGATOR = User(name="system:kube-aggregator", groups=("system:masters",))
# Of one connection only (RFC 9110 section 7.6.1), or said anew by this server.
_HOP_BY_HOP = frozenset(
    {
        b"authorization",
        b"connection",
        b"content-length",
        b"expect",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)

Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregated:
    """A group and version that another server serves."""

    group: str
    version: str
    resources: tuple[Document, ...] = ()  # APIResource, as its discovery says
    group_priority: int = 0
    version_priority: int = 0


def forwarded_headers(
    headers: Headers, user: User, endpoint: Endpoint, client: str
) -> list[tuple[bytes, bytes]]:
    """Return the headers for the other server: the client's, and who the client is. Pure."""
    kept = [
        (name, value)
        for name, value in headers
        if name not in _HOP_BY_HOP
        and name != b"host"
        and not name.startswith((b"x-remote-", b"impersonate-"))
    ]
    host = endpoint.name or endpoint.host
    kept.append((b"host", host.encode()))
    kept.append((b"x-forwarded-for", client.encode()))
    kept.append((b"x-forwarded-proto", b"https"))
    kept.append((b"x-remote-user", _header(user.name)))
    kept += [(b"x-remote-group", _header(group)) for group in user.groups]
    if user.uid:
        kept.append((b"x-remote-uid", _header(user.uid)))
    for name, values in user.extra:
        key = b"x-remote-extra-" + quote(name.lower(), safe="-._~").encode()
        kept += [(key, _header(value)) for value in values]
    return kept


def _header(text: str) -> bytes:
    """Return a header's value without anything that could end it."""
    return "".join(letter for letter in text if letter.isprintable()).encode()


class Aggregator:
    """Passes requests on, and keeps an eye on those who answer them."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._wake = asyncio.Event()
        self._found: dict[str, Aggregated] = {}
        self.generation = 0

    def serves(self, group: str, version: str) -> bool:
        """Return whether an APIService with a server behind it is there."""
        return self._deps.store.get(Key(API_SERVICES, "", f"{version}.{group}")) is not None

    def all(self) -> list[Aggregated]:
        """Return what other servers say they serve."""
        return list(self._found.values())

    def endpoint(self, group: str, version: str) -> Endpoint:
        """Return where a group and version is served. Raises Refusal (503)."""
        entry = self._deps.store.get(Key(API_SERVICES, "", f"{version}.{group}"))
        if entry is None:
            raise status.no_such_path()
        try:
            return self._resolve(entry.document())
        except Unreachable as error:
            raise status.unavailable(f"service unavailable: {error}") from error

    def _resolve(self, document: Document) -> Endpoint:
        spec = document.get("spec") or {}
        front = self._deps.front_proxy
        if not spec.get("service"):
            raise Unreachable("the APIService names no service")
        if spec.get("insecureSkipTLSVerify"):
            tls = services.unchecked(front.certificate, front.key)
        else:
            tls = services.trusting(spec.get("caBundle") or "", front.certificate, front.key)
        return services.resolve(self._deps.store, spec["service"], tls)

    async def forward(self, exchange: Exchange, group: str, version: str) -> None:
        """Pass a request on, and its answer back."""
        endpoint = self.endpoint(group, version)
        body = await exchange.body()
        client = exchange.scope.get("client") or ("", 0)
        headers = forwarded_headers(
            exchange.scope["headers"], exchange.user, endpoint, str(client[0])
        )
        headers.append((b"connection", b"close"))
        path = exchange.scope["raw_path"].decode("latin-1")
        query = exchange.scope["query_string"].decode("latin-1")
        try:
            await self._relay(
                exchange, endpoint, f"{path}?{query}" if query else path, headers, body
            )
        except Unreachable as error:
            if exchange.started:
                return
            raise status.unavailable(f"error trying to reach service: {error}") from error

    async def _relay(
        self, exchange: Exchange, endpoint: Endpoint, path: str, headers: Headers, body: bytes
    ) -> None:
        connection = await Connection.open(endpoint)
        try:
            await connection.begin(exchange.method, path, headers, body)
            code, answered = await connection.head()
            kept = [
                (name, value)
                for name, value in answered
                if name not in _HOP_BY_HOP or name == b"content-length"
            ]
            await exchange.begin(code, kept)
            async for part in exchange.until_either_ends(connection.parts()):
                await exchange.write(part)
            await exchange.write(b"", more=False)
        finally:
            connection.close()

    # availability

    async def run(self) -> None:
        """Say of each APIService whether its server answers, until cancelled."""
        store = self._deps.store
        stops = [
            store.listen(table, self._on_changes)
            for table in (API_SERVICES, "services", "endpoints", "endpointslices.discovery.k8s.io")
        ]
        try:
            while True:
                entries = store.table(API_SERVICES).select("")
                healthy = [await self._check(entry.key, entry.document()) for entry in entries]
                self._wake.clear()
                delay_s = CHECK_S if all(healthy) else CHECK_FAILED_S
                asyncio.get_running_loop().call_later(delay_s, self._wake.set)
                await self._wake.wait()
        finally:
            for stop in stops:
                stop()

    def _on_changes(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.entry.key.resource == API_SERVICES and change.kind == "DELETED":
                self._found.pop(change.entry.key.name, None)
                self.generation += 1
            elif change.entry.key.resource != API_SERVICES or change.kind == "ADDED":
                self._wake.set()

    async def _check(self, key: Key, document: Document) -> bool:
        spec = document.get("spec") or {}
        if not spec.get("service"):
            return True
        reason, message = "Passed", "all checks passed"
        try:
            resources = await self._ask(document)
        except Unreachable as error:
            reason, message = "FailedDiscoveryCheck", f"failing or missing response: {error}"
            resources = None
        if resources is not None:
            found = Aggregated(
                group=spec.get("group") or "",
                version=spec.get("version") or "",
                resources=tuple(resources),
                group_priority=spec.get("groupPriorityMinimum") or 0,
                version_priority=spec.get("versionPriority") or 0,
            )
            if self._found.get(key.name) != found:
                self._found[key.name] = found
                self.generation += 1
        await self._tell(key, resources is not None, reason, message)
        return resources is not None

    async def _ask(self, document: Document) -> list[Document]:
        """Return the resources that the other server names. Raises Unreachable."""
        spec = document["spec"]
        endpoint = self._resolve(document)
        path = f"/apis/{spec.get('group')}/{spec.get('version')}"
        headers = forwarded_headers((), AGGREGATOR, endpoint, "")
        headers.append((b"accept", b"application/json"))
        code, body = await self._deps.pool.request(
            endpoint, "GET", path, headers, b"", CHECK_TIMEOUT_S
        )
        if code != 200:
            raise Unreachable(f"{path} answers {code}")
        try:
            resources = msgspec.json.decode(body).get("resources") or []
        except (msgspec.DecodeError, AttributeError) as error:
            raise Unreachable(f"{path} is no discovery document") from error
        return [one for one in resources if isinstance(one, dict)]

    async def _tell(self, key: Key, available: bool, reason: str, message: str) -> None:
        served = self._deps.registry.of_table(API_SERVICES)
        assert served is not None
        now = metadata.timestamp(self._deps.clock())
        condition = {
            "type": "Available",
            "status": "True" if available else "False",
            "reason": reason,
            "message": message,
        }

        def change(document: Document) -> None:
            conditions = document.setdefault("status", {}).setdefault("conditions", [])
            old: Document = next((one for one in conditions if one.get("type") == "Available"), {})
            since = now
            if old.get("status") == condition["status"]:
                since = old.get("lastTransitionTime", now)
            conditions[:] = [one for one in conditions if one is not old]
            conditions.append({**condition, "lastTransitionTime": since})

        await writing.amend(self._deps, served, key, change)
