"""Tokens for uploads into claims: made by virt-api, checked by whoever takes the bytes. Pure.

    base64url(payload) "." base64url(HMAC-SHA256(key, payload))

The key is the claim's own: a token is good for one claim and for five minutes. Its worker has it in
a Secret beside the claim; virt-api, which reads Secrets in its own namespace alone, makes it of the
root key there.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

import msgspec

LIFE_S = 300  # as CDI's tokens
ROOT_SECRET = "virt-api-upload-root-key"  # in the namespace of virt-api
KEY = "key"  # in the Secrets' data
KEY_BYTES = 32


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """What a token is for."""

    namespace: str
    claim: str
    uid: str
    expires: int


def claim_key(root: bytes, uid: str) -> bytes:
    """Return the key of the claim with this uid."""
    return _mac(uid.encode(), root)


def secret_name(claim: str) -> str:
    """Return the name of the Secret with a claim's key."""
    return f"{claim}-upload"


def made(payload: Payload, key: bytes) -> str:
    """Return a token."""
    content = msgspec.json.encode(payload)
    return f"{_text(content)}.{_text(_mac(content, key))}"


def payload_of(token: str) -> Payload | None:
    """Return what a token says, unchecked; None for what is none."""
    try:
        return msgspec.json.decode(_bytes(token.partition(".")[0]), type=Payload)
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        return None


def is_good(token: str, key: bytes, now: float) -> bool:
    """Tell whether a token was made with this key and is still good."""
    payload = payload_of(token)
    try:
        content, mac = (_bytes(part) for part in token.split("."))
    except (binascii.Error, ValueError):
        return False
    return (
        payload is not None
        and hmac.compare_digest(mac, _mac(content, key))
        and (now < payload.expires)
    )


def _mac(content: bytes, key: bytes) -> bytes:
    return hmac.digest(key, content, hashlib.sha256)


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
