"""The command `virt-probe`: asks the guest whether it is well; the exit status is the answer.

The probes `exec` and `guestAgentPing` of a VM are exec probes of its pod that run this. Only the
standard library is imported: it is started every few seconds.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys

SOCKET = "/var/run/kubevirt/sockets/launcher-sock"
PATIENCE_S = 2.0  # beyond the probe's own time
UNHEALTHY = 1


def parse(arguments: list[str]) -> argparse.Namespace:
    """Return the command line's values; its options are upstream's."""
    parser = argparse.ArgumentParser(prog="virt-probe", description=__doc__)
    parser.add_argument("--domainName", default="", help="the domain; there is one in a pod")
    parser.add_argument("--timeoutSeconds", type=float, default=1.0, metavar="S")
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--command", help="a program of the guest")
    kind.add_argument("--guestAgentPing", action="store_true", help="only ask the guest agent")
    parser.add_argument("--socket", default=SOCKET, help="where the launcher listens")
    parser.add_argument("arguments", nargs="*", help="of the program")
    return parser.parse_args(arguments)


def ask(path: str, command: list[str], timeout_s: float) -> tuple[int, str]:
    """Return the exit status and output of a program in the guest. Raises OSError, ValueError."""
    order = {"method": "RunInGuest", "id": 1, "command": command, "timeoutS": timeout_s}
    with socket.socket(socket.AF_UNIX) as launcher:
        launcher.settimeout(timeout_s + PATIENCE_S)
        launcher.connect(path)
        launcher.sendall(json.dumps(order).encode() + b"\n")
        with launcher.makefile("rb") as lines:
            reply = json.loads(lines.readline())
    failure = reply.get("failure")
    if failure:
        return UNHEALTHY, str(failure.get("message", ""))
    return int(reply.get("exitCode", 0)), str(reply.get("output", ""))


def run() -> None:
    """Entry point of the console script."""
    arguments = parse(sys.argv[1:])
    command = [arguments.command, *arguments.arguments] if arguments.command else []
    try:
        status, output = ask(arguments.socket, command, arguments.timeoutSeconds)
    except (OSError, ValueError) as fault:
        status, output = UNHEALTHY, f"the launcher: {fault}"
    if output:
        print(output.rstrip("\n"))
    sys.exit(status)


if __name__ == "__main__":
    run()
