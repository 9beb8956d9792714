"""Features that stand there without a value are on, and bring along those they need. Pure."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from mtv.api import kubevirt

F = TypeVar("F", bound=msgspec.Struct)

# What an enlightenment needs: pkg/defaults, hyperv.go.
NEEDS: dict[str, tuple[str, ...]] = {
    "synictimer": ("synic", "vpindex"),
    "synic": ("vpindex",),
    "tlbflush": ("vpindex",),
    "ipi": ("vpindex",),
    "evmcs": ("vapic",),
}


def completed(features: kubevirt.Features) -> kubevirt.Features:
    """Return the features with `enabled` said and dependencies added."""
    changed = {
        name: _said(getattr(features, name))
        for name in ("acpi", "apic", "smm", "pvspinlock", "hyperv_passthrough")
    }
    return msgspec.structs.replace(features, **changed, hyperv=_hyperv(features.hyperv))


def _said(feature: F | None) -> F | None:
    """Return the feature with `enabled: true`, unless it says itself."""
    if feature is None or getattr(feature, "enabled", None) is not None:
        return feature
    return msgspec.structs.replace(feature, enabled=True)


def _hyperv(hyperv: kubevirt.FeatureHyperv | None) -> kubevirt.FeatureHyperv | None:
    if hyperv is None:
        return None
    said: dict[str, Any] = {
        name: _said(getattr(hyperv, name)) for name in type(hyperv).__struct_fields__
    }
    for name, needed in NEEDS.items():
        if _is_on(said[name]):
            for other in needed:
                if said[other] is None:
                    said[other] = kubevirt.FeatureState(enabled=True)
    return kubevirt.FeatureHyperv(**said)


def _is_on(feature: Any) -> bool:  # noqa: ANN401 - several kinds of features
    return feature is not None and feature.enabled is not False


def with_cpu_feature(domain: kubevirt.DomainSpec) -> kubevirt.DomainSpec:
    """Require the CPU's `vmx` where evmcs is on: it nests in that."""
    hyperv = domain.features.hyperv if domain.features else None
    if hyperv is None or not _is_on(hyperv.evmcs):
        return domain
    cpu = domain.cpu or kubevirt.CPU()
    if any(one.name == "vmx" for one in cpu.features):
        return domain
    vmx = kubevirt.CPUFeature(name="vmx", policy="require")
    return msgspec.structs.replace(
        domain, cpu=msgspec.structs.replace(cpu, features=(*cpu.features, vmx))
    )
