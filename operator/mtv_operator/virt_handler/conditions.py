"""The conditions of a running VMI: Paused, AgentConnected, LiveMigratable and the rest. Pure.

Reasons and messages are upstream's where upstream has the condition; SoftwareEmulation is ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from mtv import errors
from mtv.api import kubevirt
from mtv_operator.virt_handler import migratable
from mtv_operator.virt_launcher.protocol import Domain, Status

Condition = kubevirt.VirtualMachineInstanceCondition
Conditions = tuple[Condition, ...]

SYNCHRONIZED = "Synchronized"
PAUSED = "Paused"
AGENT_CONNECTED = "AgentConnected"
CREDENTIALS = "AccessCredentialsSynchronized"
STORAGE_LIVE_MIGRATABLE = "StorageLiveMigratable"
SOFTWARE_EMULATION = "SoftwareEmulation"

_LEAVING = "Migration"  # the last moment of a migration
# Why libvirt says that it is paused, in upstream's reasons and messages.
_PAUSED = {
    "User": ("PausedByUser", "VMI was paused by user"),
    "StartingUp": ("PausedByUser", "VMI was paused by user"),
    "IOError": ("PausedIOError", "VMI was paused, low-level IO error detected"),
}


def timestamp(now: datetime) -> str:
    """Return a time as Kubernetes writes it, in whole seconds."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def put(conditions: Conditions, new: Condition, now: datetime) -> Conditions:
    """Return `conditions` with `new` in its place; its time changes only when its status does."""
    old = next((one for one in conditions if one.type == new.type), None)
    time = old.last_transition_time if old is not None and old.status == new.status else None
    new = msgspec.structs.replace(new, last_transition_time=time or timestamp(now))
    if old is None:
        return (*conditions, new)
    return tuple(new if one.type == new.type else one for one in conditions)


def without(conditions: Iterable[Condition], *kinds: str) -> Conditions:
    """Return the conditions that are not of these types."""
    return tuple(one for one in conditions if one.type not in kinds)


def failed(conditions: Conditions, fault: errors.MigrationError, now: datetime) -> Conditions:
    """Return `conditions` saying that the order could not be carried out, and why.

    The reason is the class of the error, the message the words of libvirt or QEMU and the hint.
    """
    message = f"{fault}. {fault.hint}" if fault.hint else str(fault)
    reason = type(fault).__name__
    return put(
        conditions,
        Condition(type=SYNCHRONIZED, status="False", reason=reason, message=message),
        now,
    )


def of_domain(
    vmi: kubevirt.VirtualMachineInstance, domain: Domain, emulated_because: str, now: datetime
) -> Conditions:
    """Return the VMI's conditions as the domain is now; those of others are left as they are."""
    found = without(vmi.status.conditions if vmi.status else (), SYNCHRONIZED)
    for kind, new in (
        (PAUSED, _paused(domain)),
        (AGENT_CONNECTED, _agent(domain)),
        (CREDENTIALS, _credentials(domain)),
        (SOFTWARE_EMULATION, _emulation(domain, emulated_because)),
        (migratable.LIVE_MIGRATABLE, migratable.condition(vmi)),
    ):
        found = put(found, new, now) if new is not None else without(found, kind)
    return found


def _paused(domain: Domain) -> Condition | None:
    if domain.status is not Status.PAUSED or domain.reason == _LEAVING:
        return None
    other = (f"Paused{domain.reason}", f"VMI was paused: {domain.reason or 'no reason given'}")
    reason, message = _PAUSED.get(domain.reason, other)
    return Condition(type=PAUSED, status="True", reason=reason, message=message)


def _agent(domain: Domain) -> Condition | None:
    if not domain.agent_connected:
        return None
    return Condition(type=AGENT_CONNECTED, status="True")


def _credentials(domain: Domain) -> Condition | None:
    if domain.credentials_set is None:
        return None
    if domain.credentials_set:
        return Condition(type=CREDENTIALS, status="True", reason="AccessCredentialsSyncSuccess")
    return Condition(
        type=CREDENTIALS,
        status="False",
        reason="AccessCredentialsSyncFailed",
        message=domain.credentials_message,
    )


def _emulation(domain: Domain, because: str) -> Condition | None:
    if domain.accelerator != "qemu":
        return None
    said = "; ".join(part for part in (because, *domain.compromises) if part)
    return Condition(type=SOFTWARE_EMULATION, status="True", reason="Emulated", message=said)
