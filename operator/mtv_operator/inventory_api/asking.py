"""Who asks, and whether they may: a bearer token or a client certificate, and an access review.

As Forklift does: reading the inventory of a Provider needs `get` of that Provider, the list of
Providers needs `list`. Answers are believed for ten seconds.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mtv_operator.objects import Client

REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
TOKENS = "/apis/authentication.k8s.io/v1/tokenreviews"
GROUP = "forklift.konveyor.io"
FRESH_S = 10.0
MOST_CACHED = 4096


class Refusal(Exception):
    """An answer that is no success: an HTTP status and a sentence."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks."""

    user: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked for: Providers, to be read."""

    verb: str
    namespace: str = ""
    name: str = ""


class Gate:
    """Asks the API server, and remembers its answers for a while."""

    def __init__(self, client: Client, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens: dict[str, tuple[float, Caller | None]] = {}
        self._answers: dict[tuple[Caller, Question], tuple[float, bool]] = {}

    def caller(self, authorization: str, peer: Mapping[str, Any] | None) -> Caller:
        """Return who asks. Raises Refusal (401) where that cannot be known."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            found = self._by_token(token.strip())
            if found is None:
                raise Refusal(401, "the token is not valid")
            return found
        named = of_certificate(peer)
        if named is None:
            raise Refusal(401, "no token: a bearer token or a client certificate is needed")
        return named

    def check(self, caller: Caller, question: Question) -> None:
        """Ask whether somebody may. Raises Refusal (403) if not."""
        key = (caller, question)
        allowed = self._remembered(self._answers, key)
        if allowed is None:
            found = self._client.raw("POST", REVIEWS, review(caller, question))
            allowed = bool((found.get("status") or {}).get("allowed"))
            self._remember(self._answers, key, allowed)
        if not allowed:
            raise Refusal(403, sentence(caller, question))

    def _by_token(self, token: str) -> Caller | None:
        key = hashlib.sha256(token.encode()).hexdigest()
        with self._lock:
            at, known = self._tokens.get(key, (float("-inf"), None))
        if self._clock() - at < FRESH_S:
            return known
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "metadata": {},
            "spec": {"token": token},
        }
        found = of_review(self._client.raw("POST", TOKENS, body).get("status") or {})
        self._remember(self._tokens, key, found)
        return found

    def _remembered(self, cache: dict[Any, tuple[float, Any]], key: object) -> Any:  # noqa: ANN401
        with self._lock:
            at, known = cache.get(key, (float("-inf"), None))
        return known if self._clock() - at < FRESH_S else None

    def _remember(self, cache: dict[Any, tuple[float, Any]], key: object, value: object) -> None:
        with self._lock:
            if len(cache) >= MOST_CACHED:
                cache.clear()
            cache[key] = (self._clock(), value)


def of_certificate(peer: Mapping[str, Any] | None) -> Caller | None:
    """Return whom a verified certificate names (CN is the user, O the groups). Pure."""
    pairs = [pair for part in (peer or {}).get("subject", ()) for pair in part]
    user = next((value for name, value in pairs if name == "commonName"), "")
    if not user:
        return None
    groups = [value for name, value in pairs if name == "organizationName"]
    return Caller(user=user, groups=(*groups, "system:authenticated"))


def of_review(status: Mapping[str, Any]) -> Caller | None:
    """Return whom a TokenReview names; None where it names nobody. Pure."""
    if not status.get("authenticated"):
        return None
    user = status.get("user") or {}
    extra = tuple(sorted((key, tuple(all_)) for key, all_ in (user.get("extra") or {}).items()))
    return Caller(
        user=user.get("username") or "",
        groups=tuple(user.get("groups") or ()),
        uid=user.get("uid") or "",
        extra=extra,
    )


def review(caller: Caller, question: Question) -> dict[str, Any]:
    """Return the SubjectAccessReview. Pure."""
    spec: dict[str, Any] = {
        "user": caller.user,
        "groups": list(caller.groups),
        "resourceAttributes": {
            "group": GROUP,
            "resource": "providers",
            "verb": question.verb,
            **({"namespace": question.namespace} if question.namespace else {}),
            **({"name": question.name} if question.name else {}),
        },
    }
    if caller.uid:
        spec["uid"] = caller.uid
    if caller.extra:
        spec["extra"] = {key: list(values) for key, values in caller.extra}
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "metadata": {},
        "spec": spec,
    }


def sentence(caller: Caller, question: Question) -> str:
    """Return what is refused, in Kubernetes' words. Pure."""
    what = f'providers.{GROUP} "{question.name}"' if question.name else f"providers.{GROUP}"
    where = f' in the namespace "{question.namespace}"' if question.namespace else ""
    return (
        f'{what} is forbidden: User "{caller.user}" cannot {question.verb} resource "providers" '
        f'in API group "{GROUP}"{where}'
    )
