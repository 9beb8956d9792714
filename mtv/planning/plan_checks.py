"""Problems of a plan as a whole, apart from its VMs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from mtv.api import forklift, meta
from mtv.errors import BadInput
from mtv.planning import adaptation, map_checks, names, power_off, verify
from mtv.planning.mappings import Networks, Storage
from mtv.planning.problems import Category, Problem
from mtv.planning.target import Target

TYPES = ("cold", "warm", "live", "conversion")


def is_warm(spec: forklift.PlanSpec) -> bool:
    """Tell whether the plan is warm: `type` wins over the deprecated `warm`."""
    return spec.type == "warm" if spec.type else bool(spec.warm)


def check(
    plan: forklift.Plan,
    networks: Networks | None,
    storage: Storage | None,
    target: Target,
    *,
    provider: forklift.Provider,
) -> tuple[Problem, ...]:
    """Return every problem of the plan itself; None for a map that is not there."""
    return (
        *_namespace(plan.spec),
        *_type(plan.spec, provider),
        *_annotations(plan),
        *_vms(plan.spec),
        *_maps(plan, networks, storage, target),
        *_transfer_network(plan.spec, target),
        *_hooks(plan, target),
        *_not_honoured(plan.spec),
    )


def _problem(
    kind: str, reason: str, message: str, *, field: str = "", suggestion: str = ""
) -> Problem:
    return Problem(
        type=kind,
        category=Category.CRITICAL,
        reason=reason,
        message=message,
        field=field,
        suggestion=suggestion,
    )


def _namespace(spec: forklift.PlanSpec) -> Iterator[Problem]:
    if not spec.target_namespace:
        yield _problem(
            "NamespaceNotValid", "NotSet", "it must be set", field="spec.targetNamespace"
        )
    elif not names.is_dns_label(spec.target_namespace):
        yield _problem(
            "NamespaceNotValid",
            "NotValid",
            f"{spec.target_namespace!r} is no DNS label",
            field="spec.targetNamespace",
        )


def _type(spec: forklift.PlanSpec, provider: forklift.Provider) -> Iterator[Problem]:
    if is_warm(spec):
        if provider.spec.type != "vsphere":
            yield _problem(
                "WarmMigrationNotReady",
                "NotSupported",
                f"a source of type {provider.spec.type!r} has no VMs that run",
                suggestion="set spec.type to cold and spec.warm to false",
            )
    elif spec.type and spec.type != "cold":
        known = spec.type in TYPES
        yield _problem(
            "MigrationTypeNotValid",
            "NotSupported" if known else "NotValid",
            f"migrations of type {spec.type!r} are not implemented"
            if known
            else f"{spec.type!r} is none of {', '.join(TYPES)}",
            field="spec.type",
        )


def _annotations(plan: forklift.Plan) -> Iterator[Problem]:
    for parse in (power_off.parse, verify.parse, adaptation.parse):
        try:
            parse(plan.metadata.annotations)
        except BadInput as fault:
            yield _problem(
                "NotValid", "NotValid", fault.message, field=fault.field, suggestion=fault.hint
            )


def _vms(spec: forklift.PlanSpec) -> Iterator[Problem]:
    if not spec.vms:
        yield _problem("VMRefNotValid", "NotSet", "the plan lists no VMs", field="spec.vms")


def _maps(
    plan: forklift.Plan, networks: Networks | None, storage: Storage | None, target: Target
) -> Iterator[Problem]:
    if networks is None:
        yield _map_missing("NetworkMapRefNotValid", plan.spec.map.network, "spec.map.network")
    else:
        found = map_checks.of_networks(networks, target, namespace=plan.spec.target_namespace)
        yield from _not_ready("NetworkMapNotReady", found)
    if storage is None:
        yield _map_missing("StorageRefNotValid", plan.spec.map.storage, "spec.map.storage")
    else:
        yield from _not_ready("StorageMapNotReady", map_checks.of_storage(storage, target))


def _map_missing(kind: str, reference: meta.ObjectReference | None, field: str) -> Problem:
    if reference is None or not reference.name:
        return _problem(kind, "NotSet", "no map is named", field=field)
    return _problem(
        kind, "NotFound", f"there is no map {reference.namespace}/{reference.name}", field=field
    )


def _not_ready(kind: str, found: Iterable[Problem]) -> Iterator[Problem]:
    for one in found:
        yield Problem(
            type=kind,
            category=one.category,
            reason=one.reason,
            message=f"{one.field}: {one.message}",
        )


def _transfer_network(spec: forklift.PlanSpec, target: Target) -> Iterator[Problem]:
    reference = spec.transfer_network
    if reference is None or not reference.name or target.network_attachments is None:
        return
    name = f"{reference.namespace or spec.target_namespace}/{reference.name}"
    if name not in target.network_attachments:
        yield _problem(
            "TransferNetworkNotValid",
            "NotFound",
            f"there is no NetworkAttachmentDefinition {name}",
            field="spec.transferNetwork",
        )


def _hooks(plan: forklift.Plan, target: Target) -> Iterator[Problem]:
    for index, entry in enumerate(plan.spec.vms):
        for number, one in enumerate(entry.hooks):
            field = f"spec.vms[{index}].hooks[{number}]"
            if one.step not in {"PreHook", "PostHook"}:
                yield _problem(
                    "HookStepNotValid",
                    "NotValid",
                    f"{one.step!r} is neither PreHook nor PostHook",
                    field=f"{field}.step",
                )
            name = f"{one.hook.namespace or plan.metadata.namespace}/{one.hook.name}"
            if target.hooks is not None and name not in target.hooks:
                yield _problem(
                    "HookNotValid", "NotFound", f"there is no Hook {name}", field=f"{field}.hook"
                )
                continue
            yield from _hook_not_ready(name, field, target)


def _hook_not_ready(name: str, field: str, target: Target) -> Iterator[Problem]:
    """Say why a hook that is there cannot be run."""
    hook = target.hooks.get(name) if target.hooks is not None else None
    if hook is not None and hook.spec.aap is not None:
        yield _problem(
            "HookNotReady",
            "NotSupported",
            f"Hook {name} is a job template of the Ansible Automation Platform, which is stored "
            "and not run yet",
            field=field,
            suggestion="give the hook an image, or a playbook",
        )
    elif target.no_hooks:
        yield _problem(
            "HookNotReady",
            "NoContainerEngine",
            target.no_hooks,
            field=field,
            suggestion="install podman or docker where the controller runs, or use Kubernetes",
        )
    bad = [
        one.message or one.type
        for one in (hook.status.conditions if hook is not None and hook.status else ())
        if one.category == Category.CRITICAL and one.status == "True"
    ]
    if bad:
        yield _problem("HookNotReady", "NotValid", f"Hook {name}: {'; '.join(bad)}", field=field)


_Getter = Callable[[forklift.PlanSpec], object]

# Fields that are stored, and change nothing. customizationScripts would run in the guest's files,
# and Tang servers (nbdeClevis) are asked by the network, which the adaptation has none of.
NOT_HONOURED: dict[str, _Getter] = {
    "spec.transferNetwork": lambda spec: spec.transfer_network,
    "spec.serviceAccount": lambda spec: spec.service_account,
    "spec.preserveClusterCpuModel": lambda spec: spec.preserve_cluster_cpu_model,
    "spec.rdmAsLun": lambda spec: spec.rdm_as_lun,
    "spec.scsiReservation": lambda spec: spec.scsi_reservation,
    "spec.installLegacyDrivers": lambda spec: spec.install_legacy_drivers,
    "spec.customizationScripts": lambda spec: spec.customization_scripts,
    "spec.xfsCompatibility": lambda spec: spec.xfs_compatibility,
    "spec.precopyIntervalSeconds": lambda spec: spec.precopy_interval_seconds and not is_warm(spec),
    "spec.maxDowntimeSeconds": lambda spec: spec.max_downtime_seconds and not is_warm(spec),
    "spec.vms[].luks": lambda spec: any(vm.luks and vm.luks.name for vm in spec.vms),
    "spec.vms[].nbdeClevis": lambda spec: any(vm.nbde_clevis for vm in spec.vms),
    "spec.vms[].rdmAsLun": lambda spec: any(vm.rdm_as_lun for vm in spec.vms),
    "spec.vms[].scsiReservation": lambda spec: any(vm.scsi_reservation for vm in spec.vms),
}


def not_honoured(spec: forklift.PlanSpec) -> tuple[str, ...]:
    """Return the fields that are set and have no effect."""
    return tuple(field for field, value in NOT_HONOURED.items() if value(spec))


def _not_honoured(spec: forklift.PlanSpec) -> Iterator[Problem]:
    for field in not_honoured(spec):
        yield Problem(
            type="FieldNotHonoured",
            category=Category.ADVISORY,
            reason="NotSupported",
            message="this field is stored and has no effect yet",
            field=field,
        )
