"""OpenAPI documents of what is served. Pure; callers keep what they get.

`kubectl explain`, client-side apply and the check whether a server knows `fieldValidation` read
them: definitions with `x-kubernetes-group-version-kind` and how lists are merged, and one path per
resource that says which patches it takes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from mtv_operator.embedded.apiserver import builtin_types, discovery, openapi_protobuf
from mtv_operator.embedded.apiserver.kinds import ResourceInfo

Document = dict[str, Any]

GVK = "x-kubernetes-group-version-kind"
_INT_OR_STRING = "x-kubernetes-int-or-string"
_V2_PREFIX = "#/definitions/"
_V3_PREFIX = "#/components/schemas/"
_OBJECT_META = "meta.v1.ObjectMeta"
_LIST_META = "meta.v1.ListMeta"
_DELETE_OPTIONS = "meta.v1.DeleteOptions"
_JSON_PATCH = "application/json-patch+json"
_MERGE_PATCH = "application/merge-patch+json"
_STRATEGIC_PATCH = "application/strategic-merge-patch+json"
_APPLY_PATCH = "application/apply-patch+yaml"
_QUERY = {  # of writes
    "dryRun": "`All` checks everything and stores nothing.",
    "fieldManager": "Who owns the fields that are set.",
    "fieldValidation": "What to do about unknown fields: Ignore, Warn or Strict.",
    "force": "Take fields that others own; of server-side apply only.",
}
_API_VERSION = "Group and version of the schema of this object: `apps/v1`."
_KIND = "What this object is: `Pod`, `VirtualMachine`."
_METADATA = "Name, labels and whatever else every object has."
# What Swagger 2.0 has no word for, in schemas of CustomResourceDefinitions.
_NOT_IN_V2 = frozenset({"allOf", "anyOf", "default", "not", "nullable", "oneOf"})


def v2(infos: Sequence[ResourceInfo]) -> Document:
    """Return the body of /openapi/v2."""
    definitions = _definitions(infos, _V2_PREFIX, _plain)
    paths: Document = {}
    for info in infos:
        paths |= _paths(info, _v2_operation)
    return {
        "swagger": "2.0",
        "info": _about(),
        "paths": paths,
        "definitions": {name: _for_v2(one) for name, one in definitions.items()},
    }


def v2_protobuf(infos: Sequence[ResourceInfo]) -> bytes:
    """Return the body of /openapi/v2 for clients that want protobuf, as kubectl does."""
    return openapi_protobuf.encoded(v2(infos))


def v3_index(infos: Sequence[ResourceInfo]) -> Document:
    """Return the body of /openapi/v3: where the document of each group version is.

    Addresses carry a hash of what is described, so that clients may keep what they have read.
    """
    groups: dict[str, list[ResourceInfo]] = {}
    for info in infos:
        groups.setdefault(info.root.removeprefix("/"), []).append(info)
    return {
        "paths": {
            root: {"serverRelativeURL": f"/openapi/v3/{root}?hash={_hash(members)}"}
            for root, members in sorted(groups.items())
        }
    }


def v3(infos: Sequence[ResourceInfo], group: str, version: str) -> Document | None:
    """Return the body of /openapi/v3/apis/G/V (or /api/V); None when nothing is there."""
    members = [info for info in infos if info.group == group and info.version == version]
    if not members:
        return None
    paths: Document = {}
    for info in members:
        paths |= _paths(info, _v3_operation)
    schemas = _definitions(members, _V3_PREFIX, _wrapped)
    return {
        "openapi": "3.0.0",
        "info": _about(),
        "paths": paths,
        "components": {"schemas": schemas},
    }


def definition_name(info: ResourceInfo) -> str:
    """Return the name of a kind's definition: `io.kubevirt.v1.VirtualMachine`."""
    if info.builtin_type:
        return builtin_types.full_name(info.builtin_type)
    return f"{'.'.join(reversed(info.group.split('.')))}.{info.version}.{info.kind}"


def _about() -> Document:
    return {"title": "mtv", "version": discovery.version()["gitVersion"]}


def _hash(infos: Iterable[ResourceInfo]) -> str:
    digest = hashlib.sha256(discovery.version()["gitVersion"].encode())
    for info in infos:
        schema = b"" if info.builtin_type else msgspec.json.encode(info.schema)
        digest.update(msgspec.json.encode([info.gvk, info.plural, info.subresources]) + schema)
    return digest.hexdigest()[:32].upper()


Wrap = Callable[[Document], Document]


def _plain(schema: Document) -> Document:
    return schema


def _wrapped(schema: Document) -> Document:
    """Return a reference with its description beside it as OpenAPI 3.0 wants it: in allOf."""
    if "$ref" not in schema or len(schema) == 1:
        return schema
    rest = {name: value for name, value in schema.items() if name != "$ref"}
    return {**rest, "allOf": [{"$ref": schema["$ref"]}]}


def _definitions(infos: Iterable[ResourceInfo], prefix: str, wrap: Wrap) -> Document:
    """Return the definitions of kinds, their lists, and of whatever they are made of."""
    found: Document = {}
    needed = [_OBJECT_META, _LIST_META, _DELETE_OPTIONS]
    for info in infos:
        name = definition_name(info)
        if info.builtin_type:
            needed.append(info.builtin_type)
        else:
            found[name] = _custom(info, prefix, wrap)
        found[f"{name}List"] = _list(info, name, prefix, wrap)
    found |= _builtin_closure(needed, prefix, wrap)
    for info in infos:
        found[definition_name(info)][GVK] = [info.gvk]
    return dict(sorted(found.items()))


def _builtin_closure(needed: list[str], prefix: str, wrap: Wrap) -> Document:
    found: Document = {
        name: schema if prefix == _V2_PREFIX else _with_alternatives(schema)
        for name, schema in builtin_types.SCALAR_DEFINITIONS.values()
    }
    todo = list(needed)
    seen = set()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        schema = builtin_types.definition(name, prefix)
        fields = schema["properties"].items()
        schema["properties"] = {field: wrap(one) for field, one in fields}
        found[builtin_types.full_name(name)] = schema
        todo += builtin_types.references(name)
    return found


def _with_alternatives(schema: Document) -> Document:
    """Return the definition of a scalar that may also be a number, as OpenAPI 3.0 can say it."""
    if _INT_OR_STRING not in schema:
        return schema
    rest = {name: one for name, one in schema.items() if name not in ("type", _INT_OR_STRING)}
    return {**rest, "oneOf": [{"type": "string"}, {"type": "number"}]}


def _list(info: ResourceInfo, name: str, prefix: str, wrap: Wrap) -> Document:
    metadata = {"$ref": prefix + builtin_types.full_name(_LIST_META), "description": _METADATA}
    return {
        "description": f"A list of {info.kind} objects.",
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string", "description": _API_VERSION},
            "items": {"type": "array", "items": {"$ref": prefix + name}},
            "kind": {"type": "string", "description": _KIND},
            "metadata": wrap(metadata),
        },
        GVK: [{**info.gvk, "kind": info.list_kind or f"{info.kind}List"}],
    }


def _custom(info: ResourceInfo, prefix: str, wrap: Wrap) -> Document:
    schema = dict(info.schema or {"type": "object"})
    metadata = {"$ref": prefix + builtin_types.full_name(_OBJECT_META), "description": _METADATA}
    schema["properties"] = {
        **(schema.get("properties") or {}),
        "apiVersion": {"type": "string", "description": _API_VERSION},
        "kind": {"type": "string", "description": _KIND},
        "metadata": wrap(metadata),
    }
    return schema


def _for_v2(schema: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return a schema without what Swagger 2.0 does not know."""
    if isinstance(schema, list):
        return [_for_v2(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    kept: Document = {}
    for name, value in schema.items():
        if name == "properties":
            kept[name] = {field: _for_v2(one) for field, one in value.items()}
        elif name == "additionalProperties" and value is True:
            continue
        elif name not in _NOT_IN_V2:
            kept[name] = _for_v2(value)
    return kept


Operation = Callable[[ResourceInfo, str, str], Document]


def _paths(info: ResourceInfo, operation: Operation) -> Document:
    """Return the paths of a resource and its subresources."""
    namespace = "/namespaces/{namespace}" if info.namespaced else ""
    collection = f"{info.root}{namespace}/{info.plural}"
    made = {collection: _operations(info, ("list", "create", "deletecollection"), operation)}
    if info.namespaced and "list" in info.verbs:
        made[f"{info.root}/{info.plural}"] = _operations(info, ("list",), operation)
    if "get" not in info.verbs:
        return made
    each = ("get", "update", "patch", "delete")
    made[f"{collection}/{{name}}"] = _operations(info, each, operation)
    if "status" in info.subresources:
        path = f"{collection}/{{name}}/status"
        made[path] = _operations(info, ("get", "update", "patch"), operation)
    return made


_METHODS = {
    "list": "get",
    "get": "get",
    "create": "post",
    "update": "put",
    "patch": "patch",
    "delete": "delete",
    "deletecollection": "delete",
}


def _operations(info: ResourceInfo, verbs: Iterable[str], operation: Operation) -> Document:
    return {
        _METHODS[verb]: operation(info, verb, definition_name(info))
        for verb in verbs
        if verb in info.verbs
    }


def _patch_types(info: ResourceInfo) -> list[str]:
    strategic = [_STRATEGIC_PATCH] if info.builtin_type else []
    return [_JSON_PATCH, _MERGE_PATCH, *strategic, _APPLY_PATCH]


def _parameters(info: ResourceInfo, verb: str, typed: Callable[[str], Document]) -> list[Document]:
    """Return the parameters of an operation; `typed` says how a document writes a type."""
    place = [("name", "path")] if verb in ("get", "update", "patch", "delete") else []
    if info.namespaced:
        place.append(("namespace", "path"))
    made = [
        {"name": name, "in": where, "required": True, **typed("string")} for name, where in place
    ]
    if verb in ("create", "update", "patch"):
        for name, note in _QUERY.items():
            if name == "force" and verb != "patch":
                continue
            kind = typed("boolean" if name == "force" else "string")
            made.append({"name": name, "in": "query", "description": note, **kind})
    return made


def _v3_operation(info: ResourceInfo, verb: str, name: str) -> Document:
    schema = {"$ref": f"{_V3_PREFIX}{name}{'List' if verb == 'list' else ''}"}
    parameters = _parameters(info, verb, lambda kind: {"schema": {"type": kind}})
    made: Document = {
        "operationId": f"{verb}{info.kind}",
        "parameters": parameters,
        "responses": {
            "200": {"description": "OK", "content": {"application/json": {"schema": schema}}}
        },
        "x-kubernetes-action": _action(verb),
        GVK: info.gvk,
    }
    if verb in ("create", "update"):
        made["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    elif verb == "patch":
        content = {kind: {"schema": {"type": "object"}} for kind in _patch_types(info)}
        made["requestBody"] = {"content": content}
    return made


def _v2_operation(info: ResourceInfo, verb: str, name: str) -> Document:
    schema = {"$ref": f"{_V2_PREFIX}{name}{'List' if verb == 'list' else ''}"}
    made: Document = {
        "parameters": _parameters(info, verb, lambda kind: {"type": kind}),
        "responses": {"200": {"description": "OK", "schema": schema}},
        "x-kubernetes-action": _action(verb),
        GVK: info.gvk,
    }
    if verb in ("create", "update"):
        made["parameters"].append({"name": "body", "in": "body", "schema": schema})
    elif verb == "patch":
        made["consumes"] = _patch_types(info)
        body = {"name": "body", "in": "body", "schema": {"type": "object"}}
        made["parameters"].append(body)
    return made


def _action(verb: str) -> str:
    return {"create": "post", "update": "put"}.get(verb, verb)
