"""Verbs on objects, typed: get, list, create, replace, patch, apply, delete, record."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import msgspec

from mtv import errors
from mtv.api import core, meta
from mtv_operator.objects import connection, event
from mtv_operator.objects.connection import Connection, Stream

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

log = logging.getLogger(__name__)

T = TypeVar("T", bound=meta.Object)

MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
PAGE = 500


class Items(msgspec.Struct, Generic[T], frozen=True):
    """A page of a list."""

    metadata: meta.ListMeta = meta.ListMeta()
    items: list[T] = []


# msgspec (0.22) notes on each Struct how to decode it when the first decoder needs it, and a second
# thread that meets a Struct in the middle of this crashes the process: one decoder at a time is
# made. Kinds share most of their Structs.
_making = threading.RLock()


@cache
def _decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    return msgspec.json.Decoder(kind)


@cache
def _list_decoder(kind: type[T]) -> msgspec.json.Decoder[Items[T]]:
    return msgspec.json.Decoder(Items[kind])  # type: ignore[valid-type]


def decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    """Return the decoder of one object. From any thread."""
    with _making:
        return _decoder(kind)


def list_decoder(kind: type[T]) -> msgspec.json.Decoder[Items[T]]:
    """Return the decoder of a list. From any thread."""
    with _making:
        return _list_decoder(kind)


class Client:
    """An API server, seen through the kinds of `mtv.api`. Thread-safe.

    Every call has a timeout and raises errors of `mtv.errors`: NotFound, AlreadyExists, Conflict,
    Forbidden, BadInput (the object or request is refused), TargetUnavailable.
    """

    def __init__(self, to: Connection) -> None:
        self._to = to

    @classmethod
    def connect(cls, kubeconfig: str | None = None) -> Self:
        """Return a client of the server of a kubeconfig (default: KUBECONFIG, or the pod's).

        Nothing is sent yet. Raises NotFound or BadInput when the kubeconfig is of no use.
        """
        return cls(connection.connect(kubeconfig))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._to.close()

    def warn_with(self, warned: Callable[[str], None]) -> None:
        """Have each warning of the server handed to a function, as admission gives them."""
        self._to.warned = warned

    @property
    def server(self) -> str:
        """Return the URL of the API server."""
        return self._to.server

    def get(self, kind: type[T], name: str, namespace: str = "") -> T:
        """Return an object. Raises NotFound."""
        content = self._to.call("GET", kind.resource.path(namespace, name))
        return self._decode(kind, content)

    def find(self, kind: type[T], name: str, namespace: str = "") -> T | None:
        """Return an object, or None."""
        try:
            return self.get(kind, name, namespace)
        except errors.NotFound:
            return None

    def list(
        self, kind: type[T], namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> list[T]:
        """Return all objects of a kind, in one namespace or in all, that the selectors select."""
        found, _ = self.list_at(kind, namespace, labels=labels, fields=fields)
        return [*found]

    def list_at(
        self, kind: type[T], namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> tuple[Sequence[T], str]:
        """Return a list and the resource version from which a watch goes on."""
        found: list[T] = []
        token = ""
        while True:
            query = [("limit", str(PAGE)), *_selectors(labels, fields)]
            if token:
                query.append(("continue", token))
            content = self._to.call("GET", kind.resource.path(namespace), query=query)
            page = _understood(list_decoder(kind), content, kind)
            found += page.items
            token = page.metadata.continue_
            if not token:
                return found, page.metadata.resource_version

    def create(self, new: T) -> T:
        """Create an object; return it as it was stored. Raises AlreadyExists, BadInput."""
        path = new.resource.path(new.metadata.namespace)
        return self._decode(type(new), self._to.call("POST", path, body=msgspec.json.encode(new)))

    def replace(self, changed: T) -> T:
        """Replace an object as a whole. Raises Conflict unless it is the version that is there."""
        return self._put(changed, "")

    def replace_status(self, changed: T) -> T:
        """Replace the status of an object. Raises Conflict like `replace`."""
        return self._put(changed, "status")

    def _put(self, changed: T, subresource: str) -> T:
        path = changed.resource.path(changed.metadata.namespace, changed.metadata.name, subresource)
        content = self._to.call("PUT", path, body=msgspec.json.encode(changed))
        return self._decode(type(changed), content)

    def patch(
        self,
        kind: type[T],
        name: str,
        namespace: str,
        body: Mapping[str, Any],
        *,
        subresource: str = "",
    ) -> T:
        """Change the given fields only (JSON merge patch); None removes a field."""
        path = kind.resource.path(namespace, name, subresource)
        content = self._to.call(
            "PATCH", path, body=msgspec.json.encode(body), content_type=MERGE_PATCH
        )
        return self._decode(kind, content)

    def json_patch(
        self,
        kind: type[T],
        name: str,
        namespace: str,
        operations: Sequence[Mapping[str, Any]],
        *,
        subresource: str = "",
    ) -> T:
        """Apply JSON patch operations, all or none. Raises Conflict when a `test` does not hold."""
        path = kind.resource.path(namespace, name, subresource)
        try:
            content = self._to.call(
                "PATCH", path, body=msgspec.json.encode(operations), content_type=JSON_PATCH
            )
        except errors.BadInput as fault:
            # A server says "Invalid" both for a failed test and for a bad result.
            tested = any(operation.get("op") == "test" for operation in operations)
            if tested and ("test" in fault.message or "rejected our request" in fault.message):
                raise errors.Conflict(fault.message) from fault
            raise
        return self._decode(kind, content)

    def apply(self, wanted: T, *, manager: str = "mtv", force: bool = True) -> T:
        """Make the given fields ours and what they are here (server-side apply)."""
        document = msgspec.to_builtins(wanted)
        return self._decode(type(wanted), self._apply(wanted.resource, document, manager, force))

    def _apply(
        self, resource: meta.Resource, document: Mapping[str, Any], manager: str, force: bool
    ) -> bytes:
        metadata = document["metadata"]
        path = resource.path(metadata.get("namespace", ""), metadata["name"])
        query = [("fieldManager", manager), ("force", "true" if force else "false")]
        body = msgspec.json.encode(document)
        return self._to.call("PATCH", path, body=body, content_type=APPLY_PATCH, query=query)

    def delete(
        self,
        kind: type[meta.Object],
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        grace_period_s: int | None = None,
        propagation: str = "Background",
    ) -> bool:
        """Delete an object; tell whether there was one. With `uid`, only exactly that one."""
        options: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": propagation,
        }
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace_period_s is not None:
            options["gracePeriodSeconds"] = grace_period_s
        path = kind.resource.path(namespace, name)
        try:
            self._to.call("DELETE", path, body=msgspec.json.encode(options))
        except errors.NotFound:
            return False
        except errors.Conflict:
            if uid:  # another object has the name by now
                return False
            raise
        return True

    def raw(
        self,
        method: str,
        path: str,
        body: Any = None,  # noqa: ANN401 - any JSON value
        *,
        content_type: str = "application/json",
        query: Iterable[tuple[str, str]] = (),
        accept: str = "application/json",
    ) -> Any:  # noqa: ANN401
        """Send JSON to any path and return the JSON that comes back (None for an empty answer)."""
        content = self._to.call(
            method,
            path,
            body=None if body is None else msgspec.json.encode(body),
            content_type=content_type,
            query=query,
            accept=accept,
        )
        return msgspec.json.decode(content) if content.strip() else None

    def websocket(self, path: str, subprotocol: str) -> ClientConnection:
        """Open a websocket to any path. Raises what the server's refusal means."""
        return self._to.websocket(path, subprotocol)

    def watch(
        self,
        kind: type[meta.Object],
        namespace: str,
        *,
        resource_version: str,
        labels: str = "",
        fields: str = "",
        seconds: int = 240,
    ) -> Stream:
        """Open a watch that the server ends after `seconds`. Raises `connection.Expired`."""
        query = [
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", resource_version),
            ("timeoutSeconds", str(seconds)),
            *_selectors(labels, fields),
        ]
        path = kind.resource.path(namespace)
        return self._to.stream(path, query, read_timeout_s=seconds + 15.0)

    def record(
        self,
        target: meta.Object,
        reason: str,
        message: str,
        *,
        type: str = "Normal",  # noqa: A002 - the field's name
        component: str = "mtv",
    ) -> None:
        """Record an Event about an object: a new one, or one more of the same. Never raises."""
        now = datetime.now(UTC)
        new = event.build(target, reason, message, type=type, component=component, now=now)
        try:
            try:
                self.create(new)
            except errors.AlreadyExists:
                old = self.get(core.Event, new.metadata.name, new.metadata.namespace)
                self.patch(
                    core.Event, new.metadata.name, new.metadata.namespace, event.again(old, now)
                )
        except errors.MigrationError as fault:
            log.warning("event %s of %s: %s", reason, target.metadata.name, fault)

    def _decode(self, kind: type[T], content: bytes) -> T:
        decode: msgspec.json.Decoder[T] = decoder(kind)
        return _understood(decode, content, kind)


_D = TypeVar("_D")


def _understood(decode: msgspec.json.Decoder[_D], content: bytes, kind: type[meta.Object]) -> _D:
    try:
        return decode.decode(content)
    except (msgspec.DecodeError, msgspec.ValidationError) as fault:
        raise errors.TargetUnavailable(
            f"the API server's {kind.__name__} cannot be understood: {fault}",
            hint="its CustomResourceDefinition may be of another version: `make crds`, then apply",
        ) from fault


def _selectors(labels: str, fields: str) -> list[tuple[str, str]]:
    pairs = [("labelSelector", labels), ("fieldSelector", fields)]
    return [(name, value) for name, value in pairs if value]
