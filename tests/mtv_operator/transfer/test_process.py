"""The process mtv-transfer, between a real API server and the vCenter double."""

import os
import signal
import subprocess
import time

import pytest
import servers

from converters import testing
from mtv import errors

pytestmark = pytest.mark.vcenter

MIB = 1 << 20
RETRY = 75


def fetched(vcenter):
    return vcenter.stats()["folderBytes"]


def test_transfer_by_https_gives_an_identical_sparse_disk_alone_on_its_volume(bench):
    transfer = bench.wanted("big")
    assert bench.run(transfer) == 0, bench.log()
    bench.assert_identical()
    assert os.listdir(bench.data) == ["disk.img"]
    assert os.stat(bench.image).st_blocks * 512 < os.stat(bench.image).st_size
    status = bench.status(transfer)
    content = bench.content.read_bytes()
    assert (status.phase, status.transport, status.percent) == ("Succeeded", "https", "100%")
    assert status.done_bytes == status.total_bytes == status.fetched_bytes == len(content)
    assert status.checksum == f"xxh3:{testing.disk_sum(content):016x}"
    assert bench.condition(transfer, "Succeeded").status == "True"


def test_transfer_of_a_vm_with_snapshots_goes_by_nfc(bench):
    transfer = bench.wanted("layers")
    assert bench.run(transfer) == 0, bench.log()
    bench.assert_identical()
    assert bench.status(transfer).transport == "nfc"
    assert bench.vcenter.stats()["openLeases"] == 0


def test_transfer_when_complete_already_does_nothing(bench):
    transfer = bench.wanted("small")
    assert bench.run(transfer) == 0
    before = fetched(bench.vcenter)
    assert bench.run(transfer) == 0
    assert fetched(bench.vcenter) == before


def test_transfer_reports_at_least_once_a_second(bench):
    bench.vcenter.fault(match="/disk-0-flat", bytesPerSecond=8 * MIB)
    transfer = bench.wanted("big")
    bench.start(transfer)
    bench.until_done(transfer, MIB)
    seen = set()
    end = time.monotonic() + 4
    while time.monotonic() < end:
        seen.add(bench.status(transfer).done_bytes)
    status = bench.status(transfer)
    assert len(seen) >= 4, seen
    assert status.phase == "Running"
    assert 8 * MIB < status.rate_per_second < 64 * MIB
    assert status.percent == f"{status.done_bytes * 100 // status.total_bytes}%"


def slow(bench, mib_per_s=12):
    """Make each connection so slow that there is time to do something meanwhile."""
    bench.vcenter.fault(match="/disk-0-flat", bytesPerSecond=mib_per_s * MIB)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_transfer_when_ended_in_the_middle_goes_on_and_fetches_little_again(bench, how):
    slow(bench)
    transfer = bench.wanted("big")
    before = fetched(bench.vcenter)
    for part in (0.2, 0.5):
        process = bench.start(transfer)
        bench.until_done(transfer, int(192 * MIB * part))
        began = time.monotonic()
        process.send_signal(how)
        code = process.wait(5)
        if how == signal.SIGTERM:
            assert time.monotonic() - began < 1.1
            assert code == RETRY
    bench.vcenter.mend()
    assert bench.run(transfer) == 0, bench.log()
    bench.assert_identical()
    again = fetched(bench.vcenter) - before - bench.content.stat().st_size
    assert again < 2 * 64 * MIB, again
    assert bench.status(transfer).fetched_bytes >= bench.content.stat().st_size
    assert again < 48 * MIB, again  # what is really seen
    content = bench.content.read_bytes()
    assert bench.status(transfer).checksum == f"xxh3:{testing.disk_sum(content):016x}"


def test_transfer_when_the_machine_was_restarted_goes_on_from_what_was_synced(bench):
    slow(bench, mib_per_s=4)
    transfer = bench.wanted("big")
    process = bench.start(transfer)
    servers.until(lambda: bench.status(transfer).journal, "a journal in the status", 30)
    bench.until_done(transfer, 96 * MIB)
    process.kill()
    process.wait()
    noted = os.getxattr(bench.image, "user.mtv.journal").decode()
    os.setxattr(bench.image, "user.mtv.journal", f"another-boot {noted.split()[1]}".encode())
    bench.vcenter.mend()
    before = fetched(bench.vcenter)
    assert bench.run(transfer) == 0, bench.log()
    bench.assert_identical()
    again = fetched(bench.vcenter) - before
    assert 96 * MIB - 64 * MIB < again < 192 * MIB


def test_transfer_when_cut_slowed_refused_and_logged_out_goes_on(bench):
    vcenter = bench.vcenter
    vcenter.fault(match="/disk-0-flat", skip=2, count=3, cutAfter=3_000_000)
    vcenter.fault(match="/disk-0-flat", skip=4, count=3, status=503)
    vcenter.fault(match="/disk-0-flat", skip=6, count=1, expireSessions=True, status=401)
    vcenter.fault(match="/disk-0-flat", skip=8, count=1, delaySeconds=2)
    transfer = bench.wanted("big")
    before = fetched(vcenter)
    logins = vcenter.stats()["logins"]
    assert bench.run(transfer) == 0, bench.log()
    bench.assert_identical()
    assert vcenter.control("GET", "faults") == []
    assert vcenter.stats()["logins"] >= logins + 2
    assert fetched(vcenter) - before < (192 + 32) * MIB


def test_transfer_by_nfc_when_broken_begins_again_and_says_so(bench):
    bench.vcenter.fault(match="/nfc/", count=1, cutAfter=20_000_000)
    transfer = bench.wanted("layers")
    assert bench.run(transfer) == 0, bench.log()
    bench.assert_identical()
    assert "this transport cannot be resumed" in bench.condition(transfer, "Restarted").message
    assert {"SourceBroke", "Restarted", "Copied"} <= {e.reason for e in bench.events(transfer)}


def test_transfer_by_nfc_when_killed_begins_again(bench):
    bench.vcenter.fault(match="/nfc/", bytesPerSecond=10 * MIB)
    transfer = bench.wanted("layers")
    process = bench.start(transfer)
    bench.until_done(transfer, 40 * MIB)
    process.kill()
    process.wait()
    bench.vcenter.mend()
    assert bench.run(transfer) == 0, bench.log()
    bench.assert_identical()
    assert bench.condition(transfer, "Restarted") is not None


def test_transfer_when_the_api_server_is_away_meanwhile_goes_on_and_is_heard_at_the_end(
    bench, api_server
):
    slow(bench)
    transfer = bench.wanted("big")
    process = bench.start(transfer)
    bench.until_done(transfer, 20 * MIB)
    api_server.kill()
    try:
        bench.vcenter.mend()
        servers.until(lambda: os.stat(bench.image).st_blocks * 512 > 70 * MIB, "the copy", 60)
    finally:
        api_server.start()
    assert process.wait(60) == 0, bench.log()
    bench.assert_identical()
    assert bench.status(transfer).phase == "Succeeded"


REFUSALS = {
    "wrong password": ({"password": "wrong"}, 77, "SourceForbidden", "wrong user name or password"),
    "untrusted certificate": (
        {"insecureSkipVerify": "false"},
        69,
        "SourceCertificate",
        "not trusted",
    ),
    "wrong thumbprint": (
        {"insecureSkipVerify": "false", "thumbprint": "AB:" * 19 + "AB"},
        69,
        "SourceCertificate",
        "expected the thumbprint",
    ),
    "no user": ({"user": ""}, 65, "BadInput", "data.user"),
}


@pytest.mark.parametrize(("secret", "code", "cause", "text"), REFUSALS.values(), ids=REFUSALS)
def test_transfer_when_the_source_refuses_names_cause_and_remedy(bench, secret, code, cause, text):
    bench.secret(**secret)
    transfer = bench.wanted("small")
    assert bench.run(transfer) == code, bench.log()
    assert text in bench.condition(transfer, cause).message
    assert not bench.image.exists() or bench.image.stat().st_size == 0


def test_transfer_when_the_vm_runs_says_that_the_disk_is_locked(bench):
    transfer = bench.wanted("runs")
    assert bench.run(transfer) == 69
    assert "power the VM off" in bench.condition(transfer, "SourceLocked").message


def test_transfer_when_the_disk_is_gone_says_so(bench):
    transfer = bench.wanted("small", key=9999)
    assert bench.run(transfer) == 66
    assert "no disk with the key 9999" in bench.condition(transfer, "SourceGone").message


def test_transfer_when_the_disk_was_resized_says_so(bench):
    transfer = bench.wanted("small", capacity=8 * MIB)
    assert bench.run(transfer) == 69
    assert "expected 8388608" in bench.condition(transfer, "SourceChanged").message


def test_transfer_when_the_claim_holds_a_foreign_disk_does_not_touch_it(bench):
    bench.data.mkdir()
    bench.image.write_bytes(b"precious")
    transfer = bench.wanted("small")
    assert bench.run(transfer) == 69
    assert bench.image.read_bytes() == b"precious"
    assert "no transfer has written" in bench.condition(transfer, "TargetForeign").message


def test_transfer_when_a_vm_has_run_on_the_disk_does_not_touch_it(bench):
    assert bench.run(bench.wanted("small")) == 0
    with bench.image.open("r+b") as file:
        file.write(b"the VM's own")
    again = bench.wanted("small")
    assert bench.run(again) == 69
    assert bench.image.read_bytes().startswith(b"the VM's own")
    assert "was written to since" in bench.condition(again, "TargetForeign").message


def test_transfer_when_an_earlier_one_was_not_used_replaces_its_disk(bench):
    assert bench.run(bench.wanted("big")) == 0
    again = bench.wanted("small")
    assert bench.run(again) == 0, bench.log()
    bench.assert_identical()


def test_transfer_by_nfc_when_the_image_is_damaged_names_file_offset_and_field(bench):
    bench.vcenter.fault(match="/nfc/", corruptAt=1_000_000)
    transfer = bench.wanted("layers")
    assert bench.run(transfer) == 65, bench.log()
    message = bench.condition(transfer, "SourceCorrupt").message
    assert "layers/disk-0.vmdk, byte 9" in message, message
    assert "the grain at sector" in message, message


@pytest.fixture
def mounted(tmp_path):
    """Mount a file system of some MiB at the place of the claim; return how."""
    places = []

    def mount(size, kind="ext4"):
        image, place = tmp_path / "volume.img", tmp_path / "data"
        place.mkdir()
        if kind == "ramfs":
            command = ["mount", "-t", "ramfs", "ramfs", str(place)]
        else:
            with image.open("wb") as file:
                file.truncate(size)
            subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
            command = ["mount", "-o", "loop", str(image), str(place)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"cannot mount: {done.stderr.strip()}")
        places.append(place)
        return place

    yield mount
    for place in places:
        subprocess.run(["umount", "-l", str(place)], check=False)


def test_transfer_when_the_volume_is_full_says_so_and_goes_on_when_there_is_room(bench, mounted):
    mounted(224 * MIB)
    filler = bench.data / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 160 * MIB)
    transfer = bench.wanted("big")
    assert bench.run(transfer) == RETRY, bench.log()
    condition = bench.condition(transfer, "TargetFull")
    assert "free or add space" in condition.message
    filler.unlink()
    before = fetched(bench.vcenter)
    assert bench.run(transfer) == 0, bench.log()
    bench.assert_identical()
    assert fetched(bench.vcenter) - before < 192 * MIB
    assert bench.condition(transfer, "TargetFull") is None


def test_transfer_when_the_disk_is_larger_than_the_volume_says_so(bench, mounted):
    mounted(100 * MIB)
    transfer = bench.wanted("big")
    assert bench.run(transfer) == 69, bench.log()
    assert "use a larger claim" in bench.condition(transfer, "TargetTooSmall").message
    assert not bench.image.exists()


def test_transfer_when_the_volume_knows_no_attributes_keeps_its_notes_beside_the_disk(
    bench, mounted
):
    mounted(0, kind="ramfs")
    try:
        os.setxattr(bench.data, "user.mtv.try", b"1")
    except OSError:
        pass
    else:
        pytest.skip("ramfs of this kernel has extended attributes")
    slow(bench)
    transfer = bench.wanted("big")
    process = bench.start(transfer)
    bench.until_done(transfer, 96 * MIB)
    process.kill()
    process.wait()
    bench.vcenter.mend()
    before = fetched(bench.vcenter)
    assert bench.run(transfer) == 0, bench.log()
    bench.assert_identical()
    assert fetched(bench.vcenter) - before < 160 * MIB
    assert os.listdir(bench.data) == ["disk.img"]


def test_transfer_into_a_block_device_when_killed_goes_on_from_the_status(bench, tmp_path):
    with (tmp_path / "device.img").open("wb") as file:
        file.truncate(200 * MIB)
    command = ["losetup", "--find", "--show", str(tmp_path / "device.img")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no loop device: {done.stderr.strip()}")
    device = done.stdout.strip()
    try:
        transfer = bench.wanted("big", volume_mode="Block")
        slow(bench)
        before = fetched(bench.vcenter)
        process = bench.start(transfer, device=device)
        bench.until_done(transfer, 128 * MIB)
        process.kill()
        process.wait()
        bench.vcenter.mend()
        assert bench.run(transfer, device=device) == 0, bench.log()
        with open(device, "rb") as file:
            assert file.read(192 * MIB) == bench.content.read_bytes()
        assert fetched(bench.vcenter) - before < (192 + 64) * MIB
    finally:
        subprocess.run(["losetup", "--detach", device], check=False)


@pytest.mark.parametrize("how", ["sample", "full"])
def test_transfer_that_is_verified_says_how_much_was_read_again(bench, how):
    transfer = bench.wanted(verify=how)
    assert bench.run(transfer) == 0, bench.log()
    status = bench.status(transfer)
    assert status.verified == how
    assert status.verified_bytes == (192 * MIB if how == "full" else 64 * MIB)
    bench.assert_identical()


def test_transfer_when_a_byte_was_flipped_on_the_target_is_found_and_copied_again(bench):
    transfer = bench.wanted(verify="full", bandwidth_limit_bytes_per_second=96 * MIB)
    running = bench.start(transfer)
    bench.until_done(transfer, 48 * MIB)
    with bench.image.open("r+b") as image:
        image.seek(5 * MIB)
        (byte,) = image.read(1)
        image.seek(5 * MIB)
        image.write(bytes([byte ^ 1]))
    assert running.wait(120) == errors.TargetRefused.exit_code, bench.log()
    found = bench.condition(transfer, "VerificationFailed")
    assert "byte 5242880" in found.message
    assert bench.status(transfer).journal is None
    assert bench.status(transfer).phase != "Succeeded"
    assert bench.run(transfer) == 0, bench.log()
    assert bench.status(transfer).verified == "full"
    assert bench.condition(transfer, "VerificationFailed") is None
    bench.assert_identical()


def test_transfer_that_went_on_after_a_kill_is_verified_as_a_whole(bench):
    transfer = bench.wanted(verify="full", bandwidth_limit_bytes_per_second=96 * MIB)
    running = bench.start(transfer)
    bench.until_done(transfer, 48 * MIB)
    running.kill()
    running.wait()
    assert bench.run(transfer) == 0, bench.log()
    assert bench.status(transfer).verified == "full"
    bench.assert_identical()
