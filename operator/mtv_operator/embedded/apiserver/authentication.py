"""Who asks: a client certificate, or a token of a service account.

Tokens are JSON Web Tokens signed with the key of this server (ES256, RFC 7518 section 3.4). A token
is good while its service account, and the pod it is bound to, still exist.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from mtv_operator.embedded.apiserver import status
from mtv_operator.embedded.apiserver.exchange import ANONYMOUS, User
from mtv_operator.embedded.apiserver.storage import Key, Store

ACCOUNT_PREFIX = "system:serviceaccount:"
ISSUER = "https://kubernetes.default.svc.cluster.local"
AUDIENCE = "https://kubernetes.default.svc.cluster.local"
SCALAR_BYTES = 32  # of P-256
KNOWN_TOKENS = 1024  # signatures that need not be checked again

Claims = dict[str, Any]


class Tokens:
    """Signs tokens, and checks them."""

    def __init__(self, key_path: Path) -> None:
        key = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{key_path} holds no P-256 key")
        self._key = key
        self._public = key.public_key()
        self._checked: OrderedDict[bytes, Claims] = OrderedDict()

    def sign(self, claims: Claims) -> str:
        """Return a token with these claims."""
        header = {"alg": "ES256", "typ": "JWT"}
        text = f"{_encode(msgspec.json.encode(header))}.{_encode(msgspec.json.encode(claims))}"
        r, s = utils.decode_dss_signature(self._key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        signature = r.to_bytes(SCALAR_BYTES, "big") + s.to_bytes(SCALAR_BYTES, "big")
        return f"{text}.{_encode(signature)}"

    def claims(self, token: str) -> Claims | None:
        """Return what a token claims; None when it was not signed here. Times are not checked."""
        digest = hashlib.sha256(token.encode()).digest()
        known = self._checked.get(digest)
        if known is not None:
            self._checked.move_to_end(digest)
            return known
        claims = self._verified(token)
        if claims is not None:
            self._checked[digest] = claims
            while len(self._checked) > KNOWN_TOKENS:
                self._checked.popitem(last=False)
        return claims

    def _verified(self, token: str) -> Claims | None:
        try:
            text, _, signature_text = token.rpartition(".")
            header_text, _, claims_text = text.partition(".")
            if msgspec.json.decode(_decode(header_text)).get("alg") != "ES256":
                return None
            signature = _decode(signature_text)
            if len(signature) != 2 * SCALAR_BYTES:
                return None
            numbers = signature[:SCALAR_BYTES], signature[SCALAR_BYTES:]
            r, s = (int.from_bytes(number, "big") for number in numbers)
            encoded = utils.encode_dss_signature(r, s)
            self._public.verify(encoded, text.encode(), ec.ECDSA(hashes.SHA256()))
            claims = msgspec.json.decode(_decode(claims_text))
        except (InvalidSignature, ValueError, AttributeError, binascii.Error, msgspec.DecodeError):
            return None
        return claims if isinstance(claims, dict) else None


def service_account(
    claims: Claims, store: Store, now: datetime, audiences: Sequence[str] = (AUDIENCE,)
) -> User | None:
    """Return the service account that claims speak of; None when they are not good (any more)."""
    private = claims.get("kubernetes.io") or {}
    account, namespace = private.get("serviceaccount") or {}, private.get("namespace", "")
    name, uid = account.get("name", ""), account.get("uid", "")
    if claims.get("iss") != ISSUER or not set(audiences) & set(claims.get("aud") or ()):
        return None
    if not claims.get("nbf", 0) <= now.timestamp() < claims.get("exp", 0):
        return None
    present = store.get(Key("serviceaccounts", namespace, name))
    if present is None or present.meta.uid != uid:
        return None
    extra = [("authentication.kubernetes.io/credential-id", (f"JTI={claims.get('jti', '')}",))]
    pod = private.get("pod")
    if pod:
        bound = store.get(Key("pods", namespace, pod.get("name", "")))
        if bound is None or bound.meta.uid != pod.get("uid"):
            return None
        extra.append(("authentication.kubernetes.io/pod-name", (pod["name"],)))
        extra.append(("authentication.kubernetes.io/pod-uid", (pod["uid"],)))
    return account_user(namespace, name, uid, extra)


def account_user(
    namespace: str,
    name: str,
    uid: str = "",
    extra: Sequence[tuple[str, tuple[str, ...]]] = (),
) -> User:
    """Return the user that a service account is."""
    return User(
        name=f"{ACCOUNT_PREFIX}{namespace}:{name}",
        uid=uid,
        groups=(
            "system:serviceaccounts",
            f"system:serviceaccounts:{namespace}",
            "system:authenticated",
        ),
        extra=tuple(extra),
    )


def impersonated(headers: Sequence[tuple[bytes, bytes]]) -> User | None:
    """Return as whom a request wants to be treated (`kubectl --as`); None when as itself. Pure."""
    name, uid, groups = "", "", []
    extra: dict[str, list[str]] = {}
    for header, value in headers:
        if not header.startswith(b"impersonate-"):
            continue
        text = value.decode("utf-8", "replace")
        if header == b"impersonate-user":
            name = text
        elif header == b"impersonate-group":
            groups.append(text)
        elif header == b"impersonate-uid":
            uid = text
        elif header.startswith(b"impersonate-extra-"):
            key = unquote(header.removeprefix(b"impersonate-extra-").decode("latin-1"))
            extra.setdefault(key, []).append(text)
    if not name:
        if groups or uid or extra:
            raise status.bad_request("requested to impersonate groups or extra, but not a user")
        return None
    if not groups and name.startswith(ACCOUNT_PREFIX):
        namespace, _, account = name.removeprefix(ACCOUNT_PREFIX).partition(":")
        return account_user(namespace, account, uid)
    if name == ANONYMOUS.name:
        return ANONYMOUS
    if "system:authenticated" not in groups:
        groups.append("system:authenticated")
    shown = tuple((key, tuple(values)) for key, values in extra.items())
    return User(name=name, groups=tuple(groups), uid=uid, extra=shown)


def certificate_user(certificate: Mapping[str, Any]) -> User | None:
    """Return the user that a verified client certificate names: CN is the name, O the groups."""
    names: list[str] = []
    groups: list[str] = []
    for part in certificate.get("subject", ()):
        for kind, value in part:
            if kind == "commonName":
                names.append(value)
            elif kind == "organizationName":
                groups.append(value)
    if not names:
        return None
    return User(name=names[0], groups=(*groups, "system:authenticated"))


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
