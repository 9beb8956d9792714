"""Fields of a pod as text, and a container's environment. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from mtv import errors
from mtv.api import quantities
from mtv.api.core import Container, EnvVar, Pod, ResourceFieldSelector

_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")
_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_.][A-Za-z0-9_.-]*)\)")

Lookup = Callable[[str, str], Mapping[str, bytes] | None]  # (Secret|ConfigMap, name) -> its data


def pod_field(pod: Pod, path: str, addresses: Mapping[str, str]) -> str:
    """Return a field of a pod, as the downward API names it. Raises BadInput for another path.

    `addresses` holds what the status may not say yet: status.podIP, status.hostIP and so on.
    """
    meta = pod.metadata
    subscript = _SUBSCRIPT.fullmatch(path)
    if subscript:
        table = meta.labels if subscript[1] == "labels" else meta.annotations
        return table.get(subscript[2], "")
    simple = {
        "metadata.name": meta.name or "",
        "metadata.namespace": meta.namespace or "",
        "metadata.uid": meta.uid or "",
        "spec.nodeName": (pod.spec.node_name if pod.spec else None) or "",
        "spec.serviceAccountName": (pod.spec.service_account_name if pod.spec else None)
        or "default",
        **addresses,
    }
    if path in simple:
        return simple[path]
    if path in ("metadata.labels", "metadata.annotations"):
        table = meta.labels if path == "metadata.labels" else meta.annotations
        return "\n".join(f'{key}="{_escaped(value)}"' for key, value in sorted(table.items()))
    raise errors.BadInput(
        f"the downward API has no field {path!r}",
        field="fieldRef.fieldPath",
        hint="metadata.name, metadata.labels['x'], spec.nodeName, status.podIP …",
    )


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def resource_field(
    pod: Pod, container: Container | None, selector: ResourceFieldSelector, node: Mapping[str, int]
) -> str:
    """Return a container's request or limit as a whole number of the divisor.

    Without a limit it is what the node has (`node`, in thousandths).
    """
    if selector.container_name:
        found = [
            one
            for one in (*(pod.spec.containers if pod.spec else ()),)
            if one.name == selector.container_name
        ]
        container = found[0] if found else None
    if container is None:
        raise errors.BadInput(
            f"no container {selector.container_name!r}", field="resourceFieldRef.containerName"
        )
    kind, _, name = selector.resource.partition(".")
    resources = container.resources
    limits = resources.limits if resources else {}
    requests = resources.requests if resources else {}
    if kind not in ("limits", "requests") or not name:
        raise errors.BadInput(f"seen {selector.resource!r}", field="resourceFieldRef.resource")
    given = limits.get(name) if kind == "limits" else requests.get(name, limits.get(name))
    amount = node.get(name, 0) if given is None else quantities.thousandths(given)
    divisor = quantities.thousandths(selector.divisor or "1") or 1000
    return str(-(-amount // divisor))


def environment(
    pod: Pod,
    container: Container,
    base: Mapping[str, str],
    addresses: Mapping[str, str],
    node: Mapping[str, int],
    lookup: Lookup,
) -> dict[str, str]:
    """Return a container's environment: `base`, then `envFrom`, then `env`, in their order.

    Raises BadInput that names the variable when what it refers to is not there.
    """
    result = dict(base)
    for source in container.env_from:
        for kind, reference in (
            ("ConfigMap", source.config_map_ref),
            ("Secret", source.secret_ref),
        ):
            if reference is None:
                continue
            data = lookup(kind, reference.name or "")
            if data is None and not reference.optional:
                raise errors.BadInput(f"{kind} {reference.name!r} does not exist", field="envFrom")
            for key, value in (data or {}).items():
                result[(source.prefix or "") + key] = value.decode("utf-8", "replace")
    for variable in container.env:
        given = _value(pod, container, variable, addresses, node, lookup)
        if given is not None:
            result[variable.name] = expand(given, result)
    return result


def _value(
    pod: Pod,
    container: Container,
    variable: EnvVar,
    addresses: Mapping[str, str],
    node: Mapping[str, int],
    lookup: Lookup,
) -> str | None:
    source = variable.value_from
    if source is None:
        return variable.value or ""
    if source.field_ref is not None:
        return pod_field(pod, source.field_ref.field_path, addresses)
    if source.resource_field_ref is not None:
        return resource_field(pod, container, source.resource_field_ref, node)
    for kind, reference in (
        ("ConfigMap", source.config_map_key_ref),
        ("Secret", source.secret_key_ref),
    ):
        if reference is None:
            continue
        data = lookup(kind, reference.name or "")
        if data is not None and reference.key in data:
            return data[reference.key].decode("utf-8", "replace")
        if reference.optional:
            return None
        what = "does not exist" if data is None else f"has no key {reference.key!r}"
        raise errors.BadInput(f"{kind} {reference.name!r} {what}", field=f"env {variable.name}")
    raise errors.BadInput("valueFrom is empty", field=f"env {variable.name}")


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace $(NAME) by variables that are known; $$ is one $, unknown names stay."""

    def replacement(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return variables.get(match[1], match[0])

    return _REFERENCE.sub(replacement, text)
