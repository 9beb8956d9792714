"""The paths that are no resources: discovery, OpenAPI, version."""

from __future__ import annotations

from collections.abc import Callable

from mtv_operator.embedded.apiserver import discovery, openapi, status
from mtv_operator.embedded.apiserver.aggregation import Aggregator
from mtv_operator.embedded.apiserver.deps import Deps
from mtv_operator.embedded.apiserver.exchange import JSON, Exchange, encode
from mtv_operator.embedded.apiserver.requests import parse_accept

PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"


class Documents:
    """Documents that describe what is served, encoded once per change of the registry."""

    def __init__(self, deps: Deps, aggregator: Aggregator) -> None:
        self._registry = deps.registry
        self._aggregator = aggregator
        self._generation = (-1, -1)
        self._kept: dict[tuple[str, str], bytes] = {}

    async def answer(self, exchange: Exchange) -> None:
        """Answer a path that names no resource. Raises Refusal (404)."""
        if exchange.method not in ("GET", "HEAD"):
            raise status.no_such_path()
        path = exchange.path.rstrip("/") or "/"
        parts = path.strip("/").split("/")
        infos, others = self._registry.infos(), self._aggregator.all()
        match parts:
            case ["version"]:
                await self._send(exchange, path, "", discovery.version)
            case ["api"] | ["apis"]:
                await self._root(exchange, parts[0])
            case ["api", version]:
                await self._resources(exchange, path, "", version)
            case ["apis", group]:
                await self._send(exchange, path, "", lambda: discovery.group(infos, group, others))
            case ["apis", group, version]:
                await self._resources(exchange, path, group, version)
            case ["openapi", "v2"] if PROTOBUF in exchange.header(b"accept"):
                content_type = PROTOBUF.replace("@", ".").encode()  # "@" is not legal in answers
                await self._send(
                    exchange, path, PROTOBUF, lambda: openapi.v2_protobuf(infos), content_type
                )
            case ["openapi", "v2"]:
                await self._send(exchange, path, "", lambda: openapi.v2(infos))
            case ["openapi", "v3"]:
                await self._send(exchange, path, "", lambda: openapi.v3_index(infos))
            case ["openapi", "v3", "api", version]:
                await self._send(exchange, path, "", lambda: openapi.v3(infos, "", version))
            case ["openapi", "v3", "apis", group, version]:
                await self._send(exchange, path, "", lambda: openapi.v3(infos, group, version))
            case [""]:
                await self._send(exchange, path, "", self._paths)
            case _:
                raise status.no_such_path()

    async def _root(self, exchange: Exchange, root: str) -> None:
        infos, others = self._registry.infos(), self._aggregator.all()
        path = exchange.path.rstrip("/")
        version = _aggregated_version(exchange.header(b"accept"))
        if version:
            content_type = (
                f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
            )
            core = root == "api"
            await self._send(
                exchange,
                path,
                version,
                lambda: discovery.aggregated_list(infos, others, core=core, version=version),
                content_type.encode(),
            )
        elif root == "api":
            host = exchange.header(b"host")
            await self._send(exchange, path, host, lambda: discovery.api_versions(host))
        else:
            await self._send(exchange, path, "", lambda: discovery.group_list(infos, others))

    async def _resources(self, exchange: Exchange, path: str, group: str, version: str) -> None:
        registry = self._registry
        if not registry.has_group_version(group, version):
            raise status.no_such_path()
        await self._send(
            exchange,
            path,
            "",
            lambda: discovery.resource_list(registry.infos(), group, version),
        )

    def _paths(self) -> dict[str, list[str]]:
        versions = sorted({info.api_version for info in self._registry.infos()} - {"v1"})
        apis = [f"/apis/{version}" for version in versions]
        own = ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3"]
        return {"paths": [*own, *apis, "/readyz", "/version"]}

    async def _send(
        self,
        exchange: Exchange,
        path: str,
        variant: str,
        build: Callable[[], object],
        content_type: bytes = JSON,
    ) -> None:
        generation = (self._registry.generation, self._aggregator.generation)
        if self._generation != generation:
            self._generation = generation
            self._kept.clear()
        body = self._kept.get((path, variant))
        if body is None:
            document = build()
            if document is None:
                raise status.no_such_path()
            body = document if isinstance(document, bytes) else encode(document)
            self._kept[path, variant] = body
        await exchange.answer(200, body, content_type)


def _aggregated_version(accept: str) -> str:
    """Return which version of aggregated discovery the client prefers, "" for none."""
    for media, parameters in parse_accept(accept):
        if media != "application/json":
            continue
        if parameters.get("as") != "APIGroupDiscoveryList":
            return ""
        if parameters.get("g") == "apidiscovery.k8s.io" and parameters.get("v") in (
            "v2",
            "v2beta1",
        ):
            return parameters["v"]
    return ""
