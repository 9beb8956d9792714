"""Bodies of requests as objects."""

from __future__ import annotations

from typing import Any

import msgspec

from mtv_operator.embedded.apiserver import status, wire
from mtv_operator.embedded.apiserver.kinds import ResourceInfo

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
PLAIN = ("application/json", "application/yaml", wire.MEDIA_TYPE)

MAX_NODES = 500_000  # of a YAML document: more than fit into a body without aliases

Document = dict[str, Any]

_decode = msgspec.json.Decoder().decode


def media_type(header: str) -> str:
    """Return the media type of a Content-Type header, without parameters."""
    return header.partition(";")[0].strip().lower()


def parse(content: bytes, media: str) -> Any:  # noqa: ANN401 - any JSON
    """Return what a body holds. Raises Refusal (400)."""
    if media == wire.MEDIA_TYPE:
        return wire.decode(content)
    try:
        return _decode(content)
    except RecursionError as error:
        raise status.bad_request("the body is nested too deeply") from error
    except msgspec.DecodeError as error:
        if "yaml" in media:  # clients say YAML and send JSON; this one meant it
            return _parse_yaml(content)
        raise status.bad_request(f"the body is not JSON: {error}") from error


def _parse_yaml(content: bytes) -> Any:  # noqa: ANN401 - any JSON
    import yaml  # costs 20 ms, and clients hardly ever send it

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        document = yaml.load(content, Loader=loader)
        _check_size(document)
        return _decode(msgspec.json.encode(document))  # dates become strings again
    except (yaml.YAMLError, TypeError, RecursionError, msgspec.DecodeError) as error:
        raise status.bad_request(f"the body is not YAML: {error}") from error


def _check_size(document: object) -> None:
    """Raise Refusal (400) when aliases make a small text a huge document."""
    left, count = [document], 0
    while left:
        value = left.pop()
        count += 1
        if count > MAX_NODES:
            raise status.bad_request("the body is a YAML document of excessive size")
        if isinstance(value, dict):
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)


def parse_object(content: bytes, content_type: str, info: ResourceInfo) -> Document:
    """Return the object in a body, of the kind that is served. Raises Refusal."""
    media = media_type(content_type)
    if media not in PLAIN and media:
        raise status.unsupported_media_type(content_type, PLAIN)
    document = parse(content, media)
    return check_kind(document, info)


def check_kind(document: object, info: ResourceInfo) -> Document:
    """Return the object when it is of the kind that is served. Raises Refusal (400)."""
    if not isinstance(document, dict):
        raise status.bad_request("the body is not an object")
    kind, api_version = document.get("kind"), document.get("apiVersion")
    if not kind and not api_version:  # the path says it
        document["kind"], document["apiVersion"] = info.kind, info.api_version
        return document
    if api_version != info.api_version:
        raise status.bad_request(
            f"the API version in the data ({api_version or ''}) does not match the expected API"
            f" version ({info.api_version})"
        )
    if kind != info.kind:
        raise status.bad_request(
            f'{kind or "the object"} in version "{info.version}" cannot be handled as a'
            f" {info.kind}: the kind in the data does not match the expected kind ({info.kind})"
        )
    return document
