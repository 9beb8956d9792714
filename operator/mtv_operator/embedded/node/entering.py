"""The command that runs another command inside a running container, as its user."""

from __future__ import annotations

from mtv_operator.embedded.node.processes import Identity
from mtv_operator.embedded.node.stage import Container


def command(container: Container, process: Identity) -> tuple[str, ...]:
    """Return what stands before a command line to run it in the container. Pure.

    The namespaces are those of the container's first process; powers are those of its command.
    """
    line = ["nsenter", f"--target={process.pid}", "--mount", "--ipc", "--net", "--pid"]
    if container.hostname:
        line.append("--uts")
    line += ["--", "setpriv", f"--reuid={container.uid}", f"--regid={container.gid}"]
    groups = ",".join(str(group) for group in container.groups)
    line.append(f"--groups={groups}" if groups else "--clear-groups")
    if not container.privileged:
        kept = ",".join(["-all", *(f"+{name}" for name in container.capabilities)])
        ambient = ",".join(["-all", *(f"+{name}" for name in container.ambient)])
        line += [f"--bounding-set={kept}", f"--inh-caps={ambient}", f"--ambient-caps={ambient}"]
    if container.no_new_privileges:
        line.append("--no-new-privs")
    return (*line, "--")
