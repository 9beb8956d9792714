"""A guest changed on an overlay, as a disk: what is there afterwards, twice, back, and killed."""

import hashlib
import json
import os
import subprocess

import pytest
import small_guests as guests

from converters.errors import ConversionError, CorruptGuest
from converters.guest.application import adapt, overlay, trial, writing
from converters.guest.changes import change
from converters.guest.decision import Bus, Nic, Tools, Way, Wish, decide
from converters.guest.filesystems.tree import Tree
from converters.guest.initramfs import archive
from converters.guest.inspection import inspect, linux

reason = guests.can_change()
pytestmark = pytest.mark.skipif(bool(reason), reason=reason)

WISH = Wish(bus=Bus.VIRTIO, nics=(Nic(mac=guests.MAC),))
LINK = "/etc/systemd/network/05-mtv-ens192.link"
INITRD = f"/boot/initrd.img-{guests.KERNEL}"


def order(*disks, wish=WISH, **more):
    return adapt.Order(
        disks=tuple(str(disk) for disk in disks), wish=wish, tools=Tools(),
        packages=more.pop("packages", {}), check=True, **more,
    )  # fmt: skip


class Opened:
    """The guest on a disk, for looking at files."""

    def __init__(self, *disks):
        files = [str(disk) for disk in disks]
        self.context = inspect.open_disks(files)
        self.files = files

    def __enter__(self) -> Tree:
        guest = inspect.look(self.context.__enter__(), self.files)
        assert guest.tree is not None
        return guest.tree

    def __exit__(self, *error):
        self.context.__exit__(*error)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_adapt_when_a_debian_is_adapted_then_everything_is_there(tmp_path):
    disk = guests.debian_disk(tmp_path)
    result = adapt.adapt(order(disk))
    assert result.committed
    assert result.decision.way is Way.LIGHT
    assert os.listdir(tmp_path) == ["disk.raw"]
    with Opened(disk) as tree:
        contents = archive.read(tree.read(INITRD, 1 << 24))
        assert contents.packed_by == ("none", "gzip", "none")
        assert {"virtio_blk", "virtio_pci", "virtio_ring", "vmw_pvscsi"} <= {
            path.rsplit("/", 1)[-1].removesuffix(".ko")
            for path in linux.present(contents, guests.KERNEL)
        }
        assert LINK.lstrip("/") in contents.files
        assert "UUID=" + guests.ROOT_UUID + " / ext4" in tree.text("/etc/fstab")
        assert f"root=UUID={guests.ROOT_UUID} ro quiet" in tree.text("/boot/grub/grub.cfg")
        assert "DISABLE_LINUX_UUID" not in tree.text("/etc/default/grub")
        assert tree.read("/boot/grub/device.map") == b""
        assert f"MACAddress={guests.MAC}" in tree.text(LINK)
        assert tree.link("/etc/systemd/system/open-vm-tools.service") == "/dev/null"
        assert tree.text("/etc/network/interfaces").count("ens192") == 2
        assert "virtio_scsi" in tree.text("/etc/initramfs-tools/modules")
        assert tree.place("/boot/grub/grub.cfg").node.mode == 0o600
        record = json.loads(tree.text(linux.RECORD))
        assert {one["path"] for one in record["changes"]} >= {INITRD, "/etc/fstab", LINK}
        assert all(one["new_sha256"] for one in record["changes"])


def test_adapt_when_it_is_done_twice_then_the_second_time_changes_nothing(tmp_path):
    disk = guests.debian_disk(tmp_path)
    adapt.adapt(order(disk))
    before = sha256(disk)
    result = adapt.adapt(order(disk))
    assert (result.committed, result.entries) == (False, ())
    assert sha256(disk) == before


def test_adapt_when_it_is_a_dry_run_then_the_disk_is_untouched(tmp_path):
    disk = guests.debian_disk(tmp_path)
    before = sha256(disk)
    result = adapt.adapt(order(disk, dry_run=True))
    assert INITRD in {entry.path for entry in result.entries}
    assert sha256(disk) == before
    assert os.listdir(tmp_path) == ["disk.raw"]


def test_undo_when_nothing_was_changed_since_then_every_file_is_as_before(tmp_path):
    disk = guests.debian_disk(tmp_path)
    with Opened(disk) as tree:
        paths = [path for path in guests.debian().files if tree.exists(path)]
        before = {path: tree.read(path, 1 << 24) for path in paths}
    adapt.adapt(order(disk))
    adapt.adapt(order(disk, wish=Wish(bus=Bus.VIRTIO, console=True)))
    changes, left = adapt.undo(order(disk))
    assert changes
    assert left == []
    with Opened(disk) as tree:
        assert {path: tree.read(path, 1 << 24) for path in paths} == before
        assert not tree.exists(LINK)
        assert not tree.exists(linux.RECORD)
        assert tree.link("/etc/systemd/system/open-vm-tools.service") is None


def test_undo_when_there_is_no_record_then_it_is_said(tmp_path):
    with pytest.raises(CorruptGuest, match="no record"):
        adapt.undo(order(guests.debian_disk(tmp_path)))


def test_adapt_when_root_is_a_logical_volume_of_a_qcow2_then_it_is_changed(tmp_path):
    raw = guests.on_lvm(tmp_path, guests.debian(root="/dev/mapper/vg-root"))
    disk = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", str(raw), str(disk)], check=True)
    assert adapt.adapt(order(disk)).committed
    with Opened(disk) as tree:
        assert "/dev/mapper/vg-root / ext4" in tree.text("/etc/fstab")
        assert tree.exists(LINK)


def test_adapt_when_boot_and_esp_are_apart_on_two_disks_then_all_are_changed(tmp_path):
    tree = guests.debian()
    paths = [path for path in tree.files if path.startswith("/boot/")]
    boot = guests.Tree(files={path.removeprefix("/boot"): tree.files.pop(path) for path in paths})
    tree.files["/boot/efi/empty"] = ""
    tree.files["/etc/fstab"] += "/dev/sdb1 /boot ext4 a 0 2\n/dev/sdb2 /boot/efi vfat a 0 1\n"
    one = guests.disk(tmp_path / "one.raw", [guests.ext4(tmp_path, tree, "root")])
    two = guests.disk(
        tmp_path / "two.raw",
        [guests.ext4(tmp_path, boot, "boot", identity=guests.BOOT_UUID),
         guests.esp(tmp_path, {"EFI/debian/shimx64.efi": b"shim" * 999})],
        kinds=[0x83, 0xEF],
    )  # fmt: skip
    assert adapt.adapt(order(one, two)).committed
    with Opened(one, two) as adapted:
        assert adapted.read("/boot/efi/EFI/BOOT/BOOTX64.EFI") == b"shim" * 999
        assert f"UUID={guests.BOOT_UUID} /boot ext4" in adapted.text("/etc/fstab")
        assert LINK.lstrip("/") in archive.read(adapted.read(INITRD, 1 << 24)).files


def test_adapt_when_the_guest_was_cut_off_then_its_journal_is_replayed_first(tmp_path):
    content = guests.ext4(tmp_path, guests.debian(), "root", options=("-b", "1024"))
    image = tmp_path / "fs"
    image.write_bytes(content)
    place = subprocess.run(["/sbin/debugfs", "-R", "blocks /etc/hostname", str(image)],
                           capture_output=True, text=True, check=True)  # fmt: skip
    (tmp_path / "block").write_bytes(b"newer!\n".ljust(1024, b"\0"))
    requests = f"jo\njw -b {place.stdout.split()[0]} {tmp_path / 'block'}\njc\n"
    subprocess.run(["/sbin/debugfs", "-w", "-f", "-", str(image)], input=requests, text=True,
                   check=True, capture_output=True)  # fmt: skip
    disk = guests.disk(tmp_path / "disk.raw", [image.read_bytes()])
    result = adapt.adapt(order(disk))
    assert "journal not replayed" in result.inspection.volumes[0].notes
    with Opened(disk) as tree:
        assert tree.text("/etc/hostname") == "newer!\n"
        assert tree.exists(LINK)


def test_adapt_when_packages_are_given_then_they_are_installed_at_the_first_boot(tmp_path):
    disk = guests.debian_disk(tmp_path)
    packages = {"qemu-guest-agent_1%3a7.2_amd64.deb": b"deb" * 1000}
    adapt.adapt(order(disk, wish=Wish(packages=tuple(packages)), packages=packages))
    with Opened(disk) as tree:
        assert tree.read("/var/lib/mtv/packages/qemu-guest-agent_1%3a7.2_amd64.deb") == (
            b"deb" * 1000
        )
        assert tree.place("/var/lib/mtv/first-boot").node.mode == 0o755
        wants = "/etc/systemd/system/multi-user.target.wants/mtv-first-boot.service"
        assert tree.link(wants) == "/etc/systemd/system/mtv-first-boot.service"


def test_adapt_when_a_console_is_asked_for_then_kernel_parameters_name_it(tmp_path):
    disk = guests.debian_disk(tmp_path)
    adapt.adapt(order(disk, wish=Wish(console=True)))
    with Opened(disk) as tree:
        line = f"root=UUID={guests.ROOT_UUID} ro quiet console=tty0 console=ttyS0,115200"
        assert line in tree.text("/boot/grub/grub.cfg")
        assert '"quiet console=tty0 console=ttyS0,115200"' in tree.text("/etc/default/grub")


def test_adapt_when_selinux_labels_files_then_new_files_have_labels(tmp_path):
    content = guests.ext4(tmp_path, guests.debian(), "root")
    image = tmp_path / "fs"
    image.write_bytes(content)
    requests = []
    for path, label in (("/etc", "etc_t"), ("/etc/fstab", "fstab_t"), ("/boot", "boot_t")):
        file = tmp_path / label
        file.write_bytes(f"system_u:object_r:{label}:s0\0".encode())
        requests.append(f"ea_set -f {file} {path} security.selinux")
    subprocess.run(["/sbin/debugfs", "-w", "-f", "-", str(image)],
                   input="\n".join(requests) + "\n", text=True, check=True,
                   capture_output=True)  # fmt: skip
    disk = guests.disk(tmp_path / "disk.raw", [image.read_bytes()])
    adapt.adapt(order(disk))
    with Opened(disk) as tree:
        for path, label in (("/etc/fstab", b"fstab_t"), (LINK, b"etc_t"), (INITRD, b"boot_t")):
            assert label in tree.attribute(path, "security.selinux")


def test_adapt_when_boot_has_no_room_then_nothing_is_changed(tmp_path):
    tree = guests.debian()
    tree.files["/filler"] = os.urandom(7 << 20)
    disk = guests.disk(tmp_path / "disk.raw", [guests.ext4(tmp_path, tree, "root", size=12 << 20)])
    before = sha256(disk)
    with pytest.raises(CorruptGuest, match="MiB free"):
        adapt.adapt(order(disk))
    assert sha256(disk) == before
    assert os.listdir(tmp_path) == ["disk.raw"]


def test_adapt_when_the_trial_fails_then_the_disk_is_as_before(tmp_path):
    disk = guests.debian_disk(tmp_path)
    before = sha256(disk)

    def refuse(overlays, decision, found):
        raise CorruptGuest("did not boot")

    with pytest.raises(CorruptGuest, match="did not boot"):
        adapt.adapt(order(disk, trial=refuse))
    assert sha256(disk) == before
    assert os.listdir(tmp_path) == ["disk.raw"]


def test_commit_when_it_was_killed_behind_its_mark_then_the_next_run_finishes_it(
    tmp_path, monkeypatch
):
    disk = guests.debian_disk(tmp_path)

    def die(path, folder):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(overlay, "finish", die)
        with pytest.raises(KeyboardInterrupt):
            overlay_only(disk)
    assert overlay.pending(str(disk))
    assert overlay.finish(str(disk))
    with Opened(disk) as tree:
        assert tree.exists(LINK)
    assert os.listdir(tmp_path) == ["disk.raw"]
    assert not overlay.finish(str(disk))


def overlay_only(disk):
    """Adapt, with a process that dies as soon as the commit is decided."""
    wanted = order(disk)
    with inspect.open_disks(wanted.disks) as disks:
        guest = inspect.look(disks, wanted.disks)
        from converters.guest.application import local
        from converters.guest.changes import plan
        from converters.guest.decision import decide

        decision = decide(guest.inspection, wanted.wish, wanted.tools)
        changes = local.sort(guest.tree, plan.plan(guest.tree, guest.inspection, decision, {}))
    overlays = overlay.create(wanted.disks, ["raw"])
    writing.write(guest, changes, overlays)
    overlay.commit(overlays)


def test_adapt_when_a_stale_overlay_lies_there_then_it_is_not_used(tmp_path):
    disk = guests.debian_disk(tmp_path)
    (tmp_path / "disk.raw.mtv-overlay.qcow2").write_bytes(b"half of something")
    assert adapt.adapt(order(disk)).committed


def test_adapt_when_the_file_system_is_damaged_then_nothing_is_changed(tmp_path):
    content = bytearray(guests.ext4(tmp_path, guests.debian(), "root", options=("-b", "1024")))
    content[1024 + 58] = 2  # the kernel noted errors, so e2fsck looks at everything
    table = int.from_bytes(content[2048 + 8 : 2048 + 12], "little") * 1024
    content[table + 256 * 11 : table + 256 * 12] = os.urandom(256)
    disk = guests.disk(tmp_path / "disk.raw", [bytes(content)])
    before = sha256(disk)
    with pytest.raises(ConversionError):
        adapt.adapt(order(disk))
    assert sha256(disk) == before


@pytest.mark.parametrize("path", ['/etc/a"b', "/etc/a\nb", "/etc/a\\b", "/etc/../b", "etc/a"])
def test_change_when_a_name_could_mean_something_to_a_program_then_it_is_refused(path):
    with pytest.raises(ConversionError, match="unusable"):
        change.write(path, b"", "because")


def test_adapt_when_a_folder_is_a_link_that_leads_away_then_it_stays_in_the_guest(tmp_path):
    tree = guests.debian()
    tree.links["/etc/systemd/network"] = f"../../../../../..{tmp_path}"
    tree.files["/var/keep"] = ""
    disk = guests.debian_disk(tmp_path, tree)
    before = set(os.listdir(tmp_path))
    adapt.adapt(order(disk))
    assert set(os.listdir(tmp_path)) == before
    with Opened(disk) as adapted:
        assert adapted.exists(f"{tmp_path}/05-mtv-ens192.link")


def test_trial_of_a_mute_guest_gives_it_a_console_of_its_own(tmp_path):
    disk = guests.debian_disk(tmp_path)
    before = sha256(disk)
    (made,) = overlay.create([str(disk)], ["raw"])
    with inspect.open_disks([str(disk)]) as disks:
        found = inspect.look(disks, [str(disk)]).inspection
    decision = decide(found, WISH, Tools())
    assert trial.is_mute(decision, found)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    layers = list(trial.layers([made], str(scratch)))
    sizes = [one.size_bytes for one in found.disks]
    trial.give_console(layers, sizes)
    with trial.looked_at(layers, sizes) as spoken:
        assert spoken.inspection.linux is not None
        assert any("ttyS0" in one for one in spoken.inspection.linux.boot.console)
        assert not trial.is_mute(decision, spoken.inspection)
    with trial.looked_at([made], sizes) as below:
        assert below.inspection.linux is not None
        assert not below.inspection.linux.boot.console
    assert sha256(disk) == before
