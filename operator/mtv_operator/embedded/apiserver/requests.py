"""What a request asks for: path, query and headers as typed values. Pure.

The shapes of paths are those of Kubernetes' RequestInfo (`apiserver/pkg/endpoints/request`).
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl

from mtv_operator.embedded.apiserver import status

NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})


@dataclass(frozen=True, slots=True)
class Target:
    """A path below /api or /apis that names a resource."""

    group: str
    version: str
    namespace: str
    plural: str
    name: str
    subresource: str


def parse_path(path: str) -> Target | None:
    """Return what a path names; None when it names no resource."""
    parts = path.strip("/").split("/")
    if "" in parts:
        return None
    if parts[0] == "api" and len(parts) >= 3:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) >= 4:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and not (len(rest) == 3 and rest[2] in NAMESPACE_SUBRESOURCES):
            rest = rest[2:]
    name = rest[1] if len(rest) > 1 else ""
    subresource = "/".join(rest[2:])
    return Target(group, version, namespace, rest[0], name, subresource)


class Query:
    """The query of a request; the first of several values counts."""

    def __init__(self, text: bytes) -> None:
        self.values: dict[str, str] = {}
        if text:
            for name, value in parse_qsl(text.decode("latin-1"), keep_blank_values=True):
                self.values.setdefault(name, value)

    def text(self, name: str) -> str:
        """Return a value, "" when it is not given."""
        return self.values.get(name, "")

    def flag(self, name: str) -> bool:
        """Return whether a flag is set. Raises Refusal for what is no truth value."""
        value = self.values.get(name, "")
        if value in ("", "0", "f", "F", "false", "False", "FALSE"):
            return value == "" and name in self.values
        if value in ("1", "t", "T", "true", "True", "TRUE"):
            return True
        raise status.bad_request(f"{name}: {value!r} is neither true nor false")

    def number(self, name: str) -> int | None:
        """Return a whole number that is not negative. Raises Refusal for anything else."""
        value = self.values.get(name, "")
        if not value:
            return None
        if not (value.isascii() and value.isdigit() and len(value) < 20):
            raise status.bad_request(f"{name}: {value[:40]!r} is not a number of 0 or more")
        return int(value)

    def dry_run(self) -> bool:
        """Return whether nothing shall be stored."""
        value = self.values.get("dryRun", "")
        if value not in ("", "All"):
            raise status.bad_request(
                f'dryRun: Unsupported value: "{value}": supported values: "All"'
            )
        return value == "All"


def parse_accept(header: str) -> list[tuple[str, dict[str, str]]]:
    """Return the media types of an Accept header in the client's order, with parameters."""
    found = []
    for part in header.split(","):
        media, *parameters = (piece.strip() for piece in part.split(";"))
        pairs = (parameter.partition("=") for parameter in parameters)
        found.append((media.lower(), {name.strip(): value.strip() for name, _, value in pairs}))
    return found


def wanted_shape(header: str, *, many: bool) -> str:
    """Return `Table`, `PartialObjectMetadata` or "" (the object itself), as the client prefers.

    Raises Refusal (406) when only types are named that are not written here.
    """
    if not header:
        return ""
    acceptable = False
    for media, parameters in parse_accept(header):
        if media in ("application/json", "application/yaml", "application/*", "*/*", "text/html"):
            acceptable = True
            shape = parameters.get("as", "")
            if not shape:
                return ""
            if parameters.get("g") != "meta.k8s.io" or parameters.get("v") not in ("v1", "v1beta1"):
                continue
            if shape == "Table":
                return "Table"
            if shape in ("PartialObjectMetadata", "PartialObjectMetadataList"):
                if many == (shape == "PartialObjectMetadataList"):
                    return "PartialObjectMetadata"
                continue
    if not acceptable:
        message = (
            "only the following media types are accepted: application/json, "
            "application/json;as=Table;v=v1;g=meta.k8s.io, "
            "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
        )
        raise status.Refusal(406, "NotAcceptable", message)
    return ""
