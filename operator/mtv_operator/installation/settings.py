"""What can be chosen about an installation. A Helm chart fills in its own words instead."""

from __future__ import annotations

from dataclasses import dataclass

RUNTIME_NAMESPACE, MIGRATION_NAMESPACE = "kubevirt", "mtv"
IMAGE = "ghcr.io/mtv/mtv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The choices; texts may be a template's, so nothing is computed from them."""

    image: str
    pull_policy: str = "IfNotPresent"
    replicas: int | str = 2
    use_emulation: bool | str = False
    runtime: bool = True  # False where KubeVirt is there already: only migration is installed
    data_volumes: bool = True  # False where CDI is there already
    # What follows from `data_volumes`, unless a template says it.
    runtime_parts: str = ""
    uploads: str = ""
