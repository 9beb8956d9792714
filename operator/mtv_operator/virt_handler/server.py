"""What virt-api asks of this node: consoles, pause and the like, and what the guest agent knows.

Paths are upstream's, `/v1/namespaces/{ns}/virtualmachineinstances/{name}/…`; errors are
`metav1.Status`. Calls to launchers block, and run in the pool of threads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from mtv import errors
from mtv.api import kubevirt
from mtv_operator.virt_handler import guest_answers, launcher_socket, pictures
from mtv_operator.virt_handler.sessions import Sessions
from mtv_operator.virt_launcher import libvirt_errors, protocol
from mtv_operator.virt_launcher.protocol import Domain, GuestInfo

log = logging.getLogger(__name__)

ROOT = "/v1/namespaces/{namespace}/virtualmachineinstances/{name}"
CALL_TIMEOUT_S = 60.0
CHANGES: dict[str, Callable[[], protocol.Request]] = {
    "pause": protocol.Pause,
    "unpause": protocol.Unpause,
    "reset": protocol.Reset,
    "softreboot": protocol.SoftReboot,
    "freeze": protocol.Freeze,
    "unfreeze": protocol.Unfreeze,
}
SOCKETS = {"console": "virt-serial0", "vnc": "virt-vnc"}
# HTTP status and metav1.StatusReason of an error, most special first.
_CODES: tuple[tuple[type[errors.MigrationError], int, str], ...] = (
    (errors.NotFound, 404, "NotFound"),
    (libvirt_errors.WrongState, 409, "Conflict"),
    (errors.BadInput, 422, "Invalid"),
    (errors.Conflict, 409, "Conflict"),
    (errors.TargetRefused, 409, "Conflict"),
    (errors.Retryable, 503, "ServiceUnavailable"),
)

Found = tuple[kubevirt.VirtualMachineInstance, Path]


class Application:
    """The routes. `find` returns a VMI of this node and its launcher's socket, or raises."""

    def __init__(self, find: Callable[[str, str], Found]) -> None:
        self._find = find
        self._sessions = Sessions()
        self.asgi = Starlette(
            routes=[
                Route("/healthz", self._healthz),
                *(Route(f"{ROOT}/{verb}", self._change, methods=["PUT"]) for verb in CHANGES),
                Route(f"{ROOT}/guestosinfo", self._guest(guest_answers.os_info)),
                Route(f"{ROOT}/userlist", self._guest(lambda _, g: guest_answers.user_list(g))),
                Route(
                    f"{ROOT}/filesystemlist",
                    self._guest(lambda _, g: guest_answers.file_system_list(g)),
                ),
                Route(f"{ROOT}/vnc/screenshot", self._screenshot),
                *(WebSocketRoute(f"{ROOT}/{device}", self._session) for device in SOCKETS),
            ],
            exception_handlers={errors.MigrationError: _answer_error},
        )

    async def _healthz(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _change(self, request: Request) -> Response:
        verb = request.url.path.rpartition("/")[2]
        vmi, socket = self._running(request.path_params)
        log.info("%s %s/%s", verb, vmi.metadata.namespace, vmi.metadata.name)
        await run_in_threadpool(launcher_socket.call, socket, CHANGES[verb](), CALL_TIMEOUT_S)
        return Response(status_code=200)

    def _guest(
        self, shape: Callable[[Domain, GuestInfo], msgspec.Struct]
    ) -> Callable[[Request], object]:
        async def answer(request: Request) -> Response:
            _, socket = self._running(request.path_params)
            call = protocol.GetGuestInfo()
            reply = await run_in_threadpool(launcher_socket.call, socket, call, CALL_TIMEOUT_S)
            domain = reply.domain or Domain()
            content = msgspec.json.encode(shape(domain, domain.guest or GuestInfo()))
            return Response(content, media_type="application/json")

        return answer

    async def _screenshot(self, request: Request) -> Response:
        _, socket = self._running(request.path_params)
        moved = request.query_params.get("moveCursor") == "true"
        call = protocol.TakeScreenshot(move_cursor=moved)
        reply = await run_in_threadpool(launcher_socket.call, socket, call, CALL_TIMEOUT_S)
        content = await run_in_threadpool(pictures.png, reply.picture)
        return Response(content, media_type="image/png")

    async def _session(self, websocket: WebSocket) -> None:
        device = websocket.url.path.rpartition("/")[2]
        try:
            vmi, socket = self._running(websocket.path_params)
        except errors.MigrationError as fault:
            # virtctl tries again on 400 only: a guest that is about to start is waited for.
            gone = isinstance(fault, errors.NotFound)
            await websocket.send_denial_response(_status(fault, 404 if gone else 400))
            return
        path = socket_of(socket, vmi.metadata.uid, device)
        await self._sessions.serve(websocket, vmi.metadata.uid, device, path)

    def _running(self, parameters: dict[str, str]) -> Found:
        vmi, socket = self._find(parameters["namespace"], parameters["name"])
        if vmi.status is None or vmi.status.phase != "Running":
            raise libvirt_errors.WrongState("VMI is not running")
        return vmi, socket


def socket_of(launcher: Path, uid: str, device: str) -> Path:
    """Return where QEMU listens for a device's bytes, seen from the node."""
    return launcher.parent.with_name("private") / uid / SOCKETS[device]


async def _answer_error(request: Request, fault: Exception) -> Response:
    assert isinstance(fault, errors.MigrationError)
    return _status(fault)


def _status(fault: errors.MigrationError, given: int | None = None) -> Response:
    """Return an error as `metav1.Status`."""
    code, reason = next(
        ((code, reason) for kind, code, reason in _CODES if isinstance(fault, kind)),
        (500, "InternalError"),
    )
    code, reason = (given, "BadRequest") if given == 400 else (code, reason)
    message = f"{fault}. {fault.hint}" if fault.hint else str(fault)
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
    return JSONResponse(body, status_code=code)
