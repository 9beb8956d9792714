"""The command `mtv-adapt`: makes one guest ready for virtio, inside its pod.

It ends with 0 whatever became of it, as long as it can say that in its message: a guest that
cannot be adapted is left as it was, and the message says why. Another code means that it was cut
off; the next process begins with a fresh overlay, or completes a commit that was begun.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import msgspec

from converters.errors import ConversionError
from converters.guest import tools
from converters.guest.application import adapt, overlay, packages, trial
from converters.guest.decision import Bus, Nic, Tools, Way, Wish
from converters.guest.inspection import summary
from converters.guest.inspection.facts import Inspection, System
from converters.images.identify import Format
from mtv_operator.adaptation import isolation, messages
from mtv_operator.adaptation.messages import Changed, Order, Outcome

log = logging.getLogger("mtv-adapt")

TERMINATION_LOG = "/dev/termination-log"
_CUT_OFF = 1


def run() -> NoReturn:
    """Run the process."""
    logging.basicConfig(
        stream=sys.stderr,
        level=os.environ.get("MTV_LOG", "INFO").upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    options = _parse(sys.argv[1:])
    signal.signal(signal.SIGTERM, _stop)
    refused = "" if options.shared else isolation.enter()
    if refused:
        log.warning("no namespaces of its own: %s", refused)
    try:
        order = msgspec.json.decode(options.order, type=Order)
    except msgspec.DecodeError as fault:
        log.error("the order cannot be read: %s", fault)
        sys.exit(2)
    outcome = carry_out(order, Path(options.message), refused)
    log.info("%s: %s", outcome.way or "nothing", outcome.error or "; ".join(outcome.reasons))
    _say(Path(options.message), outcome)
    sys.exit(0)


def _stop(_number: int, _frame: object) -> NoReturn:
    sys.exit(_CUT_OFF)  # by an exception: overlays are thrown away on the way out


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="mtv-adapt", description=__doc__)
    parser.add_argument("--order", required=True, help="what is to be done, as JSON")
    parser.add_argument("--message", default=TERMINATION_LOG, help="where the outcome is written")
    parser.add_argument(
        "--shared", action="store_true", help="stay in the namespaces of who has started it"
    )
    return parser.parse_args(arguments)


def carry_out(order: Order, message: Path, refused: str = "") -> Outcome:
    """Adapt the guest; return what became of it. `refused` says why there is no isolation."""
    here = Tools(light=False) if refused else tools.here()
    _say(message, Outcome(step="adapting"))
    files, warnings = _packages(order)
    try:
        result = adapt.adapt(_converted(order, here, message, files))
    except ConversionError as fault:
        log.warning("%s", fault, exc_info=True)
        hint = f" ({fault.hint})" if fault.hint else ""
        torn = not order.rehearse and overlay.pending(order.disks[0], order.scratch)
        return Outcome(
            way=Way.EMULATED, error=f"{fault}{hint}", torn=torn, rehearsed=order.rehearse
        )
    outcome = _outcome(result, order, refused)
    return msgspec.structs.replace(outcome, warnings=(*warnings, *outcome.warnings))


def _packages(order: Order) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Return the agent's packages; a guest without them is moved all the same, and that is said."""
    try:
        return (packages.read(order.packages) if order.packages else {}), ()
    except ConversionError as fault:
        return {}, (f"the agent is not installed: its packages: {fault}",)


def _converted(order: Order, here: Tools, message: Path, files: Mapping[str, bytes]) -> adapt.Order:
    test = None
    if order.trial is not None:
        test = trial.Boot(
            timeout_s=order.trial.timeout_s,
            memory_mib=order.trial.memory_mib,
            kvm=order.trial.kvm,
            folder="" if os.path.isfile(order.disks[0]) else order.scratch,
        )
    return adapt.Order(
        disks=order.disks,
        wish=Wish(
            bus=Bus(order.bus),
            nics=tuple(
                Nic(mac=one.mac, slot=one.slot, addresses=one.addresses) for one in order.nics
            ),
            console=order.console,
            packages=tuple(files),
        ),
        tools=here,
        packages=files,
        drivers=order.drivers,
        when=order.when,
        known=Format.RAW,  # a guest could write another format's beginning into its disk
        trial=test,
        folder=order.scratch,
        on_commit=lambda: _say(message, Outcome(step="committing")),
        rehearse=order.rehearse,
        proven=order.proven,
        root=order.root,
    )


def _outcome(result: adapt.Result, order: Order, refused: str) -> Outcome:
    decision = result.decision
    reasons = decision.reasons
    if refused and decision.way is Way.EMULATED:
        reasons = (*reasons, f"the node allows no user namespaces: {refused}")
    return Outcome(
        way=decision.way,
        bus=decision.bus,
        nic_model=decision.nic_model,
        system=_system(result.inspection),
        facts=tuple(summary.facts(result.inspection)),
        reasons=reasons,
        warnings=decision.warnings,
        changes=tuple(Changed(path=one.path, old=one.old_sha256) for one in result.entries),
        recipe=result.recipe,
        booted=result.booted,
        committed=result.committed,
        rehearsed=order.rehearse,
        seconds=dict(result.seconds),
        overlay_bytes=result.overlay_bytes,
    )


def _system(found: Inspection) -> str:
    """Return what kind of system it is; one of which no kernel is known is unknown."""
    poor = found.linux is not None and not found.linux.kernels
    return System.UNKNOWN if poor else found.system


def _say(path: Path, outcome: Outcome) -> None:
    with contextlib.suppress(OSError), path.open("wb") as file:
        file.write(messages.encode(outcome))


if __name__ == "__main__":
    run()
