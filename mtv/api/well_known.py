"""Labels, annotations, finalizers, resources: how KubeVirt's parts know each other's objects.

Spelled as upstream, so that what selects on them there selects on them here. Those of `mtv.dev` are
ours alone.
"""

from __future__ import annotations

# Finalizers.
VM_FINALIZER = "kubevirt.io/virtualMachineControllerFinalize"
VMI_FINALIZER = "kubevirt.io/foregroundDeleteVirtualMachine"
MIGRATION_FINALIZER = "kubevirt.io/migrationJobFinalize"

# Labels.
APP = "kubevirt.io"
CREATED_BY = "kubevirt.io/created-by"
NODE_NAME = "kubevirt.io/nodeName"
MIGRATION_TARGET_NODE = "kubevirt.io/migrationTargetNodeName"
MIGRATION_VMI = "kubevirt.io/vmi-name"
MIGRATION_UID = "kubevirt.io/migrationJobUID"
VM_NAME = "vm.kubevirt.io/name"
VMI_ID = "vmi.kubevirt.io/id"
SCHEDULABLE = "kubevirt.io/schedulable"
ARCHITECTURE = "kubernetes.io/arch"
MACHINE_TYPE_PREFIX = "machine-type.node.kubevirt.io/"
CPU_MODEL_PREFIX = "cpu-model.node.kubevirt.io/"

# Annotations.
DOMAIN = "kubevirt.io/domain"
VM_GENERATION = "kubevirt.io/vm-generation"
HEARTBEAT = "kubevirt.io/heartbeat"
MIGRATION_TRANSPORT_UNIX = "kubevirt.io/migrationTransportUnix"
MIGRATION_NAME = "kubevirt.io/migrationJobName"
EVACUATION_MIGRATION = "kubevirt.io/evacuationMigration"
DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
MULTUS_NETWORKS = "k8s.v1.cni.cncf.io/networks"
DESCHEDULER_EVICT_ONLY = "descheduler.alpha.kubernetes.io/request-evict-only"

# Ours. Times are RFC 3339 with microseconds; virt-handler writes them on the VMI.
HANDLER_SAW = "mtv.dev/handler-saw"
BOOT_ORDERED = "mtv.dev/boot-ordered"
DOMAIN_RUNNING = "mtv.dev/domain-running"
TEMPLATE_DIGEST = "mtv.dev/template-digest"
HANDLER_PORT = "mtv.dev/handler-port"

# Resources of nodes.
KVM = "devices.kubevirt.io/kvm"
TUN = "devices.kubevirt.io/tun"
FUSE = "mtv.dev/fuse"  # ours: for pods that adapt guests
VHOST_NET = "devices.kubevirt.io/vhost-net"

# A pod's readiness gate.
UNPAUSED_GATE = "kubevirt.io/virtual-machine-unpaused"
