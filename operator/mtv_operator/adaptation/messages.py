"""What the controller and an adaptation pod say to each other: an order, and an outcome.

The pod has no network: its order stands on its command line, and its outcome is the termination
message of its container, which Kubernetes cuts at 4096 bytes.
"""

from __future__ import annotations

import msgspec

MOST_MESSAGE = 4000  # of 4096: what is longer is cut, and would be no JSON any more
_SHORT_HASH = 16


class OrderedNic(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A NIC as the source has it."""

    mac: str
    slot: int = 0
    addresses: tuple[str, ...] = ()


class Trial(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """How the adapted guest is tried before it is committed."""

    timeout_s: float = 600
    memory_mib: int = 1024
    kvm: bool = False


class Order(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What shall be done with which disks."""

    disks: tuple[str, ...]
    bus: str = "scsi"
    nics: tuple[OrderedNic, ...] = ()
    root: str = ""
    when: str = ""
    packages: str = ""  # a folder; "" for none
    drivers: str = ""  # a folder or an ISO of virtio-win
    legacy_drivers: bool = False
    keys: str = ""  # a folder with keys of LUKS
    scratch: str = ""  # where overlays lie; "" for beside the disks
    trial: Trial | None = None
    rehearse: bool = False
    proven: str = ""
    console: bool = False


class Changed(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A file that was changed, and the hash that it had; "" where it was not there."""

    path: str
    old: str = ""


class Outcome(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What was found and done. `error` says why the guest is left as it was."""

    way: str = ""
    bus: str = "sata"
    nic_model: str = "e1000e"
    system: str = ""
    facts: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    changes: tuple[Changed, ...] = ()
    not_listed: int = 0  # changes that found no room here; the record in the guest has them
    recipe: str = ""
    booted: bool = False
    committed: bool = False
    rehearsed: bool = False
    seconds: dict[str, float] = {}
    overlay_bytes: int = 0
    error: str = ""
    torn: bool = False  # a commit was begun and could not be completed
    step: str = ""  # what was going on when the process ended, where it could say no more


def encode(outcome: Outcome) -> bytes:
    """Return the message of an outcome, as much of it as there is room for."""
    made = msgspec.json.encode(outcome)
    if len(made) <= MOST_MESSAGE:
        return made
    short = tuple(
        msgspec.structs.replace(one, old=one.old[:_SHORT_HASH]) for one in outcome.changes
    )
    outcome = msgspec.structs.replace(
        outcome,
        changes=short,
        facts=tuple(one[:200] for one in outcome.facts[:12]),
        reasons=tuple(one[:300] for one in outcome.reasons[:4]),
        warnings=tuple(one[:200] for one in outcome.warnings[:4]),
        error=outcome.error[:500],
    )
    while len(made := msgspec.json.encode(outcome)) > MOST_MESSAGE and outcome.changes:
        outcome = msgspec.structs.replace(
            outcome, changes=outcome.changes[:-1], not_listed=outcome.not_listed + 1
        )
    return made


def decode(message: str) -> Outcome | None:
    """Return the outcome of a message; None for one that is none."""
    try:
        return msgspec.json.decode(message.encode(), type=Outcome)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None
