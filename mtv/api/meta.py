"""What every API object has: identity, owners, conditions; and how a kind is described.

`Object` is the base of kinds, `Part` of everything inside them. Names are snake_case here and
camelCase on the wire, made by `rename`; a field that Kubernetes spells otherwise (`podIP`) says so.
Empty fields are left out on the wire; `apiVersion` and `kind` never are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import msgspec


def one_of(*values: str) -> msgspec.Meta:
    """Mark a string as an enumeration: the API server refuses others, our decoder does not."""
    return msgspec.Meta(extra_json_schema={"enum": list(values)})


def matching(pattern: str) -> msgspec.Meta:
    """Mark a string as having to match: checked by the API server, not by our decoder."""
    return msgspec.Meta(extra_json_schema={"pattern": pattern})


def at_least(least: int) -> msgspec.Meta:
    """Mark a number as having a least value: checked by the API server, not by our decoder."""
    return msgspec.Meta(extra_json_schema={"minimum": least})


def always(value: str) -> Any:  # noqa: ANN401 - as msgspec.field
    """Return a field with a default that is written all the same."""
    return msgspec.field(default_factory=lambda: value)


Time = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
IntOrString = Annotated[
    int | str, msgspec.Meta(extra_json_schema={"x-kubernetes-int-or-string": True})
]
# resource.Quantity: `memory: 1Gi`, `cpu: 2`, `cpu: 500m`.
_QUANTITY = (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))"
    r"(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)
Quantity = Annotated[
    int | float | str,
    msgspec.Meta(extra_json_schema={"x-kubernetes-int-or-string": True, "pattern": _QUANTITY}),
]


class Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of everything inside an object."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`, as `additionalPrinterColumns` has it."""

    name: str
    path: str
    type: str = "string"
    priority: int = 0
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """JSON paths of the scale subresource."""

    spec: str
    status: str
    selector: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """Where objects of a kind live in the API. `group` is "" for the core."""

    group: str
    version: str
    plural: str
    singular: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    status: bool = False  # status is a subresource of its own
    scale: Scale | None = None
    columns: tuple[Column, ...] = ()
    also_served: tuple[str, ...] = ()  # older versions of the same shape

    @property
    def api_version(self) -> str:
        """Return `group/version`, or the version alone for the core."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def root(self) -> str:
        """Return the path that all objects of this group and version are below."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Return the path of an object, or of the collection when no name is given."""
        parts = [self.root]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part]
        return "/".join(parts)


class OwnerReference(Part, frozen=True, kw_only=True):
    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(Part, frozen=True, kw_only=True):
    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: Time | None = None
    deletion_timestamp: Time | None = None
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: tuple[OwnerReference, ...] = ()
    finalizers: tuple[str, ...] = ()
    managed_fields: tuple[dict[str, Any], ...] = ()
    self_link: str = ""


class ListMeta(Part, frozen=True, kw_only=True):
    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")
    remaining_item_count: int | None = None


class ObjectReference(Part, frozen=True, kw_only=True):
    """Core's ObjectReference: how one object names another."""

    api_version: str | None = None
    field_path: str | None = None
    kind: str | None = None
    name: str = ""
    namespace: str = ""
    resource_version: str | None = None
    uid: str = ""


class Condition(Part, frozen=True, kw_only=True):
    """metav1.Condition. Forklift and KubeVirt have conditions of their own."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    observed_generation: int | None = None
    last_transition_time: Time | None = None


class LabelSelectorRequirement(Part, frozen=True, kw_only=True):
    key: str
    operator: str
    values: tuple[str, ...] = ()


class LabelSelector(Part, frozen=True, kw_only=True):
    match_labels: dict[str, str] = {}
    match_expressions: tuple[LabelSelectorRequirement, ...] = ()


class Object(Part, frozen=True, kw_only=True):
    """Base of kinds: what has metadata and an address in the API."""

    resource: ClassVar[Resource]
    api_version: str
    kind: str
    metadata: ObjectMeta = ObjectMeta()

    @classmethod
    def kind_name(cls) -> str:
        """Return the kind, `VirtualMachine`."""
        return cls.__name__


def owner_of(owner: Object, *, controller: bool = True) -> OwnerReference:
    """Return the reference by which `owner` owns another object."""
    return OwnerReference(
        api_version=owner.api_version,
        kind=owner.kind,
        name=owner.metadata.name,
        uid=owner.metadata.uid,
        controller=controller or None,
        block_owner_deletion=True if controller else None,
    )


def reference_to(target: Object) -> ObjectReference:
    """Return the reference by which events and others name `target`."""
    return ObjectReference(
        api_version=target.api_version,
        kind=target.kind,
        name=target.metadata.name,
        namespace=target.metadata.namespace,
        uid=target.metadata.uid,
        resource_version=target.metadata.resource_version or None,
    )
