"""The writing verbs as HTTP has them: bodies, patches, options and answers."""

from __future__ import annotations

from typing import Any

import msgspec

from mtv_operator.embedded.apiserver import (
    documents,
    field_management,
    metadata,
    names,
    patching,
    reading,
    rendering,
    scale,
    status,
    writing,
)
from mtv_operator.embedded.apiserver.deps import Deps
from mtv_operator.embedded.apiserver.exchange import Exchange, encode
from mtv_operator.embedded.apiserver.registry import Served
from mtv_operator.embedded.apiserver.requests import Query, Target
from mtv_operator.embedded.apiserver.storage import Entry
from mtv_operator.embedded.apiserver.writing import Build, Call

Document = dict[str, Any]
KEPT_NAMESPACES = ("default", "kube-system")


def call_of(
    deps: Deps, exchange: Exchange, served: Served, target: Target, *, applying: bool = False
) -> Call:
    """Return what a request asks to be written. Raises Refusal for options that are none."""
    query = exchange.query
    program = exchange.header(b"user-agent").partition("/")[0]
    mode = query.text("fieldValidation")
    if mode not in ("", "Ignore", "Strict", "Warn"):
        supported = '"Ignore", "Warn", "Strict"'
        message = f'Unsupported value: "{mode}": supported values: {supported}'
        raise status.bad_request(f"fieldValidation: {message}")
    return Call(
        deps=deps,
        served=served,
        target=target,
        user=exchange.user,
        manager=query.text("fieldManager") or program or "unknown",
        subresource=target.subresource,
        dry_run=query.dry_run(),
        field_validation=mode,
        applying=applying,
        warnings=exchange.warnings,
    )


async def create(deps: Deps, exchange: Exchange, served: Served, target: Target) -> None:
    """POST to a collection."""
    if target.name:
        raise status.method_not_allowed(served.info.group, served.info.plural, "create")
    document = documents.parse_object(
        await exchange.body(), exchange.header(b"content-type"), served.info
    )
    call = call_of(deps, exchange, served, target)
    await _answer(exchange, call, 201, await writing.create(call, document))


async def replace(deps: Deps, exchange: Exchange, served: Served, target: Target) -> None:
    """PUT of an object, or of its status or scale."""
    info = served.info
    if target.subresource == "scale":
        await _scale(deps, exchange, served, target)
        return
    document = documents.parse_object(await exchange.body(), exchange.header(b"content-type"), info)
    call = call_of(deps, exchange, served, target)
    meta = document.get("metadata")
    if isinstance(meta, dict) and not meta.get("name"):
        raise call.invalid("", [names.required("metadata.name", "name is required")])
    if served.definition and isinstance(meta, dict) and not meta.get("resourceVersion"):
        rule = "must be specified for an update"
        problem = names.invalid("metadata.resourceVersion", 0, rule)
        raise call.invalid(target.name, [problem])
    fresh = encode(document)
    await _answer(
        exchange, call, 200, await writing.update(call, lambda _: msgspec.json.decode(fresh))
    )


async def patch(deps: Deps, exchange: Exchange, served: Served, target: Target) -> None:
    """PATCH of an object, or of its status or scale: JSON, merge, strategic merge or apply."""
    content = await exchange.body()
    media = documents.media_type(exchange.header(b"content-type"))
    accepted = [documents.JSON_PATCH, documents.MERGE_PATCH, documents.APPLY_PATCH]
    if not served.definition:
        accepted.insert(2, documents.STRATEGIC_PATCH)
    if media not in accepted:
        raise status.unsupported_media_type(media, accepted)
    body = documents.parse(content, media)
    applying = media == documents.APPLY_PATCH
    call = call_of(deps, exchange, served, target, applying=applying)
    if target.subresource == "scale":
        await _patch_scale(exchange, call, body, media)
    elif call.applying:
        await _apply(exchange, call, body)
    else:
        build = _patcher(call, body, media)
        await _answer(exchange, call, 200, await writing.update(call, build))


def _patcher(call: Call, body: Any, media: str) -> Build:  # noqa: ANN401 - any JSON
    """Return what applies a patch. Raises Refusal when the body can be no patch."""
    info = call.served.info
    if media == documents.JSON_PATCH and not isinstance(body, list):
        raise status.bad_request("a JSON patch is a list of operations")
    if media != documents.JSON_PATCH and not isinstance(body, dict):
        raise status.bad_request("a merge patch is an object")
    frozen = encode(body)

    def build(before: Document) -> Document:
        own = msgspec.json.decode(frozen)
        try:
            if media == documents.JSON_PATCH:
                after = patching.json_patch(before, own)
            elif media == documents.MERGE_PATCH:
                after = patching.merge_patch(before, own)
            else:
                after = patching.strategic_merge(before, own, info)
        except patching.PatchFailed as failure:
            raise _patch_refused(call, failure) from failure
        return documents.check_kind(after, info)

    return build


def _patch_refused(call: Call, failure: patching.PatchFailed) -> status.Refusal:
    info = call.served.info
    details = {"name": call.target.name, "group": info.group, "kind": info.plural}
    causes = [{"reason": "UnexpectedServerResponse", "message": failure.message}]
    message = f"the server rejected our request due to an error in our request: {failure.message}"
    return status.Refusal(422, "Invalid", message, {**details, "causes": causes})


async def _apply(exchange: Exchange, call: Call, body: Any) -> None:  # noqa: ANN401 - any JSON
    """Server-side apply: makes the object when there is none."""
    query, info = exchange.query, call.served.info
    if not query.text("fieldManager"):
        problem = names.required("fieldManager", "is required for apply patch")
        raise status.invalid("meta.k8s.io", "PatchOptions", "", [problem])
    applied = documents.check_kind(body, info)
    meta = applied.setdefault("metadata", {})
    if not isinstance(meta, dict):
        raise status.bad_request("metadata: expected an object")
    if meta.get("managedFields"):
        raise status.bad_request("metadata.managedFields must be nil")
    meta.setdefault("name", call.target.name)
    frozen = encode(applied)

    def build(before: Document | None) -> Document:
        try:
            return field_management.apply(
                before,
                msgspec.json.decode(frozen),
                query.text("fieldManager"),
                query.flag("force"),
                info,
                call.deps.clock(),
                call.subresource,
            )
        except field_management.ApplyConflict as conflict:
            raise status.apply_conflict(conflict.message, conflict.causes) from conflict

    if call.deps.store.head(call.key) is None and not call.subresource:
        if meta["name"] != call.target.name:
            raise status.bad_request("the name in the data does not match the name on the URL")
        await _answer(exchange, call, 201, await writing.create(call, build(None)))
    else:
        await _answer(exchange, call, 200, await writing.update(call, build))


async def _answer(exchange: Exchange, call: Call, code: int, entry: Entry) -> None:
    shape = rendering.choose(exchange, call.served, many=False)
    await exchange.answer(code, shape.one(entry))


# scale


async def read_scale(deps: Deps, exchange: Exchange, served: Served, target: Target) -> None:
    """GET of a scale."""
    entry = reading.find(deps.store, served, target)
    await exchange.answer_object(200, scale.view(entry.document(), served.info))


async def _scale(deps: Deps, exchange: Exchange, served: Served, target: Target) -> None:
    wanted = documents.parse(
        await exchange.body(), documents.media_type(exchange.header(b"content-type"))
    )
    if not isinstance(wanted, dict):
        raise status.bad_request("the body is no Scale")
    call = call_of(deps, exchange, served, target)
    entry = await writing.update(call, lambda before: scale.scaled(before, wanted, served.info))
    await exchange.answer_object(200, scale.view(entry.document(), served.info))


async def _patch_scale(exchange: Exchange, call: Call, body: Any, media: str) -> None:  # noqa: ANN401 - any JSON
    info = call.served.info

    def build(before: Document) -> Document:
        seen = scale.view(before, info)
        try:
            if media == documents.JSON_PATCH:
                wanted = patching.json_patch(seen, body)
            else:
                wanted = patching.merge_patch(seen, body)
        except patching.PatchFailed as failure:
            raise _patch_refused(call, failure) from failure
        return scale.scaled(before, wanted, info)

    entry = await writing.update(call, build)
    await exchange.answer_object(200, scale.view(entry.document(), info))


# deletion


async def delete(deps: Deps, exchange: Exchange, served: Served, target: Target) -> None:
    """DELETE of one object."""
    options = await _read_delete_options(exchange)
    info = served.info
    if info.plural == "namespaces" and not info.group and target.name in KEPT_NAMESPACES:
        raise status.forbidden("", "namespaces", target.name, "this namespace may not be deleted")
    call = call_of(deps, exchange, served, target)
    entry, gone = await writing.delete(call, options)
    if gone:
        uid = entry.meta.uid
        answer = status.success(info.group, info.plural, target.name, uid)
        await exchange.answer_object(200, answer)
    else:
        await _answer(exchange, call, 200, entry)


async def delete_collection(deps: Deps, exchange: Exchange, served: Served, target: Target) -> None:
    """DELETE of all objects that fit the selectors."""
    options = await _read_delete_options(exchange)
    test = reading.test_of(exchange, served)
    found = deps.store.table(served.table).select(target.namespace)
    deleted = []
    for entry in found:
        if test is not None and not test(entry):
            continue
        one = Target(
            target.group, target.version, entry.key.namespace, target.plural, entry.key.name, ""
        )
        call = call_of(deps, exchange, served, one)
        try:
            deleted.append((await writing.delete(call, options))[0])
        except status.Refusal as refusal:
            if refusal.reason != "NotFound":
                raise
    shape = rendering.choose(exchange, served, many=True)
    list_meta = {"resourceVersion": str(deps.store.revision)}
    await exchange.answer(200, shape.many(deleted, list_meta))


class _Preconditions(msgspec.Struct, rename="camel"):
    uid: str | None = None
    resource_version: str | None = None


class _DeleteOptions(msgspec.Struct, rename="camel"):
    grace_period_seconds: int | None = None
    propagation_policy: str | None = None
    orphan_dependents: bool | None = None
    preconditions: _Preconditions | None = None
    dry_run: list[str] | None = None


async def _read_delete_options(exchange: Exchange) -> metadata.DeleteOptions:
    content = await exchange.body()
    media = documents.media_type(exchange.header(b"content-type"))
    if content and media != "application/json":
        content = encode(documents.parse(content, media))
    return delete_options(content, exchange.query)


def delete_options(content: bytes, query: Query) -> metadata.DeleteOptions:
    """Return how an object shall be deleted: by the body, or the query. Raises Refusal."""
    try:
        said = msgspec.json.decode(content, type=_DeleteOptions) if content else _DeleteOptions()
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise status.bad_request(f"the body is no DeleteOptions: {error}") from error
    policy = query.text("propagationPolicy") or said.propagation_policy or ""
    if not policy and said.orphan_dependents is not None:
        policy = "Orphan" if said.orphan_dependents else "Background"
    if policy not in ("", "Orphan", "Background", "Foreground"):
        supported = '"Foreground", "Background", "Orphan"'
        message = f'Unsupported value: "{policy}": supported values: {supported}'
        raise status.bad_request(f"propagationPolicy: {message}")
    grace_s = query.number("gracePeriodSeconds")
    if grace_s is None:
        grace_s = said.grace_period_seconds
    if grace_s is not None and grace_s < 0:
        raise status.bad_request("gracePeriodSeconds: must be 0 or more")
    conditions = said.preconditions or _Preconditions()
    return metadata.DeleteOptions(
        grace_period_s=grace_s,
        propagation=policy,
        uid=conditions.uid or "",
        resource_version=conditions.resource_version or "",
        dry_run=query.dry_run() or "All" in (said.dry_run or ()),
    )
