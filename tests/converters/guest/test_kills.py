"""`mtv disk adapt` ended by SIGKILL anywhere: the disk is as before or as after, never between."""

import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import small_guests as guests

reason = guests.can_change()
pytestmark = pytest.mark.skipif(bool(reason), reason=reason)


def command(disk, *more):
    program = "import sys; from mtv.cli.main import run; sys.argv[0] = 'mtv'; run()"
    nic = f"{guests.MAC}=ens192"
    return [sys.executable, "-c", program, "disk", "adapt", str(disk), "--nic", nic, *more]


def children(pid):
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(word) for word in found.stdout.split()]


def runs(pid):
    """Tell whether a process runs: one that has ended stays until somebody asks how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize("seed", range(3))
def test_adapt_when_it_is_killed_anywhere_then_the_next_run_completes_it(tmp_path, seed):
    disk = guests.debian_disk(tmp_path)
    before = disk.read_bytes()
    process = subprocess.Popen(command(disk), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    moment = time.monotonic() + random.Random(seed).uniform(0.2, 2.5)
    seen = set()
    while process.poll() is None and time.monotonic() < moment:
        seen.update(children(process.pid))
    process.kill()
    process.wait()
    pending = (tmp_path / "disk.raw.mtv-commit").exists()
    if (tmp_path / "disk.raw.mtv-overlay.qcow2").exists() and not pending:
        assert disk.read_bytes() == before
    deadline = time.monotonic() + 30
    while (seen := {pid for pid in seen if runs(pid)}) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not seen, "programs outlive the process that was killed"
    subprocess.run(command(disk, "--check"), check=True, capture_output=True)
    again = subprocess.run(command(disk, "-o", "json"), check=True, capture_output=True, text=True)
    assert json.loads(again.stdout)["changes"] == []
    assert os.listdir(tmp_path) == ["disk.raw"]


def with_fuse(folder):
    """Return the start of a command that has a /dev/fuse of its own, which everybody may open."""
    device = folder / "fuse"
    os.mknod(device, 0o20666, os.makedev(10, 229))
    device.chmod(0o666)
    script = 'mount --bind "$1" /dev/fuse && shift && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, "sh", str(device)]


@pytest.fixture
def tmp_path_of_nobody():
    with tempfile.TemporaryDirectory(prefix="mtv-nobody-") as folder:
        yield Path(folder)


def test_adapt_when_it_runs_as_nobody_then_it_works_the_same(tmp_path_of_nobody):
    """uid 65534 without a capability; needs a Python that this uid can read."""
    if os.geteuid():
        pytest.skip("needs root to become nobody")
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    probe = [*nobody, sys.executable, "-c", "import converters, mtv"]
    if subprocess.run(probe, capture_output=True, cwd="/").returncode:
        pytest.skip(f"nobody may not read our code beside {sys.executable}")
    tmp_path = tmp_path_of_nobody
    disk = guests.debian_disk(tmp_path)
    os.chown(tmp_path, 65534, 65534)
    os.chown(disk, 65534, 65534)
    before = hashlib.sha256(disk.read_bytes()).hexdigest()
    found = subprocess.run(
        [*with_fuse(tmp_path), *nobody, *command(disk, "--check", "-o", "json")],
        capture_output=True, text=True, env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["committed"]
    assert hashlib.sha256(disk.read_bytes()).hexdigest() != before
