"""A registry, read over HTTPS: OCI Distribution Specification 1.1, "Pull".

Tokens are fetched as Docker's token authentication says: the registry's 401 names whom to ask.
Credentials go to the registry and to that address only, never to where a blob is redirected.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

from converters.errors import SourceBroken, SourceRefused, SourceUnauthorized
from converters.oci import manifests, reference
from converters.oci.manifests import Blob
from converters.oci.origin import Bytes
from converters.oci.reference import Reference

TIMEOUT_S = 30.0
ACCEPT = ", ".join((*manifests.MANIFESTS, *manifests.INDEXES))
_MOST_ANSWER = 1 << 20
_PARAMETER = re.compile(r'([a-z_]+)="([^"]*)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a registry answers. `host` is what is asked for the images of a name."""

    host: str
    plain_http: bool = False
    verify: bool = True

    @property
    def url(self) -> str:
        """The root of the API."""
        return f"{'http' if self.plain_http else 'https'}://{self.host}/v2"


def place_of(registry: str) -> Place:
    """Return where a registry answers: over HTTPS, on this very machine over plain HTTP."""
    if registry == reference.HUB:
        return Place(host=reference.HUB_HOST)
    return Place(host=registry, plain_http=is_local(registry))


def is_local(registry: str) -> bool:
    """Tell whether a registry is on this machine, as container engines tell."""
    host = registry.rpartition(":")[0] or registry
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A user of a registry."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Login(user={self.user!r}, password='***')"

    def header(self) -> str:
        """Return the header's value for basic authentication."""
        pair = f"{self.user}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"


def logins(document: bytes) -> dict[str, Login]:
    """Return the users in a `config.json` of Docker (`.dockerconfigjson`), by registry."""
    try:
        auths = json.loads(document).get("auths", {})
        found = {}
        for server, entry in auths.items():
            pair = base64.b64decode(entry.get("auth", "")).decode()
            user, _, password = pair.partition(":")
            login = Login(
                user=entry.get("username", user), password=entry.get("password", password)
            )
            host = server.removeprefix("https://").removeprefix("http://").partition("/")[0]
            found["docker.io" if host == "index.docker.io" else host] = login
        return found
    except (ValueError, AttributeError):
        return {}


class _Challenged(SourceUnauthorized):
    """A 401, with what the registry says about how to log in."""

    def __init__(self, problem: str, *, file: str, challenge: str) -> None:
        hint = "name a Secret of type kubernetes.io/dockerconfigjson"
        super().__init__(problem, status=401, file=file, hint=hint)
        self.challenge = challenge


class Registry:
    """One repository of a registry: an `Origin`."""

    def __init__(
        self, name: Reference, place: Place, login: Login | None = None, ca_file: str = ""
    ) -> None:
        self.name = str(name)
        self._root = f"{place.url}/{name.repository}"
        self._place, self._login, self._repository = place, login, name.repository
        self._authorization = login.header() if login else ""
        context = ssl.create_default_context(cafile=ca_file or None)
        if not place.verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=context),
            *([urllib.request.ProxyHandler({})] if is_local(place.host) else []),
        )

    def manifest(self, version: str) -> bytes:
        """Return a manifest."""
        with self._get(f"/manifests/{version}", {"Accept": ACCEPT}) as answer:
            return bytes(answer.read(manifests.MOST_BYTES + 1))

    @contextmanager
    def blob(self, blob: Blob) -> Iterator[Bytes]:
        """Return the bytes of a blob; a broken connection raises SourceBroken."""
        with self._get(f"/blobs/{blob.digest}", {}) as answer:
            yield _Body(answer, self.name)

    def _get(self, path: str, headers: dict[str, str]) -> Any:  # noqa: ANN401 - urllib's answer
        try:
            return self._ask(self._root + path, headers, self._authorization)
        except _Challenged as fault:
            if not fault.challenge.lower().startswith("bearer "):
                raise
            self._authorization = f"Bearer {self._token(fault.challenge)}"
            return self._ask(self._root + path, headers, self._authorization)

    def _token(self, challenge: str) -> str:
        """Fetch a token. Docker Registry v2 authentication, "Token Authentication"."""
        parameters = dict(_PARAMETER.findall(challenge))
        realm = parameters.pop("realm", "")
        if not realm.startswith("https://") and not self._place.plain_http:
            raise SourceRefused(f"names {realm[:200]!r} for tokens", file=self.name)
        query = {
            "service": parameters.get("service", ""),
            "scope": parameters.get("scope") or f"repository:{self._repository}:pull",
        }
        login = self._login.header() if self._login else ""
        with self._ask(f"{realm}?{urllib.parse.urlencode(query)}", {}, login) as answer:
            try:
                found = json.loads(answer.read(_MOST_ANSWER))
                return str(found.get("token") or found["access_token"])
            except (ValueError, KeyError, AttributeError) as fault:
                raise SourceRefused("got no token", file=self.name) from fault

    def _ask(self, url: str, headers: dict[str, str], authorization: str) -> Any:  # noqa: ANN401
        request = urllib.request.Request(url, headers=headers)
        if authorization:
            request.add_unredirected_header("Authorization", authorization)
        try:
            return self._opener.open(request, timeout=TIMEOUT_S)
        except urllib.error.HTTPError as fault:
            with fault:
                raise self._refusal(fault) from fault
        except (OSError, HTTPException) as fault:
            reason = getattr(fault, "reason", None) or fault
            raise SourceBroken(
                f"the registry {self._place.host} does not answer: {reason}", file=self.name
            ) from fault

    def _refusal(self, fault: urllib.error.HTTPError) -> SourceRefused | SourceBroken:
        where = f"the registry {self._place.host}"
        if fault.code == 401:
            return _Challenged(
                f"{where} wants other credentials",
                file=self.name,
                challenge=fault.headers.get("WWW-Authenticate", ""),
            )
        if fault.code == 404:
            return SourceRefused(f"{where} has no such image", status=404, file=self.name)
        if fault.code == 429 or fault.code >= 500:
            return SourceBroken(f"{where} answers {fault.code} {fault.reason}", file=self.name)
        return SourceRefused(
            f"{where} answers {fault.code} {fault.reason}", status=fault.code, file=self.name
        )


class _Body:
    """The body of an answer, with our errors."""

    def __init__(self, answer: Any, name: str) -> None:  # noqa: ANN401 - urllib's answer
        self._answer, self._name = answer, name

    def read(self, count: int = -1, /) -> bytes:
        """Return the next bytes."""
        try:
            return bytes(self._answer.read(count))
        except (OSError, HTTPException) as fault:
            raise SourceBroken(f"the registry broke off: {fault}", file=self._name) from fault
