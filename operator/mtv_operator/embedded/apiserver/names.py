"""Names, labels, annotations and owners: what Kubernetes accepts, and its words when it does not.

After apimachinery's `pkg/util/validation` and `pkg/api/validation/objectmeta.go`. Pure.
"""

from __future__ import annotations

import random
import re
import string
from typing import Any

from mtv_operator.embedded.apiserver.schemas import FieldError

MAX_ANNOTATIONS_BYTES = 256 << 10
MAX_GENERATED_BASE = 58  # 63 less the five letters that are added
_GENERATED = "bcdfghjklmnpqrstvwxz2456789"  # nothing that spells words

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_QUALIFIED = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")

SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or"
    " '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used"
    " for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and"
    " must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used"
    " for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
LABEL_1035_RULE = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an"
    " alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123',"
    " regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
)
QUALIFIED_RULE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end"
    " with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for"
    " validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
LABEL_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.',"
    " and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or"
    " '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_PATH_NAMED = frozenset({"roles", "rolebindings", "clusterroles", "clusterrolebindings"})
_LABEL_NAMED = frozenset({"namespaces"})


def generated(base: str) -> str:
    """Return a fresh name that begins with `base`. Not pure: it is drawn by lot."""
    letters = "".join(random.choices(_GENERATED, k=5))
    return base[:MAX_GENERATED_BASE] + letters


def problems(metadata: dict[str, Any], plural: str) -> list[FieldError]:
    """Return everything wrong with an object's metadata."""
    found = list(_name_problems(metadata.get("name", ""), plural))
    found += _label_problems(metadata.get("labels") or {}, "metadata.labels")
    found += _annotation_problems(metadata.get("annotations") or {})
    found += _owner_problems(metadata.get("ownerReferences") or [])
    for index, finalizer in enumerate(metadata.get("finalizers") or []):
        for rule in qualified_name(finalizer):
            found.append(invalid(f"metadata.finalizers[{index}]", finalizer, rule))
    return found


def invalid(path: str, value: object, rule: str) -> FieldError:
    """Return the error of a value that breaks a rule."""
    return FieldError(path=path, reason="FieldValueInvalid", message=f"{_shown(value)}: {rule}")


def required(path: str, detail: str = "") -> FieldError:
    """Return the error of a value that is missing."""
    message = f"Required value: {detail}" if detail else "Required value"
    return FieldError(path=path, reason="FieldValueRequired", message=message)


def _shown(value: object) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return f"Invalid value: {text}"


def _name_problems(name: str, plural: str) -> list[FieldError]:
    if not name:
        return [required("metadata.name", "name or generateName is required")]
    return [invalid("metadata.name", name, rule) for rule in name_rules(name, plural)]


def name_rules(name: str, plural: str) -> list[str]:
    """Return the rules that a name of this resource breaks."""
    if plural in _PATH_NAMED:
        return path_segment(name)
    if plural in _LABEL_NAMED:
        return label(name)
    if plural == "services":
        return label_1035(name)
    return subdomain(name)


def path_segment(name: str) -> list[str]:
    """Return why `name` cannot stand in a path."""
    if name in (".", ".."):
        return [f"may not be '{name}'"]
    return [f"may not contain '{letter}'" for letter in "/%" if letter in name]


def subdomain(name: str) -> list[str]:
    """Return why `name` is no RFC 1123 subdomain."""
    found = ["must be no more than 253 characters"] if len(name) > 253 else []
    return found if _SUBDOMAIN.fullmatch(name) else [*found, SUBDOMAIN_RULE]


def label(name: str) -> list[str]:
    """Return why `name` is no RFC 1123 label."""
    found = ["must be no more than 63 characters"] if len(name) > 63 else []
    return found if _LABEL.fullmatch(name) else [*found, LABEL_RULE]


def label_1035(name: str) -> list[str]:
    """Return why `name` is no DNS-1035 label."""
    found = ["must be no more than 63 characters"] if len(name) > 63 else []
    return found if _LABEL_1035.fullmatch(name) else [*found, LABEL_1035_RULE]


def qualified_name(name: object) -> list[str]:
    """Return why `name` is no qualified name: `prefix/name` with an optional DNS prefix."""
    if not isinstance(name, str):
        return [QUALIFIED_RULE]
    prefix, slash, last = name.rpartition("/")
    found = []
    if slash and not prefix:
        found.append("prefix part must be non-empty")
    elif slash:
        found += [f"prefix part {rule}" for rule in subdomain(prefix)]
    if not last:
        found.append("name part must be non-empty")
    elif len(last) > 63:
        found.append("name part must be no more than 63 characters")
    if not _QUALIFIED.fullmatch(last):
        found.append(QUALIFIED_RULE)
    return found


def _label_problems(labels: dict[str, Any], path: str) -> list[FieldError]:
    found = []
    for name, value in labels.items():
        found += [invalid(path, name, rule) for rule in qualified_name(name)]
        if not isinstance(value, str):
            continue
        if len(value) > 63:
            found.append(invalid(path, value, "must be no more than 63 characters"))
        if not _LABEL_VALUE.fullmatch(value):
            found.append(invalid(path, value, LABEL_VALUE_RULE))
    return found


def _annotation_problems(annotations: dict[str, Any]) -> list[FieldError]:
    found = []
    size = 0
    for name, value in annotations.items():
        found += [invalid("metadata.annotations", name, rule) for rule in qualified_name(name)]
        size += len(name) + len(str(value))
    if size > MAX_ANNOTATIONS_BYTES:
        message = f"Too long: may not be more than {MAX_ANNOTATIONS_BYTES} bytes"
        found.append(
            FieldError(path="metadata.annotations", reason="FieldValueTooLong", message=message)
        )
    return found


def _owner_problems(owners: list[dict[str, Any]]) -> list[FieldError]:
    found = []
    controllers = []
    for index, owner in enumerate(owners):
        path = f"metadata.ownerReferences[{index}]"
        for field, told in (("apiVersion", "version"), ("kind", ""), ("name", ""), ("uid", "")):
            if not owner.get(field):
                detail = f"{told or field} must not be empty"
                found.append(invalid(f"{path}.{field}", "", detail))
        if owner.get("controller"):
            controllers.append(owner)
    if len(controllers) > 1:
        names = " and ".join(f"{owner.get('kind')}/{owner.get('name')}" for owner in controllers)
        rule = f"Only one reference can have Controller set to true. Found multiple: {names}"
        found.append(invalid("metadata.ownerReferences", "", rule))
    return found


assert set(_GENERATED) <= set(string.ascii_lowercase + string.digits)
