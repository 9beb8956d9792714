"""The command `virt-launcher`: one per VM, the first process of the VM's pod."""

from __future__ import annotations

import argparse
import logging
import os
import sys

from mtv_operator.virt_launcher import monitor

START_TIMEOUT_S = 360.0  # upstream: 240 s, and up to 120 s at random


def parse(arguments: list[str]) -> argparse.Namespace:
    """Return the command line's values."""
    parser = argparse.ArgumentParser(prog="virt-launcher", description=__doc__)
    parser.add_argument("--name", required=True, help="the VirtualMachineInstance")
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--uid", required=True, help="its uid")
    parser.add_argument("--grace-period-seconds", type=int, default=30, metavar="N")
    parser.add_argument(
        "--qemu-timeout", type=float, default=START_TIMEOUT_S, metavar="S",
        help="end when no order to start came for so many seconds (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("-v", "--verbose", action="store_true", help="log the domain XML and more")
    return parser.parse_args(arguments)


def launch(arguments: argparse.Namespace) -> int:
    """Run the launcher in this process; return its exit status."""
    logging.basicConfig(
        level=logging.DEBUG if arguments.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    # Imported here: the monitor, which lives as long, does without.
    from mtv import errors
    from mtv_operator.virt_launcher import launcher

    settings = launcher.Settings(
        name=arguments.name,
        namespace=arguments.namespace,
        uid=arguments.uid,
        grace_period_s=arguments.grace_period_seconds,
        start_timeout_s=arguments.qemu_timeout,
    )
    try:
        return launcher.run(settings)
    except errors.MigrationError as fault:
        print(f"error: {fault}", file=sys.stderr)
        if fault.hint:
            print(f"\nhint: {fault.hint}", file=sys.stderr)
        return fault.exit_code


def run() -> None:
    """Entry point of the console script."""
    arguments = parse(sys.argv[1:])
    os.umask(0o007)  # QEMU's sockets and images: for uid 107 and its group
    sys.exit(monitor.run(lambda: launch(arguments)))


if __name__ == "__main__":
    run()
