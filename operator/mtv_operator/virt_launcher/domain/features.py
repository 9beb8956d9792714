"""`<features>` and `<clock>`: what the board offers to the guest, and its sense of time."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from mtv import errors
from mtv.api import kubevirt
from mtv_operator.virt_launcher.domain.context import Context
from mtv_operator.virt_launcher.domain.markup import element, on_off, yes_no

# Hyper-V enlightenments that are a plain switch; the element's name is the field's.
HYPERV_SWITCHES = (
    "relaxed",
    "vapic",
    "vpindex",
    "runtime",
    "synic",
    "reset",
    "frequencies",
    "reenlightenment",
    "ipi",
    "evmcs",
)
SPINLOCK_RETRIES = 4096  # KubeVirt's default


def enabled(state: kubevirt.FeatureState | None) -> bool:
    """Tell whether a feature is on: there, and not `enabled: false`."""
    return state is not None and state.enabled is not False


def feature_elements(domain: kubevirt.DomainSpec, context: Context, secure: bool) -> Element:
    """Return `<features>`. ACPI is on unless it was switched off: shutdown needs it."""
    features = domain.features or kubevirt.Features()
    node = element("features")
    if features.acpi is None or features.acpi.enabled is not False:
        node.append(element("acpi"))
    if features.apic is None:
        node.append(element("apic"))
    elif features.apic.enabled is not False:
        eoi = features.apic.end_of_interrupt
        node.append(element("apic", {"eoi": "on" if eoi else None}))
    if not context.emulated:
        node.extend(_paravirtual(features))
    if secure or enabled(features.smm):
        node.append(element("smm", {"state": "on"}))
    node.append(element("vmport", {"state": "off"}))
    return node


def _paravirtual(features: kubevirt.Features) -> list[Element]:
    """Return what only KVM can offer: Hyper-V enlightenments, its own signature, spin locks."""
    found = []
    if features.hyperv_passthrough is not None and features.hyperv_passthrough.enabled is not False:
        found.append(element("hyperv", {"mode": "passthrough"}))
    elif features.hyperv is not None:
        found.append(_hyperv(features.hyperv))
    if features.kvm is not None and features.kvm.hidden:
        found.append(element("kvm", None, element("hidden", {"state": "on"})))
    if features.pvspinlock is not None:
        found.append(element("pvspinlock", {"state": on_off(enabled(features.pvspinlock))}))
    return found


def _hyperv(hyperv: kubevirt.FeatureHyperv) -> Element:
    node = element("hyperv", {"mode": "custom"})
    for name in HYPERV_SWITCHES:
        state = getattr(hyperv, name)
        if state is not None:
            node.append(element(name, {"state": on_off(enabled(state))}))
    if hyperv.tlbflush is not None:
        node.append(element("tlbflush", {"state": on_off(hyperv.tlbflush.enabled is not False)}))
    if (spinlocks := hyperv.spinlocks) is not None:
        on = spinlocks.enabled is not False
        retries = (spinlocks.spinlocks or SPINLOCK_RETRIES) if on else None
        node.append(element("spinlocks", {"state": on_off(on), "retries": retries}))
    if (timer := hyperv.synictimer) is not None:
        direct = element("direct", {"state": on_off(enabled(timer.direct))})
        on = timer.enabled is not False
        node.append(
            element("stimer", {"state": on_off(on)}, direct if on and timer.direct else None)
        )
    if (vendor := hyperv.vendorid) is not None:
        on = vendor.enabled is not False
        if on and len(vendor.vendorid or "") > 12:
            raise errors.BadInput(
                f"{(vendor.vendorid or '')[:40]!r} is longer than 12 characters",
                field="spec.domain.features.hyperv.vendorid.vendorid",
            )
        value = vendor.vendorid if on else None
        node.append(element("vendor_id", {"state": on_off(on), "value": value}))
    return node


def clock_element(domain: kubevirt.DomainSpec, context: Context) -> Element | None:
    """Return `<clock>`, or None where the spec has none (libvirt's default is UTC)."""
    clock = domain.clock
    if clock is None:
        return None
    if clock.timezone:
        attributes: dict[str, str | int | None] = {"offset": "timezone", "timezone": clock.timezone}
    else:
        seconds = clock.utc.offset_seconds if clock.utc else None
        if seconds is None:
            attributes = {"offset": "utc", "adjustment": "reset"}
        else:
            attributes = {"offset": "utc", "adjustment": seconds}
    return element("clock", attributes, *_timers(clock.timer, context))


def _timers(timer: kubevirt.Timer | None, context: Context) -> list[Element]:
    """Return `<timer>` elements; those of KVM and Hyper-V exist only under KVM."""
    if timer is None:
        return []
    found = []
    if timer.rtc is not None:
        found.append(_timer("rtc", timer.rtc.present, timer.rtc.tick_policy, timer.rtc.track))
    if timer.pit is not None:
        found.append(_timer("pit", timer.pit.present, timer.pit.tick_policy))
    if timer.hpet is not None:
        found.append(_timer("hpet", timer.hpet.present, timer.hpet.tick_policy))
    if timer.kvm is not None and not context.emulated:
        found.append(_timer("kvmclock", timer.kvm.present))
    if timer.hyperv is not None and not context.emulated:
        found.append(_timer("hypervclock", timer.hyperv.present))
    return found


def _timer(
    name: str, present: bool | None, tick_policy: str | None = None, track: str | None = None
) -> Element:
    return element(
        "timer",
        {
            "name": name,
            "present": yes_no(present is not False),
            "tickpolicy": tick_policy or None,
            "track": track or None,
        },
    )


def compromises(domain: kubevirt.DomainSpec, context: Context) -> list[str]:
    """Say what is left out because the CPU is emulated."""
    features = domain.features
    if not context.emulated or features is None:
        return []
    if features.hyperv is None and features.hyperv_passthrough is None:
        return []
    return ["Hyper-V enlightenments are left out: they need KVM"]
