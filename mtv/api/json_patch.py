"""RFC 6902 patches made of two documents. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

Operation = dict[str, Any]


def pointer(*keys: str | int) -> str:
    """Return a JSON pointer (RFC 6901): `/metadata/labels/kubevirt.io~1nodeName`."""
    return "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in keys)


def same_version(resource_version: str) -> Operation:
    """Return the test that fails when somebody else wrote the object since it was read."""
    return {"op": "test", "path": "/metadata/resourceVersion", "value": resource_version}


def changes(old: Any, new: Any, at: tuple[str | int, ...] = ()) -> list[Operation]:  # noqa: ANN401 - JSON
    """Return what makes `new` of `old`: maps key by key, everything else as a whole."""
    return list(_changes(old, new, at, remove=True))


def additions(old: Any, new: Any, at: tuple[str | int, ...] = ()) -> list[Operation]:  # noqa: ANN401
    """Return what `new` adds to `old` or has otherwise; nothing is taken away.

    Lists that only grew are compared item by item, so that a default inside one disk does not
    replace the others.
    """
    return list(_changes(old, new, at, remove=False))


def _changes(old: Any, new: Any, at: tuple[str | int, ...], *, remove: bool) -> Iterator[Operation]:  # noqa: ANN401
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _of_maps(old, new, at, remove=remove)
    elif not remove and isinstance(old, list) and _grown(old, new):
        yield from _of_lists(old, new, at)
    else:
        yield {"op": "replace", "path": pointer(*at), "value": new}


def _of_maps(
    old: dict[str, Any], new: dict[str, Any], at: tuple[str | int, ...], *, remove: bool
) -> Iterator[Operation]:
    for key, value in new.items():
        if key not in old or old[key] is None:
            yield {"op": "add", "path": pointer(*at, key), "value": value}
        else:
            yield from _changes(old[key], value, (*at, key), remove=remove)
    if remove:
        yield from ({"op": "remove", "path": pointer(*at, key)} for key in old if key not in new)


def _of_lists(old: list[Any], new: Sequence[Any], at: tuple[str | int, ...]) -> Iterator[Operation]:
    for index, (before, after) in enumerate(zip(old, new, strict=False)):
        yield from _changes(before, after, (*at, index), remove=False)
    yield from (
        {"op": "add", "path": pointer(*at, "-"), "value": value} for value in new[len(old) :]
    )


def _grown(old: list[Any], new: Any) -> bool:  # noqa: ANN401
    return isinstance(new, list | tuple) and len(new) >= len(old)
