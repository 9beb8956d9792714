"""Which certificates servers with an authority of their own need now. Pure.

The authority lies in a Secret, what others must believe in a ConfigMap, each server's pair in a
Secret of its own; keys are upstream's. A new authority is believed for a while before it signs, and
an old one after: no connection fails meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from mtv_operator.certificates import issuing
from mtv_operator.certificates.issuing import Identity, Pair

BUNDLE = "ca-bundle"
CERTIFICATE, KEY = "tls.crt", "tls.key"
NEXT_CERTIFICATE, NEXT_KEY = "next.crt", "next.key"
PREVIOUS = "previous.crt"
# Mounted files and webhooks follow within two minutes.
OVERLAP = timedelta(minutes=15)

Data = dict[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """How long certificates are valid, and how long before their end they are replaced."""

    authority: timedelta = timedelta(hours=168)
    authority_renew: timedelta = timedelta(hours=33, minutes=36)
    server: timedelta = timedelta(hours=24)
    server_renew: timedelta = timedelta(hours=4, minutes=48)


@dataclass(frozen=True, slots=True)
class KeepAuthority:
    """Store the authority's Secret."""

    data: Data


@dataclass(frozen=True, slots=True)
class KeepBundle:
    """Store what is to be believed."""

    text: str


@dataclass(frozen=True, slots=True)
class KeepServer:
    """Store a server's pair."""

    name: str
    pair: Pair


Action = KeepAuthority | KeepBundle | KeepServer


def next_authority(stored: Data, wanted: Lifetimes, now: datetime) -> Data:
    """Return the authority's Secret as it should be: made, announced, or taken into use."""
    if not _usable(stored, CERTIFICATE, KEY, now):
        made = issuing.new_authority(now, wanted.authority, _name(now))
        return {CERTIFICATE: made.certificate, KEY: made.key}
    found = dict(stored)
    if PREVIOUS in found and issuing.validity(found[PREVIOUS])[1] <= now:
        del found[PREVIOUS]
    if _usable(found, NEXT_CERTIFICATE, NEXT_KEY, now):
        if now - issuing.validity(found[NEXT_CERTIFICATE])[0] >= OVERLAP:
            return {
                CERTIFICATE: found[NEXT_CERTIFICATE],
                KEY: found[NEXT_KEY],
                PREVIOUS: found[CERTIFICATE],
            }
    elif issuing.validity(found[CERTIFICATE])[1] - now <= wanted.authority_renew:
        made = issuing.new_authority(now, wanted.authority, _name(now))
        found |= {NEXT_CERTIFICATE: made.certificate, NEXT_KEY: made.key}
    return found


def _name(now: datetime) -> str:
    return f"kubevirt.io@{now.timestamp():.0f}"


def _usable(stored: Data, certificate: str, key: str, now: datetime) -> bool:
    try:
        issuing.load_key(stored.get(key, b""))
        return issuing.validity(stored.get(certificate, b""))[1] > now
    except (ValueError, TypeError):
        return False


def bundle(authority: Data) -> str:
    """Return all authorities that are to be believed, as PEM."""
    names = (CERTIFICATE, NEXT_CERTIFICATE, PREVIOUS)
    return "".join(authority[name].decode() for name in names if name in authority)


def decide(
    stored: Data,
    believed: str,
    servers: Mapping[str, Data],
    identities: Mapping[str, Identity],
    wanted: Lifetimes,
    now: datetime,
) -> list[Action]:
    """Return what is to be stored, in an order that may be broken off anywhere."""
    actions: list[Action] = []
    authority = next_authority(stored, wanted, now)
    if authority != stored:
        actions.append(KeepAuthority(authority))
    if bundle(authority) != believed:
        actions.append(KeepBundle(bundle(authority)))
    signing = Pair(certificate=authority[CERTIFICATE], key=authority[KEY])
    for name, identity in identities.items():
        there = servers.get(name, {})
        pair = Pair(certificate=there.get(CERTIFICATE, b""), key=there.get(KEY, b""))
        if not issuing.fits(pair, signing, identity, now, wanted.server_renew):
            made = issuing.issue(signing, identity, now, wanted.server)
            actions.append(KeepServer(name, made))
    return actions
