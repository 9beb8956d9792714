"""Uploads into claims, as CDI's API and upload proxy have them: tokens, and the way to the worker.

A token is asked for through the API server, whose caller must be allowed to. The bytes come
straight to us, with the token; they are passed on as they come, nothing is kept.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from mtv import errors
from mtv.api import configuration, core, upload_token
from mtv_operator.data_volumes import names, worker_pod
from mtv_operator.virt_api import statuses
from mtv_operator.virt_api.authorization import Target
from mtv_operator.virt_api.backend import Backend
from mtv_operator.virt_api.statuses import Refusal

GROUP, VERSION = "upload.cdi.kubevirt.io", "v1beta1"
ROOT = f"/apis/{GROUP}"
RESOURCE = "uploadtokenrequests"
CLAIMS = "persistentvolumeclaims"
DIAL_TIMEOUT_S = 10.0
DRAIN_S = 5.0
MOST_BODY = 64 << 10
MOST_ANSWER = 64 << 10

Authorize = Callable[[Request, Target], Awaitable[None]]


class Spec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a token is asked for."""

    pvc_name: str = ""


class TokenRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """CDI's UploadTokenRequest, as far as it is read."""

    metadata: dict[str, Any] = {}
    spec: Spec = Spec()


def group() -> dict[str, Any]:
    """Return the APIGroup."""
    version = {"groupVersion": f"{GROUP}/{VERSION}", "version": VERSION}
    return {
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": GROUP,
        "versions": [version],
        "preferredVersion": version,
    }


def resources() -> dict[str, Any]:
    """Return the APIResourceList."""
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{GROUP}/{VERSION}",
        "resources": [
            {
                "name": RESOURCE,
                "singularName": "uploadtokenrequest",
                "namespaced": True,
                "kind": "UploadTokenRequest",
                "verbs": ["create"],
                "shortNames": ["utr", "utrs"],
            }
        ],
    }


def routes(backend: Backend, authorize: Authorize) -> list[BaseRoute]:
    """Return the routes of both: the aggregated API, and the proxy."""

    async def token(request: Request) -> Response:
        namespace = request.path_params["namespace"]
        target = Target(
            group=GROUP, version=VERSION, verb="create", resource=RESOURCE, namespace=namespace
        )
        await authorize(request, target)
        content = await request.body() if _is_small(request) else b""
        return await run_in_threadpool(make_token, backend, namespace, content)

    async def upload(request: Request) -> Response:
        return await pass_on(backend, request)

    async def document(request: Request) -> Response:
        return JSONResponse(group() if request.url.path == ROOT else resources())

    collection = f"{ROOT}/{VERSION}/namespaces/{{namespace}}/{RESOURCE}"
    return [
        Route(ROOT, document),
        Route(f"{ROOT}/{VERSION}", document),
        Route(collection, token, methods=["POST"]),
        Route("/v1beta1/upload", upload, methods=["HEAD", "POST"]),
        Route("/v1beta1/upload-async", upload, methods=["HEAD", "POST"]),
    ]


def _is_small(request: Request) -> bool:
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > MOST_BODY:
        raise Refusal(413, f"the request is larger than {MOST_BODY} bytes")
    return True


def make_token(backend: Backend, namespace: str, content: bytes) -> Response:
    """Return the request with its token. Raises Refusal. Blocks."""
    try:
        asked = msgspec.json.decode(content, type=TokenRequest)
    except msgspec.MsgspecError as fault:
        raise Refusal(400, f"not an UploadTokenRequest: {fault}") from fault
    claim, key = _claim(backend, namespace, asked.spec.pvc_name)
    payload = upload_token.Payload(
        namespace=namespace,
        claim=claim.metadata.name,
        uid=claim.metadata.uid,
        expires=int(time.time()) + upload_token.LIFE_S,
    )
    body = {
        "kind": "UploadTokenRequest",
        "apiVersion": f"{GROUP}/{VERSION}",
        "metadata": {**asked.metadata, "namespace": namespace},
        "spec": {"pvcName": claim.metadata.name},
        "status": {"token": upload_token.made(payload, key)},
    }
    return JSONResponse(body, status_code=201)


def _claim(backend: Backend, namespace: str, name: str) -> tuple[core.PersistentVolumeClaim, bytes]:
    """Return a claim that waits for an upload, and its key. Raises Refusal."""
    try:
        claim = backend.client.get(core.PersistentVolumeClaim, name, namespace)
        secret = backend.client.find(core.Secret, upload_token.ROOT_SECRET, configuration.NAMESPACE)
    except errors.NotFound:
        raise Refusal(404, f'{CLAIMS} "{name}" not found', name=name, kind=CLAIMS) from None
    except errors.MigrationError as fault:
        raise statuses.of_error(fault) from fault
    if names.UPLOAD not in claim.metadata.annotations:
        raise Refusal(400, f"PVC {name} is not an upload target", name=name, kind=CLAIMS)
    root = secret.data.get(upload_token.KEY) if secret is not None else None
    if not root or names.is_filled(claim):
        raise Refusal(503, f"PVC {name} does not take an upload now", name=name, kind=CLAIMS)
    return claim, upload_token.claim_key(root, claim.metadata.uid)


def worker_of(backend: Backend, token: str, now: float) -> tuple[str, int]:
    """Return where the worker of a token's claim listens. Raises Refusal. Blocks."""
    said = upload_token.payload_of(token)
    if said is None:
        raise Refusal(401, "the token is none", plain=True)
    claim, key = _claim(backend, said.namespace, said.claim)
    if not upload_token.is_good(token, key, now) or said.uid != claim.metadata.uid:
        raise Refusal(401, "the token is not for this claim, or too old", plain=True)
    pod = backend.client.find(core.Pod, worker_pod.name_of(claim), said.namespace)
    address = pod.status.pod_ip if pod is not None and pod.status is not None else None
    if not address:
        raise Refusal(503, f"the worker of PVC {said.claim} does not run", plain=True)
    return address, names.PORT


async def pass_on(backend: Backend, request: Request) -> Response:
    """Pass an upload on to its worker, and its answer back."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise Refusal(401, "a bearer token is needed", plain=True)
    host, port = await run_in_threadpool(worker_of, backend, token.strip(), time.time())
    try:
        async with asyncio.timeout(DIAL_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError) as fault:
        raise Refusal(503, f"the worker does not answer: {fault}", plain=True) from fault
    try:
        writer.write(head(request.method, request.url.path, host, request.headers))
        sending = asyncio.ensure_future(_send(request, writer))
        try:
            async with asyncio.timeout(None if request.method == "POST" else DIAL_TIMEOUT_S):
                code, text = await _answer(reader)
            if code != HTTPStatus.OK and request.method == "POST":
                await asyncio.wait([sending], timeout=DRAIN_S)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
    except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError) as fault:
        raise Refusal(502, f"the worker broke off: {fault}", plain=True) from fault
    finally:
        writer.close()
    return PlainTextResponse(text, status_code=code)


def head(method: str, path: str, host: str, headers: Mapping[str, str]) -> bytes:
    """Return the head of the request to the worker: one request per connection. Pure."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close"]
    lines.append(f"Authorization: {headers.get('authorization', '')}")
    if method == "POST" and "content-length" in headers:
        lines.append(f"Content-Length: {headers['content-length']}")
    elif method == "POST":
        lines.append("Transfer-Encoding: chunked")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def _send(request: Request, writer: asyncio.StreamWriter) -> None:
    chunked = request.method == "POST" and "content-length" not in request.headers
    refused = False  # by a worker that has answered: what still comes is dropped
    async for part in request.stream():
        if not part or refused:
            continue
        try:
            writer.write(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
            await writer.drain()
        except OSError:
            refused = True
    if chunked and not refused:
        writer.write(b"0\r\n\r\n")
        await writer.drain()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, str]:
    """Return status and body of the worker's answer."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    code = int(lines[0].split(" ")[1])
    body = await reader.read(MOST_ANSWER)
    return code, body.decode("utf-8", "replace")
