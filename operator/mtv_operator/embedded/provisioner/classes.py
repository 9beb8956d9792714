"""The storage classes of the embedded home, and what each can do. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from mtv.api.core import StorageClass
from mtv.api.meta import ObjectMeta

LOCAL, SHARED = "mtv.dev/local", "mtv.dev/shared"
DEFAULT = "storageclass.kubernetes.io/is-default-class"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ability:
    """What volumes of a provisioner can do."""

    access_modes: frozenset[str]
    tied_to_node: bool


ABILITIES = {
    LOCAL: Ability(
        access_modes=frozenset({"ReadWriteOnce", "ReadWriteOncePod"}), tied_to_node=True
    ),
    SHARED: Ability(
        access_modes=frozenset(
            {"ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany", "ReadOnlyMany"}
        ),
        tied_to_node=False,
    ),
}


def built_in() -> list[StorageClass]:
    """Return the classes that `mtv up` makes."""
    return [
        StorageClass(
            metadata=ObjectMeta(name="local", annotations={DEFAULT: "true"}),
            provisioner=LOCAL,
            reclaim_policy="Delete",
            volume_binding_mode="WaitForFirstConsumer",
            allow_volume_expansion=True,
        ),
        StorageClass(
            metadata=ObjectMeta(name="shared"),
            provisioner=SHARED,
            reclaim_policy="Delete",
            volume_binding_mode="Immediate",
            allow_volume_expansion=True,
        ),
    ]


def is_default(one: StorageClass) -> bool:
    """Tell whether claims without a class get this one."""
    return one.metadata.annotations.get(DEFAULT) == "true"
