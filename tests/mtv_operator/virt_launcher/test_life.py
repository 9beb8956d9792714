"""From the order to start to the end of the pod, with real libvirt, QEMU (TCG) and the guest."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from guest import launched
from guest.launched import Launched
from guest.pod_by_hand import GUEST_DISK, Pod, connect, wait_http, wait_until

from mtv import errors
from mtv_operator.virt_launcher import libvirt_errors, protocol
from mtv_operator.virt_launcher.protocol import Status

pytestmark = launched.needs_hypervisor()


@contextlib.contextmanager
def launcher(tmp_path: Path, vmi, *options: str) -> Iterator[Launched]:
    with Pod(launched.folder_for(tmp_path), vmi.metadata.name, vmi.metadata.uid) as pod:
        pod.claim("root", GUEST_DISK)
        found = Launched(pod, vmi)
        found.start(*options)
        yield found


@pytest.fixture
def web(tmp_path) -> Iterator[Launched]:
    """A guest that is up."""
    with launcher(tmp_path, launched.vmi()) as found:
        found.order()
        found.wait_serial("boot=")
        yield found


def paused(found: Launched) -> bool:
    """Pause the guest; False where libvirtd does not answer yet."""
    try:
        return found.call(protocol.Pause()).domain is not None
    except errors.Retryable:
        return False


def probe(found: Launched, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Ask as a pod's exec probe does."""
    command = [sys.executable, "-m", "mtv_operator.virt_launcher.probe", "--timeoutSeconds", "10"]
    return subprocess.run(
        [*command, "--socket", found.path.name, *arguments],
        cwd=found.path.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def zombies(pod: Pod) -> list[int]:
    return [
        pid
        for pid in pod.members()
        if Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"Z"
    ]


def test_guest_boots_answers_on_the_pod_address_and_shuts_down_when_asked(web):
    domain = web.domain()
    assert (domain.status, domain.accelerator, domain.name) == (Status.RUNNING, "qemu", "demo_web")
    assert domain.compromises == ("cpu model host-model is emulated as QEMU's max",)
    assert [(disk.name, disk.target) for disk in domain.disks] == [("root", "vda")]
    assert "firmware=bios" in web.pod.serial_log()
    assert wait_http(web.pod.ip) == b"kvguest"
    wait_until(lambda: web.domain().guest, "the guest agent", 30)
    guest = web.domain().guest
    assert guest is not None
    assert guest.hostname == "kvguest"
    assert guest.agent_version
    assert "guest-fsfreeze-freeze" in guest.agent_commands
    assert any(fs.mount_point == "/" for fs in guest.file_systems)
    assert any("10.0.2.2" in interface.addresses for interface in guest.interfaces)

    ping = probe(web, "--guestAgentPing")
    assert (ping.returncode, ping.stdout) == (0, ""), ping.stdout
    ran = probe(web, "--command", "cat", "--", "/proc/1/comm")
    assert (ran.returncode, bool(ran.stdout.strip())) == (0, True), ran.stdout
    assert probe(web, "--command", "false").returncode == 1
    missing = probe(web, "--command", "no-such-program")
    assert (missing.returncode, "no-such-program" in missing.stdout) == (1, True), missing.stdout

    web.call(protocol.Shutdown(grace_period_s=30))
    ended = web.wait_ended(30)

    assert (ended.status, ended.reason, ended.message) == (Status.SHUTOFF, "Shutdown", "")
    assert ended.shutdown_requested_at
    assert web.state_file() == ended
    assert web.release() == 0


def test_guest_on_a_bridge_has_the_address_of_its_pod(tmp_path):
    vmi = launched.vmi(interfaces=({"name": "default", "bridge": {}},))
    with launcher(tmp_path, vmi) as found:
        found.order()

        assert wait_http(found.pod.ip) == b"kvguest"


def test_order_that_is_repeated_changes_nothing(web):
    before = web.domain()

    after = web.call(protocol.SyncVirtualMachine(vmi=web.vmi)).domain

    assert after is not None
    assert (after.pid, after.started_at) == (before.pid, before.started_at)


def test_console_talks_both_ways(web):
    with connect(web.pod.console_path()) as console:
        console.settimeout(20)
        console.sendall(b"\n")
        seen = b""
        with contextlib.suppress(TimeoutError):
            while b"TICK" not in seen and b"#" not in seen:
                seen += console.recv(4096)
    assert seen


def test_pause_freeze_and_reset_reach_the_guest(web):
    paused = web.call(protocol.Pause()).domain
    assert paused is not None
    assert (paused.status, paused.reason) == (Status.PAUSED, "User")
    resumed = web.call(protocol.Unpause()).domain
    assert resumed is not None
    assert resumed.status is Status.RUNNING

    wait_until(lambda: web.domain().agent_connected, "the guest agent", 30)
    frozen = web.call(protocol.Freeze()).domain
    assert frozen is not None
    assert frozen.frozen
    thawed = web.call(protocol.Unfreeze()).domain
    assert thawed is not None
    assert not thawed.frozen

    boots = web.pod.serial_log().count("KVGUEST BOOT")
    pid = web.domain().pid
    web.call(protocol.Reset())
    wait_until(lambda: web.pod.serial_log().count("KVGUEST BOOT") > boots, "a second boot", 60)
    assert web.domain().pid == pid


def test_guest_that_powers_itself_off_ends_with_shutdown(tmp_path):
    disks, volumes = launched.no_cloud("poweroff -f")
    with launcher(tmp_path, launched.vmi(disks=disks, volumes=volumes)) as found:
        found.order()
        ended = found.wait_ended(90)
        assert (ended.status, ended.reason) == (Status.SHUTOFF, "Shutdown")
        assert ended.shutdown_requested_at == ""
        assert found.release() == 0


def test_guest_that_panics_ends_with_crashed(tmp_path):
    disks, volumes = launched.no_cloud("echo c > /proc/sysrq-trigger")
    vmi = launched.vmi(disks=disks, volumes=volumes, devices={"panicDevices": [{"model": "isa"}]})
    with launcher(tmp_path, vmi) as found:
        found.order()
        ended = found.wait_ended(90)
        assert (ended.status, ended.reason) == (Status.SHUTOFF, "Crashed")
        assert found.release() == 1


def test_qemu_that_is_killed_ends_with_crashed(web):
    os.kill(web.domain().pid, signal.SIGKILL)

    ended = web.wait_ended(15)

    assert (ended.status, ended.reason) == (Status.SHUTOFF, "Crashed")
    assert ended.message == "QEMU ended without a word: it crashed or was killed"
    assert not zombies(web.pod)
    assert web.release() == 1


def test_guest_goes_on_when_libvirtd_is_killed(web):
    pid = web.domain().pid
    os.kill(web.pod.member("/usr/sbin/libvirtd"), signal.SIGKILL)

    wait_until(lambda: paused(web), "a daemon that works", 30)
    web.call(protocol.Unpause())

    assert web.domain().pid == pid
    assert not zombies(web.pod)
    os.kill(pid, signal.SIGKILL)
    assert web.wait_ended(15).reason == "Crashed"


def test_nothing_is_left_when_the_launcher_is_killed(web):
    launcher_pid = web.pid()
    os.kill(launcher_pid, signal.SIGKILL)

    assert web.wait_gone(20) == 128 + signal.SIGKILL
    assert web.state_file().status is Status.RUNNING
    with pytest.raises(errors.TargetUnavailable, match="does not answer"):
        web.call(protocol.Ping())


def test_vm_is_destroyed_when_the_monitor_is_killed(web):
    assert web.pod.process is not None
    # The first process of the pod by hand is the monitor itself: sh and setpriv became it.
    web.pod.process.kill()

    wait_until(lambda: web.state_file().ended, "the end of the domain", 20)
    wait_until(lambda: not web.pod.members(), "the end of all processes", 20)


def test_sigterm_shuts_the_guest_down_and_ends_the_pod(web):
    assert web.pod.process is not None
    web.pod.process.terminate()

    wait_until(lambda: web.state_file().ended, "the end of the domain", 40)
    ended = web.state_file()
    assert (ended.status, ended.reason) == (Status.SHUTOFF, "Shutdown")
    assert web.wait_gone(30) == 0  # nobody released it: it does not wait longer than the pod


def test_guest_that_ignores_the_button_is_destroyed_after_its_grace_period(tmp_path):
    disks, volumes = launched.no_cloud("killall acpid; killall qemu-ga; echo DEAF > /dev/ttyS0")
    vmi = launched.vmi(disks=disks, volumes=volumes, terminationGracePeriodSeconds=3)
    with launcher(tmp_path, vmi) as found:
        found.order()
        found.wait_serial("DEAF")
        found.call(protocol.Shutdown())
        ended = found.wait_ended(12)  # libvirt would wait 40 s for a QEMU that nobody reaps
        assert (ended.status, ended.reason) == (Status.SHUTOFF, "Destroyed")
        assert ended.message == "it did not shut down within its grace period"
        assert found.release() == 0


def test_grace_period_of_zero_destroys_at_once(web):
    web.call(protocol.Shutdown(grace_period_s=0))
    assert web.wait_ended(8).reason == "Destroyed"


def test_launcher_that_is_asked_to_end_before_its_order_ends(tmp_path):
    with launcher(tmp_path, launched.vmi()) as found:
        assert found.pod.process is not None
        found.pod.process.terminate()
        assert found.wait_gone(15) == 0


def test_launcher_without_an_order_gives_its_place_back(tmp_path):
    with launcher(tmp_path, launched.vmi(), "--qemu-timeout", "1") as found:
        assert found.wait_gone(30) == 1


def test_disk_that_another_process_has_open_is_named_and_the_order_may_be_repeated(tmp_path):
    with launcher(tmp_path, launched.vmi()) as found:
        disk = found.pod.claims["root"] / "disk.img"
        request = protocol.SyncVirtualMachine(vmi=found.vmi, options=found.options())
        # qemu-io takes the locks that QEMU takes, and waits for a command.
        command = ["qemu-io", "-f", "raw", str(disk)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            assert holder.stdout is not None
            assert holder.stdin is not None
            assert holder.stdout.read(8) == b"qemu-io>"
            with pytest.raises(libvirt_errors.DiskInUse, match='Failed to get shared "write" lock'):
                found.call(request, 60)
            holder.stdin.write(b"quit\n")
            holder.stdin.close()
        assert found.call(request, 60).domain.alive  # type: ignore[union-attr]


def test_nonsense_on_the_socket_is_answered_and_harms_nobody(web):
    for line in (b"{}\n", b'{"method":"Fly"}\n', b"\xff\xfe\n"):
        with connect(web.path) as connection:
            connection.sendall(line)
            answer = connection.makefile("rb").readline()
        assert b'"failure"' in answer
    assert web.domain().alive
