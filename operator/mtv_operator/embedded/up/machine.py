"""What `mtv up` needs of this machine, looked at before anything is started."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterable
from pathlib import Path

from mtv import errors

# Program to the Debian package that has it.
PROGRAMS = {
    "ip": "iproute2",
    "nft": "nftables",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "libvirtd": "libvirt-daemon",
}
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
LISTENING = "0A"  # in /proc/net/tcp


def check_root() -> None:
    """Raise Forbidden unless this is root, who may make namespaces, bridges and mounts."""
    if os.geteuid() != 0:
        raise errors.Forbidden(
            "mtv up must run as root: it makes network and mount namespaces",
            hint="sudo mtv up",
        )


def check_programs(programs: Iterable[str] = PROGRAMS) -> None:
    """Raise NotFound that names all missing programs and how to get them."""
    path = f"{os.environ.get('PATH', '')}:{SBIN}"
    missing = [name for name in programs if shutil.which(name, path=path) is None]
    if missing:
        packages = " ".join(sorted({PROGRAMS.get(name, name) for name in missing}))
        raise errors.NotFound(
            f"missing on this machine: {', '.join(missing)}",
            hint=f"apt-get install --no-install-recommends {packages}",
        )


def check_free(address: str, port: int, ours: Iterable[int] = ()) -> None:
    """Raise TargetRefused that names the owner when a port is taken, unless by one of `ours`."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.strip("[]"), port))
            probe.listen(1)
        except PermissionError as fault:
            raise errors.Forbidden(f"{address}:{port}: {fault.strerror}") from fault
        except OSError as fault:
            owner = port_owner(port)
            if owner is not None and owner[0] in set(ours):
                return
            who = f"process {owner[0]} ({owner[1]})" if owner else str(fault.strerror)
            raise errors.TargetRefused(
                f"{address}:{port} is taken by {who}",
                hint="end that program, or choose another port: mtv up --listen ADDRESS:PORT",
            ) from fault


def port_owner(port: int) -> tuple[int, str] | None:
    """Return pid and command line of the process that listens on a port of this machine."""
    inodes = _listening_inodes(port)
    if not inodes:
        return None
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            for link in (entry / "fd").iterdir():
                if os.readlink(link) in inodes:
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                    command = b" ".join(words).decode("utf-8", "replace").strip()
                    return int(entry.name), command[:120]
        except OSError:
            continue
    return None


def _listening_inodes(port: int) -> set[str]:
    found = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(f"socket:[{fields[9]}]")
    return found
