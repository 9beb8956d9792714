"""Names that Kubernetes accepts, made of names that people gave.

A source VM may be called `Web Server_01 (old)`; its target must be a DNS-1123 name. The rules are
Forklift's, so that the same VM gets the same name from either: lower case, `_ + * / \\` and blanks
become dashes, other characters go, runs of dashes shrink to one, dots separate labels. Where
Forklift appends random characters, these functions append a digest, so that planning twice gives
the same name twice.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection

LABEL_MAX = 63  # RFC 1123 label: VM names end up in label values and host names
SUBDOMAIN_MAX = 253  # names of most Kubernetes objects

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
_DIGEST_CHARACTERS = 5


def is_dns_label(name: str) -> bool:
    """Tell whether `name` is a DNS-1123 label: volumes, namespaces, networks of a VM."""
    return len(name) <= LABEL_MAX and _LABEL.fullmatch(name) is not None


def is_dns_subdomain(name: str, limit: int = SUBDOMAIN_MAX) -> bool:
    """Tell whether `name` is a DNS-1123 subdomain of at most `limit` characters."""
    return len(name) <= limit and _SUBDOMAIN.fullmatch(name) is not None


def is_vm_name(name: str) -> bool:
    """Tell whether a VM can be called `name`: a subdomain that also fits into a label."""
    return is_dns_subdomain(name, LABEL_MAX)


def digest(*parts: str) -> str:
    """Return five characters that are always the same for the same parts."""
    joined = "\0".join(parts).encode()
    return hashlib.sha256(joined).hexdigest()[:_DIGEST_CHARACTERS]


def vm_name(name: str, *, vm_id: str) -> str:
    """Return the name of the target VM for a source VM called `name`.

    Nothing usable in it (`《》`) gives `vm-` and a digest of the id.
    """
    labels = [label for part in name.lower().split(".") if (label := _dns_label(part))]
    joined = ".".join(labels)[:LABEL_MAX].strip("-.")
    return joined or f"vm-{digest(vm_id, name)}"


def label(name: str, *, otherwise: str, limit: int = LABEL_MAX) -> str:
    """Return a DNS label made of `name`, or `otherwise` if nothing is left of it."""
    return _dns_label(name.replace(".", "-"))[:limit].strip("-") or otherwise


def unique(name: str, taken: Collection[str], *, key: str, limit: int = LABEL_MAX) -> str:
    """Return `name`, or with a digest of `key` appended if it is taken.

    The same name, key and set of taken names give the same result. Raises nothing: after the
    digest, a counter is part of it until the name is free.
    """
    if name not in taken:
        return name
    count = 0
    while True:
        suffix = "-" + digest(key, str(count) if count else "")
        candidate = name[: limit - len(suffix)].rstrip("-.") + suffix
        if candidate not in taken:
            return candidate
        count += 1


def label_value(text: str) -> str:
    """Return `text` as a label value: allowed characters only, at most 63, alphanumeric ends."""
    cleaned = re.sub(r"[^A-Za-z0-9_.-]", "-", text)[:LABEL_MAX]
    return re.sub(r"^[^A-Za-z0-9]+|[^A-Za-z0-9]+$", "", cleaned)


def is_label_value(text: str) -> bool:
    """Tell whether Kubernetes accepts `text` as the value of a label."""
    return len(text) <= LABEL_MAX and _LABEL_VALUE.fullmatch(text) is not None


def _dns_label(part: str) -> str:
    dashed = re.sub(r"[_+*\s/\\-]+", "-", part.lower())
    return re.sub(r"-+", "-", re.sub(r"[^a-z0-9-]", "", dashed)).strip("-")[:LABEL_MAX].strip("-")
