"""The command `mtv-transfer`: carries out one DiskTransfer, inside its pod.

It ends with 0 when the disk is complete and that is known to the API server; see `endings` for the
rest. SIGTERM ends it within a second, SIGKILL at any moment: the next process goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from converters.errors import Cancelled
from mtv import errors
from mtv.api.mtv import DiskTransfer
from mtv_operator.objects import Client
from mtv_operator.transfer import copying, endings, package_source, report, source, target
from mtv_operator.transfer.endings import Ending

log = logging.getLogger("mtv-transfer")

SOURCE_FOLDER, DATA_FOLDER, DEVICE = "/etc/source", "/data", "/dev/target"
PACKAGE_FOLDER = "/package"
TERMINATION_LOG = "/dev/termination-log"
_API_PATIENCE_S = 60.0
_STOP_WITHIN_S = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The command line."""

    name: str
    namespace: str
    kubeconfig: str = ""
    source: str = SOURCE_FOLDER
    data: str = DATA_FOLDER
    device: str = DEVICE
    package: str = PACKAGE_FOLDER


def run() -> NoReturn:
    """Run the process."""
    options = parse(sys.argv[1:])
    logging.basicConfig(
        stream=sys.stderr,
        level=os.environ.get("MTV_LOG", "INFO").upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: _stop(stop))
    code = transfer(options, stop)
    logging.shutdown()
    # Not sys.exit: a thread that hangs in a system call must not keep the process.
    os._exit(code)


def _stop(stop: threading.Event) -> None:
    """End what runs; whatever still waits for somebody is cut off, what is written is noted."""
    stop.set()
    signal.signal(signal.SIGALRM, lambda *_: os._exit(endings.RETRY))
    signal.setitimer(signal.ITIMER_REAL, _STOP_WITHIN_S)


def parse(arguments: Sequence[str]) -> Options:
    """Return the options of a command line."""
    parser = argparse.ArgumentParser(prog="mtv-transfer", description=__doc__)
    parser.add_argument("--name", required=True, help="of the DiskTransfer")
    parser.add_argument("--namespace", required=True, help="of the DiskTransfer")
    parser.add_argument("--kubeconfig", default="", help="where the API server is")
    parser.add_argument("--source", default=SOURCE_FOLDER, help="folder of the source's Secret")
    parser.add_argument("--data", default=DATA_FOLDER, help="where a Filesystem claim is mounted")
    parser.add_argument("--device", default=DEVICE, help="where a Block claim is")
    parser.add_argument(
        "--package", default=PACKAGE_FOLDER, help="where the folder of an OVA is mounted"
    )
    return Options(**vars(parser.parse_args(arguments)))


def transfer(options: Options, stop: threading.Event) -> int:
    """Carry out the transfer; return the exit code."""
    try:
        client = Client.connect(options.kubeconfig or None)
        wanted = _wanted(client, options, stop)
    except (errors.MigrationError, Cancelled) as fault:
        log.error("%s", fault)
        ending = endings.of_fault(fault)
        return endings.RETRY if isinstance(fault, Cancelled) else ending.exit_code
    if _is_done(wanted):
        log.info("%s is complete already", options.name)
        return 0
    writer = report.ApiStatus(client, wanted)
    try:
        _copy(wanted, options, writer, stop)
    except Cancelled:
        log.info("stopped; the next process goes on")
        return endings.RETRY
    except Exception as fault:  # the process must say why it ends, whatever that is
        ending = endings.of_fault(fault)
        log.log(
            logging.WARNING if ending.retryable else logging.ERROR,
            "%s: %s",
            ending.cause,
            ending.message,
            exc_info=fault if ending.exit_code == errors.Bug.exit_code else None,
        )
        _say(ending, writer)
        return ending.exit_code
    log.info("%s is complete", options.name)
    return 0


def _is_done(wanted: DiskTransfer) -> bool:
    status, checkpoint = wanted.status, wanted.spec.checkpoint
    if status is None or status.phase != "Succeeded":
        return False
    return checkpoint is None or checkpoint == status.checkpoint


def _wanted(client: Client, options: Options, stop: threading.Event) -> DiskTransfer:
    """Return the DiskTransfer; wait for an API server that is starting."""
    deadline = time.monotonic() + _API_PATIENCE_S
    while True:
        try:
            return client.get(DiskTransfer, options.name, options.namespace)
        except errors.Retryable:
            if time.monotonic() > deadline:
                raise
        if stop.wait(0.5):
            raise Cancelled


def _copy(
    wanted: DiskTransfer, options: Options, writer: report.StatusWriter, stop: threading.Event
) -> None:
    capacity = wanted.spec.disk.capacity_bytes
    place = target.open_target(options.data, options.device, wanted.metadata.uid, capacity)
    with contextlib.closing(place):
        open_disk = _opener(wanted, options)
        copying.Transfer(wanted, open_disk, place, writer, stop=stop).run()


def _opener(wanted: DiskTransfer, options: Options) -> copying.Opener:
    if wanted.spec.transport == package_source.TRANSPORT:
        return package_source.Opener(Path(options.source), Path(options.package), wanted)
    return source.Opener(Path(options.source), wanted)


def _say(ending: Ending, writer: report.StatusWriter) -> None:
    """Say why the transfer ended: in its status, as an event, and to whoever runs the pod."""
    with contextlib.suppress(OSError):
        if os.path.exists(TERMINATION_LOG):
            Path(TERMINATION_LOG).write_text(f"{ending.cause}: {ending.message}"[:4000])
    writer.record(ending.cause, ending.message, warning=True)
    others = [cause for cause in endings.CAUSES if cause != ending.cause]
    try:
        writer.conclude({"ratePerSecond": 0}, new=[ending.condition()], without=others)
    except errors.MigrationError as fault:
        log.warning("the condition %s cannot be written: %s", ending.cause, fault)


if __name__ == "__main__":
    run()
