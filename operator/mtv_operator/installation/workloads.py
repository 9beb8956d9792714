"""The Deployments and the DaemonSet of an installation, and what belongs to them. Pure.

Names and labels are upstream's, so that dashboards and scripts find the components.
"""

from __future__ import annotations

from typing import Any

from mtv_operator.installation import monitoring, policies
from mtv_operator.installation.naming import labels, pod_labels, selector
from mtv_operator.installation.settings import MIGRATION_NAMESPACE, RUNTIME_NAMESPACE, Settings

Document = dict[str, Any]

PRIORITY, MIGRATION_PRIORITY = "kubevirt-cluster-critical", "mtv-critical"  # upstream's, and ours
USER = 107
API_PORT, HANDLER_PORT = 8443, 8186
CERTIFICATES, AUTHORITY = "/etc/virt/certificates", "/etc/virt/authority"
_PAIR = ("--tls-cert", f"{CERTIFICATES}/tls.crt", "--tls-key", f"{CERTIFICATES}/tls.key")
INVENTORY = "mtv-inventory"
PLACEMENT = "mtv.dev/placement"  # what virt-operator has laid over, see its components.py


def priority_class(name: str) -> Document:
    """Return a priority for components, above that of what they serve."""
    return {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": name},
        "value": 1000000000,
        "globalDefault": False,
        "description": "For the components that virtual machines depend on.",
    }


def runtime(settings: Settings) -> list[Document]:
    """Return what runs virtual machines."""
    return [
        _deployment(settings, "virt-operator", RUNTIME_NAMESPACE, [_operator(settings)]),
        _deployment(
            settings,
            "virt-api",
            RUNTIME_NAMESPACE,
            [_api(settings)],
            account="kubevirt-apiserver",
            volumes=_tls_volumes("kubevirt-virt-api-certs"),
        ),
        _deployment(
            settings,
            "virt-controller",
            RUNTIME_NAMESPACE,
            [_virt_controller(settings)],
            volumes=_tls_volumes("kubevirt-controller-certs"),
        ),
        _handler(settings),
        *(_budget(one, RUNTIME_NAMESPACE) for one in ("virt-api", "virt-controller")),
        *policies.runtime(),
        monitoring.service(),
    ]


def migration(settings: Settings) -> list[Document]:
    """Return what brings virtual machines here."""
    name = "mtv-controller"
    container = _controller(settings, name, "migration", "--host-provider", memory="256Mi")
    return [
        _deployment(settings, name, MIGRATION_NAMESPACE, [container]),
        _deployment(
            settings,
            INVENTORY,
            MIGRATION_NAMESPACE,
            [_inventory(settings)],
            volumes=[{"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}],
        ),
        _inventory_service(),
        *(_budget(one, MIGRATION_NAMESPACE) for one in (name, INVENTORY)),
        *policies.migration(),
    ]


def runtime_parts(settings: Settings) -> str:
    """Return which controllers virt-controller runs."""
    found = "virtual-machines,data-volumes" if settings.data_volumes else "virtual-machines"
    return settings.runtime_parts or found


def _container(
    settings: Settings, name: str, *command: str, cpu: str = "10m", memory: str = "128Mi"
) -> Document:
    return {
        "name": name,
        "image": settings.image,
        "imagePullPolicy": settings.pull_policy,
        "command": list(command),
        "resources": {"requests": {"cpu": cpu, "memory": memory}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _operator(settings: Settings) -> Document:
    return _container(
        settings,
        "virt-operator",
        "virt-operator",
        f"--use-emulation={_text(settings.use_emulation)}",
        f"--image={settings.image}",
        f"--pull-policy={settings.pull_policy}",
        f"--replicas={settings.replicas}",
        f"--data-volumes={settings.uploads or _text(settings.data_volumes)}",
        memory="96Mi",
    )


def _controller(
    settings: Settings, name: str, part: str, *more: str, memory: str = "160Mi"
) -> Document:
    namespace = MIGRATION_NAMESPACE if name == "mtv-controller" else RUNTIME_NAMESPACE
    command = (
        *("mtv-controller", "--controllers", part, *more),
        *("--launcher-image", settings.image),
        *("--leader-election", "--lease", name, "--namespace", namespace),
    )
    return _container(settings, name, *command, memory=memory)


def _virt_controller(settings: Settings) -> Document:
    name = "virt-controller"
    more = ("--virt-operator", "--metrics-listen", f"0.0.0.0:{API_PORT}", *_PAIR)
    return {
        **_controller(settings, name, runtime_parts(settings), *more),
        "ports": [{"name": "metrics", "containerPort": API_PORT, "protocol": "TCP"}],
        "volumeMounts": _tls_mounts(),
    }


def _api(settings: Settings) -> Document:
    command = (
        "virt-api",
        *("--listen", f"0.0.0.0:{API_PORT}"),
        *_PAIR,
        *("--ca", f"{AUTHORITY}/ca-bundle"),
        *("--service-selector", "kubevirt.io=virt-api"),
        f"--uploads={settings.uploads or _text(settings.data_volumes)}",
    )
    healthz = {"httpGet": {"scheme": "HTTPS", "path": "/healthz", "port": API_PORT}}
    return {
        **_container(settings, "virt-api", *command, cpu="20m", memory="160Mi"),
        "ports": [{"name": "https", "containerPort": API_PORT, "protocol": "TCP"}],
        **_probes(healthz),
        "volumeMounts": _tls_mounts(),
    }


def _inventory(settings: Settings) -> Document:
    command = (
        INVENTORY,
        *("--listen", f"0.0.0.0:{API_PORT}"),
        *("--own-certificates", MIGRATION_NAMESPACE),
    )
    healthz = {"httpGet": {"scheme": "HTTPS", "path": "/healthz", "port": API_PORT}}
    return {
        **_container(settings, INVENTORY, *command, memory="192Mi"),
        "ports": [{"name": "https", "containerPort": API_PORT, "protocol": "TCP"}],
        **_probes(healthz),
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }


def _inventory_service() -> Document:
    """Return where kubectl-mtv and consoles ask: tokens of users are checked there."""
    port = {"name": "https", "port": API_PORT, "targetPort": API_PORT, "protocol": "TCP"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": INVENTORY,
            "namespace": MIGRATION_NAMESPACE,
            "labels": labels(INVENTORY),
        },
        "spec": {"ports": [port], "selector": selector(INVENTORY)},
    }


def _probes(probe: Document) -> Document:
    """Return probes that a busy node does not fail: restarting would make it busier."""
    return {
        "readinessProbe": {**probe, "periodSeconds": 5, "timeoutSeconds": 5},
        "livenessProbe": {
            **probe,
            "periodSeconds": 20,
            "timeoutSeconds": 15,
            "failureThreshold": 6,
        },
    }


def _handler(settings: Settings) -> Document:
    name = "virt-handler"
    command = (
        name,
        *("--node-name", "$(NODE_NAME)"),
        *("--kubelet-root", "/var/lib/kubelet"),
        *("--state-dir", "/var/lib/kubevirt"),
        *("--listen", f"0.0.0.0:{HANDLER_PORT}"),
        *("--metrics-listen", f"0.0.0.0:{API_PORT}"),
        *_PAIR,
        *("--client-ca", f"{AUTHORITY}/ca-bundle"),
    )
    listens = {"tcpSocket": {"port": HANDLER_PORT}}
    node_name = {"fieldRef": {"fieldPath": "spec.nodeName"}}
    container = {
        **_container(settings, name, *command, cpu="20m", memory="160Mi"),
        "env": [{"name": "NODE_NAME", "valueFrom": node_name}],
        # It enters network namespaces of pods and changes owners of their devices.
        "securityContext": {"privileged": True},
        "ports": [{"name": "metrics", "containerPort": API_PORT, "protocol": "TCP"}],
        **_probes(listens),
        "volumeMounts": [
            *_tls_mounts(),
            {
                "name": "kubelet",
                "mountPath": "/var/lib/kubelet",
                "mountPropagation": "HostToContainer",
            },
            {"name": "state", "mountPath": "/var/lib/kubevirt"},
        ],
    }
    pod = {
        "serviceAccountName": "kubevirt-handler",
        "priorityClassName": PRIORITY,
        "hostPID": True,
        "hostNetwork": True,
        "dnsPolicy": "ClusterFirstWithHostNet",
        "nodeSelector": {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"},
        # A node that is drained or sick still has VMs.
        "tolerations": [{"operator": "Exists"}],
        "containers": [container],
        "volumes": [
            *_tls_volumes("kubevirt-virt-handler-server-certs"),
            _host_path("kubelet", "/var/lib/kubelet", "Directory"),
            _host_path("state", "/var/lib/kubevirt", "DirectoryOrCreate"),
        ],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {
            "name": name,
            "namespace": RUNTIME_NAMESPACE,
            "labels": labels(name),
            "annotations": {PLACEMENT: ""},
        },
        "spec": {
            "selector": {"matchLabels": selector(name)},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            "template": {"metadata": {"labels": pod_labels(name)}, "spec": pod},
        },
    }


def _deployment(
    settings: Settings,
    name: str,
    namespace: str,
    containers: list[Document],
    *,
    account: str = "",
    volumes: list[Document] | None = None,
) -> Document:
    pod = {
        "serviceAccountName": account or name.replace("virt-", "kubevirt-"),
        "priorityClassName": MIGRATION_PRIORITY if namespace == MIGRATION_NAMESPACE else PRIORITY,
        "nodeSelector": {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"},
        "tolerations": [{"key": "CriticalAddonsOnly", "operator": "Exists"}],
        # Preferred only: on a single node both replicas run there.
        "affinity": _apart(name),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": containers,
        **({"volumes": volumes} if volumes else {}),
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": labels(name),
            **({"annotations": {PLACEMENT: ""}} if namespace == RUNTIME_NAMESPACE else {}),
        },
        "spec": {
            "replicas": settings.replicas,
            "selector": {"matchLabels": selector(name)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            "template": {"metadata": {"labels": pod_labels(name)}, "spec": pod},
        },
    }


def _apart(name: str) -> Document:
    term = {
        "labelSelector": {"matchLabels": selector(name)},
        "topologyKey": "kubernetes.io/hostname",
    }
    wish = {"weight": 100, "podAffinityTerm": term}
    return {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [wish]}}


def _budget(name: str, namespace: str) -> Document:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": f"{name}-pdb", "namespace": namespace, "labels": labels(name)},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector(name)}},
    }


def _tls_mounts() -> list[Document]:
    return [
        {"name": "certificates", "mountPath": CERTIFICATES, "readOnly": True},
        {"name": "authority", "mountPath": AUTHORITY, "readOnly": True},
    ]


def _tls_volumes(secret: str) -> list[Document]:
    return [
        {"name": "certificates", "secret": {"secretName": secret, "defaultMode": 0o444}},
        {"name": "authority", "configMap": {"name": "kubevirt-ca"}},
    ]


def _host_path(name: str, path: str, kind: str) -> Document:
    return {"name": name, "hostPath": {"path": path, "type": kind}}


def _text(value: bool | str) -> str:
    return value if isinstance(value, str) else str(value).lower()
