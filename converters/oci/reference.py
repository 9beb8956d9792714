"""Names of container images, read as container engines read them. Pure.

The grammar is that of the distribution project's reference package: the first part is a registry
if it has a dot or a colon or is `localhost`; without one it is Docker Hub.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from converters.errors import UnsupportedImage

HUB = "docker.io"
HUB_HOST = "registry-1.docker.io"  # where Docker Hub answers the distribution API
LATEST = "latest"
LONGEST = 1024
_PATH = re.compile(r"[a-z0-9]+(?:(?:\.|_{1,2}|-+|/)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A name: registry and repository, and of its images a tag or a digest (which wins)."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag and not self.digest else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.repository}{tag}{digest}"

    @property
    def version(self) -> str:
        """What a registry is asked for."""
        return self.digest or self.tag


def parse(text: str) -> Reference:
    """Return the reference. Raises UnsupportedImage for what is none."""
    name, at, digest = text.strip().removeprefix("docker://").partition("@")
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        registry, path = first, rest
    else:
        registry, path = HUB, name
    path, colon, tag = path.partition(":")
    if registry == HUB and path and "/" not in path:
        path = f"library/{path}"
    good = (
        len(text) <= LONGEST
        and _HOST.fullmatch(registry)
        and _PATH.fullmatch(path)
        and (not colon or _TAG.fullmatch(tag))
        and (not at or is_digest(digest))
    )
    if not good:
        raise UnsupportedImage(
            "is not the name of a container image", file=text[:200],
            hint="write it as registry/repository:tag, in lower case",
        )  # fmt: skip
    return Reference(
        registry=registry,
        repository=path,
        tag=tag or ("" if digest else LATEST),
        digest=digest,
    )


def is_digest(text: str) -> bool:
    """Tell whether a text is a digest that we can check."""
    return _DIGEST.fullmatch(text) is not None
