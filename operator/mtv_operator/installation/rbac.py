"""Who of mtv's own processes may do what: roles and their bindings, as API objects. Pure.

The same programs have the same names in both homes. In the embedded one they show client
certificates, on a cluster tokens of service accounts; the bindings name both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mtv.api import upload_token

READ = ("get", "list", "watch")
WRITE = ("create", "update", "patch", "delete", "deletecollection")
ALL = (*READ, *WRITE)
APPLY = ("get", "create", "update", "patch")
GROUP = "rbac.authorization.k8s.io"

Rule = dict[str, Any]
Document = dict[str, Any]


def rule(group: str, resources: str, *verbs: str) -> Rule:
    """Return a rule for blank-separated resources of one group."""
    return {"apiGroups": [group], "resources": resources.split(), "verbs": list(verbs)}


EVENTS = [
    rule("", "events", "get", "create", "update", "patch"),
    rule("events.k8s.io", "events", "get", "create", "update", "patch"),
]
LEASES = [rule("coordination.k8s.io", "leases", "get", "create", "update", "patch")]

NODE = [
    rule("", "nodes", "get", "list", "watch", "create", "patch", "update"),
    rule("", "nodes/status", "get", "patch", "update"),
    rule("", "pods", "get", "list", "watch", "delete"),
    rule("", "pods/status", "get", "patch", "update"),
    rule("", "secrets configmaps persistentvolumeclaims persistentvolumes services", "get"),
    rule("", "serviceaccounts/token", "create"),
    rule("k8s.cni.cncf.io", "network-attachment-definitions", "get"),
    *EVENTS,
    *LEASES,
]
SCHEDULER = [
    rule("", "pods", "get", "list", "watch", "delete"),
    rule("", "pods/binding", "create"),
    rule("", "pods/status nodes/status persistentvolumeclaims/status", "get", "patch", "update"),
    rule("", "persistentvolumes/status", "get", "patch", "update"),
    rule("", "nodes persistentvolumeclaims", "get", "list", "watch", "patch", "update"),
    rule("", "persistentvolumes", *ALL),
    rule("", "namespaces", *READ),
    rule("storage.k8s.io", "storageclasses", *READ),
    *EVENTS,
    *LEASES,
]
MIGRATION = [
    rule("forklift.konveyor.io", "*", *ALL),
    rule("mtv.dev", "*", *ALL),
    rule("kubevirt.io", "virtualmachines virtualmachineinstances", *ALL),
    rule("subresources.kubevirt.io", "*", "get", "update"),
    rule("instancetype.kubevirt.io", "*", *READ),
    rule("cdi.kubevirt.io", "*", *ALL),
    rule("", "pods persistentvolumeclaims secrets configmaps services endpoints", *ALL),
    rule("", "persistentvolumeclaims/status", "get", "patch", "update"),
    rule("", "pods/log", "get"),
    rule("", "serviceaccounts", "get", "list", "watch", "create", "patch"),
    rule("", "namespaces persistentvolumes", *READ),
    rule("", "namespaces", "create"),  # a plan's target namespace
    rule("batch", "jobs", *ALL),
    rule("storage.k8s.io", "storageclasses", *READ),
    rule("k8s.cni.cncf.io", "network-attachment-definitions", *READ),
    rule("apiextensions.k8s.io", "customresourcedefinitions", *READ),
    rule(GROUP, "rolebindings", "get", "create", "patch"),
    {**rule(GROUP, "clusterroles", "bind"), "resourceNames": ["mtv-transfer"]},
    *EVENTS,
]
VIRTUAL_MACHINES = [
    rule("kubevirt.io", "*", *ALL),
    rule("instancetype.kubevirt.io", "*", *READ),
    rule("migrations.kubevirt.io", "*", *READ),
    rule("", "pods", *ALL),
    rule("", "pods/status", "get", "patch", "update"),
    rule("", "pods/eviction", "create"),
    rule("", "nodes namespaces persistentvolumeclaims persistentvolumes", *READ),
    rule("", "persistentvolumeclaims", "create"),
    rule("", "nodes", "patch"),
    rule("cdi.kubevirt.io", "datavolumes", "get", "list", "watch", "create"),
    rule("policy", "poddisruptionbudgets", *ALL),
    rule("apps", "controllerrevisions", *ALL),
    rule("storage.k8s.io", "storageclasses", *READ),
    rule("k8s.cni.cncf.io", "network-attachment-definitions", *READ),
    *EVENTS,
]
HANDLER = [
    rule("kubevirt.io", "virtualmachineinstances", "get", "list", "watch", "update", "patch"),
    rule("kubevirt.io", "virtualmachineinstances/status", "get", "update", "patch"),
    rule("kubevirt.io", "virtualmachineinstancemigrations kubevirts", *READ),
    rule("", "nodes", "get", "patch"),
    rule("", "nodes/status", "get", "patch"),
    *EVENTS,
]
VIRT_API = [
    rule("kubevirt.io", "*", *ALL),
    rule("subresources.kubevirt.io", "*", "get", "update"),
    rule("instancetype.kubevirt.io", "*", *READ),
    rule("migrations.kubevirt.io", "*", *READ),
    rule("apps", "controllerrevisions", "get"),
    rule("cdi.kubevirt.io", "*", *READ),
    rule("", "pods nodes namespaces persistentvolumeclaims", *READ),
    rule("", "pods/eviction", "create"),
    rule("apiregistration.k8s.io", "apiservices", *APPLY),
    rule(
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations validatingwebhookconfigurations",
        *APPLY,
    ),
    rule("authorization.k8s.io", "subjectaccessreviews", "create"),
    rule("authentication.k8s.io", "tokenreviews", "create"),
    *EVENTS,
]
VIRT_API_OWN = [
    {**rule("", "secrets", "get"), "resourceNames": [upload_token.ROOT_SECRET]},
    rule("", "services endpoints", *APPLY),
    rule("discovery.k8s.io", "endpointslices", *APPLY),
]
OPERATOR = [
    rule("kubevirt.io", "kubevirts", *READ, "create"),
    rule("kubevirt.io", "kubevirts/status", "get", "patch", "update"),
    *EVENTS,
]
OPERATOR_OWN = [
    rule("", "secrets configmaps", "get", "list", "watch", "create", "update", "patch"),
    rule("apps", "deployments daemonsets", *READ, "create", "patch"),
    *LEASES,
]
# DataVolumes where CDI is absent: claims are made and filled.
DATA_VOLUMES = [
    rule("cdi.kubevirt.io", "*", *ALL),
    rule("", "persistentvolumeclaims", *ALL),
    rule("", "secrets", "create"),  # keys of uploads: made, never read, but for their root
    {**rule("", "secrets", "get"), "resourceNames": [upload_token.ROOT_SECRET]},
]
INVENTORY_OWN = [rule("", "secrets configmaps", "get", "create", "update")]  # certificates
INVENTORY = [
    rule("forklift.konveyor.io", "providers", *READ),
    rule("", "secrets namespaces persistentvolumeclaims", *READ),
    rule("storage.k8s.io", "storageclasses", *READ),
    rule("k8s.cni.cncf.io", "network-attachment-definitions", *READ),
    rule("kubevirt.io", "virtualmachines virtualmachineinstances", *READ),
    rule("instancetype.kubevirt.io", "*", *READ),
    rule("cdi.kubevirt.io", "*", *READ),
    rule("authorization.k8s.io", "subjectaccessreviews", "create"),
    rule("authentication.k8s.io", "tokenreviews", "create"),
]
TRANSFER = [
    rule("mtv.dev", "disktransfers", "get", "list", "watch", "patch", "update"),
    rule("mtv.dev", "disktransfers/status", "get", "patch", "update"),
    rule("", "persistentvolumeclaims", "get"),
    *EVENTS,
]

# What people may do with virtual machines.
_SUB = "subresources.kubevirt.io"
_INSTANCETYPES = (
    "virtualmachineinstancetypes virtualmachineclusterinstancetypes virtualmachinepreferences "
    "virtualmachineclusterpreferences"
)
_KINDS_OF_VMS = (
    "virtualmachines virtualmachineinstances virtualmachineinstancepresets "
    "virtualmachineinstancereplicasets"
)
_OF_VMI, _OF_VM = "virtualmachineinstances/{}", "virtualmachines/{}"


def subresources(form: str, names: str, *verbs: str) -> Rule:
    """Return a rule for blank-separated subresources of VMs or instances."""
    return rule(_SUB, " ".join(form.format(name) for name in names.split()), *verbs)


VMS_VIEW = [
    rule("kubevirt.io", "kubevirts", "get", "list"),
    subresources(_OF_VMI, "guestosinfo filesystemlist userlist objectgraph", "get"),
    subresources(_OF_VM, "expand-spec objectgraph", "get"),
    rule(_SUB, "expand-vm-spec", "update"),
    rule("kubevirt.io", f"{_KINDS_OF_VMS} virtualmachineinstancemigrations", *READ),
    rule("instancetype.kubevirt.io", _INSTANCETYPES, *READ),
    rule("migrations.kubevirt.io", "migrationpolicies", *READ),
]
VMS_EDIT = [
    *VMS_VIEW,
    subresources(_OF_VMI, "console vnc vnc/screenshot portforward usbredir", "get"),
    subresources(
        _OF_VMI,
        "pause unpause addvolume removevolume freeze unfreeze softreboot reset",
        "update",
    ),
    subresources(_OF_VM, "portforward", "get"),
    subresources(_OF_VM, "start stop restart addvolume removevolume memorydump", "update"),
]
VMS_MIGRATE = [
    subresources(_OF_VM, "migrate", "update"),
    rule("kubevirt.io", "virtualmachineinstancemigrations", *ALL),
]
VMS_DEFAULT = [
    rule("kubevirt.io", "kubevirts", "get", "list"),
    rule(_SUB, "version guestfs", "get", "list"),
]


def _write_vms(*verbs: str) -> list[Rule]:
    return [
        rule("kubevirt.io", _KINDS_OF_VMS, *verbs),
        rule("instancetype.kubevirt.io", _INSTANCETYPES, *verbs),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A program, its role, and how the API server calls it."""

    role: str
    rules: list[Rule]
    own: list[Rule] = field(default_factory=list)  # in its own namespaces alone
    service_account: str = ""
    namespaces: tuple[str, ...] = ()  # of the service account
    user: str = ""  # of a certificate, where it is no service account
    group: str = ""


HANDLER_ACCOUNT = Account(
    role="kubevirt-handler",
    rules=HANDLER,
    service_account="kubevirt-handler",
    namespaces=("kubevirt",),
)
VIRT_API_ACCOUNT = Account(
    role="kubevirt-apiserver",
    rules=VIRT_API,
    own=VIRT_API_OWN,
    service_account="kubevirt-apiserver",
    namespaces=("kubevirt",),
)
INVENTORY_ACCOUNT = Account(
    role="mtv-inventory",
    rules=INVENTORY,
    own=INVENTORY_OWN,
    service_account="mtv-inventory",
    namespaces=("mtv",),
)
# The role alone: mtv-controller binds it in each namespace into which disks are copied.
TRANSFER_ROLE = Account(role="mtv-transfer", rules=TRANSFER)

# Where one API server, scheduler and controller serve one machine.
EMBEDDED = (
    Account(role="system:node", rules=NODE, group="system:nodes"),
    Account(role="mtv-scheduler", rules=SCHEDULER, user="system:mtv-scheduler"),
    Account(
        role="mtv-controller",
        rules=[*MIGRATION, *VIRTUAL_MACHINES],
        own=LEASES,
        service_account="mtv-controller",
        namespaces=("mtv",),
    ),
    HANDLER_ACCOUNT,
    VIRT_API_ACCOUNT,
    INVENTORY_ACCOUNT,
    TRANSFER_ROLE,
)
# On a cluster: what runs virtual machines, and what brings them there.
RUNTIME = (
    Account(
        role="kubevirt-operator",
        rules=OPERATOR,
        own=OPERATOR_OWN,
        service_account="kubevirt-operator",
        namespaces=("kubevirt",),
    ),
    Account(
        role="kubevirt-controller",
        rules=VIRTUAL_MACHINES,
        own=LEASES,
        service_account="kubevirt-controller",
        namespaces=("kubevirt",),
    ),
    HANDLER_ACCOUNT,
    VIRT_API_ACCOUNT,
)
MIGRATING = (
    Account(
        role="mtv-controller",
        rules=MIGRATION,
        own=LEASES,
        service_account="mtv-controller",
        namespaces=("mtv",),
    ),
    INVENTORY_ACCOUNT,
    TRANSFER_ROLE,
)


def account_user(namespace: str, name: str) -> str:
    """Return the user name of a service account."""
    return f"system:serviceaccount:{namespace}:{name}"


def objects(accounts: Iterable[Account]) -> list[Document]:
    """Return service accounts, roles and bindings."""
    return [one for account in accounts for one in _of(account)]


def _of(account: Account) -> Iterator[Document]:
    for namespace in account.namespaces:
        yield {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": account.service_account, "namespace": namespace},
        }
    yield _role("ClusterRole", {"name": account.role}, account.rules)
    subjects = _subjects(account)
    if subjects:
        yield _binding("ClusterRoleBinding", {"name": account.role}, "ClusterRole", subjects)
    for namespace in account.namespaces if account.own else ():
        metadata = {"name": account.role, "namespace": namespace}
        yield _role("Role", metadata, account.own)
        yield _binding("RoleBinding", metadata, "Role", subjects)


def _role(kind: str, metadata: Document, rules: list[Rule]) -> Document:
    return {"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": metadata, "rules": rules}


def _binding(kind: str, metadata: Document, role: str, subjects: list[dict[str, str]]) -> Document:
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": kind,
        "metadata": metadata,
        "roleRef": {"apiGroup": GROUP, "kind": role, "name": metadata["name"]},
        "subjects": subjects,
    }


def authentication_reader(account: Account) -> Document:
    """Return the binding by which an extension server learns who the front proxy is."""
    found = _binding(
        "RoleBinding",
        {"name": f"{account.role}-auth-reader", "namespace": "kube-system"},
        "Role",
        _subjects(account),
    )
    found["roleRef"]["name"] = "extension-apiserver-authentication-reader"
    return found


def for_people(
    prefix: str, groups: Sequence[str], view: list[Rule], edit: list[Rule]
) -> list[Document]:
    """Return the roles that add our kinds to Kubernetes' own `admin`, `edit` and `view`."""
    may_view = [*(rule(group, "*", *READ) for group in groups), *view]
    may_edit = [*may_view, *(rule(group, "*", *WRITE) for group in groups), *edit]
    found = []
    for name, rules in (("admin", may_edit), ("edit", may_edit), ("view", may_view)):
        labels = {f"{GROUP}/aggregate-to-{name}": "true"}
        found.append(_role("ClusterRole", {"name": f"{prefix}:{name}", "labels": labels}, rules))
    return found


def users_of_migration() -> list[Document]:
    """Return what people may do with plans and the like."""
    return for_people("mtv.dev", ("forklift.konveyor.io", "mtv.dev"), [], [])


def data_volumes() -> list[Document]:
    """Return what virt-controller may do besides where it fills claims, and what people may."""
    account = {"kind": "ServiceAccount", "name": "kubevirt-controller", "namespace": "kubevirt"}
    name = "kubevirt-datavolumes"
    return [
        _role("ClusterRole", {"name": name}, DATA_VOLUMES),
        _binding("ClusterRoleBinding", {"name": name}, "ClusterRole", [account]),
        *users_of_data_volumes(),
    ]


def users_of_data_volumes() -> list[Document]:
    """Return what people may do with DataVolumes."""
    upload = [rule("upload.cdi.kubevirt.io", "uploadtokenrequests", "create")]
    return for_people("cdi.kubevirt.io", ("cdi.kubevirt.io",), [], upload)


def users_of_vms() -> list[Document]:
    """Return what people may do with virtual machines: upstream's roles and their rules.

    Who may edit VMs may not migrate them: that is the cluster's administrator's, or of those whom
    `kubevirt.io:migrate` is given to.
    """
    found = [
        _role("ClusterRole", {"name": f"kubevirt.io:{name}", "labels": labels}, rules)
        for name, labels, rules in (
            ("admin", {f"{GROUP}/aggregate-to-admin": "true"}, [*VMS_EDIT, *_write_vms(*WRITE)]),
            ("edit", {f"{GROUP}/aggregate-to-edit": "true"}, [*VMS_EDIT, *_write_vms(*WRITE[:-1])]),
            ("view", {f"{GROUP}/aggregate-to-view": "true"}, VMS_VIEW),
            ("migrate", {}, VMS_MIGRATE),
            ("default", {}, VMS_DEFAULT),
        )
    ]
    everybody = [{"apiGroup": GROUP, "kind": "Group", "name": "system:authenticated"}]
    name = {"name": "kubevirt.io:default"}
    return [*found, _binding("ClusterRoleBinding", name, "ClusterRole", everybody)]


def _subjects(account: Account) -> list[dict[str, str]]:
    found = [
        {"kind": "ServiceAccount", "name": account.service_account, "namespace": namespace}
        for namespace in account.namespaces
    ]
    if account.user:
        found.append({"apiGroup": GROUP, "kind": "User", "name": account.user})
    if account.group:
        found.append({"apiGroup": GROUP, "kind": "Group", "name": account.group})
    return found
