"""`mtv disk inspect` and `mtv disk adapt`: what is printed, and what a wrong command line says."""

import json

import pytest
import small_guests as guests
from typer.testing import CliRunner

from mtv import errors
from mtv.cli import disk, guest_options

NIC = f"{guests.MAC}=ens192"


def run(*arguments):
    return CliRunner().invoke(disk.app, [str(word) for word in arguments])


def test_inspect_when_a_debian_is_looked_at_then_people_read_all_that_matters(tmp_path):
    image = guests.debian_disk(tmp_path)
    found = run("inspect", image, "--nic", guests.MAC)
    assert found.exit_code == 0, found.output
    for line in (
        "system       Debian GNU/Linux 12 (bookworm), x86_64, init systemd",
        "boot         bios, grub2, root=/dev/sda1",
        f"kernel       {guests.KERNEL}, /boot/initrd.img-{guests.KERNEL} (none+gzip), "
        "virtio: none, 8 modules to add",
        "  interface  ens192 192.168.77.50/24",
        "way          light (bus scsi, NIC virtio)",
    ):
        assert line in found.output.splitlines(), found.output


def test_inspect_when_json_is_asked_for_then_it_has_facts_and_the_way(tmp_path):
    found = json.loads(run("inspect", guests.debian_disk(tmp_path), "-o", "json").stdout)
    assert found["linux"]["kernels"][0]["packedBy"] == ["none", "gzip"]
    assert found["volumes"][0]["uuid"] == guests.ROOT_UUID
    assert found["adaptation"]["way"] == "light"
    assert found["adaptation"]["intents"][0]["kind"] == "initramfs"


def test_inspect_when_a_guest_has_control_characters_then_the_terminal_gets_none(tmp_path):
    tree = guests.debian()
    tree.files["/etc/os-release"] = "ID=debian\nPRETTY_NAME='\x1b[31mred\x07'\n"
    found = run("inspect", guests.debian_disk(tmp_path, tree))
    assert "\x1b" not in found.output
    assert "\\x1b[31mred\\x07" in found.output


def test_adapt_when_it_is_a_dry_run_then_every_file_is_named(tmp_path):
    found = run("adapt", guests.debian_disk(tmp_path), "--nic", NIC, "--dry-run")
    assert found.exit_code == 0, found.output
    assert f"  would write    /boot/initrd.img-{guests.KERNEL}" in found.output
    assert "done" not in found.output


@pytest.mark.skipif(bool(guests.can_change()), reason=guests.can_change())
def test_adapt_when_it_is_done_and_undone_then_both_are_said(tmp_path):
    image = guests.debian_disk(tmp_path)
    assert "of overlay committed" in run("adapt", image, "--nic", NIC).output
    assert "nothing had to be changed" in run("adapt", image, "--nic", NIC).output
    assert "adapted      yes" in run("inspect", image).output
    undone = run("adapt", image, "--undo")
    assert "is as before: /etc/fstab (write)" in undone.output
    assert "adapted" not in run("inspect", image).output


@pytest.mark.parametrize("text", ["ens192", "00:50:56:8a:12=x", "00:50:56:8a:12:34=a b", "=x"])
def test_parse_nics_when_the_text_is_none_then_it_is_bad_input(text):
    with pytest.raises(errors.BadInput) as caught:
        guest_options.parse_nics([text])
    assert caught.value.field == "--nic"


def test_parse_nics_when_a_slot_is_given_then_it_is_known():
    (nic,) = guest_options.parse_nics(["00-50-56-8A-12-34@192"])
    assert (nic.mac, nic.slot, nic.name) == ("00:50:56:8a:12:34", 192, "")


def test_adapt_when_the_folder_has_no_packages_then_it_is_said(tmp_path):
    image = guests.debian_disk(tmp_path)
    found = run("adapt", image, "--agent", tmp_path)
    assert isinstance(found.exception, errors.MigrationError)
    assert "has no packages" in str(found.exception)


def test_adapt_when_the_image_is_a_vmdk_then_the_way_out_is_named(tmp_path):
    import subprocess

    raw = guests.debian_disk(tmp_path)
    subprocess.run(["qemu-img", "convert", "-O", "vmdk", raw, tmp_path / "a.vmdk"], check=True)
    found = run("adapt", tmp_path / "a.vmdk")
    assert "is vmdk, expected raw or qcow2" in str(found.exception)
    assert "mtv convert" in found.exception.hint
