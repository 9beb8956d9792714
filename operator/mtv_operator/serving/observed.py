"""`/metrics` and `/healthz` of a process, as Prometheus and the kubelet ask for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mtv import errors
from mtv_operator.objects import Client
from mtv_operator.serving import exposition

Collect = Callable[[], Iterable[exposition.Family]]


def application(client: Client, collect: Collect) -> Starlette:
    """Return the application. `collect` blocks, and is called for each scrape."""
    return Starlette(routes=routes(client, collect))


def routes(client: Client, collect: Collect) -> list[Route]:
    """Return both routes."""

    async def metrics(request: Request) -> Response:
        content = await run_in_threadpool(lambda: exposition.text(collect()))
        return Response(content, media_type=exposition.MEDIA_TYPE)

    async def healthz(request: Request) -> Response:
        code, said = await run_in_threadpool(health, client)
        return JSONResponse(said, status_code=code)

    return [Route("/metrics", metrics), Route("/healthz", healthz)]


def health(client: Client) -> tuple[int, dict[str, object]]:
    """Return whether the API server answers, as upstream's components say it."""
    try:
        version = client.raw("GET", "/version")
    except errors.MigrationError as fault:
        return 500, {"apiserver": {"connectivity": "failed", "error": str(fault)}}
    return 200, {"apiserver": {"connectivity": "ok", "version": version}}
