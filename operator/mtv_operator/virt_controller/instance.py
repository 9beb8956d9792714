"""What a VirtualMachineInstance needs done by the controller, and how it stands. Pure.

    Pending ─► Scheduling ─► Scheduled │► Running ─► Succeeded, Failed
            pod made      launcher up  │  virt-handler's, until it ends or the pod is gone

After the hand-over the controller changes only what is its own: Ready, PodScheduled, finalizers,
and the end of an instance whose pod vanished.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec

from mtv import errors
from mtv.api import core, kubevirt, quantities, well_known
from mtv.api.configuration import Configuration
from mtv_operator.data_volumes import names
from mtv_operator.reconciling import Decision
from mtv_operator.virt_controller import (
    conditions,
    hotplug,
    instance_conditions,
    launcher_pod,
    launcher_volumes,
    phases,
    pods,
    printable_status,
)
from mtv_operator.virt_controller.launcher_resources import Offers
from mtv_operator.virt_controller.phases import Phase

Vmi = kubevirt.VirtualMachineInstance

# A launcher that ended is virt-handler's to explain; so long it may take.
EXPLAIN_SCHEDULED_S = 15.0
EXPLAIN_RUNNING_S = 60.0
FILESYSTEM_OVERHEAD = "0.06"  # CDI's DefaultGlobalOverhead
TRANSPORT = "Unix"
LOOK_AGAIN_S = 5.0
LOOK_AT_NODE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """An instance, its pods, and what its pod depends on."""

    instance: Vmi
    pods: tuple[core.Pod, ...] = ()
    claims: Mapping[str, core.PersistentVolumeClaim | None]
    configuration: Configuration
    offers: Offers
    image: str = ""
    owner_exists: bool = False  # the VirtualMachine that will take its own finalizer off
    node: core.Node | None = None  # the one the instance is on
    attachments: tuple[core.Pod, ...] = ()  # of its volumes that come and go


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatePod:
    """Make the launcher pod."""

    pod: core.Pod


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletePod:
    """Delete a launcher pod, with its own grace period."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenGate:
    """Say on the pod whether its guest is paused, so that services reach it or not."""

    pod: core.Pod
    unpaused: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Say:
    """Record an event on the instance."""

    reason: str
    message: str
    type: str = "Normal"


Action = CreatePod | DeletePod | OpenGate | Say
Plan = Decision[Action, Vmi]


def decide(observed: Observed, now: datetime) -> Plan:
    """Return what to do, and the instance as it should be stored (None: as it is)."""
    instance = observed.instance
    if instance.status is None:
        instance = msgspec.structs.replace(instance, status=kubevirt.VirtualMachineInstanceStatus())
    phase = phases.of(instance)
    if phase in phases.FINAL:
        return _after_the_end(observed, now)
    pod = pods.of_instance(instance, observed.pods)
    actions: list[Action] = []
    loss = None if phase in phases.BEFORE_POD else _loss(phase, pod, now)
    if loss is not None:
        instance, actions = _failed(instance, loss, now), [loss]
    elif phase in phases.BEFORE_POD:
        instance, actions = _before_pod(observed, instance, pod, now)
    elif phase is Phase.SCHEDULING and pod is not None and pods.is_up(pod):
        instance = _handed_over(observed, instance, pod, now)
        where = f"The pod {pod.metadata.name} runs on node {pods.node_of(pod)}"
        actions = [Say(reason="Scheduled", message=where)]
    if phases.is_going(instance) and phases.of(instance) not in phases.FINAL:
        actions += _deletions(observed)
    elif phases.of(instance) is Phase.RUNNING and pod is not None:
        instance, more = _plugged(observed, instance, pod)
        actions += more
    instance = _with_conditions(observed, instance, pod, now)
    actions += _gate(instance, pod)
    return Decision(
        status=instance if instance != observed.instance else None,
        actions=tuple(actions),
        requeue_after_s=_look_again_s(instance, pod),
    )


def _plugged(observed: Observed, instance: Vmi, pod: core.Pod) -> tuple[Vmi, list[Action]]:
    """Bring volumes that come and go to the node, or away from it."""
    attachments = observed.attachments
    made = hotplug.pods_to_make(instance, pod, attachments, observed.claims, observed.image)
    gone = hotplug.pods_to_delete(instance, attachments)
    actions: list[Action] = [CreatePod(pod=one) for one in made]
    actions += [DeletePod(name=one.metadata.name, uid=one.metadata.uid) for one in gone]
    known = _status(instance).volume_status
    found = hotplug.volume_status(known, instance, pod, attachments)
    if found != known:
        claims = {one.name: one for one in volume_status(observed)}
        found = tuple(
            msgspec.structs.replace(
                one, persistent_volume_claim_info=claims[one.name].persistent_volume_claim_info
            )
            if one.hotplug_volume is not None and one.name in claims
            else one
            for one in found
        )
        instance = _with_status(instance, volume_status=found)
    return instance, actions


def _look_again_s(instance: Vmi, pod: core.Pod | None) -> float | None:
    """Return when time alone may change something: patience, or a node's heartbeat."""
    if phases.of(instance) not in phases.HANDED_OVER:
        return None
    return LOOK_AGAIN_S if pod is not None and pods.has_ended(pod) else LOOK_AT_NODE_S


def _status(instance: Vmi) -> kubevirt.VirtualMachineInstanceStatus:
    return instance.status or kubevirt.VirtualMachineInstanceStatus()


def _with_status(instance: Vmi, **changed: object) -> Vmi:
    return msgspec.structs.replace(
        instance, status=msgspec.structs.replace(_status(instance), **changed)
    )


def _moved(instance: Vmi, phase: Phase, now: datetime) -> Vmi:
    return msgspec.structs.replace(instance, status=phases.moved(_status(instance), phase, now))


def _failed(instance: Vmi, why: Say, now: datetime) -> Vmi:
    return _with_status(_moved(instance, Phase.FAILED, now), reason=why.reason)


def _loss(phase: Phase, pod: core.Pod | None, now: datetime) -> Say | None:
    """Return why an instance with this pod has failed; None when it has not."""
    if pod is None:
        return Say(reason="PodGone", message="the launcher pod is gone", type="Warning")
    if not pods.has_ended(pod):
        return None
    if phase is Phase.SCHEDULING or _unexplained(phase, pod, now):
        return Say(reason="LauncherEnded", message=pods.end_message(pod), type="Warning")
    return None


def _before_pod(
    observed: Observed, instance: Vmi, pod: core.Pod | None, now: datetime
) -> tuple[Vmi, list[Action]]:
    """Make the launcher pod, or say what it waits for."""
    if pod is not None:
        return _moved(instance, Phase.SCHEDULING, now), []
    if phases.is_going(instance):
        why = Say(reason="DeletedBeforeStart", message="deleted before a launcher pod was made")
        return _failed(instance, why, now), []
    missing = [name for name, claim in observed.claims.items() if claim is None]
    if missing:
        message = f"PVC {instance.metadata.namespace}/{missing[0]} does not exist"
        return not_synchronized(
            observed,
            _moved(instance, Phase.PENDING, now),
            printable_status.PVC_NOT_FOUND,
            message,
            now,
        )
    unfilled = [
        name
        for name, claim in observed.claims.items()
        if claim is not None and not names.is_filled(claim)
    ]
    if unfilled:
        return _waits_for_data(instance, unfilled, now), []
    around = launcher_pod.Surroundings(
        image=observed.image,
        configuration=observed.configuration,
        offers=observed.offers,
        claims={name: claim for name, claim in observed.claims.items() if claim is not None},
    )
    try:
        made = launcher_pod.build(instance, around)
    except errors.BadInput as fault:
        return not_synchronized(
            observed, _moved(instance, Phase.PENDING, now), "FailedCreate", str(fault), now
        )
    kept = conditions.without(_status(instance).conditions, "Synchronized")
    if conditions.find(kept, "DataVolumesReady") is not None:
        ready = instance_conditions.Condition(
            type="DataVolumesReady", status="True", reason="AllDVsReady"
        )
        kept = conditions.put(kept, ready, now)
    pending = _with_status(_moved(instance, Phase.PENDING, now), conditions=kept)
    return pending, [CreatePod(pod=made)]


def _waits_for_data(instance: Vmi, unfilled: list[str], now: datetime) -> Vmi:
    """Say which claims are still being filled."""
    new = instance_conditions.Condition(
        type="DataVolumesReady",
        status="False",
        reason=printable_status.NOT_FILLED,
        message=f"not filled yet: {', '.join(unfilled)}",
    )
    found = conditions.put(_status(instance).conditions, new, now)
    return _with_status(_moved(instance, Phase.PENDING, now), conditions=found)


def not_synchronized(
    observed: Observed, instance: Vmi, reason: str, message: str, now: datetime
) -> tuple[Vmi, list[Action]]:
    """Say in the condition Synchronized what is wrong; once also in an event."""
    before = conditions.find(_status(observed.instance).conditions, "Synchronized")
    new = instance_conditions.Condition(
        type="Synchronized", status="False", reason=reason, message=message
    )
    stored = _with_status(
        instance, conditions=conditions.put(_status(instance).conditions, new, now)
    )
    said = before is not None and (before.reason, before.message) == (reason, message)
    return stored, [] if said else [Say(reason=reason, message=message, type="Warning")]


def _handed_over(observed: Observed, instance: Vmi, pod: core.Pod, now: datetime) -> Vmi:
    """Return the instance as virt-handler of the pod's node takes it over."""
    node = pods.node_of(pod)
    labels = {**instance.metadata.labels, well_known.NODE_NAME: node}
    container = next(iter(pod.spec.containers), None) if pod.spec else None
    instance = msgspec.structs.replace(
        instance, metadata=msgspec.structs.replace(instance.metadata, labels=labels)
    )
    return _with_status(
        _moved(instance, Phase.SCHEDULED, now),
        node_name=node,
        active_pods={**_status(instance).active_pods, pod.metadata.uid: node},
        migration_transport=TRANSPORT,
        qos_class=pod.status.qos_class if pod.status else None,
        launcher_container_image_version=container.image if container else None,
        volume_status=volume_status(observed),
        conditions=conditions.without(_status(instance).conditions, "Synchronized"),
    )


def volume_status(observed: Observed) -> tuple[kubevirt.VolumeStatus, ...]:
    """Return one entry for each volume; those on claims say what the claim is."""
    known = {one.name: one for one in _status(observed.instance).volume_status}
    found = []
    for volume in sorted(observed.instance.spec.volumes, key=lambda one: one.name):
        entry = known.get(volume.name, kubevirt.VolumeStatus(name=volume.name, target=""))
        name = launcher_volumes.claim_of(volume)
        claim = observed.claims.get(name) if name is not None else None
        if name is not None and claim is not None:
            entry = msgspec.structs.replace(
                entry, persistent_volume_claim_info=_claim_info(name, claim)
            )
        found.append(entry)
    return tuple(found)


def _claim_info(name: str, claim: core.PersistentVolumeClaim) -> kubevirt.PersistentVolumeClaimInfo:
    spec = claim.spec or core.PersistentVolumeClaimSpec()
    status = claim.status or core.PersistentVolumeClaimStatus()
    block = launcher_volumes.is_block(claim)
    return kubevirt.PersistentVolumeClaimInfo(
        claim_name=name,
        access_modes=status.access_modes or spec.access_modes,
        capacity=status.capacity,
        requests=spec.resources.requests if spec.resources else {},
        volume_mode="Block" if block else "Filesystem",
        filesystem_overhead="0" if block else FILESYSTEM_OVERHEAD,
    )


def _unexplained(phase: Phase, pod: core.Pod, now: datetime) -> bool:
    patience_s = EXPLAIN_SCHEDULED_S if phase is Phase.SCHEDULED else EXPLAIN_RUNNING_S
    return pods.seconds_since_end(pod, now) > patience_s


def _with_conditions(observed: Observed, instance: Vmi, pod: core.Pod | None, now: datetime) -> Vmi:
    found = instance_conditions.of_pod(instance, pod, observed.node, now)
    return _with_status(instance, conditions=found)


def _gate(instance: Vmi, pod: core.Pod | None) -> list[Action]:
    going = pod is None or pods.is_going(pod) or phases.is_going(instance)
    if pod is None or going or phases.of(instance) is not Phase.RUNNING:
        return []
    unpaused = not conditions.is_true(_status(instance).conditions, "Paused")
    if pods.gate_is(pod, "True" if unpaused else "False"):
        return []
    actions: list[Action] = [OpenGate(pod=pod, unpaused=unpaused)]
    if not unpaused:
        actions.append(Say(reason="Paused", message="The VirtualMachineInstance is paused."))
    elif pods.gate_is(pod, "False"):
        actions.append(Say(reason="Unpaused", message="The VirtualMachineInstance goes on."))
    return actions


def _deletions(observed: Observed) -> list[Action]:
    return [
        DeletePod(name=pod.metadata.name, uid=pod.metadata.uid)
        for pod in observed.pods
        if not pods.is_going(pod)
    ]


def _after_the_end(observed: Observed, now: datetime) -> Plan:
    """Keep the pod, and with it its log, until the instance is deleted; then let both go."""
    instance = observed.instance
    pod = pods.of_instance(instance, observed.pods)
    ended = _with_conditions(observed, instance, pod, now)
    actions: list[Action] = []
    if phases.is_going(instance):
        actions = _deletions(observed)
        if not observed.pods:
            ended = _released(ended, observed.owner_exists)
    return Decision(status=ended if ended != instance else None, actions=tuple(actions))


def _released(instance: Vmi, owner_exists: bool) -> Vmi:
    ours = {well_known.VMI_FINALIZER} | (set() if owner_exists else {well_known.VM_FINALIZER})
    kept = tuple(one for one in instance.metadata.finalizers if one not in ours)
    metadata = msgspec.structs.replace(instance.metadata, finalizers=kept)
    return msgspec.structs.replace(instance, metadata=metadata)


def claim_names(instance: Vmi) -> tuple[str, ...]:
    """Return the claims that the instance's volumes are on, in their order."""
    names = (launcher_volumes.claim_of(volume) for volume in instance.spec.volumes)
    return tuple(dict.fromkeys(name for name in names if name))


def offers_of(nodes: tuple[core.Node, ...]) -> Offers:
    """Return what at least one node has."""
    resources: set[str] = set()
    labels: set[str] = set()
    for node in nodes:
        labels |= node.metadata.labels.keys()
        allocatable = node.status.allocatable if node.status else {}
        resources |= {name for name, count in allocatable.items() if _some(count)}
    return Offers(resources=frozenset(resources), labels=frozenset(labels))


def _some(count: object) -> bool:
    try:
        return quantities.exact(str(count)) > 0
    except errors.BadInput:
        return False
