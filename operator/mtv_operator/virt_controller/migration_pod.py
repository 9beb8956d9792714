"""The pod that a migrating guest goes to, and what is written on the VMI for the handlers. Pure."""

from __future__ import annotations

import msgspec

from mtv.api import core, kubevirt, meta, well_known
from mtv.api.configuration import Migrations
from mtv_operator.virt_controller import launcher_pod, migration_queue, pods

Vmi = kubevirt.VirtualMachineInstance
Migration = kubevirt.VirtualMachineInstanceMigration
HOSTNAME = "kubernetes.io/hostname"


def build(migration: Migration, vmi: Vmi, around: launcher_pod.Surroundings) -> core.Pod:
    """Return the target pod: as the VMI's own, on another node. Raises BadInput."""
    pod = launcher_pod.build(vmi, around)
    uid = migration.metadata.uid
    metadata = msgspec.structs.replace(
        pod.metadata,
        name=launcher_pod.name_for(vmi.metadata.name, uid),
        labels={**_without_node(pod.metadata.labels), well_known.MIGRATION_UID: uid},
        annotations={
            **pod.metadata.annotations,
            well_known.MIGRATION_NAME: migration.metadata.name,
        },
    )
    assert pod.spec is not None
    spec = msgspec.structs.replace(
        pod.spec,
        affinity=_elsewhere(pod.spec.affinity, vmi),
        node_selector={**migration.spec.added_node_selector, **pod.spec.node_selector},
    )
    return msgspec.structs.replace(pod, metadata=metadata, spec=spec)


def _without_node(labels: dict[str, str]) -> dict[str, str]:
    ours = (well_known.NODE_NAME, well_known.MIGRATION_TARGET_NODE)
    return {name: value for name, value in labels.items() if name not in ours}


def _elsewhere(given: core.Affinity | None, vmi: Vmi) -> core.Affinity:
    """Return the affinity, and that the pod shall not be where one of the same VMI runs."""
    given = given or core.Affinity()
    anti = given.pod_anti_affinity or core.PodAntiAffinity()
    term = core.PodAffinityTerm(
        topology_key=HOSTNAME,
        label_selector=meta.LabelSelector(
            match_labels={well_known.CREATED_BY: vmi.metadata.uid},
        ),
    )
    required = (*anti.required_during_scheduling_ignored_during_execution, term)
    anti = msgspec.structs.replace(
        anti, required_during_scheduling_ignored_during_execution=required
    )
    return msgspec.structs.replace(given, pod_anti_affinity=anti)


def handed_over(
    migration: Migration, vmi: Vmi, source: core.Pod, target: core.Pod, settings: Migrations
) -> Vmi:
    """Return the VMI as the handlers of both nodes take the migration up."""
    assert vmi.status is not None
    here, there = pods.node_of(source), pods.node_of(target)
    state = kubevirt.VirtualMachineInstanceMigrationState(
        migration_uid=migration.metadata.uid,
        source_node=here,
        source_pod=source.metadata.name,
        target_node=there,
        target_pod=target.metadata.name,
        migration_policy_name=settings.policy or None,
        migration_configuration=migration_queue.configuration_of(settings),
    )
    status = msgspec.structs.replace(
        vmi.status,
        migration_state=state,
        active_pods={source.metadata.uid: here, target.metadata.uid: there},
    )
    labels = {**vmi.metadata.labels, well_known.MIGRATION_TARGET_NODE: there}
    metadata = msgspec.structs.replace(vmi.metadata, labels=labels)
    return msgspec.structs.replace(vmi, metadata=metadata, status=status)


def let_go(vmi: Vmi, target_uid: str) -> Vmi:
    """Return the VMI without the marks of a migration that has ended."""
    labels = dict(vmi.metadata.labels)
    labels.pop(well_known.MIGRATION_TARGET_NODE, None)
    status = vmi.status
    failed = status is not None and status.migration_state and status.migration_state.failed
    if status is not None and failed:
        kept = {uid: node for uid, node in status.active_pods.items() if uid != target_uid}
        status = msgspec.structs.replace(status, active_pods=kept)
    metadata = msgspec.structs.replace(vmi.metadata, labels=labels)
    return msgspec.structs.replace(vmi, metadata=metadata, status=status)
