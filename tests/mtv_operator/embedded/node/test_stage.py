"""Containers as processes: namespaces, root, powers, exit codes."""

import getpass
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mtv_operator.embedded.node import processes, stage

ROOT = Path(__file__).parents[4]
pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(os.geteuid() != 0, reason=f"needs root, runs as {getpass.getuser()}"),
]


def container(state, *argv, **fields):
    state.mkdir(exist_ok=True)
    (state / "tmp").mkdir(exist_ok=True)
    described = {
        "state": str(state),
        "argv": list(argv),
        "environment": {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "GREETING": "hello"},
        "working_dir": "/",
        "network_namespace": "",
        "hostname": "pod-a",
        "mounts": [],
        "devices": [],
        "expose": [],
        "conceal": [],
        "cgroups": [],
        "uid": 0,
        "gid": 0,
        "groups": [],
        "capabilities": ["chown"],
        "ambient": [],
        "privileged": False,
        "no_new_privileges": True,
        "read_only_root": False,
        "tmp": str(state / "tmp"),
    }
    return stage.Container(**{**described, **fields})


def start(described):
    log = Path(described.state, "log")
    with log.open("ab") as out:
        done = subprocess.run(
            [sys.executable, "-I", "-S", stage.__file__, str(os.getpid())],
            input=stage.encode(described).encode(),
            stdout=out,
            stderr=out,
            start_new_session=True,
            check=False,
        )
    return done.returncode


def finish(described, timeout_s=20):
    """Return the exit code and output, once the container has ended."""
    identity = processes.read(Path(described.state, "process"))
    descriptor = processes.open_pidfd(identity)
    if descriptor is not None:
        waiter = threading.Thread(target=_wait, args=(descriptor,), daemon=True)
        waiter.start()
        waiter.join(timeout_s)
        assert not waiter.is_alive(), Path(described.state, "log").read_text()
    return Path(described.state, "exit").read_text().strip(), Path(
        described.state, "log"
    ).read_text()


def _wait(descriptor):
    import select

    select.select([descriptor], [], [])
    os.close(descriptor)


def run(described):
    assert start(described) == 0, Path(described.state, "fault").read_text()
    return finish(described)


def test_command_when_it_ends_leaves_its_exit_code(tmp_path):
    code, output = run(container(tmp_path, "sh", "-c", "echo $GREETING; hostname; exit 7"))
    assert (code, output) == ("7", "hello\npod-a\n")


def test_command_when_killed_by_a_signal_leaves_128_and_its_number(tmp_path):
    assert run(container(tmp_path, "sh", "-c", "kill -9 $$"))[0] == "137"


def test_term_when_sent_to_the_first_process_reaches_the_command(tmp_path):
    described = container(
        tmp_path, "sh", "-c", "trap 'echo bye; exit 3' TERM; echo up; sleep 60 & wait"
    )
    assert start(described) == 0
    log = tmp_path / "log"
    while "up" not in log.read_text():
        os.sched_yield()
    assert processes.send(processes.read(tmp_path / "process"), signal.SIGTERM)
    assert finish(described) == ("3", "up\nbye\n")


def test_kill_when_sent_to_the_first_process_ends_everything_in_the_container(tmp_path):
    described = container(tmp_path, "sh", "-c", "setsid sleep 4711 & echo up; wait")
    assert start(described) == 0
    while "up" not in (tmp_path / "log").read_text():
        os.sched_yield()
    processes.send(processes.read(tmp_path / "process"), signal.SIGKILL)
    code, _ = finish(described)
    assert code == "", "no exit code: the command did not end by itself"
    assert subprocess.run(["pgrep", "-f", "sleep 4711"], check=False).returncode == 1


def test_powers_when_not_root_are_only_the_ambient_ones(tmp_path):
    described = container(
        tmp_path,
        *("sh", "-c", "id -u; id -g; id -G; grep -E 'Cap(Eff|Bnd)|NoNew' /proc/self/status"),
        uid=107,
        gid=107,
        groups=[107, 42],
        capabilities=["net_bind_service"],
        ambient=["net_bind_service"],
    )
    _, output = run(described)
    words = output.split()
    assert words[:4] == ["107", "107", "107", "42"]
    assert words[4:] == [
        "CapEff:",
        f"{1 << 10:016x}",
        "CapBnd:",
        f"{1 << 10:016x}",
        "NoNewPrivs:",
        "1",
    ]


def test_root_when_container_writes_outside_its_volumes_leaves_the_machine_alone(tmp_path):
    code, _ = run(
        container(tmp_path, "sh", "-c", "echo x > /etc/mtv-test-x && cat /etc/mtv-test-x")
    )
    assert code == "0"
    assert not Path("/etc/mtv-test-x").exists()


def test_volumes_when_mounted_appear_where_no_folder_was(tmp_path):
    volume = tmp_path / "volume"
    volume.mkdir()
    file = tmp_path / "file"
    file.write_text("nameserver 192.0.2.1\n")
    described = container(
        tmp_path / "state",
        *("sh", "-c", "echo x > /data/deep/a; echo y > /var/run/b/y; cat /etc/resolv.conf; "),
        mounts=[
            stage.Mount(str(volume), "/data/deep"),
            stage.Mount(str(volume), "/var/run/b"),
            stage.Mount(str(file), "/etc/resolv.conf", True),
        ],
    )
    code, output = run(described)
    assert (code, output) == ("0", "nameserver 192.0.2.1\n")
    assert {path.name for path in volume.iterdir()} == {"a", "y"}
    assert not Path("/data/deep").exists()


def test_volume_when_read_only_cannot_be_written(tmp_path):
    volume = tmp_path / "volume"
    volume.mkdir()
    described = container(
        tmp_path / "state",
        *("touch", "/data/x"),
        mounts=[stage.Mount(str(volume), "/data", True)],
    )
    code, output = run(described)
    assert code == "1"
    assert "Read-only file system" in output


def test_start_when_a_volume_is_missing_names_it_and_starts_nothing(tmp_path):
    described = container(tmp_path, "true", mounts=[stage.Mount(str(tmp_path / "gone"), "/data")])
    assert start(described) == 1
    assert (tmp_path / "fault").read_text() == f"{tmp_path}/gone: No such file or directory"
    assert not processes.alive(processes.read(tmp_path / "process"))


def test_folders_of_the_node_when_concealed_are_empty_inside(tmp_path):
    secret = tmp_path / "pki"
    secret.mkdir()
    (secret / "key").write_text("x")
    described = container(tmp_path / "state", "ls", "-A", str(secret), conceal=[str(secret)])
    # The folder itself is hidden with /tmp; put it where containers would see it.
    code, output = run(
        described._replace(tmp=str(tmp_path), conceal=["/tmp/pki"], argv=["ls", "-A", "/tmp/pki"])
    )
    assert (code, output) == ("0", "")


def test_code_when_below_a_closed_folder_can_be_run_by_an_ordinary_user(tmp_path):
    """As root's home is: 0700, with the project or Python itself below it."""
    described = container(
        tmp_path,
        *(sys.executable, "-c", "import mtv.errors, os; print(os.getuid())"),
        uid=107,
        gid=107,
        expose=[sys.prefix, sys.base_prefix, str(ROOT)],
    )
    assert run(described) == ("0", "107\n")


def test_devices_when_not_asked_for_are_only_the_harmless_ones(tmp_path):
    _, output = run(container(tmp_path, "find", "/dev", "-type", "c", "-printf", "%f "))
    assert set(output.split()) == {*(name for name, _, _ in stage.DEVICES), "tty", "ptmx"}


def test_device_when_asked_for_belongs_to_the_containers_user(tmp_path):
    if not Path("/dev/net/tun").exists():
        pytest.skip("this machine has no /dev/net/tun")
    described = container(
        tmp_path,
        *("stat", "-c", "%u %a", "/dev/net/tun"),
        devices=[stage.Device("/dev/net/tun", "/dev/net/tun", 107, 107)],
    )
    assert run(described)[1] == "107 660\n"


def test_description_when_encoded_and_decoded_is_the_same(tmp_path):
    described = container(tmp_path, "true", mounts=[stage.Mount("/a", "/b")])
    assert stage.decode(json.dumps(json.loads(stage.encode(described)))) == described


def test_fault_after_the_root_was_changed_is_still_reported(tmp_path):
    (tmp_path / "file").touch()
    # A folder cannot be mounted at a file that is there.
    described = container(
        tmp_path / "c", "true", mounts=[stage.Mount(str(tmp_path), "/etc/hostname")]
    )
    assert start(described) == 1
    assert "/etc/hostname" in (tmp_path / "c/fault").read_text()


def test_stage_whose_node_is_gone_starts_nothing(tmp_path):
    described = container(tmp_path, "true")
    done = subprocess.run(
        [sys.executable, "-I", "-S", stage.__file__, "1"],
        input=stage.encode(described).encode(),
        check=False,
    )
    assert done.returncode == 1
    assert not (tmp_path / "process").exists()
