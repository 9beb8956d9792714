"""The verdict on KVM: pure judgement by table, the boot ROM for real under TCG."""

import shutil
from pathlib import Path

import pytest

from mtv_operator.virt_handler import kvm_probe
from mtv_operator.virt_handler.kvm_probe import Run, Verdict

ALL = kvm_probe.STAGES
needs_qemu = pytest.mark.skipif(not shutil.which(kvm_probe.QEMU), reason="QEMU is not installed")


def run(reached=ALL, *, cpu="host", mips=None, status=0, error="", accelerator="kvm"):
    return Run(
        accelerator=accelerator, cpu=cpu, reached=reached, status=status, mips=mips, error=error
    )


def passed(mips, cpu="host"):
    return run(cpu=cpu, mips=mips, status=kvm_probe.PASSED)


TCG = run(accelerator="tcg", cpu="max", mips=400.0, status=kvm_probe.PASSED)
MSR = run("", status=1, error="qemu: error: failed to set MSR 0x10a to 0x69\nmore")


@pytest.mark.parametrize(
    ("kvm", "usable", "reason", "words"),
    [
        pytest.param([passed(3000)], True, "Proved", "3000 MIPS under KVM, 400", id="fast"),
        pytest.param([passed(90)], False, "SlowerThanEmulation", "90 MIPS", id="slower than TCG"),
        pytest.param(
            [run("RPLCMs", mips=5.0), passed(3000)],
            True,
            "Proved",
            "3000",
            id="one slow, then fast",
        ),
        pytest.param(
            [MSR, run("RPLCMs", cpu="b", mips=0.7, error="KVM internal error. Suberror: 1")],
            False,
            "Emulated",
            "by emulation, at 0.7 MIPS (cpu b, stages RPLCMs): KVM internal error",
            id="emulated",
        ),
        pytest.param([MSR, MSR], False, "DoesNotStart", "failed to set MSR 0x10a", id="no stage"),
        pytest.param(
            [run("RPL", status=1)],
            False,
            "StageFailed",
            "ended after long mode",
            id="a stage fails",
        ),
        pytest.param([], False, "NotTried", "not tried", id="nothing tried"),
    ],
)
def test_judge(kvm, usable, reason, words):
    verdict = kvm_probe.judge(kvm, TCG)

    assert (verdict.usable, verdict.reason) == (usable, reason)
    assert words in verdict.message


def test_runs_try_the_next_model_at_once_when_qemu_refuses_one_and_repeat_a_slow_one():
    tried = []

    def start(accelerator, cpu):
        tried.append(cpu)
        return MSR if cpu == "a" else run("RPLCMs", cpu=cpu, mips=1.0)

    assert len(list(kvm_probe.runs(start, ["a", "b"], attempts=3))) == 4
    assert tried == ["a", "b", "b", "b"]


def test_runs_end_with_the_first_that_passed():
    assert len(list(kvm_probe.runs(lambda accelerator, cpu: passed(2000), ["a", "b"]))) == 1


def test_verdict_is_kept_for_this_boot_of_the_node(tmp_path):
    state = tmp_path / "deep/kvm-probe.json"
    asked = []

    def probe():
        asked.append(1)
        return Verdict(usable=True, reason="Proved", message="it ran", cpu="host")

    first = kvm_probe.cached(state, probe)
    assert kvm_probe.cached(state, probe) == first
    assert len(asked) == 1


@pytest.mark.parametrize("content", ["", "{", '{"usable": 1}', '{"bootId": "of another boot"}'])
def test_verdict_is_made_anew_when_the_file_is_of_no_use(tmp_path, content):
    state = tmp_path / "kvm-probe.json"
    state.write_text(content)

    verdict = kvm_probe.cached(
        state, lambda: Verdict(usable=False, reason="NoDevice", message="none")
    )

    assert verdict.reason == "NoDevice"
    assert verdict.boot_id


def test_probe_without_qemu_says_what_to_install():
    verdict = kvm_probe.probe(qemu="qemu-system-of-nobody")

    assert (verdict.usable, verdict.reason) == (False, "QemuMissing")
    assert "apt-get install" in verdict.message


@needs_qemu
def test_probe_without_a_device_says_so(tmp_path):
    verdict = kvm_probe.probe(kvm_device=tmp_path / "kvm")

    assert (verdict.usable, verdict.reason) == (False, "NoDevice")


@needs_qemu
def test_boot_rom_passes_every_stage_under_emulation():
    result = kvm_probe.run_probe(kvm_probe.QEMU, "tcg", "max", timeout_s=60.0)

    assert result.passed, result
    assert result.reached == kvm_probe.STAGES
    assert result.mips is not None
    assert result.mips > 1


def test_boot_rom_is_a_whole_number_of_64_kib_with_its_source_beside_it():
    assert kvm_probe.ROM.stat().st_size % 65536 == 0
    assert Path(kvm_probe.ROM).with_suffix(".asm").exists()
