"""From a described container to its running process; runs as a program of its own.

    python -I -S stage.py PARENT < container.json    ends with 0 when the command was started;
                                                     else with 1, and the reason is in <state>/fault

The program joins the pod's network namespace, makes the others, builds the container's root, and
becomes a small shell that starts the command, waits, and writes its exit code to a file. It uses
the standard library only and ends before the command starts: nothing of it stays in memory.

    mtv-node ── stage (ends) ── sh, pid 1 of the container's namespace ── the command

The order makes a crash harmless at every line: pid 1 does not go on before its identity is on
disk, and it ends when the one that should write it is gone; the stage itself ends with PARENT, the
node's pid, so that a node that comes back never meets a start that is still under way. When pid 1
ends, the kernel ends everything that is left in the container.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import stat
import sys
from typing import NamedTuple

CLONE_NEWNS = 0x00020000  # <linux/sched.h>
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8  # <linux/mount.h>
MS_REMOUNT, MS_BIND, MS_REC, MS_SLAVE = 0x20, 0x1000, 0x4000, 0x80000
MNT_DETACH = 2
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}  # asm/unistd_64.h; asm-generic/unistd.h

OLD = "/.old"
LAYERS = "/.layers"
PRIVATE_LAYER_SIZE = "256m"  # what a container may write outside of its volumes; it is memory
# Trees that programs write to: each container has its own writable layer over the machine's.
LAYERED = frozenset({"etc", "home", "opt", "root", "srv", "usr", "var"})
OWN = frozenset({"proc", "sys", "dev", "run", "tmp", "boot", "lost+found"})
DEVICES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9))
DEVICES_TTY = ("tty", 5, 0)

EXIT_DESCRIPTOR = 9
# POSIX sh ignores SIGINT and SIGQUIT in what it starts with `&`; `env` puts them back.
SHIM = f"""
trap 'ended=1; [ "$main" ] && kill -TERM "$main"' TERM
"$@" {EXIT_DESCRIPTOR}>&- &
main=$!
[ "$ended" ] && kill -TERM "$main"
while :; do wait "$main"; code=$?; kill -0 "$main" 2>/dev/null || break; done
echo "$code" >&{EXIT_DESCRIPTOR}
"""


class Mount(NamedTuple):
    """A file or folder of this machine, and where the container sees it."""

    source: str
    target: str
    read_only: bool = False


class Device(NamedTuple):
    """A device of this machine that the container gets at `path`, owned by its user."""

    source: str
    path: str
    uid: int
    gid: int


class Container(NamedTuple):
    """Everything the stage needs to know. `state` is a folder that is the container's alone."""

    state: str
    argv: list[str]
    environment: dict[str, str]
    working_dir: str
    network_namespace: str  # "" for the node's own
    hostname: str
    mounts: list[Mount]
    devices: list[Device]
    expose: list[str]  # code that must be reachable although a folder above it is closed
    conceal: list[str]  # folders of the node that no pod may look into
    cgroups: list[str]
    uid: int
    gid: int
    groups: list[int]
    capabilities: list[str]  # the bounding set, as in capabilities(7), lower case without cap_
    ambient: list[str]
    privileged: bool
    no_new_privileges: bool
    read_only_root: bool
    tmp: str  # a folder that becomes /tmp


def decode(document: str) -> Container:
    """Return the container that a JSON document describes."""
    fields = json.loads(document)
    fields["mounts"] = [Mount(*mount) for mount in fields["mounts"]]
    fields["devices"] = [Device(*device) for device in fields["devices"]]
    return Container(**fields)


def encode(container: Container) -> str:
    """Return the JSON document that `decode` reads."""
    return json.dumps(container._asdict())


libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Call mount(2). Raises OSError with a sentence that names both paths."""
    result = libc.mount(
        os.fsencode(source),
        os.fsencode(target),
        kind.encode() or None,
        ctypes.c_ulong(flags),
        options.encode() or None,
    )
    _check(result, f"mount {source} at {target}")


def unmount(target: str) -> None:
    """Detach a mount and everything below it."""
    _check(libc.umount2(os.fsencode(target), MNT_DETACH), f"unmount {target}")


def bind(source: str, target: str, *, read_only: bool = False) -> None:
    """Make a tree of the machine visible at `target`, with all that is mounted in it."""
    mount(source, target, flags=MS_BIND | MS_REC)
    if read_only:
        kept = os.statvfs(target).f_flag & (MS_NOSUID | MS_NODEV | MS_NOEXEC)
        mount("", target, flags=MS_REMOUNT | MS_BIND | MS_RDONLY | kept)


def make_target(target: str, source: str) -> str:
    """Make a mount point of the source's kind, with the folders above; return its real path."""
    real = os.path.realpath(target)
    if os.path.isdir(source):
        os.makedirs(real, exist_ok=True)
    elif not os.path.lexists(real):
        os.makedirs(os.path.dirname(real), exist_ok=True)
        os.close(os.open(real, os.O_CREAT | os.O_WRONLY, 0o644))
    return real


def build_root(container: Container) -> None:
    """Build the container's root from the machine's trees and enter it.

    The machine's root stays at OLD until `mount_volumes` is done with it.
    """
    mount("none", "/", flags=MS_REC | MS_SLAVE)
    if os.path.ismount("/run/netns"):
        # Other pods' network namespaces must not live as long as this mount namespace.
        unmount("/run/netns")
    root = f"{container.state}/root"
    os.makedirs(root, exist_ok=True)
    mount("tmpfs", root, "tmpfs", MS_NODEV, f"size={PRIVATE_LAYER_SIZE},mode=755")
    os.mkdir(root + OLD)
    _check(
        libc.syscall(
            SYS_PIVOT_ROOT[os.uname().machine], os.fsencode(root), os.fsencode(root + OLD)
        ),
        "pivot_root",
    )
    os.chdir("/")
    os.mkdir(LAYERS, 0o700)
    for entry in os.scandir(OLD):
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), f"/{entry.name}")
        elif entry.name not in OWN and not entry.name.startswith("."):
            add_tree(entry.name, entry.is_dir())


def add_tree(name: str, is_folder: bool) -> None:
    """Add one entry of the machine's root: with a writable layer of its own, or read-only."""
    source, target = f"{OLD}/{name}", f"/{name}"
    make_target(target, source)
    if is_folder and name in LAYERED:
        upper, work = f"{LAYERS}/{name}", f"{LAYERS}/{name}.work"
        os.mkdir(upper)
        os.mkdir(work)
        found = os.stat(source)
        os.chmod(upper, stat.S_IMODE(found.st_mode))
        os.chown(upper, found.st_uid, found.st_gid)
        try:
            mount(
                "overlay",
                target,
                "overlay",
                options=f"lowerdir={source},upperdir={upper},workdir={work}",
            )
        except OSError:  # no overlay in this kernel, or not over this file system
            bind(source, target, read_only=True)
    elif is_folder or os.path.isfile(source):
        bind(source, target, read_only=True)


def mount_kernel_trees(container: Container) -> None:
    """Mount /proc, /sys, /dev, /run and /tmp of the container."""
    for folder in ("/proc", "/sys", "/dev", "/run", "/tmp"):
        os.makedirs(folder, exist_ok=True)
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    if container.privileged:
        bind(OLD + "/sys", "/sys")
        bind(OLD + "/dev", "/dev")
    else:
        mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY)
        make_devices(container)
    mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    os.mkdir("/run/lock", 0o755)
    os.chmod("/run/lock", 0o1777)
    if not os.path.islink("/var/run"):
        os.makedirs("/var/run", exist_ok=True)
        bind("/run", "/var/run")
    bind(OLD + container.tmp, "/tmp")


def make_devices(container: Container) -> None:
    """Give the container the harmless devices, and those that its resources name."""
    mount("tmpfs", "/dev", "tmpfs", MS_NOSUID, "size=64k,mode=755")
    for name, major, minor in (*DEVICES, DEVICES_TTY):
        os.mknod(f"/dev/{name}", stat.S_IFCHR | 0o666, os.makedev(major, minor))
        os.chmod(f"/dev/{name}", 0o666)
    for device in container.devices:
        node = os.stat(OLD + device.source)
        os.makedirs(os.path.dirname(device.path), exist_ok=True)
        os.mknod(device.path, stat.S_IFMT(node.st_mode) | 0o660, node.st_rdev)
        os.chmod(device.path, 0o660)
        os.chown(device.path, device.uid, device.gid)
    for folder in ("pts", "shm", "mqueue"):
        os.mkdir(f"/dev/{folder}")
    mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666")
    mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "size=64m,mode=1777")
    for link, target in (
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ):
        os.symlink(target, f"/dev/{link}")


def expose(path: str, uid: int) -> None:
    """Make code reachable for `uid`, where a folder above it is closed to others or hidden.

    A closed folder (/root, say) is replaced by an empty one that holds only the way to `path`.
    """
    replaced, current = False, ""
    for name in path.strip("/").split("/")[:-1]:
        current = f"{current}/{name}"
        if not os.path.isdir(current):
            os.mkdir(current, 0o755)
            replaced = True
        elif uid and not os.stat(current).st_mode & stat.S_IXOTH:
            mount("tmpfs", current, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=1m")
            replaced = True
    if replaced or not os.path.exists(path):
        bind(OLD + path, make_target(path, OLD + path), read_only=True)


def mount_volumes(container: Container, sources: list[str]) -> None:
    """Hide, expose and mount what the container asks for; then let go of the machine's root."""
    for folder in container.conceal:
        if os.path.isdir(folder):
            mount("tmpfs", folder, "tmpfs", MS_NOSUID | MS_NODEV, "mode=700,size=64k")
    for path in sorted(container.expose, key=lambda path: path.count("/")):  # outer ones first
        expose(path, container.uid)
    for volume, source in sorted(
        zip(container.mounts, sources, strict=True), key=lambda pair: pair[0].target.count("/")
    ):
        target = make_target(volume.target, OLD + source)
        bind(OLD + source, target, read_only=volume.read_only)
    unmount(OLD)
    os.rmdir(OLD)
    if container.read_only_root:
        for folder in ("/", *(f"/{name}" for name in LAYERED if os.path.ismount(f"/{name}"))):
            mount("", folder, flags=MS_REMOUNT | MS_BIND | MS_RDONLY)


def command_line(container: Container) -> list[str]:
    """Return what the shell starts: the command, behind what takes its powers away. Pure."""
    line = ["env", "--default-signal=INT,QUIT", f"--chdir={container.working_dir}", "setpriv"]
    line += [f"--reuid={container.uid}", f"--regid={container.gid}"]
    groups = ",".join(str(group) for group in container.groups)
    line.append(f"--groups={groups}" if groups else "--clear-groups")
    if not container.privileged:
        kept = ",".join(["-all", *(f"+{name}" for name in container.capabilities)])
        ambient = ",".join(["-all", *(f"+{name}" for name in container.ambient)])
        line += [f"--bounding-set={kept}", f"--inh-caps={ambient}", f"--ambient-caps={ambient}"]
    if container.no_new_privileges:
        line.append("--no-new-privs")
    return [*line, "--", *container.argv]


def become(container: Container) -> None:
    """Build the container around this process, which is pid 1 of it, and become the shell."""
    os.setsid()
    os.umask(0o022)
    written = os.open(f"{container.state}/exit", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(written, EXIT_DESCRIPTOR, inheritable=True)
    sources = [os.path.realpath(volume.source) for volume in container.mounts]
    for source in sources:
        os.stat(source)  # names the missing one, before the root is another one
    build_root(container)
    mount_kernel_trees(container)
    mount_volumes(container, sources)
    if container.hostname:
        name = container.hostname.encode()
        _check(libc.sethostname(name, len(name)), f"set the hostname {container.hostname}")
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores them, and the command would inherit
    os.execve("/bin/sh", ["sh", "-c", SHIM, "sh", *command_line(container)], container.environment)


def record(container: Container, pid: int) -> None:
    """Write the identity of pid 1 to disk, whole or not at all."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        start_time = int(file.read().rpartition(")")[2].split()[19])
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot_id = file.read().strip()
    path = f"{container.state}/process"
    with open(path + ".new", "w", encoding="ascii") as file:
        json.dump({"pid": pid, "startTime": start_time, "bootId": boot_id}, file)
    os.rename(path + ".new", path)


def join_network(path: str) -> None:
    """Move the calling thread into a network namespace."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _check(libc.setns(descriptor, CLONE_NEWNET), f"join the network namespace {path}")
    finally:
        os.close(descriptor)


def enter(container: Container) -> None:
    """Join the pod's namespaces and cgroups, and make the container's own ones."""
    for cgroup in container.cgroups:
        with open(f"{cgroup}/cgroup.procs", "w", encoding="ascii") as file:
            file.write("0")
    if container.network_namespace:
        join_network(container.network_namespace)
    flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | (CLONE_NEWUTS if container.hostname else 0)
    _check(libc.unshare(flags), "make the container's namespaces")


def end_with(parent: int) -> bool:
    """Have the kernel end this process with its parent; tell whether that is still there."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    return os.getppid() == parent


def main() -> int:
    """Start the container that stands on stdin; leave what was wrong in its folder."""
    if not end_with(int(sys.argv[1])):
        return 1
    container = decode(sys.stdin.read())
    # By descriptor: when the container has its own root, this process has it too.
    state = os.open(container.state, os.O_PATH | os.O_DIRECTORY)
    fault = start(container)
    if fault:
        written = os.open("fault", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644, dir_fd=state)
        os.write(written, fault.encode())
    return 1 if fault else 0


def start(container: Container) -> str:
    """Start the container; return what was wrong, or "" once the shell runs."""
    go_read, go_write = os.pipe()
    fault_read, fault_write = os.pipe()
    try:
        enter(container)
    except OSError as error:
        return describe(error)
    pid = os.fork()
    if pid == 0:
        os.close(go_write)
        if os.read(go_read, 1) != b"g":
            os._exit(1)
        try:
            become(container)
        except OSError as error:
            os.write(fault_write, describe(error).encode())
        os._exit(1)
    os.close(fault_write)
    record(container, pid)
    os.write(go_write, b"g")
    # The pipe closes when the shell runs. A shell that has ended by then has left its exit code.
    return b"".join(iter(lambda: os.read(fault_read, 4096), b"")).decode()


def describe(error: OSError) -> str:
    """Return the sentence of an error, with the path where there is one."""
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)


if __name__ == "__main__":
    sys.exit(main())
