"""What `mtv doctor --provider` finds at the double, and with what is wrong there."""

import pytest
import vcenters

from mtv.findings import Grade
from mtv.providers.vsphere import doctor

pytestmark = pytest.mark.vcenter


def found(session, **options):
    return {one.subject: one for one in doctor.look_at(session, **options)}


def test_look_at_when_all_is_well_reads_a_block(mended):
    seen = found(mended.session(), vm_name="web1", disk=1)
    assert not [one for one in seen.values() if one.grade is Grade.FAILED]
    block = seen["one block of web1"]
    assert block.seen.endswith("[LocalDS_1] web1/disk-1.vmdk by https")
    assert "VMs" in seen["inventory"].seen
    assert "granted" in seen["privileges"].seen


def test_look_at_when_the_disk_is_exported_leaves_no_lease(mended):
    seen = found(mended.session(), vm_name="layers")
    assert seen["one block of layers"].seen.endswith("by nfc")
    assert mended.stats()["openLeases"] == 0


def test_look_at_when_a_host_cannot_be_reached_names_ports_and_what_they_are_for(tmp_path):
    config = {"hosts": [{"name": "DC0_H0", "address": "127.0.0.9"}]}
    with vcenters.running(config, folder=tmp_path) as vcenter:
        seen = found(vcenter.session())
    for port, use in ((443, "exported by the host"), (902, "VDDK")):
        one = seen[f"port {port} of DC0_H0 (127.0.0.9)"]
        assert one.grade is Grade.WARNING
        assert "no connection" in one.seen
        assert use in one.remedy


def test_look_at_when_the_password_is_wrong_ends_there(mended):
    seen = found(mended.session(password="wrong"))
    assert seen["login"].grade is Grade.FAILED
    assert "privileges" not in seen


def test_look_at_when_the_certificate_is_not_trusted_says_what_to_do(mended):
    seen = found(mended.session(ca_pem=""))
    assert seen["TLS"].grade is Grade.FAILED
    assert "thumbprint" in seen["TLS"].remedy


def test_look_at_when_the_vm_runs_or_is_unknown_says_so(mended):
    assert "holds" in found(mended.session(), vm_name="runs")["one block of runs"].seen
    assert "there is no VM nobody" in found(mended.session(), vm_name="nobody")["one block"].seen


def test_look_at_when_privileges_are_missing_names_them(tmp_path):
    config = {"missingPrivileges": ["VApp.Export", "VirtualMachine.State.CreateSnapshot"]}
    with vcenters.running(config, folder=tmp_path) as vcenter:
        seen = found(vcenter.session())
    assert "VApp.Export" in seen["privileges"].seen
    assert seen["privileges"].grade is Grade.FAILED
