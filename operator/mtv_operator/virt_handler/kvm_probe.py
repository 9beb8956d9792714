"""Prove that this node's KVM really runs a 64-bit guest, and fast; never trust `/dev/kvm` alone.

There are hosts on which KVM opens but emulates the guest's kernel code instruction by instruction:
a stock kernel does not hang there, it crawls. `probe.bin` (source: `probe.asm`) is a boot ROM
that takes one step after another and writes a letter for each on port 0xe9, so that a verdict
names the step that failed. It runs once per boot of the node; the verdict is cached beside the
handler's other state.

    R real mode   P protected mode   L long mode with paging   C CPUID   M MSR
    s 100 thousand loop turns   I int3 through the IDT   T APIC timer wakes HLT
    S 50 million loop turns   K end
"""

from __future__ import annotations

import dataclasses
import logging
import os
import selectors
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

log = logging.getLogger(__name__)

QEMU = "qemu-system-x86_64"
ROM = Path(__file__).with_name("probe.bin")
STAGES = "RPLCMsITSK"
STAGE_NAMES = {
    "": "the first instruction",
    "R": "real mode",
    "P": "protected mode",
    "L": "long mode",
    "C": "CPUID",
    "M": "an MSR",
    "s": "a short loop",
    "I": "a breakpoint exception",
    "T": "a timer interrupt",
    "S": "a long loop",
    "K": "the end",
}
CPU_MODELS = ("host", "host,-arch-capabilities")  # the second where the kernel hides that MSR
ATTEMPTS = 3  # one scheduling delay of 20 ms looks like a slow CPU; three do not happen
PASSED = 33  # QEMU's exit status for 0x10 written to isa-debug-exit: (0x10 << 1) | 1
SHORT_TURNS = 100_000  # as in probe.asm; two instructions a turn
LONG_TURNS = 50_000_000
SHORT_LIMIT_S = 0.02  # under 10 MIPS: instructions are emulated, stop waiting
GRACE_S = 0.05  # lets QEMU say why it gives up
TIMEOUT_S = 5.0


class Run(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What one start of the probe showed. `mips` is None when no loop was finished."""

    accelerator: str
    cpu: str
    reached: str
    status: int
    mips: float | None = None
    error: str = ""

    @property
    def passed(self) -> bool:
        """Tell whether every stage was passed."""
        return self.status == PASSED


class Verdict(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Whether KVM is offered on this node, with a stable reason and a sentence for people."""

    usable: bool
    reason: str
    message: str
    cpu: str = ""
    mips: float | None = None
    emulation_mips: float | None = None
    boot_id: str = ""


def judge(kvm: Sequence[Run], emulation: Run | None) -> Verdict:
    """Decide from all runs under KVM and one under TCG. Pure.

    KVM is usable when a run passed every stage and was faster than TCG on the same node: emulated
    KVM gives 0.2 to 1.4 MIPS where TCG gives 110 to 476.
    """
    tcg_mips = emulation.mips if emulation else None
    passed = [run for run in kvm if run.passed]
    if passed:
        best = max(passed, key=lambda run: run.mips or 0.0)
        slow = tcg_mips is not None and (best.mips or 0.0) <= tcg_mips
        return Verdict(
            usable=not slow,
            reason="SlowerThanEmulation" if slow else "Proved",
            message=f"a 64-bit guest ran at {best.mips or 0:.0f} MIPS under KVM"
            + (f", {tcg_mips:.0f} under emulation" if tcg_mips is not None else ""),
            cpu=best.cpu,
            mips=best.mips,
            emulation_mips=tcg_mips,
        )
    if not kvm:
        return Verdict(
            usable=False,
            reason="NotTried",
            message="KVM was not tried",
            emulation_mips=tcg_mips,
        )
    farthest = max(kvm, key=lambda run: (len(run.reached), run.mips or 0.0))
    return _failure(farthest, tcg_mips)


def _failure(run: Run, tcg_mips: float | None) -> Verdict:
    """Say how far the best of the failed runs came."""
    if not run.reached:
        reason, what = "DoesNotStart", "KVM opens but runs no guest"
    elif run.mips is not None and run.mips < 2 * SHORT_TURNS / SHORT_LIMIT_S / 1e6:
        reason = "Emulated"
        what = f"KVM runs guest kernels by emulation, at {run.mips:.1f} MIPS"
    else:
        reason = "StageFailed"
        what = f"the probe guest ended after {STAGE_NAMES[run.reached[-1]]}"
    detail = f": {run.error.splitlines()[0]}" if run.error else ""
    return Verdict(
        usable=False,
        reason=reason,
        message=f"{what} (cpu {run.cpu}, stages {run.reached or 'none'}){detail}",
        cpu=run.cpu,
        mips=run.mips,
        emulation_mips=tcg_mips,
    )


def runs(
    start: Callable[[str, str], Run], models: Sequence[str] = CPU_MODELS, attempts: int = ATTEMPTS
) -> Iterator[Run]:
    """Yield runs under KVM until one passed: CPU models in order, each slow one again.

    A model that reached no stage is not repeated: QEMU refused it, and will again.
    """
    for model in models:
        for _ in range(attempts):
            run = start("kvm", model)
            yield run
            if run.passed:
                return
            if not run.reached:
                break


def probe(qemu: str = QEMU, kvm_device: Path = Path("/dev/kvm")) -> Verdict:
    """Return the verdict on this node's KVM; takes about a second, some more where it says no."""
    binary = shutil.which(qemu)
    if binary is None:
        return Verdict(
            usable=False,
            reason="QemuMissing",
            message=f"{qemu} is not in PATH; on Debian: apt-get install qemu-system-x86",
        )
    if not kvm_device.exists():
        return Verdict(
            usable=False, reason="NoDevice", message=f"{kvm_device} does not exist on this node"
        )
    if not os.access(kvm_device, os.R_OK | os.W_OK):
        return Verdict(
            usable=False, reason="NoAccess", message=f"{kvm_device} may not be opened by this user"
        )

    def start(accelerator: str, cpu: str) -> Run:
        return run_probe(binary, accelerator, cpu)

    tried = list(runs(start))
    return judge(tried, start("tcg", "max"))


def cached(state: Path, probe_node: Callable[[], Verdict] = probe) -> Verdict:
    """Return the verdict of this boot of the node, from `state` if it is there.

    A damaged or older file is probed anew. A file that cannot be written is only logged.
    """
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    try:
        known = msgspec.json.decode(state.read_bytes(), type=Verdict)
        if known.boot_id == boot_id:
            return known
    except (OSError, msgspec.DecodeError):
        pass
    verdict = msgspec.structs.replace(probe_node(), boot_id=boot_id)
    try:
        state.parent.mkdir(parents=True, exist_ok=True)
        temporary = state.with_suffix(".new")
        temporary.write_bytes(msgspec.json.encode(verdict))
        temporary.replace(state)
    except OSError as fault:
        log.warning("the verdict on KVM cannot be kept in %s: %s", state, fault)
    return verdict


@dataclasses.dataclass(slots=True)
class _Clocked:
    """The letters seen so far, with seconds since the start."""

    at: dict[str, float] = dataclasses.field(default_factory=dict)

    def mips(self) -> float | None:
        """Return the speed by the longest loop that was finished."""
        for end, begin, turns in (("S", "T", LONG_TURNS), ("s", "M", SHORT_TURNS)):
            if end in self.at and begin in self.at:
                return round(2 * turns / max(self.at[end] - self.at[begin], 1e-3) / 1e6, 1)
        return None

    def crawls(self) -> bool:
        """Tell whether the short loop took so long that instructions must be emulated."""
        return "s" in self.at and self.at["s"] - self.at.get("M", 0.0) > SHORT_LIMIT_S


def run_probe(qemu: str, accelerator: str, cpu: str, timeout_s: float = TIMEOUT_S) -> Run:
    """Start QEMU once with the boot ROM and watch its letters until it ends or crawls."""
    command = [
        *(qemu, "-M", "pc", "-accel", accelerator, "-cpu", cpu, "-m", "16"),
        *("-display", "none", "-nodefaults", "-no-user-config", "-no-reboot", "-bios", str(ROM)),
        *("-debugcon", "stdio", "-monitor", "none"),
        *("-device", "isa-debug-exit,iobase=0xf4,iosize=1"),
    ]
    began = time.monotonic()
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            seen = _watch(process, began, timeout_s)
            status = process.wait(0.5 if "K" in seen.at or not seen.at else 0.01)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        finally:
            process.kill()
        assert process.stderr is not None
        error = process.stderr.read().decode("utf-8", "replace").strip()
    reached = "".join(stage for stage in STAGES if stage in seen.at)
    return Run(
        accelerator=accelerator,
        cpu=cpu,
        reached=reached,
        status=status,
        mips=seen.mips(),
        error=error[:300],
    )


def _watch(process: subprocess.Popen[bytes], began: float, timeout_s: float) -> _Clocked:
    """Collect letters until the pipe closes, the time is over, or the guest crawls."""
    seen = _Clocked()
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while (left := began + timeout_s - time.monotonic()) > 0:
            if not selector.select(left):
                continue
            letters = os.read(descriptor, 4096)
            if not letters:
                break
            for letter in letters.decode("ascii", "replace"):
                seen.at.setdefault(letter, time.monotonic() - began)
            if seen.crawls():
                time.sleep(GRACE_S)
                break
    return seen
