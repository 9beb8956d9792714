"""What a VirtualMachineInstanceReplicaSet needs done, and how it stands. Pure.

The names of its instances are made of its uid and a number, so that a pass that is done twice makes
nothing twice; a number is free again when the instance that had it is gone.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from mtv.api import kubevirt, meta
from mtv_operator.reconciling import Decision
from mtv_operator.virt_controller import conditions, phases
from mtv_operator.virt_controller.virtual_machine import controller_of

Set = kubevirt.VirtualMachineInstanceReplicaSet
Status = kubevirt.VirtualMachineInstanceReplicaSetStatus
Condition = kubevirt.VirtualMachineInstanceReplicaSetCondition
Vmi = kubevirt.VirtualMachineInstance

PAUSED = "ReplicaPaused"
AT_ONCE = 50  # made or deleted in one pass
MAX_PREFIX = 57
_SYMBOLS = "bcdfghjklmnpqrstvwxz2456789"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A replica set, and the instances of its namespace."""

    replica_set: Set
    instances: tuple[Vmi, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """Make one more instance."""

    instance: Vmi


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Take an instance away: there are too many, or it has ended."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopt:
    """Make an instance without owner the set's."""

    instance: Vmi


Action = Create | Delete | Adopt
Plan = Decision[Action, Status]


def decide(observed: Observed, now: datetime) -> Plan:
    """Return what the set needs now."""
    found = observed.replica_set
    owned = [one for one in observed.instances if _owner_uid(one) == found.metadata.uid]
    there = [one for one in owned if not phases.is_going(one)]
    active = [one for one in there if not phases.is_final(one)]
    status = _status(found, active, now)
    if found.metadata.deletion_timestamp is not None:
        return Decision(status=status)
    actions: list[Action] = [Adopt(instance=one) for one in _orphans(observed)]
    if not found.spec.paused and not actions:
        ended = [one for one in there if phases.is_final(one)]
        actions += [Delete(name=one.metadata.name, uid=one.metadata.uid) for one in ended]
        actions += _scaled(found, active, {one.metadata.name for one in observed.instances})
    return Decision(status=status, actions=tuple(actions))


def wanted(found: Set) -> int:
    """Return how many instances there shall be."""
    return 1 if found.spec.replicas is None else found.spec.replicas


def _scaled(found: Set, active: Sequence[Vmi], taken: set[str]) -> list[Action]:
    missing = wanted(found) - len(active)
    if missing >= 0:
        names = itertools.islice(_free_names(found, taken), min(missing, AT_ONCE))
        return [Create(instance=made(found, name)) for name in names]
    victims = sorted(active, key=_worth)[: min(-missing, AT_ONCE)]
    return [Delete(name=one.metadata.name, uid=one.metadata.uid) for one in victims]


def _worth(vmi: Vmi) -> tuple[bool, float, str]:
    """Return what sorts first those whose loss matters least: not ready, then young."""
    made_at = vmi.metadata.creation_timestamp
    age = -conditions.time_of(made_at).timestamp() if made_at else 0.0
    return _is_ready(vmi), age, vmi.metadata.name


def _is_ready(vmi: Vmi) -> bool:
    return conditions.is_true(vmi.status.conditions if vmi.status else (), "Ready")


def _free_names(found: Set, taken: set[str]) -> Iterator[str]:
    prefix = found.metadata.name[:MAX_PREFIX]
    for number in itertools.count():
        seed = f"{found.metadata.uid}/{number}".encode()
        value = int.from_bytes(hashlib.sha256(seed).digest()[:8], "big")
        suffix = ""
        for _ in range(5):
            value, digit = divmod(value, len(_SYMBOLS))
            suffix += _SYMBOLS[digit]
        name = f"{prefix}{suffix}"
        if name not in taken:
            yield name


def made(found: Set, name: str) -> Vmi:
    """Return an instance of the set's template. The template must have a spec."""
    template = found.spec.template
    assert template.spec is not None
    return Vmi(
        metadata=meta.ObjectMeta(
            name=name,
            namespace=found.metadata.namespace,
            labels=dict(template.metadata.labels),
            annotations=dict(template.metadata.annotations),
            owner_references=(meta.owner_of(found),),
        ),
        spec=template.spec,
    )


def _owner_uid(vmi: Vmi) -> str:
    owner = controller_of(vmi)
    return owner.uid if owner is not None else ""


def _orphans(observed: Observed) -> list[Vmi]:
    selector = observed.replica_set.spec.selector
    return [
        one
        for one in observed.instances
        if controller_of(one) is None
        and not phases.is_going(one)
        and matches(selector, one.metadata.labels)
    ]


def _status(found: Set, active: Sequence[Vmi], now: datetime) -> Status:
    before = found.status or Status()
    kept = tuple(one for one in before.conditions if one.type != PAUSED)
    if found.spec.paused:
        known = next((one for one in before.conditions if one.type == PAUSED), None)
        kept = (
            *kept,
            known
            or Condition(
                type=PAUSED,
                status="True",
                reason="Paused",
                message="Controller got paused",
                last_transition_time=conditions.timestamp(now),
            ),
        )
    return msgspec.structs.replace(
        before,
        conditions=kept,
        label_selector=selector_text(found.spec.selector),
        replicas=len(active),
        ready_replicas=sum(_is_ready(one) for one in active),
    )


def matches(selector: meta.LabelSelector, labels: Mapping[str, str]) -> bool:
    """Tell whether labels fit a selector; an empty one selects nothing here."""
    if not selector.match_labels and not selector.match_expressions:
        return False
    return selector.match_labels.items() <= labels.items() and all(
        _fits(one, labels) for one in selector.match_expressions
    )


def _fits(one: meta.LabelSelectorRequirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(one.key)
    match one.operator:
        case "In":
            return value in one.values
        case "NotIn":
            return value not in one.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    return False


def selector_text(selector: meta.LabelSelector) -> str:
    """Return a selector as `kubectl -l` takes it."""
    words = [f"{name}={value}" for name, value in sorted(selector.match_labels.items())]
    for one in selector.match_expressions:
        match one.operator:
            case "Exists":
                words.append(one.key)
            case "DoesNotExist":
                words.append(f"!{one.key}")
            case _:
                words.append(f"{one.key} {one.operator.lower()} ({','.join(sorted(one.values))})")
    return ",".join(words)
