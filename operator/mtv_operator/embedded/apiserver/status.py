"""Refusals as Kubernetes words them: the `Status` object, its reason, code, details and causes.

Clients act on `reason` and `code`, and people read `message`; both follow apimachinery's
`pkg/api/errors`, so that kubectl and client libraries behave as they do on a cluster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class FieldProblem(Protocol):
    """One thing wrong with a field, as `schemas.FieldError` has it."""

    @property
    def path(self) -> str:
        """Return the field, `spec.template.spec.domain`."""

    @property
    def reason(self) -> str:
        """Return the machine's word, `FieldValueInvalid`."""

    @property
    def message(self) -> str:
        """Return the sentence, without the path."""


class Refusal(Exception):
    """A request that is not done; `body()` is what the client gets."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: Mapping[str, Any] | None = None,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = dict(details or {})
        self.headers = tuple(headers)

    def body(self) -> dict[str, Any]:
        """Return the Status object."""
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        if self.details:
            status["details"] = self.details
        return status


def _details(group: str, kind: str, name: str, **more: object) -> dict[str, Any]:
    fields = {"name": name, "group": group, "kind": kind}
    return {key: value for key, value in fields.items() if value} | more


def qualified(group: str, plural: str) -> str:
    """Return `virtualmachines.kubevirt.io`, or `pods` for the core group."""
    return f"{plural}.{group}" if group else plural


def not_found(group: str, plural: str, name: str) -> Refusal:
    """Refuse: no object has this name."""
    message = f'{qualified(group, plural)} "{name}" not found'
    return Refusal(404, "NotFound", message, _details(group, plural, name))


def no_such_path() -> Refusal:
    """Refuse: nothing is served at this path."""
    return Refusal(404, "NotFound", "the server could not find the requested resource")


def already_exists(group: str, plural: str, name: str) -> Refusal:
    """Refuse: the name is taken."""
    message = f'{qualified(group, plural)} "{name}" already exists'
    return Refusal(409, "AlreadyExists", message, _details(group, plural, name))


def conflict(group: str, plural: str, name: str, problem: str = "") -> Refusal:
    """Refuse: the object is not what the client believes."""
    problem = problem or (
        "the object has been modified; please apply your changes to the latest version"
        " and try again"
    )
    message = f'Operation cannot be fulfilled on {qualified(group, plural)} "{name}": {problem}'
    return Refusal(409, "Conflict", message, _details(group, plural, name))


def apply_conflict(message: str, causes: Sequence[Mapping[str, str]]) -> Refusal:
    """Refuse a server-side apply: other managers own these fields."""
    return Refusal(409, "Conflict", message, {"causes": list(causes)})


def invalid(group: str, kind: str, name: str, problems: Sequence[FieldProblem]) -> Refusal:
    """Refuse: the object is well formed and wrong; every problem is named."""
    texts = list(dict.fromkeys(_sentence(problem) for problem in problems))
    joined = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    causes = [
        {"reason": problem.reason, "message": problem.message, "field": problem.path}
        for problem in problems
    ]
    message = f'{qualified_kind(group, kind)} "{name}" is invalid: {joined}'
    return Refusal(422, "Invalid", message, _details(group, kind, name, causes=causes))


def qualified_kind(group: str, kind: str) -> str:
    """Return `VirtualMachine.kubevirt.io`, or `Pod` for the core group."""
    return f"{kind}.{group}" if group else kind


def _sentence(problem: FieldProblem) -> str:
    return f"{problem.path}: {problem.message}" if problem.path else problem.message


def bad_request(message: str) -> Refusal:
    """Refuse: the request cannot be understood."""
    return Refusal(400, "BadRequest", message)


def unauthorized() -> Refusal:
    """Refuse: nobody known asks."""
    return Refusal(401, "Unauthorized", "Unauthorized")


def forbidden(group: str, plural: str, name: str, problem: str) -> Refusal:
    """Refuse: this user may not, or the state of things does not allow it."""
    subject = qualified(group, plural)
    if name:
        subject += f' "{name}"'
    message = f"{subject} is forbidden: {problem}"
    return Refusal(403, "Forbidden", message, _details(group, plural, name))


def forbidden_path(message: str) -> Refusal:
    """Refuse a path that is no resource."""
    return Refusal(403, "Forbidden", f"forbidden: {message}")


def method_not_allowed(group: str, plural: str, verb: str) -> Refusal:
    """Refuse: the resource knows no such verb."""
    message = f"{verb} is not supported on resources of kind {qualified(group, plural)!r}".replace(
        "'", '"'
    )
    return Refusal(405, "MethodNotAllowed", message, _details(group, plural, ""))


def unsupported_media_type(content_type: str, accepted: Sequence[str]) -> Refusal:
    """Refuse: the body is of a type that is not understood here."""
    message = (
        "the body of the request was in an unknown format - accepted media types include: "
        f"{', '.join(accepted)} (seen: {content_type or 'none'})"
    )
    return Refusal(415, "UnsupportedMediaType", message)


def too_large(limit: int) -> Refusal:
    """Refuse: the body is longer than anything that is stored."""
    message = f"Request entity too large: limit is {limit}"
    return Refusal(413, "RequestEntityTooLarge", message)


def expired(message: str, **extra: object) -> Refusal:
    """Refuse: the version asked for is no longer known."""
    refusal = Refusal(410, "Expired", message)
    refusal.details.update(extra)
    return refusal


def version_too_large(asked: int, current: int) -> Refusal:
    """Refuse: the version asked for does not exist yet."""
    message = f"Timeout: Too large resource version: {asked}, current: {current}"
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    return Refusal(504, "Timeout", message, {"causes": [cause], "retryAfterSeconds": 1})


def internal(message: str, code: int = 500) -> Refusal:
    """Refuse: the fault is ours or of something behind us."""
    text = f"Internal error occurred: {message}"
    return Refusal(code, "InternalError", text, {"causes": [{"message": message}]})


def unavailable(message: str) -> Refusal:
    """Refuse: what the request needs does not answer now."""
    return Refusal(503, "ServiceUnavailable", message, {"retryAfterSeconds": 1})


def too_many_requests(
    message: str, retry_after_s: int, causes: Sequence[Mapping[str, str]] = ()
) -> Refusal:
    """Refuse for now: asking again later may help."""
    details: dict[str, Any] = {"retryAfterSeconds": retry_after_s}
    if causes:
        details["causes"] = list(causes)
    retry = (b"retry-after", str(retry_after_s).encode())
    return Refusal(429, "TooManyRequests", message, details, (retry,))


def success(group: str, plural: str, name: str, uid: str) -> dict[str, Any]:
    """Return the Status that answers a delete."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": _details(group, plural, name, uid=uid),
    }
