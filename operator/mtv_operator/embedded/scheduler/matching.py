"""Label selectors and node selectors: does an object match? Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mtv.api.core import (
    Node,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    Taint,
    Toleration,
)
from mtv.api.meta import LabelSelector, LabelSelectorRequirement


def labels_match(selector: LabelSelector | None, labels: Mapping[str, str]) -> bool:
    """Tell whether labels match; an absent selector matches nothing, an empty one everything."""
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in selector.match_labels.items()):
        return False
    return all(_holds(one, labels) for one in selector.match_expressions)


def node_matches(selector: NodeSelector | None, node: Node) -> bool:
    """Tell whether a node matches one of the terms; an absent selector matches every node."""
    if selector is None:
        return True
    return any(term_matches(term, node) for term in selector.node_selector_terms)


def term_matches(term: NodeSelectorTerm, node: Node) -> bool:
    """Tell whether a node meets all requirements of a term; an empty term matches none."""
    if not term.match_expressions and not term.match_fields:
        return False
    fields = {"metadata.name": node.metadata.name}
    return all(_holds(one, node.metadata.labels) for one in term.match_expressions) and all(
        _holds(one, fields) for one in term.match_fields
    )


def _holds(
    one: NodeSelectorRequirement | LabelSelectorRequirement, labels: Mapping[str, str]
) -> bool:
    value = labels.get(one.key)
    match one.operator:
        case "In":
            return value is not None and value in one.values
        case "NotIn":
            return value not in one.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt":
            try:
                seen, bound = int(value or ""), int(one.values[0])
            except (ValueError, IndexError):
                return False
            return seen > bound if one.operator == "Gt" else seen < bound
    return False


def untolerated(
    taints: Iterable[Taint], tolerations: Sequence[Toleration], effects: Iterable[str]
) -> Taint | None:
    """Return the first taint with one of these effects that nothing tolerates."""
    wanted = set(effects)
    for taint in taints:
        if taint.effect in wanted and not any(tolerates(one, taint) for one in tolerations):
            return taint
    return None


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    """Tell whether a toleration covers a taint."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator == "Exists":
        return True
    return bool(toleration.key) and (toleration.value or "") == (taint.value or "")
