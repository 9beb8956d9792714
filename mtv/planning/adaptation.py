"""What a plan wants of the adaptation of its guests. Pure.

`skipGuestConversion` and `diskBus` are Forklift's fields; what they do not say stands in
annotations of the Plan:

    mtv.dev/boot-test           true (default): an adapted guest is booted, isolated, before
                                anything of it is committed; false: it is not
    mtv.dev/boot-test-timeout   seconds that a boot test may take (default 600)
    mtv.dev/guest-packages      where packages of the QEMU guest agent are: `pvc:NAME`, or an image
    mtv.dev/virtio-win          where a virtio-win directory is, for Windows: the same
    mtv.dev/serial-console      true: a serial console is added to the kernel's parameters
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mtv.api import forklift
from mtv.errors import BadInput
from mtv.planning import hardware

BOOT_TEST = "mtv.dev/boot-test"
TIMEOUT = "mtv.dev/boot-test-timeout"
PACKAGES = "mtv.dev/guest-packages"
VIRTIO_WIN = "mtv.dev/virtio-win"
CONSOLE = "mtv.dev/serial-console"
_CLAIM = re.compile(r"pvc:([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)$")
_IMAGE = re.compile(r"[A-Za-z0-9][\w./:@-]{0,400}$")
_LEAST_S, _USUAL_S, _MOST_S = 10.0, 600.0, 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A folder that an administrator gives: in a claim, or in an image."""

    claim: str = ""
    image: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a plan wants."""

    bus: str = hardware.SCSI
    boot_test: bool = True
    timeout_s: float = _USUAL_S
    packages: Place | None = None
    virtio_win: Place | None = None
    console: bool = False


def is_wanted(spec: forklift.PlanSpec) -> bool:
    """Tell whether guests of a plan are adapted at all."""
    return not spec.skip_guest_conversion


def parse(marks: Mapping[str, str], bus: str | None = None) -> Wish:
    """Return what a plan's annotations and its diskBus want. Raises BadInput for an annotation."""
    return Wish(
        bus=bus if bus in hardware.BUSES else hardware.SCSI,
        boot_test=_flag(marks, BOOT_TEST, otherwise=True),
        timeout_s=_seconds(marks),
        packages=_place(marks, PACKAGES),
        virtio_win=_place(marks, VIRTIO_WIN),
        console=_flag(marks, CONSOLE, otherwise=False),
    )


def _flag(marks: Mapping[str, str], name: str, *, otherwise: bool) -> bool:
    text = marks.get(name, "").strip().lower()
    if not text:
        return otherwise
    if text not in ("true", "false"):
        raise _bad(name, text, "write true or false")
    return text == "true"


def _seconds(marks: Mapping[str, str]) -> float:
    text = marks.get(TIMEOUT, "").strip().removesuffix("s")
    if not text:
        return _USUAL_S
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not _LEAST_S <= found <= _MOST_S:
        raise _bad(TIMEOUT, text, f"write seconds from {_LEAST_S:.0f} to {_MOST_S:.0f}")
    return found


def _place(marks: Mapping[str, str], name: str) -> Place | None:
    text = marks.get(name, "").strip()
    if not text:
        return None
    if claim := _CLAIM.match(text):
        return Place(claim=claim[1])
    if text.startswith("pvc:") or not _IMAGE.match(text):
        raise _bad(name, text, "write pvc:NAME, or the reference of an image")
    return Place(image=text)


def _bad(name: str, text: str, hint: str) -> BadInput:
    return BadInput(f"{text!r} is not understood", field=f"metadata.annotations[{name}]", hint=hint)
