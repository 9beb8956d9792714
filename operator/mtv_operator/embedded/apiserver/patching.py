"""The patches of the API: JSON merge patch and JSON patch. Pure.

Nothing that is given is changed, and what is returned shares no part with it: callers default and
prune the result in place. Strategic merge patches are in `strategic`, and reached from here.
"""

from __future__ import annotations

from typing import Any

import msgspec

from mtv_operator.embedded.apiserver import strategic
from mtv_operator.embedded.apiserver.kinds import ResourceInfo
from mtv_operator.embedded.apiserver.strategic import PatchFailed

__all__ = ["PatchFailed", "copied", "json_patch", "merge_patch", "strategic_merge"]

Json = Any
MAX_OPERATIONS = 10_000  # as apiserver's endpoints/handlers/patch.go
MAX_COPIED_BYTES = 3 << 20  # all `copy` operations of a patch together; a request is no larger


def copied(document: Json) -> Json:
    """Return a document that is equal and shares nothing."""
    return msgspec.json.decode(msgspec.json.encode(document))


def merge_patch(document: Json, patch: Json) -> Json:
    """Return the document changed by an RFC 7386 merge patch."""
    return copied(_merged(document, patch))


def _merged(document: Json, patch: Json) -> Json:
    if not isinstance(patch, dict):
        return patch
    merged = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), value)
    return merged


def strategic_merge(
    document: dict[str, Any], patch: dict[str, Any], info: ResourceInfo
) -> dict[str, Any]:
    """Return the document changed by a strategic merge patch.

    Lists are merged by the keys that the schema names. Raises PatchFailed.
    """
    merged: dict[str, Any] = copied(
        strategic.merged_object(copied(document), copied(patch), info.schema or {})
    )
    return merged


def json_patch(document: Json, operations: list[dict[str, Any]]) -> Json:
    """Return the document changed by RFC 6902 operations, all or none.

    Raises PatchFailed; its `test_failed` says that a `test` did not hold.
    """
    if not isinstance(operations, list):
        raise PatchFailed("a JSON patch is a list of operations")
    if len(operations) > MAX_OPERATIONS:
        raise PatchFailed(
            f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS},"
            f" got {len(operations)}"
        )
    holder = [copied(document)]
    copied_bytes = 0
    for operation in operations:
        copied_bytes += _perform(holder, operation)
        if copied_bytes > MAX_COPIED_BYTES:
            raise PatchFailed(f"the copy operations copy more than {MAX_COPIED_BYTES} bytes")
    return holder[0]


def _perform(holder: list[Json], operation: Json) -> int:
    """Do one operation on `holder[0]`; return how many bytes it copied."""
    if not isinstance(operation, dict):
        raise PatchFailed("an operation of a JSON patch is an object")
    kind = operation.get("op")
    path = _pointer(operation, "path")
    match kind:
        case "add":
            _add(holder, path, copied(_value(operation)), kind)
        case "remove":
            _remove(holder, path, kind)
        case "replace":
            _replace(holder, path, copied(_value(operation)))
        case "move":
            source = _pointer(operation, "from")
            if path[: len(source)] == source and path != source:
                raise PatchFailed(
                    f"move operation does not apply: {_text(path)} is inside its source"
                )
            _add(holder, path, _remove(holder, source, kind), kind)
        case "copy":
            encoded = msgspec.json.encode(_get(holder, _pointer(operation, "from"), kind))
            _add(holder, path, msgspec.json.decode(encoded), kind)
            return len(encoded)
        case "test":
            _test(holder, path, _value(operation))
        case _:
            raise PatchFailed(f"unexpected kind of operation: {kind!r}")
    return 0


def _value(operation: dict[str, Any]) -> Json:
    if "value" not in operation:
        raise PatchFailed(f"{operation['op']} operation for {operation['path']} has no value")
    return operation["value"]


def _pointer(operation: dict[str, Any], field: str) -> list[str]:
    text = operation.get(field)
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise PatchFailed(f"{operation.get('op')} operation: {field} {text!r} is no JSON pointer")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _text(path: list[str]) -> str:
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path)


def _missing(kind: str, path: list[str]) -> PatchFailed:
    return PatchFailed(f"{kind} operation does not apply: doc is missing path: {_text(path)}")


def _index(container: list[Json], part: str, kind: str, path: list[str], *, end: int) -> int:
    if not (part.isascii() and part.isdigit()) or (part != "0" and part.startswith("0")):
        raise PatchFailed(f"{kind} operation does not apply: {_text(path)}: {part!r} is no index")
    if len(part) > 9 or int(part) >= end:
        raise PatchFailed(
            f"{kind} operation does not apply: {_text(path)}: index {part} is out of bounds"
        )
    return int(part)


def _child(container: Json, part: str, kind: str, path: list[str]) -> Json:
    if isinstance(container, dict) and part in container:
        return container[part]
    if isinstance(container, list):
        return container[_index(container, part, kind, path, end=len(container))]
    raise _missing(kind, path)


def _get(holder: list[Json], path: list[str], kind: str) -> Json:
    value = holder[0]
    for part in path:
        value = _child(value, part, kind, path)
    return value


def _add(holder: list[Json], path: list[str], value: Json, kind: str) -> None:
    if not path:
        holder[0] = value
        return
    container = _get(holder, path[:-1], kind)
    last = path[-1]
    if isinstance(container, dict):
        container[last] = value
    elif isinstance(container, list):
        end = len(container)
        at = end if last == "-" else _index(container, last, kind, path, end=end + 1)
        container.insert(at, value)
    else:
        raise _missing(kind, path)


def _remove(holder: list[Json], path: list[str], kind: str) -> Json:
    if not path:
        raise PatchFailed(f"{kind} operation does not apply: the whole document cannot be removed")
    container = _get(holder, path[:-1], kind)
    value = _child(container, path[-1], kind, path)
    del container[int(path[-1]) if isinstance(container, list) else path[-1]]
    return value


def _replace(holder: list[Json], path: list[str], value: Json) -> None:
    if not path:
        holder[0] = value
        return
    container = _get(holder, path[:-1], "replace")
    _child(container, path[-1], "replace", path)
    container[int(path[-1]) if isinstance(container, list) else path[-1]] = value


def _test(holder: list[Json], path: list[str], wanted: Json) -> None:
    try:
        have = _get(holder, path, "test")
    except PatchFailed:
        if wanted is None:  # as Kubernetes: what is missing is null
            return
        raise
    if not same_json(have, wanted):
        raise PatchFailed(f"testing value {_text(path)} failed: test failed", test_failed=True)


def same_json(one: Json, other: Json) -> bool:
    """Return whether two documents are equal as JSON: `1` is `1.0` and is not `true`."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and one.keys() == other.keys()
            and all(same_json(value, other[name]) for name, value in one.items())
        )
    if isinstance(one, list):
        return (
            isinstance(other, list)
            and len(one) == len(other)
            and all(same_json(left, right) for left, right in zip(one, other, strict=True))
        )
    return bool(one == other)
