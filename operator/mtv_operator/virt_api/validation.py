"""What the validating webhooks refuse. Pure.

Rules and words are upstream's (`vms-admitter.go`, `vmi-create-admitter.go`), where clients may look
for them; each cause names the field.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mtv.api import kubevirt
from mtv_operator.virt_api import (
    cpu_and_memory,
    credential_rules,
    device_rules,
    network_rules,
    volume_rules,
)
from mtv_operator.virt_api.causes import INVALID, NOT_SUPPORTED, REQUIRED, Cause

MAX_NAME = 63  # the name becomes a label of pods
RUN_STRATEGIES = ("Halted", "Manual", "Always", "RerunOnFailure", "Once", "WaitAsReceiver")
EVICTION_STRATEGIES = ("None", "LiveMigrate", "LiveMigrateIfPossible", "External")
START_STRATEGIES = ("Paused",)
# Labels that users may not set on an instance: the runtime finds its way by them.
RESERVED_LABELS = (
    "kubevirt.io/created-by",
    "kubevirt.io/migrationJobUID",
    "kubevirt.io/nodeName",
    "kubevirt.io/migrationTargetNodeName",
    "kubevirt.io/schedulable",
    "kubevirt.io/install-strategy",
    "kubevirt.io",
)
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def virtual_machine(vm: kubevirt.VirtualMachine, *, sized: bool = True) -> list[Cause]:
    """Return what is wrong with a VM; `sized`: its template must say its memory."""
    found = list(_name(vm.metadata.name))
    found += _running(vm.spec)
    template = vm.spec.template
    if template.spec is None:
        found.append(
            Cause(
                field="spec.template.spec",
                message="missing virtual machine template.",
                reason=REQUIRED,
            )
        )
        return found
    found += _labels(template.metadata.labels, "spec.template.metadata.labels")
    found += instance_spec(template.spec, "spec.template.spec", sized=sized)
    found += _data_volume_templates(vm)
    return found


def instance(vmi: kubevirt.VirtualMachineInstance, *, trusted: bool) -> list[Cause]:
    """Return what is wrong with a new instance; our own components may set reserved labels."""
    found = list(_name(vmi.metadata.name))
    if not trusted:
        found += _labels(vmi.metadata.labels, "metadata.labels")
    return found + instance_spec(vmi.spec, "spec", sized=True)


def replica_set(one: kubevirt.VirtualMachineInstanceReplicaSet) -> list[Cause]:
    """Return what is wrong with a replica set."""
    template, selector = one.spec.template, one.spec.selector
    found: list[Cause] = []
    if one.spec.replicas is not None and one.spec.replicas < 0:
        message = "spec.replicas must be greater than or equal to 0"
        found.append(Cause(field="spec.replicas", message=message))
    labels = template.metadata.labels
    misses = any(labels.get(name) != value for name, value in selector.match_labels.items())
    if misses or not (selector.match_labels or selector.match_expressions):
        found.append(Cause(field="spec.selector", message="selector does not match labels."))
    if template.spec is None:
        message = "missing virtual machine template."
        found.append(Cause(field="spec.template", message=message, reason=REQUIRED))
        return found
    found += _labels(labels, "spec.template.metadata.labels")
    return found + instance_spec(template.spec, "spec.template.spec", sized=True)


def instance_update(
    old: kubevirt.VirtualMachineInstance, new: kubevirt.VirtualMachineInstance, *, trusted: bool
) -> list[Cause]:
    """Return what may not be changed of an instance: its spec, but for the grace period."""
    if trusted:
        return []
    changed = [
        label
        for label in RESERVED_LABELS
        if old.metadata.labels.get(label) != new.metadata.labels.get(label)
    ]
    found = [
        Cause(
            field=f"metadata.labels[{label}]",
            message="modification of the following reserved kubevirt.io/ labels on a VMI object "
            "is prohibited",
            reason=NOT_SUPPORTED,
        )
        for label in changed
    ]
    if old.spec != new.spec:
        found.append(
            Cause(field="spec", message="update of VMI object is restricted", reason=NOT_SUPPORTED)
        )
    return found


def migration(
    one: kubevirt.VirtualMachineInstanceMigration,
    vmi: kubevirt.VirtualMachineInstance | None,
    others: list[kubevirt.VirtualMachineInstanceMigration],
) -> list[Cause]:
    """Return why a migration cannot be begun."""
    name = one.spec.vmi_name or ""
    if not name:
        return [Cause(field="spec.vmiName", message="vmiName is missing", reason=REQUIRED)]
    if vmi is None:
        return [Cause(field="spec.vmiName", message=f"the VMI {name!r} does not exist")]
    phase = (vmi.status.phase if vmi.status else None) or ""
    if phase in ("Succeeded", "Failed"):
        message = "Cannot migrate VMI in finalized state."
        return [Cause(field="spec.vmiName", message=message)]
    conditions = vmi.status.conditions if vmi.status else ()
    for condition in conditions:
        if condition.type == "LiveMigratable" and condition.status == "False":
            message = (
                f"Cannot migrate VMI, Reason: {condition.reason}, Message: {condition.message}"
            )
            return [Cause(field="spec.vmiName", message=message)]
    for other in others:
        done = other.status is not None and other.status.phase in ("Succeeded", "Failed")
        if other.spec.vmi_name == name and not done:
            message = f"in-flight migration detected. Active migration job ({other.metadata.uid})"
            return [Cause(field="spec.vmiName", message=message)]
    return []


def instance_spec(
    spec: kubevirt.VirtualMachineInstanceSpec, field: str, *, sized: bool
) -> list[Cause]:
    """Return what is wrong with a spec at the path `field`; `sized`: it must say its memory."""
    found: list[Cause] = []
    found += cpu_and_memory.causes(spec.domain, f"{field}.domain", sized=sized)
    found += volume_rules.causes(spec, field)
    found += network_rules.causes(spec, field)
    found += device_rules.causes(spec, field)
    found += credential_rules.causes(spec, field)
    found += _hosts(spec, field)
    found += _one_of(spec.eviction_strategy, EVICTION_STRATEGIES, f"{field}.evictionStrategy")
    found += _one_of(spec.start_strategy, START_STRATEGIES, f"{field}.startStrategy")
    grace_s = spec.termination_grace_period_seconds
    if grace_s is not None and grace_s < 0:
        where = f"{field}.terminationGracePeriodSeconds"
        found.append(Cause(field=where, message=f"{where} must be greater than or equal to 0"))
    return found


def _name(name: str) -> Iterator[Cause]:
    if len(name) > MAX_NAME:
        message = f"name {name!r} is longer than {MAX_NAME} characters"
        yield Cause(field="metadata.name", message=message)
    elif name and not _SUBDOMAIN.fullmatch(name):
        message = f"name {name!r} must be a lower case DNS name"
        yield Cause(field="metadata.name", message=message)


def _running(spec: kubevirt.VirtualMachineSpec) -> Iterator[Cause]:
    if spec.running is not None and spec.run_strategy is not None:
        yield Cause(
            field="spec.running",
            message="Running and RunStrategy are mutually exclusive. Note that Running is "
            "deprecated, please use RunStrategy instead",
        )
    if spec.running is None and spec.run_strategy is None:
        yield Cause(
            field="spec.running",
            message="One of Running or RunStrategy must be specified",
            reason=REQUIRED,
        )
    if spec.run_strategy is not None and spec.run_strategy not in RUN_STRATEGIES:
        message = f"Invalid RunStrategy ({spec.run_strategy})"
        yield Cause(field="spec.runStrategy", message=message)


def _labels(labels: dict[str, str], field: str) -> list[Cause]:
    return [
        Cause(
            field=field,
            message=f"creation of the following reserved kubevirt.io/ labels on a VMI object is "
            f"prohibited: {label}",
            reason=NOT_SUPPORTED,
        )
        for label in RESERVED_LABELS
        if label in labels
    ]


def _data_volume_templates(vm: kubevirt.VirtualMachine) -> Iterator[Cause]:
    """Refuse templates that no volume of the VM uses."""
    spec = vm.spec.template.spec
    used = {one.data_volume.name for one in spec.volumes if one.data_volume} if spec else set()
    for index, template in enumerate(vm.spec.data_volume_templates):
        name = template.metadata.name
        field = f"spec.dataVolumeTemplates[{index}]"
        if not name:
            message = "'name' field must not be empty for DataVolumeTemplate entry"
            yield Cause(field=f"{field}.name", message=f"{message} {field}.", reason=REQUIRED)
        elif name not in used:
            message = (
                f"DataVolumeTemplate entry {field} must be referenced in the "
                "VMI template's 'volumes' list"
            )
            yield Cause(field=field, message=message, reason=REQUIRED)


def _hosts(spec: kubevirt.VirtualMachineInstanceSpec, field: str) -> Iterator[Cause]:
    for name, value in (("hostname", spec.hostname), ("subdomain", spec.subdomain)):
        if value and (len(value) > MAX_NAME or not _LABEL.fullmatch(value)):
            where = f"{field}.{name}"
            message = (
                f"{where} does not conform to the kubernetes DNS_LABEL rules : {value[:80]!r} "
                "must consist of at most 63 lower case letters, digits and '-'"
            )
            yield Cause(field=where, message=message)


def _one_of(value: str | None, allowed: tuple[str, ...], field: str) -> Iterator[Cause]:
    if value and value not in allowed:
        message = f"{field} is set with an unrecognized option: {value}"
        yield Cause(field=field, message=message, reason=INVALID)
