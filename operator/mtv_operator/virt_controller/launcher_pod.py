"""The launcher pod of a VirtualMachineInstance. Pure.

Names, labels and annotations are upstream's: services, network policies and tools select on them.
The pod's name is made of the instance's uid, so that creating it twice is impossible.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from mtv.api import core, kubevirt, meta, well_known
from mtv.api.configuration import Configuration
from mtv_operator.virt_controller import backend_storage, launcher_resources, launcher_volumes
from mtv_operator.virt_controller.launcher_resources import Offers
from mtv_operator.virt_launcher import boot, cloud_init

CONTAINER = "compute"
CONSOLE_LOG = "guest-console-log"
UID = 107  # qemu's, as upstream
DEFAULT_GRACE_S = 30
# The kubelet must not end the pod while launcher and handler still give the guest its time.
EXTRA_GRACE_S = 30
PROBE_START_S = 1
MAX_LABEL = 63
NOT_COPIED_PREFIXES = ("kubectl.kubernetes.io/", "mtv.dev/")
_NAME_SYMBOLS = "bcdfghjklmnpqrstvwxz2456789"  # as Kubernetes' generated names


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the pod depends on besides the instance."""

    image: str
    configuration: Configuration
    offers: Offers
    claims: Mapping[str, core.PersistentVolumeClaim]


def name_of(instance: kubevirt.VirtualMachineInstance) -> str:
    """Return the pod's name: `virt-launcher-<instance>-xxxxx`."""
    return name_for(instance.metadata.name, instance.metadata.uid)


def name_for(name: str, uid: str) -> str:
    """Return the name of a pod that is made for the object with this uid, once."""
    number = int.from_bytes(hashlib.sha256(uid.encode()).digest()[:8], "big")
    suffix = ""
    for _ in range(5):
        number, digit = divmod(number, len(_NAME_SYMBOLS))
        suffix += _NAME_SYMBOLS[digit]
    return f"virt-launcher-{name}-{suffix}"


def id_label(name: str) -> str:
    """Return the label by which services find the pods of an instance."""
    if len(name) <= MAX_LABEL:
        return name
    digest = hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()[:8]
    return f"{name[:54]}-{digest}"


def build(instance: kubevirt.VirtualMachineInstance, around: Surroundings) -> core.Pod:
    """Return the pod. Raises BadInput for a quantity or name in the spec that is none."""
    return core.Pod(
        metadata=meta.ObjectMeta(
            name=name_of(instance),
            namespace=instance.metadata.namespace,
            labels=_labels(instance),
            annotations=_annotations(instance),
            owner_references=(meta.owner_of(instance),),
        ),
        spec=_spec(instance, around),
    )


def _labels(instance: kubevirt.VirtualMachineInstance) -> dict[str, str]:
    return {
        **instance.metadata.labels,
        well_known.APP: "virt-launcher",
        well_known.CREATED_BY: instance.metadata.uid,
        well_known.VM_NAME: cloud_init.hostname(instance),
        well_known.VMI_ID: id_label(instance.metadata.name),
    }


def _annotations(instance: kubevirt.VirtualMachineInstance) -> dict[str, str]:
    annotations = {
        key: value
        for key, value in instance.metadata.annotations.items()
        if not key.startswith(NOT_COPIED_PREFIXES)
    }
    annotations |= {
        well_known.DOMAIN: instance.metadata.name,
        well_known.DEFAULT_CONTAINER: CONTAINER,
        well_known.MIGRATION_TRANSPORT_UNIX: "true",
        well_known.DESCHEDULER_EVICT_ONLY: "",
    }
    attachments = _attachments(instance)
    if attachments:
        annotations[well_known.MULTUS_NETWORKS] = json.dumps(attachments)
    return annotations


def _attachments(instance: kubevirt.VirtualMachineInstance) -> list[dict[str, str]]:
    """Return the secondary networks, for Multus."""
    interfaces = {one.name: one for one in instance.spec.domain.devices.interfaces}
    found = []
    for network in instance.spec.networks:
        if network.multus is None or network.multus.default:
            continue
        namespace, _, name = network.multus.network_name.rpartition("/")
        digest = hashlib.sha256(network.name.encode()).hexdigest()[:11]
        attachment = {
            "name": name,
            "namespace": namespace or instance.metadata.namespace,
            "interface": f"pod{digest}",
        }
        interface = interfaces.get(network.name)
        if interface is not None and interface.mac_address:
            attachment["mac"] = interface.mac_address
        found.append(attachment)
    return found


def _spec(instance: kubevirt.VirtualMachineInstance, around: Surroundings) -> core.PodSpec:
    spec = instance.spec
    attached = [*launcher_volumes.of(spec, around.claims), *backend_storage.attached(instance)]
    grace_s = spec.termination_grace_period_seconds
    return core.PodSpec(
        init_containers=_console_log(instance, around),
        containers=(_compute(instance, around, attached),),
        volumes=tuple(one.volume for one in attached),
        restart_policy="Never",
        termination_grace_period_seconds=(DEFAULT_GRACE_S if grace_s is None else grace_s)
        + EXTRA_GRACE_S,
        enable_service_links=False,
        automount_service_account_token=False,
        service_account_name=_service_account(spec),
        image_pull_secrets=tuple(
            core.LocalObjectReference(name=name) for name in launcher_volumes.pull_secrets(spec)
        ),
        hostname=cloud_init.hostname(instance),
        subdomain=spec.subdomain,
        dns_policy=spec.dns_policy,
        dns_config=spec.dns_config,
        node_selector=_node_selector(spec, around),
        affinity=spec.affinity,
        tolerations=spec.tolerations,
        scheduler_name=spec.scheduler_name,
        priority_class_name=spec.priority_class_name,
        topology_spread_constraints=spec.topology_spread_constraints,
        security_context=core.PodSecurityContext(
            run_as_user=UID,
            run_as_group=UID,
            run_as_non_root=True,
            fs_group=UID,
            seccomp_profile=core.SeccompProfile(type="RuntimeDefault"),
        ),
        readiness_gates=(core.PodReadinessGate(condition_type=well_known.UNPAUSED_GATE),),
    )


def _service_account(spec: kubevirt.VirtualMachineInstanceSpec) -> str | None:
    named = [
        one.service_account.service_account_name for one in spec.volumes if one.service_account
    ]
    return next((name for name in named if name), spec.service_account_name)


def _node_selector(
    spec: kubevirt.VirtualMachineInstanceSpec, around: Surroundings
) -> dict[str, str]:
    """Return where the pod may run; labels that no node of the cluster has are not asked for."""
    offers = around.offers
    selector = {**dict(around.configuration.node_selectors), **spec.node_selector}
    selector[well_known.SCHEDULABLE] = "true"
    if well_known.ARCHITECTURE in offers.labels:
        selector[well_known.ARCHITECTURE] = spec.architecture or "amd64"
    machine = spec.domain.machine.type if spec.domain.machine else None
    if machine and offers.labelled(well_known.MACHINE_TYPE_PREFIX):
        selector[f"{well_known.MACHINE_TYPE_PREFIX}{machine}"] = "true"
    model = spec.domain.cpu.model if spec.domain.cpu else None
    named = model not in (None, "", "host-model", "host-passthrough")
    if named and offers.labelled(well_known.CPU_MODEL_PREFIX):
        selector[f"{well_known.CPU_MODEL_PREFIX}{model}"] = "true"
    return selector


def _compute(
    instance: kubevirt.VirtualMachineInstance,
    around: Surroundings,
    attached: list[launcher_volumes.Attached],
) -> core.Container:
    spec, metadata = instance.spec, instance.metadata
    grace_s = spec.termination_grace_period_seconds
    return core.Container(
        name=CONTAINER,
        image=around.image,
        image_pull_policy=around.configuration.image_pull_policy,
        command=(
            "virt-launcher",
            *("--name", metadata.name),
            *("--namespace", metadata.namespace),
            *("--uid", metadata.uid),
            *("--grace-period-seconds", str(DEFAULT_GRACE_S if grace_s is None else grace_s)),
        ),
        resources=launcher_resources.of(spec, around.configuration, around.offers),
        security_context=core.SecurityContext(
            run_as_user=UID,
            run_as_group=UID,
            run_as_non_root=True,
            allow_privilege_escalation=False,
            capabilities=core.Capabilities(drop=("ALL",), add=("NET_BIND_SERVICE",)),
        ),
        volume_mounts=tuple(mount for one in attached for mount in one.mounts),
        volume_devices=tuple(device for one in attached for device in one.devices),
        ports=_ports(spec),
        liveness_probe=_probe(instance, spec.liveness_probe),
        readiness_probe=_probe(instance, spec.readiness_probe),
    )


def _console_log(
    instance: kubevirt.VirtualMachineInstance, around: Surroundings
) -> tuple[core.Container, ...]:
    """Return what shows the serial line as a container's log, where the spec asks for it."""
    devices = instance.spec.domain.devices
    if devices.log_serial_console is not True or devices.autoattach_serial_console is False:
        return ()
    path = f"{launcher_volumes.PRIVATE}/{instance.metadata.uid}/{boot.SERIAL_LOG}"
    private = launcher_volumes.FOLDERS[0][0]
    mount = core.VolumeMount(name=private, mount_path=launcher_volumes.PRIVATE, read_only=True)
    return (
        core.Container(
            name=CONSOLE_LOG,
            image=around.image,
            image_pull_policy=around.configuration.image_pull_policy,
            command=("sh", "-c", 'exec tail -n +1 -F "$0" 2>/dev/null', path),
            restart_policy="Always",
            resources=core.ResourceRequirements(
                requests={"cpu": "5m", "memory": "35M"}, limits={"cpu": "15m", "memory": "60M"}
            ),
            security_context=core.SecurityContext(
                run_as_user=UID,
                run_as_group=UID,
                run_as_non_root=True,
                allow_privilege_escalation=False,
                capabilities=core.Capabilities(drop=("ALL",)),
            ),
            volume_mounts=(mount,),
        ),
    )


def _ports(spec: kubevirt.VirtualMachineInstanceSpec) -> tuple[core.ContainerPort, ...]:
    return tuple(
        core.ContainerPort(
            container_port=port.port, name=port.name, protocol=port.protocol or "TCP"
        )
        for interface in spec.domain.devices.interfaces
        for port in interface.ports
    )


def _probe(
    instance: kubevirt.VirtualMachineInstance, probe: kubevirt.Probe | None
) -> core.ContainerProbe | None:
    """Return a probe of the guest as one of the pod.

    Over the network the pod's address is the guest's; what the agent is asked, virt-probe asks.
    """
    if probe is None:
        return None
    asked: tuple[str, ...] = ()
    if probe.exec is not None and probe.exec.command:
        asked = ("--command", probe.exec.command[0], "--", *probe.exec.command[1:])
    elif probe.guest_agent_ping is not None:
        asked = ("--guestAgentPing",)
    elif probe.http_get is None and probe.tcp_socket is None:
        return None
    name = f"{instance.metadata.namespace}_{instance.metadata.name}"
    timeout = str(probe.timeout_seconds or 1)
    by_agent = ("virt-probe", "--domainName", name, "--timeoutSeconds", timeout, *asked)
    # The agent's time is the guest's; starting the program that asks comes on top.
    more_s = PROBE_START_S if asked else 0
    return core.ContainerProbe(
        exec=core.ExecAction(command=by_agent) if asked else None,
        http_get=probe.http_get,
        tcp_socket=probe.tcp_socket,
        initial_delay_seconds=probe.initial_delay_seconds,
        timeout_seconds=(probe.timeout_seconds or 1) + more_s if asked else probe.timeout_seconds,
        period_seconds=probe.period_seconds,
        success_threshold=probe.success_threshold,
        failure_threshold=probe.failure_threshold,
    )
