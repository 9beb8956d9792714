"""`mtv-adapt` as its pod runs it: an ordinary user without a capability, killed at any moment."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import pytest
import small_guests as guests

from mtv_operator.adaptation import messages
from mtv_operator.adaptation.messages import Order, OrderedNic, Trial

USER = 107
reason = guests.can_change()
pytestmark = [
    pytest.mark.skipif(bool(reason), reason=reason),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user"),
]


@pytest.fixture
def folder():
    """A folder that the pod's user may enter: pytest's own is closed to others."""
    probe = [*powerless(), sys.executable, "-c", "import mtv_operator"]
    if subprocess.run(probe, capture_output=True).returncode:
        pytest.skip(f"uid {USER} may not read our code beside {sys.executable}")
    with tempfile.TemporaryDirectory(prefix="mtv-adapt-") as made:
        os.chown(made, USER, USER)
        yield Path(made)


def powerless():
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--no-new-privs",
            "--bounding-set=-all", "--inh-caps=-all", "--pdeathsig=KILL"]  # fmt: skip


def command(folder, order):
    """Return the command line, with a /dev/fuse of its own, as the node gives it to the pod."""
    device = folder / "fuse"
    if not device.exists():
        os.mknod(device, 0o20600, os.makedev(10, 229))
        os.chown(device, USER, USER)
    text = msgspec.json.encode(order).decode()
    python = [sys.executable, "-c", "from mtv_operator.adaptation.main import run; run()"]
    bind = ["unshare", "--mount", "sh", "-c", 'mount --bind "$1" /dev/fuse && shift && exec "$@"',
            "sh", str(device)]  # fmt: skip
    message = str(folder / "message")
    return [*bind, *powerless(), *python, "--message", message, "--order", text]


def run(folder, order, *, expect=0):
    done = subprocess.run(command(folder, order), capture_output=True, text=True, timeout=120)
    assert done.returncode == expect, done.stderr
    said = messages.decode((folder / "message").read_text())
    assert said is not None
    return said


def disk(folder):
    made = guests.debian_disk(folder)
    os.chown(made, USER, USER)
    return made


def order(*disks, **more):
    return Order(disks=tuple(map(str, disks)), nics=(OrderedNic(mac=guests.MAC),), **more)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_guest_is_adapted_without_any_right_and_the_message_says_what_was_changed(folder):
    image = disk(folder)
    said = run(folder, order(image))
    assert (said.way, said.bus, said.nic_model) == ("light", "scsi", "virtio")
    assert said.committed
    assert any(one.path == "/etc/fstab" and len(one.old) == 64 for one in said.changes)
    again = run(folder, order(image))
    assert not again.committed
    assert not again.changes
    assert {one.name for one in folder.iterdir()} == {"disk.raw", "message", "fuse"}


def test_rehearsal_leaves_the_disk_as_it_is_and_its_recipe_is_that_of_the_commit(folder):
    image = disk(folder)
    before = sha256(image)
    scratch = folder / "scratch"
    scratch.mkdir()
    os.chown(scratch, USER, USER)
    looked = run(folder, order(image, rehearse=True, scratch=str(scratch)))
    assert looked.rehearsed
    assert not looked.committed
    assert sha256(image) == before
    assert not list(scratch.iterdir())
    assert run(folder, order(image)).recipe == looked.recipe != ""


def test_recipe_that_has_booted_is_not_tried_again(folder):
    image = disk(folder)
    scratch = folder / "scratch"
    scratch.mkdir()
    os.chown(scratch, USER, USER)
    recipe = run(folder, order(image, rehearse=True, scratch=str(scratch))).recipe
    said = run(folder, order(image, proven=recipe, trial=Trial(timeout_s=10)))
    assert said.booted
    assert said.committed


def test_guest_that_does_not_boot_is_left_as_it_was(folder):
    image = disk(folder)  # its kernel is a word
    before = sha256(image)
    said = run(folder, order(image, trial=Trial(timeout_s=3, memory_mib=256)))
    assert (said.way, said.bus) == ("emulated", "sata")
    assert said.error
    assert sha256(image) == before


def test_packages_that_cannot_be_read_are_no_reason_not_to_move(folder):
    said = run(folder, order(disk(folder), packages=str(folder / "nowhere")))
    assert said.committed
    assert "agent" in said.warnings[0]


def test_disk_that_pretends_another_format_is_read_as_raw(folder):
    image = folder / "disk.raw"
    image.write_bytes(b"QFI\xfb\0\0\0\3" + bytes(1 << 20))
    os.chown(image, USER, USER)
    assert run(folder, order(image)).system == "unknown"


@pytest.mark.parametrize("seed", range(3))
def test_command_that_is_killed_anywhere_is_completed_by_the_next(folder, seed):
    image = disk(folder)
    process = subprocess.Popen(command(folder, order(image)), stderr=subprocess.DEVNULL)
    moment = time.monotonic() + random.Random(seed).uniform(0.3, 2.0)
    while process.poll() is None and time.monotonic() < moment:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 60
    said = run(folder, order(image))
    while said.error and time.monotonic() < deadline:  # what was killed lets go of its locks
        said = run(folder, order(image))
    assert said.way in ("light", "nothing"), json.dumps(said.error)
    assert not run(folder, order(image)).changes
    assert {one.name for one in folder.iterdir()} == {"disk.raw", "message", "fuse"}
