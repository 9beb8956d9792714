"""Identities of processes: what is compared before a signal is sent."""

import os
import signal
import subprocess

import msgspec
import pytest

from mtv_operator.embedded.node import processes


@pytest.fixture
def sleeper():
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_identity_when_the_process_runs_is_alive(sleeper):
    identity = processes.identify(sleeper.pid)
    assert identity is not None
    assert processes.alive(identity)


def test_identity_when_pid_was_reused_is_not_alive_and_gets_no_signal(sleeper):
    identity = processes.identify(sleeper.pid)
    other = msgspec.structs.replace(identity, start_time=identity.start_time - 1)
    assert not processes.alive(other)
    assert not processes.send(other, signal.SIGKILL)
    assert sleeper.poll() is None


def test_identity_when_of_another_boot_is_not_alive(sleeper):
    identity = processes.identify(sleeper.pid)
    assert not processes.alive(msgspec.structs.replace(identity, boot_id="another"))


def test_identity_when_process_is_a_zombie_is_not_alive():
    process = subprocess.Popen(["sleep", "60"])
    identity = processes.identify(process.pid)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not processes.alive(identity)
    process.wait()


def test_identity_when_written_and_read_is_the_same(sleeper, tmp_path):
    identity = processes.identify(sleeper.pid)
    processes.write(tmp_path / "process", identity)
    assert processes.read(tmp_path / "process") == identity


def test_identity_when_file_is_half_written_is_none(tmp_path):
    (tmp_path / "process").write_text('{"pid": 1')
    assert processes.read(tmp_path / "process") is None
