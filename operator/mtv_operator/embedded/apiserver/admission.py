"""Admission webhooks: what else may change or refuse a write.

After apiserver's `pkg/admission/plugin/webhook`. Mutating webhooks are asked one after the other in
the order of their configurations' names, validating ones all at once.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import copy
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from mtv_operator.embedded.apiserver import label_selectors, patching, services, status
from mtv_operator.embedded.apiserver.exchange import User, encode
from mtv_operator.embedded.apiserver.http_client import Endpoint, Pool, Unreachable
from mtv_operator.embedded.apiserver.registry import Served
from mtv_operator.embedded.apiserver.requests import Target
from mtv_operator.embedded.apiserver.storage import Key, Store

GROUP = "admissionregistration.k8s.io"
DEFAULT_TIMEOUT_S = 10
Phase = Literal["mutating", "validating"]
Document = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Review:
    """A write that webhooks are asked about."""

    operation: str  # CREATE, UPDATE, DELETE, CONNECT
    served: Served
    target: Target
    user: User
    before: Document | None
    after: Document | None
    dry_run: bool = False
    warnings: list[str] = field(default_factory=list)  # filled by webhooks
    kind: tuple[str, str, str] | None = None  # of the object, where it is not the resource's
    uid: str = ""  # of the question; given when the first webhook is asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """One webhook of a configuration."""

    name: str
    client: Document
    rules: Sequence[Document]
    fails_closed: bool
    timeout_s: float
    any_version: bool
    namespace_selector: Document
    object_selector: Document


def hooks_of(configuration: Document) -> list[Hook]:
    """Return the webhooks of a configuration."""
    return [
        Hook(
            name=one.get("name", ""),
            client=one.get("clientConfig") or {},
            rules=one.get("rules") or (),
            fails_closed=one.get("failurePolicy", "Fail") != "Ignore",
            timeout_s=one.get("timeoutSeconds") or DEFAULT_TIMEOUT_S,
            any_version=one.get("matchPolicy", "Equivalent") != "Exact",
            namespace_selector=one.get("namespaceSelector") or {},
            object_selector=one.get("objectSelector") or {},
        )
        for one in configuration.get("webhooks") or ()
    ]


def matches(hook: Hook, review: Review) -> bool:
    """Return whether a webhook's rules are about this write. Selectors are not looked at."""
    info, target = review.served.info, review.target
    resource = info.plural + (f"/{target.subresource}" if target.subresource else "")
    for rule in hook.rules:
        if (
            _listed(rule.get("operations"), review.operation)
            and _listed(rule.get("apiGroups"), info.group)
            and (hook.any_version or _listed(rule.get("apiVersions"), info.version))
            and any(_covers(one, resource) for one in rule.get("resources") or ())
            and rule.get("scope", "*") in ("*", "", "Namespaced" if info.namespaced else "Cluster")
        ):
            return True
    return False


def _listed(values: Sequence[str] | None, value: str) -> bool:
    return bool(values) and (value in values or "*" in values)  # type: ignore[operator]


def _covers(pattern: str, resource: str) -> bool:
    """Return whether a rule's `pods`, `pods/*`, `*/status`, `*` or `*/*` is about a resource."""
    if pattern == "*/*":
        return True
    plural, _, subresource = resource.partition("/")
    wanted, _, wanted_subresource = pattern.partition("/")
    if wanted not in ("*", plural):
        return False
    return wanted_subresource == subresource or (wanted_subresource == "*" and subresource != "")


class Admission:
    """Calls the webhooks that are configured."""

    def __init__(self, store: Store, pool: Pool) -> None:
        self._store = store
        self._pool = pool
        self._known: dict[str, tuple[int, list[Hook]]] = {}

    def _hooks(self, phase: Phase) -> list[Hook]:
        table = self._store.table(f"{phase}webhookconfigurations.{GROUP}")
        known = self._known.get(phase)
        if known is None or known[0] != table.revision:
            found = [hook for entry in table.select("") for hook in hooks_of(entry.document())]
            known = self._known[phase] = (table.revision, found)
        return known[1]

    def _asked(self, phase: Phase, review: Review) -> list[Hook]:
        hooks = self._hooks(phase)
        if not hooks or review.served.info.group == GROUP:
            return []
        review.uid = review.uid or str(uuid.uuid4())
        return [hook for hook in hooks if matches(hook, review) and self._selected(hook, review)]

    def _selected(self, hook: Hook, review: Review) -> bool:
        if hook.namespace_selector:
            labels = self._namespace_labels(review)
            if labels is not None and not label_selectors.matches(hook.namespace_selector, labels):
                return False
        if not hook.object_selector:
            return True
        return any(
            label_selectors.matches(hook.object_selector, one["metadata"].get("labels") or {})
            for one in (review.after, review.before)
            if one is not None
        )

    def _namespace_labels(self, review: Review) -> dict[str, str] | None:
        if review.served.table == "namespaces":
            document = review.after or review.before or {}
            return dict(document["metadata"].get("labels") or {})
        if not review.served.info.namespaced:
            return None
        entry = self._store.get(Key("namespaces", "", review.target.namespace))
        return dict(entry.meta.labels or {}) if entry else {}

    async def mutate(self, review: Review) -> Document:
        """Return the object as mutating webhooks leave it. Raises Refusal when one denies it."""
        assert review.after is not None
        for hook in self._asked("mutating", review):
            response = await self._ask(hook, review)
            patch = response and response.get("patch")
            if patch:
                review.after = _patched(hook, review.after, patch)
        return review.after

    async def validate(self, review: Review) -> None:
        """Raise Refusal when a validating webhook denies the write."""
        hooks = self._asked("validating", review)
        if len(hooks) == 1:
            await self._ask(hooks[0], review)
        elif hooks:
            outcomes = await asyncio.gather(
                *(self._ask(hook, review) for hook in hooks), return_exceptions=True
            )
            for outcome in outcomes:
                if isinstance(outcome, BaseException):
                    raise outcome

    async def _ask(self, hook: Hook, review: Review) -> Document | None:
        """Return a webhook's response; None when it failed and may. Raises Refusal."""
        try:
            response = await self._call(hook, review)
        except Unreachable as error:
            if not hook.fails_closed:
                return None
            raise status.internal(f'failed calling webhook "{hook.name}": {error}') from error
        warnings = response.get("warnings") or ()
        review.warnings.extend(text for text in warnings if isinstance(text, str))
        if not response.get("allowed"):
            raise _denied(hook, response.get("status") or {})
        return response

    async def _call(self, hook: Hook, review: Review) -> Document:
        endpoint, path, url = self._endpoint(hook)
        path += ("&" if "?" in path else "?") + f"timeout={hook.timeout_s:g}s"
        headers = [
            (b"host", (endpoint.name or endpoint.host).encode()),
            (b"content-type", b"application/json"),
            (b"accept", b"application/json"),
            (b"user-agent", b"kube-apiserver-admission"),
        ]
        try:
            code, content = await self._pool.request(
                endpoint, "POST", path, headers, encode(question(review)), hook.timeout_s
            )
        except Unreachable as error:
            raise Unreachable(f'failed to call webhook: Post "{url}": {error}') from error
        if code != 200:
            text = content[:200].decode("utf-8", "replace").strip()
            raise Unreachable(
                f"an error on the server ({text!r}) has prevented the request: {code}"
            )
        try:
            response = msgspec.json.decode(content)["response"]
            told = response["uid"]
        except (msgspec.DecodeError, KeyError, TypeError) as error:
            raise Unreachable(f"expected a response of an AdmissionReview: {error!r}") from error
        if told != review.uid:
            raise Unreachable(f'expected response.uid="{review.uid}", got "{told}"')
        return dict(response)

    def _endpoint(self, hook: Hook) -> tuple[Endpoint, str, str]:
        """Return where a webhook is, the path to ask, and its URL in words."""
        bundle = str(hook.client.get("caBundle") or "")
        url = hook.client.get("url")
        if url:
            parts = urlsplit(url)
            path = parts.path or "/"
            if parts.query:
                path += f"?{parts.query}"
            endpoint = Endpoint(parts.hostname or "", parts.port or 443, services.trusting(bundle))
            return endpoint, path, url
        reference = hook.client.get("service") or {}
        path = "/" + str(reference.get("path") or "").lstrip("/")
        endpoint = services.resolve(self._store, reference, services.trusting(bundle))
        port = reference.get("port") or services.DEFAULT_PORT
        return endpoint, path, f"https://{endpoint.name}:{port}{path}"


def question(review: Review) -> Document:
    """Return the AdmissionReview that is sent."""
    info, target, user = review.served.info, review.target, review.user
    group, version, name = review.kind or (info.group, info.version, info.kind)
    kind = {"group": group, "version": version, "kind": name}
    resource = {"group": info.group, "version": info.version, "resource": info.plural}
    document = review.after or review.before or {}
    request: Document = {
        "uid": review.uid,
        "kind": kind,
        "resource": resource,
        "requestKind": kind,
        "requestResource": resource,
        "name": target.name or document.get("metadata", {}).get("name", ""),
        "operation": review.operation,
        "userInfo": user_info(user),
        "object": review.after,
        "oldObject": review.before,
        "dryRun": review.dry_run,
        "options": None,
    }
    if info.namespaced:
        request["namespace"] = target.namespace
    if target.subresource:
        request["subResource"] = request["requestSubResource"] = target.subresource
    return {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}


def user_info(user: User) -> Document:
    """Return a user as reviews have it."""
    shown: Document = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        shown["uid"] = user.uid
    if user.extra:
        shown["extra"] = {name: list(values) for name, values in user.extra}
    return shown


def _patched(hook: Hook, document: Document, patch: str) -> Document:
    try:
        operations = msgspec.json.decode(base64.b64decode(patch))
        patched: Document = patching.json_patch(copy.deepcopy(document), operations)
    except (binascii.Error, msgspec.DecodeError, ValueError, patching.PatchFailed) as error:
        text = f'webhook "{hook.name}" returned a patch that cannot be applied: {error}'
        raise status.internal(text) from error
    return patched


def _denied(hook: Hook, told: Document) -> status.Refusal:
    denied = f'admission webhook "{hook.name}" denied the request'
    reason = told.get("reason") or ""
    message = told.get("message") or reason
    code = told.get("code") or 0
    refusal = status.Refusal(
        code if code >= 400 else 400,
        reason,
        f"{denied}: {message}" if message else f"{denied} without explanation",
    )
    if isinstance(told.get("details"), dict):
        refusal.details = told["details"]
    return refusal
