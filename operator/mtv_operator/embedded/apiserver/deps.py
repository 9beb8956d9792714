"""What the verbs work with, in one value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from mtv_operator.embedded.apiserver.admission import Admission
from mtv_operator.embedded.apiserver.authentication import Tokens
from mtv_operator.embedded.apiserver.authorization import Rules
from mtv_operator.embedded.apiserver.http_client import Pool
from mtv_operator.embedded.apiserver.reading import Lists
from mtv_operator.embedded.apiserver.registry import Registry
from mtv_operator.embedded.apiserver.storage import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontProxy:
    """What this server shows to those it passes requests on to, and whose word it takes."""

    ca: Path
    certificate: Path | None = None
    key: Path | None = None
    own_certificate: Path | None = None  # shown to nodes
    own_key: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deps:
    """The collaborators of one API server."""

    store: Store
    registry: Registry
    admission: Admission
    tokens: Tokens
    rules: Rules
    pool: Pool
    front_proxy: FrontProxy
    clock: Callable[[], datetime]
    lists: Lists = field(default_factory=Lists)
    watches: set[Callable[[], None]] = field(default_factory=set)
