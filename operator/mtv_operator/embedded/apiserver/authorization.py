"""Who may do what: Kubernetes' role based access control. Pure, over decoded objects.

After `plugin/pkg/auth/authorizer/rbac` and `pkg/registry/rbac/validation`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from mtv_operator.embedded.apiserver import label_selectors
from mtv_operator.embedded.apiserver.exchange import User
from mtv_operator.embedded.apiserver.storage import Store

MASTERS = "system:masters"
_GROUP = "rbac.authorization.k8s.io"
TABLES = tuple(
    f"{plural}.{_GROUP}"
    for plural in ("clusterroles", "clusterrolebindings", "roles", "rolebindings")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """May this be done? `path` is set when it is about no resource."""

    verb: str
    group: str = ""
    plural: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


class Rule(msgspec.Struct, frozen=True, rename="camel"):
    """A PolicyRule."""

    verbs: tuple[str, ...] = ()
    api_groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    resource_names: tuple[str, ...] = ()
    non_resource_urls: tuple[str, ...] = msgspec.field(name="nonResourceURLs", default=())


class Subject(msgspec.Struct, frozen=True):
    """Whom a binding is for."""

    kind: str = ""
    name: str = ""
    namespace: str = ""


class _RoleRef(msgspec.Struct, frozen=True):
    kind: str = ""
    name: str = ""


class _Metadata(msgspec.Struct, frozen=True):
    name: str = ""
    namespace: str = ""
    labels: dict[str, str] | None = None


class _Aggregation(msgspec.Struct, frozen=True, rename="camel"):
    cluster_role_selectors: tuple[dict[str, Any], ...] = ()


class _Role(msgspec.Struct, frozen=True, rename="camel"):
    metadata: _Metadata
    rules: tuple[Rule, ...] | None = None
    aggregation_rule: _Aggregation | None = None


class _Binding(msgspec.Struct, frozen=True, rename="camel"):
    metadata: _Metadata
    role_ref: _RoleRef = _RoleRef()
    subjects: tuple[Subject, ...] | None = None


def allows(rule: Rule, question: Question) -> bool:
    """Return whether a rule allows what is asked."""
    if question.verb not in rule.verbs and "*" not in rule.verbs:
        return False
    if question.path:
        return any(_covers_path(pattern, question.path) for pattern in rule.non_resource_urls)
    if question.group not in rule.api_groups and "*" not in rule.api_groups:
        return False
    if not any(_covers(pattern, question) for pattern in rule.resources):
        return False
    return not rule.resource_names or question.name in rule.resource_names


def _covers(pattern: str, question: Question) -> bool:
    if pattern == "*":
        return True
    if not question.subresource:
        return pattern == question.plural
    return pattern in (
        f"{question.plural}/{question.subresource}",
        f"*/{question.subresource}",
    )


def _covers_path(pattern: str, path: str) -> bool:
    if pattern.endswith("*"):
        return path.startswith(pattern[:-1])
    return pattern == path


def applies(subject: Subject, user: User, namespace: str) -> bool:
    """Return whether a subject of a binding is this user. `namespace` is the binding's."""
    if subject.kind == "User":
        return subject.name in ("*", user.name)
    if subject.kind == "Group":
        return subject.name in user.groups
    if subject.kind == "ServiceAccount":
        home = subject.namespace or namespace
        return user.name == f"system:serviceaccount:{home}:{subject.name}"
    return False


class Rules:
    """The roles and bindings that are stored, decoded once per change."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stamp: tuple[int, ...] = ()
        self._roles: dict[tuple[str, str], tuple[Rule, ...]] = {}
        self._bindings: list[tuple[str, _RoleRef, tuple[Subject, ...]]] = []

    def allow(self, user: User, question: Question) -> bool:
        """Return whether the user may do what is asked."""
        if MASTERS in user.groups:
            return True
        return any(allows(rule, question) for rule in self.of(user, question.namespace))

    def of(self, user: User, namespace: str) -> Iterator[Rule]:
        """Return the rules for a user in a namespace, and in all ("")."""
        self._refresh()
        for home, reference, subjects in self._bindings:
            if home and home != namespace:
                continue
            if any(applies(subject, user, home) for subject in subjects):
                role_home = home if reference.kind == "Role" else ""
                yield from self._roles.get((role_home, reference.name), ())

    def _refresh(self) -> None:
        stamp = tuple(self._store.table(table).revision for table in TABLES)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        cluster_roles, cluster_bindings, roles, bindings = (
            [entry.body for entry in self._store.table(table).select("")] for table in TABLES
        )
        self._roles = _with_aggregated(_decode_roles([*cluster_roles, *roles]))
        self._bindings = [
            (one.metadata.namespace, one.role_ref, one.subjects or ())
            for one in _decode_bindings([*cluster_bindings, *bindings])
        ]


def _decode_roles(bodies: Sequence[bytes]) -> list[_Role]:
    found = []
    for body in bodies:
        with contextlib.suppress(msgspec.ValidationError):  # gives nobody anything
            found.append(msgspec.json.decode(body, type=_Role))
    return found


def _with_aggregated(roles: Sequence[_Role]) -> dict[tuple[str, str], tuple[Rule, ...]]:
    """Return the rules of each role; of one that aggregates, those of the roles it selects.

    What it selects may aggregate in turn: `admin` takes in `edit`, which takes in `view`.
    """
    by_place = {(one.metadata.namespace, one.metadata.name): one for one in roles}

    def rules_of(role: _Role, above: tuple[_Role, ...]) -> tuple[Rule, ...]:
        if role.aggregation_rule is None:
            return role.rules or ()
        selectors = role.aggregation_rule.cluster_role_selectors
        parts = [
            one
            for one in roles
            if not one.metadata.namespace
            and one not in (*above, role)
            and any(_selects(selector, one) for selector in selectors)
        ]
        inner = (rule for one in parts for rule in rules_of(one, (*above, role)))
        return (*(role.rules or ()), *inner)

    return {place: rules_of(role, ()) for place, role in by_place.items()}


def _selects(selector: dict[str, Any], role: _Role) -> bool:
    return label_selectors.matches(selector, role.metadata.labels or {})


def _decode_bindings(bodies: Sequence[bytes]) -> Iterable[_Binding]:
    for body in bodies:
        try:
            yield msgspec.json.decode(body, type=_Binding)
        except msgspec.ValidationError:
            continue


def denial(user: User, question: Question) -> str:
    """Return the sentence that says what was not allowed."""
    if question.path:
        return f'User "{user.name}" cannot {question.verb} path "{question.path}"'
    resource = question.plural
    if question.subresource:
        resource += f"/{question.subresource}"
    where = (
        f'in the namespace "{question.namespace}"' if question.namespace else "at the cluster scope"
    )
    return (
        f'User "{user.name}" cannot {question.verb} resource "{resource}"'
        f' in API group "{question.group}" {where}'
    )


def rules_as_documents(rules: Iterable[Rule]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return rules about resources and about paths, as SelfSubjectRulesReview has them."""
    resources, paths = [], []
    for rule in rules:
        if rule.non_resource_urls:
            paths.append({"verbs": rule.verbs, "nonResourceURLs": rule.non_resource_urls})
        else:
            named = {"resourceNames": rule.resource_names} if rule.resource_names else {}
            resources.append(
                {"verbs": rule.verbs, "apiGroups": rule.api_groups, "resources": rule.resources}
                | named
            )
    return resources, paths
