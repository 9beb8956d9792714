"""From a container of a pod to what the stage starts. Pure but for a look at /etc/passwd.

A container is a command of this machine: its image names nothing here, so `command` is required.
"""

from __future__ import annotations

import grp
import os
import pwd
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mtv import errors
from mtv.api.core import Container, Pod, PodSecurityContext, SecurityContext
from mtv_operator.embedded.node import downward, node_object, stage
from mtv_operator.embedded.node.stage import Device, Mount
from mtv_operator.embedded.node.volumes import Prepared

# What container engines leave to a container by default.
CAPABILITIES = frozenset(
    [
        "audit_write",
        "chown",
        "dac_override",
        "fowner",
        "fsetid",
        "kill",
        "mknod",
        "net_bind_service",
        "net_raw",
        "setfcap",
        "setgid",
        "setpcap",
        "setuid",
        "sys_chroot",
    ]
)
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TERMINATION_LOG = "/dev/termination-log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """The code of mtv on this machine: pods run its commands by their bare names."""

    commands: str
    roots: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """What the containers of a pod share."""

    network_namespace: str  # a path; "" for the node's own
    hostname: str
    addresses: Mapping[str, str]  # as the downward API names them
    volumes: Mapping[str, Prepared]
    files: Mapping[str, str]  # /etc/hosts and the like: path in the container to path here
    conceal: Sequence[str]
    api_host: str
    api_port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Who a container runs as."""

    uid: int
    gid: int
    groups: Sequence[int]
    home: str
    known: bool  # to the machine
    group_known: bool = True


def find_code() -> Code:
    """Return where the running code is."""
    import converters
    import mtv
    import mtv_operator

    roots = {sys.prefix}
    for package in (mtv, converters, mtv_operator):
        roots.add(str(Path(package.__path__[0]).resolve().parent))
    if not sys.base_prefix.startswith("/usr"):
        roots.add(sys.base_prefix)
    # Those below another root come with it, unless something between is closed.
    return Code(commands=str(Path(sys.executable).parent), roots=sorted(roots))


def user_of(pod: Pod, container: Container) -> User:
    """Return who a container runs as. Raises BadInput for root where it is forbidden."""
    ours = container.security_context or SecurityContext()
    shared = (pod.spec.security_context if pod.spec else None) or PodSecurityContext()
    uid = ours.run_as_user if ours.run_as_user is not None else shared.run_as_user
    gid = ours.run_as_group if ours.run_as_group is not None else shared.run_as_group
    non_root = ours.run_as_non_root if ours.run_as_non_root is not None else shared.run_as_non_root
    if non_root and not uid:
        raise errors.BadInput(
            "container has runAsNonRoot and would run as root",
            field=f"container {container.name}",
            hint="set runAsUser",
        )
    try:
        entry = pwd.getpwuid(uid or 0)
    except KeyError:
        entry = None
    groups = {*shared.supplemental_groups}
    if shared.fs_group is not None:
        groups.add(shared.fs_group)
    number = gid if gid is not None else entry.pw_gid if entry else 0
    return User(
        uid=uid or 0,
        gid=number,
        groups=sorted(groups),
        home=entry.pw_dir if entry else "/",
        known=entry is not None,
        group_known=_has_group(number),
    )


def _has_group(gid: int) -> bool:
    try:
        grp.getgrgid(gid)
    except KeyError:
        return False
    return True


def base_environment(sandbox: Sandbox, code: Code, user: User) -> dict[str, str]:
    """Return the environment that every container gets."""
    port = str(sandbox.api_port)
    return {
        "PATH": f"{code.commands}:{SYSTEM_PATH}",
        "HOME": user.home,
        "HOSTNAME": sandbox.hostname,
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "KUBERNETES_SERVICE_HOST": sandbox.api_host,
        "KUBERNETES_SERVICE_PORT": port,
        "KUBERNETES_SERVICE_PORT_HTTPS": port,
    }


def describe(
    pod: Pod,
    container: Container,
    *,
    state: Path,
    sandbox: Sandbox,
    environment: Mapping[str, str],
    code: Code,
) -> stage.Container:
    """Return the container as the stage starts it. Raises BadInput that names the field."""
    context = container.security_context or SecurityContext()
    user = user_of(pod, container)
    privileged = bool(context.privileged)
    bounding, ambient = capabilities(context, user.uid)
    own = {mount.mount_path for mount in container.volume_mounts}
    mounts = [
        *(Mount(here, there) for there, here in sandbox.files.items() if there not in own),
        *_volume_mounts(container, sandbox.volumes, environment),
        Mount(str(state / "message"), container.termination_message_path or TERMINATION_LOG),
    ]
    if not user.known:
        mounts.append(Mount(str(state / "passwd"), "/etc/passwd", True))
    if not user.group_known:
        mounts.append(Mount(str(state / "group"), "/etc/group", True))
    return stage.Container(
        state=str(state),
        argv=command(container, environment),
        environment=dict(environment),
        working_dir=container.working_dir or "/",
        network_namespace=sandbox.network_namespace,
        hostname="" if pod.spec and pod.spec.host_network else sandbox.hostname,
        mounts=mounts,
        devices=[*_resource_devices(container, user), *_block_devices(container, sandbox, user)],
        expose=list(code.roots),
        conceal=list(sandbox.conceal),
        cgroups=[],
        uid=user.uid,
        gid=user.gid,
        groups=list(user.groups),
        capabilities=bounding,
        ambient=ambient,
        privileged=privileged,
        no_new_privileges=context.allow_privilege_escalation is False and not privileged,
        read_only_root=bool(context.read_only_root_filesystem),
        tmp=str(state / "tmp"),
    )


def passwd_with(user: User) -> str:
    """Return /etc/passwd with an entry for a user whom the machine does not know."""
    lines = Path("/etc/passwd").read_text(encoding="utf-8")
    return f"{lines.rstrip()}\nuser{user.uid}:x:{user.uid}:{user.gid}::/:/sbin/nologin\n"


def group_with(user: User) -> str:
    """Return /etc/group with an entry for a group that the machine does not know.

    libvirt does not answer clients whose group has no name.
    """
    lines = Path("/etc/group").read_text(encoding="utf-8")
    return f"{lines.rstrip()}\ngroup{user.gid}:x:{user.gid}:\n"


def command(container: Container, environment: Mapping[str, str]) -> list[str]:
    """Return the command line. Raises BadInput where the image would have to say it."""
    if not container.command:
        raise errors.BadInput(
            f"container {container.name} has no command, and its image is not pulled here",
            field=f"container {container.name}",
            hint="this node runs commands of the machine: set `command`",
        )
    return [downward.expand(word, environment) for word in (*container.command, *container.args)]


def capabilities(context: SecurityContext, uid: int) -> tuple[list[str], list[str]]:
    """Return the bounding set and, for others than root, those they have from the start."""
    if context.privileged:
        return [], []
    add = [_capability(name) for name in (context.capabilities.add if context.capabilities else ())]
    drop = {
        _capability(name) for name in (context.capabilities.drop if context.capabilities else ())
    }
    kept = set() if "all" in drop else CAPABILITIES - drop
    if "all" in add:
        kept |= set(_every_capability())
    kept |= {name for name in add if name != "all"}
    ambient = sorted(set(add) & kept) if uid else []
    return sorted(kept), ambient


def _capability(name: str) -> str:
    return name.lower().removeprefix("cap_")


def _every_capability() -> list[str]:
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    return [f"cap_{number}" for number in range(last + 1)]


def _volume_mounts(
    container: Container, volumes: Mapping[str, Prepared], environment: Mapping[str, str]
) -> list[Mount]:
    result = []
    for mount in container.volume_mounts:
        prepared = volumes.get(mount.name)
        if prepared is None or prepared.device:
            what = "is a device" if prepared else "is not one of the pod's"
            raise errors.BadInput(
                f"volume {mount.name!r} {what}", field=f"container {container.name} volumeMounts"
            )
        source = Path(prepared.path)
        if mount.sub_path:
            source = below(source, downward.expand(mount.sub_path, environment))
        result.append(
            Mount(str(source), mount.mount_path, bool(mount.read_only) or prepared.read_only)
        )
    return result


def below(root: Path, sub_path: str) -> Path:
    """Return a path in a volume, made if it is not there; never one outside of it."""
    path = root / sub_path
    real = Path(os.path.realpath(path))
    if ".." in Path(sub_path).parts or not real.is_relative_to(os.path.realpath(root)):
        raise errors.BadInput(f"{sub_path!r} leads out of the volume", field="subPath")
    if not real.exists():
        real.mkdir(parents=True)
        real.chmod(0o777 if root.stat().st_mode & 0o002 else 0o755)
    return real


def _resource_devices(container: Container, user: User) -> list[Device]:
    resources = container.resources
    asked = {**(resources.requests if resources else {}), **(resources.limits if resources else {})}
    return [
        Device(path, path, user.uid, user.gid)
        for name, path in node_object.DEVICES.items()
        if asked.get(name) not in (None, 0, "0") and os.path.exists(path)
    ]


def _block_devices(container: Container, sandbox: Sandbox, user: User) -> list[Device]:
    result = []
    for one in container.volume_devices:
        prepared = sandbox.volumes.get(one.name)
        if prepared is None or not prepared.device:
            raise errors.BadInput(
                f"volume {one.name!r} is no block device",
                field=f"container {container.name} volumeDevices",
                hint="its claim needs volumeMode: Block",
            )
        result.append(Device(prepared.path, one.device_path, user.uid, user.gid))
    return result
