"""Answers of the API: `metav1.Status` for refusals, empty bodies for what was accepted."""

from __future__ import annotations

from http import HTTPStatus

from starlette.responses import JSONResponse, PlainTextResponse, Response

from mtv import errors

REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    422: "Invalid",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class Refusal(Exception):
    """A call that is refused, with the HTTP status that says so."""

    def __init__(
        self, code: int, message: str, *, name: str = "", kind: str = "", plain: bool = False
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.name, self.kind = code, message, name, kind
        self.plain = plain  # text instead of a Status

    def response(self) -> Response:
        """Return the answer."""
        if self.plain:
            return PlainTextResponse(self.message, status_code=self.code)
        body: dict[str, object] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": REASONS.get(self.code, HTTPStatus(self.code).phrase.replace(" ", "")),
            "code": self.code,
        }
        if self.name:
            body["details"] = {"name": self.name, "group": "kubevirt.io", "kind": self.kind}
        return JSONResponse(body, status_code=self.code)


def not_found(resource: str, name: str) -> Refusal:
    """Return what Kubernetes says of an object that does not exist."""
    message = f'{_one(resource)}.kubevirt.io "{name}" not found'
    return Refusal(404, message, name=name, kind=resource)


def conflict(resource: str, name: str, message: str) -> Refusal:
    """Return what Kubernetes says of an operation that does not fit an object's state."""
    text = f'Operation cannot be fulfilled on {_one(resource)}.kubevirt.io "{name}": {message}'
    return Refusal(409, text, name=name, kind=resource)


def _one(resource: str) -> str:
    """Return a resource in the singular, as upstream's messages have it."""
    return resource.removesuffix("s")


def of_error(fault: errors.MigrationError) -> Refusal:
    """Return the refusal that an error of the API server means to our caller."""
    message = f"{fault}. {fault.hint}" if fault.hint else str(fault)
    for kind, code in (
        (errors.NotFound, 404),
        (errors.AlreadyExists, 409),
        (errors.Conflict, 409),
        (errors.Forbidden, 403),
        (errors.BadInput, 422),
        (errors.Retryable, 503),
    ):
        if isinstance(fault, kind):
            return Refusal(code, message)
    return Refusal(500, message)


def accepted() -> Response:
    """Return the answer to what will be done: 202, empty."""
    return Response(status_code=202)


def done() -> Response:
    """Return the answer to what was done: 200, empty."""
    return Response(status_code=200)
