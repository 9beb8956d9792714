"""create, replace, patch, delete: how a request becomes a new version of an object.

A write reads the newest version (`head`), makes the next one, and stages it; between reading and
staging nothing else runs unless a webhook is asked, and then the head is compared again.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from mtv_operator.embedded.apiserver import (
    builtin,
    definition_checks,
    definitions,
    events,
    field_management,
    metadata,
    names,
    rendering,
    status,
)
from mtv_operator.embedded.apiserver.admission import Review
from mtv_operator.embedded.apiserver.deps import Deps
from mtv_operator.embedded.apiserver.exchange import User, encode
from mtv_operator.embedded.apiserver.registry import DEFINITIONS, Served
from mtv_operator.embedded.apiserver.requests import Target
from mtv_operator.embedded.apiserver.schemas import FieldError
from mtv_operator.embedded.apiserver.storage import Entry, Key

RETRIES = 8  # when somebody else writes while webhooks are asked
GENERATED_RETRIES = 8

Document = dict[str, Any]
Build = Callable[[Document], Document]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One write: who asks for what, and how."""

    deps: Deps
    served: Served
    target: Target
    user: User
    manager: str = "mtv-apiserver"  # of fields
    subresource: str = ""
    dry_run: bool = False
    field_validation: str = ""
    applying: bool = False  # server-side apply keeps its own record of fields
    warnings: list[str] = field(default_factory=list)  # for the client

    @property
    def key(self) -> Key:
        """Return where the object lives."""
        return Key(self.served.table, self.target.namespace, self.target.name)

    def not_found(self) -> status.Refusal:
        """Return the refusal that says there is no such object."""
        info = self.served.info
        return status.not_found(info.group, info.plural, self.target.name)

    def invalid(self, name: str, problems: list[FieldError]) -> status.Refusal:
        """Return the refusal that names everything wrong."""
        info = self.served.info
        return status.invalid(info.group, info.kind, name, problems)


async def create(call: Call, document: Document) -> Entry:
    """Store a new object. Raises Refusal."""
    deps, info = call.deps, call.served.info
    if call.served.terminating:
        raise status.method_not_allowed(info.group, info.plural, "create")
    document = _admit(call, document)
    _check_place(call, document)
    now = deps.clock()
    if "status" in info.subresources and call.served.definition:
        document.pop("status", None)
    if not call.applying:  # what is filled in below, and by webhooks, is nobody's
        document = field_management.track(
            None, document, call.manager, "Update", info, now, call.subresource
        )
    builtin.default_new(document, info)
    mutated = await deps.admission.mutate(_review(call, "CREATE", None, document))
    if mutated is not document:
        document = _admit(call, mutated)
        if "status" in info.subresources and call.served.definition:
            document.pop("status", None)
    metadata.prepare_create(document, info, str(uuid.uuid4()), now)
    builtin.default(document, info)  # it has its name only now
    _settle(call, document, now)
    _check(call, None, document)
    key = _free_key(call, document)
    await deps.admission.validate(_review(call, "CREATE", None, document))
    _check_namespace(call, key.namespace)
    if deps.store.head(key) is not None:
        raise status.already_exists(info.group, info.plural, key.name)
    return await _store(call, key, document)


def _review(call: Call, operation: str, before: Document | None, after: Document | None) -> Review:
    """Return what admission webhooks are asked."""
    return Review(
        operation=operation,
        served=call.served,
        target=call.target,
        user=call.user,
        before=before,
        after=after,
        dry_run=call.dry_run,
        warnings=call.warnings,
    )


def _free_key(call: Call, document: Document) -> Key:
    """Return where a new object goes; draws another name while a generated one is taken."""
    info, meta = call.served.info, document["metadata"]
    key = Key(call.served.table, call.target.namespace, meta["name"])
    for _ in range(GENERATED_RETRIES):
        if call.deps.store.head(key) is None:
            return key
        if not meta.get("generateName"):
            break
        meta["name"] = names.generated(meta["generateName"])
        key = Key(call.served.table, call.target.namespace, meta["name"])
    raise status.already_exists(info.group, info.plural, key.name)


def _check_place(call: Call, document: Document) -> None:
    """Put the object into the namespace of the path. Raises Refusal when it says another."""
    meta = document["metadata"]
    if not call.served.info.namespaced:
        meta.pop("namespace", None)
        return
    said = meta.get("namespace")
    if said and said != call.target.namespace:
        raise status.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    meta["namespace"] = call.target.namespace


def _check_namespace(call: Call, namespace: str) -> None:
    """Raise Refusal when the namespace cannot take new objects."""
    if not call.served.info.namespaced:
        return
    entry = call.deps.store.head(Key("namespaces", "", namespace))
    if entry is None:
        raise status.not_found("", "namespaces", namespace)
    if entry.meta.deletion_timestamp and call.served.table not in ("events",):
        info = call.served.info
        text = (
            f"unable to create new content in namespace {namespace} because it is being terminated"
        )
        refusal = status.forbidden(info.group, info.plural, call.target.name, text)
        refusal.details["causes"] = [
            {
                "reason": "NamespaceTerminating",
                "message": f"namespace {namespace} is being terminated",
                "field": "metadata.namespace",
            }
        ]
        raise refusal


def _admit(call: Call, document: Document) -> Document:
    """Return the object without unknown fields and with defaults.

    Unknown fields are warned of, refused or passed over, as `fieldValidation` says.
    """
    info = call.served.info
    warnings = metadata.check_shape(document, info)
    schema = call.served.schema
    if schema is not None:
        document, more = schema.admit(document)
        warnings += more
    builtin.default(document, info)
    if warnings:
        mode = call.field_validation
        if mode == "Strict":
            raise status.bad_request(
                f'{info.kind} in version "{info.version}" cannot be handled as a {info.kind}:'
                f" strict decoding error: {', '.join(warnings)}"
            )
        if mode != "Ignore":
            call.warnings.extend(warnings)
    return document


def _check(call: Call, before: Document | None, document: Document) -> None:
    """Raise Refusal (422) that names everything wrong with an object."""
    info = call.served.info
    found = names.problems(document["metadata"], info.plural)
    if before is not None:
        found += metadata.update_problems(before, document)
    if call.served.schema is not None:
        found += call.served.schema.errors(document)
    if not call.served.definition and call.subresource != "status":
        found += builtin.problems(before, document, info)
    if found:
        once = {(one.path, one.reason): one for one in reversed(found)}
        name = document["metadata"].get("name", "")
        raise call.invalid(name, [one for one in found if one in once.values()])


def _settle(call: Call, document: Document, now: datetime) -> None:
    """Write what the server itself says in an object's status."""
    if call.served.table == DEFINITIONS and not definition_checks.problems(document):
        definitions.establish(document, call.deps.registry.infos(), metadata.timestamp(now))


async def update(call: Call, build: Build) -> Entry:
    """Store the next version of an object: what `build` makes of the newest. Raises Refusal."""
    deps, served = call.deps, call.served
    store, info = deps.store, served.info
    for _ in range(RETRIES):
        entry = store.head(call.key)
        if entry is None:
            raise call.not_found()
        before = rendering.shown(entry, served)
        after = _admit(call, build(rendering.shown(entry, served)))
        _check_identity(call, before, after)
        mutated = await deps.admission.mutate(_review(call, "UPDATE", before, after))
        if mutated is not after:
            after = _admit(call, mutated)
        now = deps.clock()
        metadata.prepare_update(
            before, after, info, call.subresource, custom=bool(served.definition)
        )
        builtin.keep(before, after, info, call.subresource)
        _settle(call, after, now)
        if not call.applying:
            after = field_management.track(
                before, after, call.manager, "Update", info, now, call.subresource
            )
        _check(call, before, after)
        await deps.admission.validate(_review(call, "UPDATE", before, after))
        if store.head(call.key) is not entry:
            continue
        if metadata.may_go(after, info):
            return await _store(call, call.key, after, deleted=True)
        if metadata.same(before, after):
            return entry
        return await _store(call, call.key, after)
    raise status.conflict(info.group, info.plural, call.target.name)


def _check_identity(call: Call, before: Document, after: Document) -> None:
    """Raise Refusal when the new version is of another object, or of another version of it."""
    info, meta = call.served.info, after["metadata"]
    name = meta.get("name")
    if name and name != call.target.name:
        raise status.bad_request(
            f"the name of the object ({name}) does not match the name on the URL"
            f" ({call.target.name})"
        )
    if meta.get("namespace") and meta["namespace"] != call.target.namespace:
        raise status.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if call.applying:
        return
    metadata.check_preconditions(before, info, meta.get("uid"), meta.get("resourceVersion"))


async def _store(call: Call, key: Key, document: Document, *, deleted: bool = False) -> Entry:
    """Write, and return what was written; with dry run, what would have been."""
    document = events.convert(document, call.served.stored_as)
    if call.dry_run:
        return Entry(key, 0, encode(document))
    return await call.deps.store.stage(key, document, deleted=deleted)


async def delete(call: Call, options: metadata.DeleteOptions) -> tuple[Entry, bool]:
    """Delete an object, or mark it; return its last version, and whether it is gone."""
    deps, served = call.deps, call.served
    store, info = deps.store, served.info
    for _ in range(RETRIES):
        entry = store.head(call.key)
        if entry is None:
            raise call.not_found()
        before = entry.document()
        metadata.check_preconditions(before, info, options.uid, options.resource_version)
        await deps.admission.validate(_review(call, "DELETE", before, None))
        if store.head(call.key) is not entry:
            continue
        after = entry.document()
        gone = metadata.mark_deleted(after, info, options, deps.clock())
        if options.dry_run or (not gone and metadata.same(before, after)):
            return entry, gone
        return await store.stage(call.key, after, deleted=gone), gone
    raise status.conflict(info.group, info.plural, call.target.name)


async def amend(deps: Deps, served: Served, key: Key, change: Callable[[Document], None]) -> None:
    """Change an object as the server itself: no webhook is asked, no schema checked.

    An object that nothing keeps any longer goes with it.
    """
    entry = deps.store.head(key)
    if entry is None:
        return
    before, after = entry.document(), entry.document()
    change(after)
    if metadata.may_go(after, served.info):
        await deps.store.stage(key, after, deleted=True)
    elif not metadata.same(before, after):
        await deps.store.stage(key, after)


async def remove(
    deps: Deps, served: Served, key: Key, user: User, *, propagation: str = "", uid: str = ""
) -> None:
    """Delete an object as the server itself; that it is gone already is fine."""
    info = served.info
    target = Target(info.group, info.version, key.namespace, info.plural, key.name, "")
    call = Call(deps=deps, served=served, target=target, user=user)
    try:
        await delete(call, metadata.DeleteOptions(propagation=propagation, uid=uid))
    except status.Refusal as refusal:
        if refusal.reason != "NotFound":
            raise
