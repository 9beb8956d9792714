"""What is wrong with a field, in Kubernetes' words: paths, reasons, messages. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

Path = tuple[Any, str | int] | None  # (path of the parent, name or index); None: the object itself


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldError:
    """One thing wrong with an object, in Kubernetes' words."""

    path: str  # spec.vms[0].name
    reason: str  # FieldValueRequired, FieldValueInvalid, FieldValueNotSupported, ...
    message: str  # without the path


_JSON_TYPES = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    dict: "object",
    list: "array",
    type(None): "null",
}


def shown_path(path: Path) -> str:
    """Return the path as text: `spec.vms[0].name`, `spec.nodeSelector[kubernetes.io/os]`."""
    parts: list[str] = []
    while path is not None:
        path, name = path
        if isinstance(name, int) or "." in name or "/" in name:
            parts.append(f"[{name}]")
        else:
            parts.append(f".{name}")
    text = "".join(reversed(parts))
    return text[1:] if text.startswith(".") else text


def shown_value(value: object) -> str:
    """Return a value as messages show it: strings quoted, the rest as JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def required(path: Path) -> FieldError:
    """Return the error of a field that is missing."""
    return FieldError(path=shown_path(path), reason="FieldValueRequired", message="Required value")


def invalid(path: Path, value: object, problem: str) -> FieldError:
    """Return the error of a value that breaks a rule."""
    message = f"Invalid value: {shown_value(value)}: {problem}"
    return FieldError(path=shown_path(path), reason="FieldValueInvalid", message=message)


def in_body(path: Path, value: object, problem: str) -> FieldError:
    """Return the error of a value that breaks a rule of its schema."""
    return invalid(path, value, f"{shown_path(path)} in body {problem}")


def wrong_type(path: Path, value: object, wanted: str) -> FieldError:
    """Return the error of a value of another type."""
    text, have = shown_path(path), _JSON_TYPES.get(type(value), "unknown")
    message = f'Invalid value: "{have}": {text} in body must be of type {wanted}: "{have}"'
    return FieldError(path=text, reason="FieldValueTypeInvalid", message=message)


def too_many(path: Path, count: int, limit: int, what: str) -> FieldError:
    """Return the error of a list or map that is too long."""
    message = f"Too many: {count}: must have at most {limit} {what}"
    return FieldError(path=shown_path(path), reason="FieldValueTooMany", message=message)


def duplicate(path: Path, value: object) -> FieldError:
    """Return the error of an item that is there twice."""
    message = f"Duplicate value: {shown_value(value)}"
    return FieldError(path=shown_path(path), reason="FieldValueDuplicate", message=message)
