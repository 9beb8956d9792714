"""The routes: webhooks, discovery, and `subresources.kubevirt.io` in both versions.

asyncio is at home here, as streams are many and idle; calls of the API server and of handlers
block, and run in the pool of threads.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from mtv_operator.serving import observed, tls
from mtv_operator.serving.exposition import Family, Sample
from mtv_operator.virt_api import (
    admission,
    authorization,
    calls,
    discovery,
    statuses,
    streams,
    uploads,
)
from mtv_operator.virt_api.admission import World
from mtv_operator.virt_api.authorization import Target
from mtv_operator.virt_api.backend import Backend, Vmi
from mtv_operator.virt_api.statuses import Refusal

log = logging.getLogger(__name__)

MOST_REVIEW = 8 << 20
MOST_BODY = 3 << 20
ROOT = f"/apis/{discovery.GROUP}"
Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """What answers. `world` is asked anew for each review."""

    backend: Backend
    world: Callable[[], World]
    proxies: frozenset[str]  # names of the front proxy's certificate; empty: any
    version: str
    uploads: bool = False  # CDI's part is ours: it is not installed

    def asgi(self) -> Starlette:
        """Return the ASGI application."""
        routes: list[BaseRoute] = [
            Route("/", _document({"paths": ["/apis", ROOT, "/healthz", "/openapi/v2"]})),
            Route("/apis", _document(discovery.groups())),
            Route(ROOT, _document(discovery.group())),
            *observed.routes(self.backend.client, _metrics),
            Route("/openapi/v2", _document(discovery.openapi_v2())),
            Route("/openapi/v3", _document(discovery.openapi_v3_index())),
        ]
        routes += [
            Route(path, self._webhook(hook), methods=["POST"])
            for path, hook in admission.WEBHOOKS.items()
        ]
        if self.uploads:
            routes += uploads.routes(self.backend, self._authorize)
        for version in discovery.VERSIONS:
            routes += self._of_version(version)
        return Starlette(
            routes=routes,
            exception_handlers={Refusal: _refused, 404: _no_such_path, 405: _no_such_method},
        )

    def _of_version(self, version: str) -> list[BaseRoute]:
        root = f"{ROOT}/{version}"
        found: list[BaseRoute] = [
            Route(root, _document(discovery.resources(version))),
            Route(f"/openapi/v3{root}", _document(discovery.openapi_v3(version))),
            Route(f"{root}/version", _document(discovery.version_info(self.version))),
            Route(f"{root}/guestfs", _document(discovery.guestfs_info())),
            Route(f"{root}/healthz", _healthy),
            Route(
                f"{root}/namespaces/{{namespace}}/expand-vm-spec",
                self._call(version, "expand-vm-spec", "", calls.expand_vm_spec),
                methods=["PUT"],
            ),
        ]
        for (method, resource, subresource), answer in calls.CALLS.items():
            path = f"{root}/namespaces/{{namespace}}/{resource}/{{name}}/{subresource}"
            endpoint = self._call(version, resource, subresource, answer)
            found.append(Route(path, endpoint, methods=[method]))
        one = f"{root}/namespaces/{{namespace}}/virtualmachineinstances/{{name}}"
        for device, check in (("console", streams.console_target), ("vnc", streams.vnc_target)):
            found += _both(f"{one}/{device}", self._stream(version, device, check))
        for resource in ("virtualmachines", "virtualmachineinstances"):
            base = f"{root}/namespaces/{{namespace}}/{resource}/{{name}}/portforward"
            forward = self._forward(version, resource)
            found += _both(f"{base}/{{port:int}}", forward)
            found += _both(f"{base}/{{port:int}}/{{protocol}}", forward)
        return found

    def _webhook(self, hook: admission.Webhook) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            content = await _body(request, MOST_REVIEW)
            try:
                review = msgspec.json.decode(content, type=admission.Review)
            except (msgspec.DecodeError, msgspec.ValidationError) as fault:
                raise Refusal(400, f"not an AdmissionReview: {fault}") from fault
            verdict = await run_in_threadpool(lambda: hook(review.request, self.world()))
            answer = admission.answer(review.request, verdict)
            return Response(msgspec.json.encode(answer), media_type="application/json")

        return endpoint

    def _call(
        self, version: str, resource: str, subresource: str, answer: calls.Answer
    ) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            call = calls.Call(
                namespace=request.path_params["namespace"],
                name=request.path_params.get("name", ""),
                body=await _body(request, MOST_BODY),
                query=request.url.query,
            )
            verb = authorization.VERBS[request.method]
            target = _target(version, verb, resource, subresource, call.namespace, call.name)
            await self._authorize(request, target)
            return await run_in_threadpool(answer, self.backend, call)

        return endpoint

    async def _authorize(self, connection: HTTPConnection, target: Target) -> None:
        caller = authorization.caller_of(
            connection.scope["headers"], connection.scope.get(tls.PEER), self.proxies
        )
        await run_in_threadpool(authorization.check, self.backend.client, caller, target)

    def _stream(
        self, version: str, device: str, check: Callable[[Vmi], None]
    ) -> Callable[[WebSocket], Awaitable[None]]:
        """Return what joins a client with a device of an instance."""

        async def endpoint(websocket: WebSocket) -> None:
            namespace, name = websocket.path_params["namespace"], websocket.path_params["name"]
            target = _target(version, "get", streams.RESOURCE, device, namespace, name)
            try:
                await self._authorize(websocket, target)
                vmi = await run_in_threadpool(self.backend.vmi, namespace, name)
                check(vmi)
                node = await run_in_threadpool(self.backend.node_of, vmi)
                tls = self.backend.handlers.tls
                await streams.join_handler(websocket, self.backend, vmi, node, device, tls)
            except Refusal as fault:
                await websocket.send_denial_response(fault.response())

        return endpoint

    def _forward(self, version: str, resource: str) -> Callable[[WebSocket], Awaitable[None]]:
        """Return what joins a client with a port of the guest."""

        async def endpoint(websocket: WebSocket) -> None:
            parameters = websocket.path_params
            namespace, name = parameters["namespace"], parameters["name"]
            target = _target(version, "get", resource, "portforward", namespace, name)
            protocol = parameters.get("protocol", "tcp").lower()
            try:
                if protocol not in ("tcp", "udp") or not 0 < parameters["port"] < 65536:
                    raise Refusal(400, "ports are 1 to 65535, by tcp or udp")
                await self._authorize(websocket, target)
                vmi = await run_in_threadpool(self._forwarded, resource, namespace, name)
                address = streams.forward_address(vmi)
                await streams.forward(websocket, address, parameters["port"], protocol)
            except Refusal as fault:
                await websocket.send_denial_response(fault.response())

        return endpoint

    def _forwarded(self, resource: str, namespace: str, name: str) -> Vmi:
        if resource == "virtualmachines":
            vm = self.backend.vm(namespace, name)
            if vm.status is None or not vm.status.created:
                raise statuses.conflict(resource, name, "VMI is not started")
        return self.backend.vmi(namespace, name)


def _both(path: str, endpoint: Callable[[WebSocket], Awaitable[None]]) -> list[BaseRoute]:
    """Return the route of a stream, and what is said to those who ask for it without upgrading."""
    return [WebSocketRoute(path, endpoint), Route(path, _not_upgraded)]


async def _not_upgraded(request: Request) -> Response:
    raise Refusal(400, "websocket: the client is not using the websocket protocol")


def _target(
    version: str, verb: str, resource: str, subresource: str, namespace: str, name: str
) -> Target:
    return Target(
        verb=verb if name or verb != "get" else "list",
        resource=resource,
        subresource=subresource,
        namespace=namespace,
        name=name,
        version=version,
    )


def _document(document: Mapping[str, object]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        return JSONResponse(document)

    return endpoint


def _metrics() -> list[Family]:
    ready = Family("kubevirt_virt_api_ready_status", "virt-api answers.", samples=(Sample(1),))
    return [Family("kubevirt_virt_api_up", "virt-api runs.", samples=(Sample(1),)), ready]


async def _healthy(request: Request) -> Response:
    return PlainTextResponse("ok")


async def _body(request: Request, most: int) -> bytes:
    """Return the request's body. Raises Refusal (413) for one that is too large."""
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > most:
            raise Refusal(413, f"the request is larger than {most} bytes")
    return content


async def _refused(request: Request, fault: Exception) -> Response:
    assert isinstance(fault, Refusal)
    return fault.response()


async def _no_such_path(request: Request, fault: Exception) -> Response:
    return Refusal(404, "the server could not find the requested resource").response()


async def _no_such_method(request: Request, fault: Exception) -> Response:
    message = "the server does not allow this method on the requested resource"
    return Refusal(405, message).response()
