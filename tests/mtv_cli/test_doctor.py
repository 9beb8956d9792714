import json

import pytest

from mtv import errors, findings
from mtv.cli import doctor
from mtv.cli.options import Format
from mtv.findings import Grade

FOUND = [
    findings.ok("user", "root"),
    findings.warning("KVM", "NoDevice: none here", "switch it on"),
    findings.failed("program nft", "not there (connects guests)", "apt-get install nftables"),
]


def test_table_has_a_way_out_beside_what_is_wrong(capsys):
    doctor.show(FOUND, Format.TABLE)

    assert capsys.readouterr().out.splitlines() == [
        "CHECK                       RESULT    SEEN",
        "user                        ok        root",
        "KVM                         warning   NoDevice: none here",
        "                                      → switch it on",
        "program nft                 FAILED    not there (connects guests)",
        "                                      → apt-get install nftables",
    ]


def test_json_is_plain_and_complete(capsys):
    doctor.show(FOUND, Format.JSON)

    listed = json.loads(capsys.readouterr().out)
    assert listed[1] == {
        "subject": "KVM",
        "grade": "warning",
        "seen": "NoDevice: none here",
        "remedy": "switch it on",
    }


def test_failure_is_an_exit_code_that_is_not_zero():
    with pytest.raises(errors.TargetRefused, match="1 of 3 checks failed: program nft") as caught:
        doctor.conclude(FOUND)

    assert caught.value.exit_code == 69


def test_warnings_are_no_failure():
    doctor.conclude(FOUND[:2])


def test_this_machine_is_looked_at(tmp_path):
    found = {one.subject: one for one in doctor.machine_checks(tmp_path / "not" / "yet")}

    assert found["volume write"].grade is Grade.OK
    assert found["KVM"].seen
    assert all(one.remedy for one in found.values() if one.grade is not Grade.OK)
    assert not list(tmp_path.iterdir())


def test_folder_that_cannot_be_written_is_named():
    from pathlib import Path

    found = {one.subject: one for one in doctor.machine_checks(Path("/proc/mtv"))}

    assert found["volume write"].grade is Grade.FAILED
    assert "/proc" in found["volume write"].seen
