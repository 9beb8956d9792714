"""Whether a caller may do what it asks: the front proxy says who it is, the API server whether.

After upstream's `pkg/virt-api/rest/authorizer.go`: a request is believed when it comes with a
client certificate of the front proxy; its `X-Remote-*` headers are then put to a
SubjectAccessReview.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from mtv import errors
from mtv_operator.objects import Client
from mtv_operator.virt_api import discovery, statuses
from mtv_operator.virt_api.statuses import Refusal

VERBS = {"GET": "get", "PUT": "update", "POST": "create", "PATCH": "patch", "DELETE": "delete"}
REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
EXTRA = "x-remote-extra-"

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks."""

    user: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is asked for."""

    verb: str
    resource: str
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    version: str = discovery.PREFERRED
    group: str = discovery.GROUP


def caller_of(headers: Headers, peer: str | None, allowed: frozenset[str]) -> Caller:
    """Return who asks. Raises Refusal unless the connection is the front proxy's. Pure.

    `peer` is the name in the client's certificate; `allowed` empty believes any of the authority.
    """
    if peer is None:
        raise Refusal(401, "request is not authenticated: it did not come through the API server")
    if allowed and peer not in allowed:
        raise Refusal(401, "request is not authenticated: not the front proxy's certificate")
    user = ""
    uid = ""
    groups: list[str] = []
    extra: dict[str, tuple[str, ...]] = {}
    for raw, value in headers:
        name, text = raw.decode("latin-1").lower(), value.decode("utf-8", "replace")
        if name == "x-remote-user":
            user = text
        elif name == "x-remote-uid":
            uid = text
        elif name == "x-remote-group":
            groups.append(text)
        elif name.startswith(EXTRA):
            key = unquote(name.removeprefix(EXTRA))
            extra[key] = (*extra.get(key, ()), text)
    if not user:
        raise Refusal(401, "request is not authenticated: there is no X-Remote-User")
    return Caller(user=user, groups=tuple(groups), uid=uid, extra=extra)


def review(caller: Caller, target: Target) -> dict[str, Any]:
    """Return the SubjectAccessReview. Pure."""
    spec: dict[str, Any] = {
        "user": caller.user,
        "groups": list(caller.groups),
        "resourceAttributes": {
            "group": target.group,
            "version": target.version,
            "resource": target.resource,
            "verb": target.verb,
            **({"subresource": target.subresource} if target.subresource else {}),
            **({"namespace": target.namespace} if target.namespace else {}),
            **({"name": target.name} if target.name else {}),
        },
    }
    if caller.uid:
        spec["uid"] = caller.uid
    if caller.extra:
        spec["extra"] = {name: list(values) for name, values in caller.extra.items()}
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "metadata": {},
        "spec": spec,
    }


def check(client: Client, caller: Caller, target: Target) -> None:
    """Ask the API server. Raises Refusal when the caller may not."""
    try:
        found = client.raw("POST", REVIEWS, review(caller, target))
    except errors.MigrationError as fault:
        raise statuses.of_error(fault) from fault
    status = found.get("status") or {}
    if status.get("allowed"):
        return
    sub = f"/{target.subresource}" if target.subresource else ""
    where = f' in the namespace "{target.namespace}"' if target.namespace else ""
    message = (
        f'{target.resource}.{target.group} "{target.name}" is forbidden: User "{caller.user}" '
        f'cannot {target.verb} resource "{target.resource}{sub}" in API group '
        f'"{target.group}"{where}'
    )
    reason = status.get("reason")
    raise Refusal(403, f"{message}: {reason}" if reason else message)
