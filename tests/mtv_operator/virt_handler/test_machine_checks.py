from pathlib import Path

import pytest

from mtv.findings import Grade
from mtv_operator.virt_handler import machine_checks
from mtv_operator.virt_handler.kvm_probe import Verdict

GIB = 1 << 30


def test_program_that_is_needed_fails_and_another_warns():
    needed, optional = machine_checks.PROGRAMS[0], machine_checks.PROGRAMS[-1]

    assert machine_checks.program_finding(needed, "/usr/bin/q").grade is Grade.OK
    missing = machine_checks.program_finding(needed, "")
    assert (missing.grade, missing.remedy) == (Grade.FAILED, "apt-get install qemu-system-x86")
    assert machine_checks.program_finding(optional, "").grade is Grade.WARNING


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("NoDevice", "switch on virtualisation in the firmware"),
        ("NoAccess", "run as root"),
        ("Emulated", "use a machine whose processor virtualises"),
    ],
)
def test_kvm_that_is_not_usable_is_named_with_its_reason(reason, remedy):
    verdict = Verdict(usable=False, reason=reason, message="this is why")

    found = machine_checks.kvm_finding(verdict)

    assert (found.grade, found.seen) == (Grade.WARNING, f"{reason}: this is why")
    assert found.remedy.startswith(remedy)
    assert "mtv up --emulation allow" in found.remedy


@pytest.mark.parametrize(
    ("free", "grade"), [(GIB, Grade.FAILED), (10 * GIB, Grade.WARNING), (90 * GIB, Grade.OK)]
)
def test_disk_space(free, grade):
    assert machine_checks.space_finding(Path("/var/lib/mtv"), free).grade is grade
