"""virt-handler as a process: real API server, launchers in pods by hand, real guests."""

import asyncio
import http.client
import json
import os
import signal
import ssl
from datetime import datetime

import pytest
import servers
from guest import launched
from guest.pod_by_hand import wait_http, wait_until
from guest.world import World, allow_emulation
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from mtv.api import core, kubevirt

pytestmark = launched.needs_hypervisor()


def test_vmi_goes_from_scheduled_to_running_and_to_its_end(world: World, tmp_path):
    allow_emulation(world.client)
    world.handler.start()
    with world.scheduled(launched.vmi(), tmp_path) as pod:
        vmi = world.wait_phase("web", "Running", 30)
        status = vmi.status
        assert status is not None
        (interface,) = status.interfaces
        assert (interface.name, interface.ip_address, interface.ip_addresses) == (
            "default",
            pod.ip,
            (pod.ip,),
        )
        assert [one.phase for one in status.phase_transition_timestamps] == ["Running"]
        assert [(one.name, one.target) for one in status.volume_status] == [("root", "vda")]
        assert status.volume_status[0].persistent_volume_claim_info is not None
        assert status.migration_method == "BlockMigration"
        assert status.machine == kubevirt.Machine(type="pc-q35-7.2")
        migratable = world.condition("web", "LiveMigratable")
        assert migratable is not None
        assert (migratable.status, migratable.reason) == ("False", "DisksNotLiveMigratable")
        emulated = world.condition("web", "SoftwareEmulation")
        assert emulated is not None
        assert emulated.message is not None
        assert emulated.message.startswith("KVM is not usable: ")
        seen = [
            datetime.fromisoformat(vmi.metadata.annotations[f"mtv.dev/{name}"])
            for name in ("handler-saw", "boot-ordered", "domain-running")
        ]
        assert seen == sorted(seen)

        wait_until(lambda: "boot=" in pod.serial_log(), "the guest", 60)
        assert wait_http(pod.ip) == b"kvguest"
        wait_until(lambda: world.condition("web", "AgentConnected"), "the guest agent", 40)
        wait_until(lambda: _os(world) == "kvguest", "the guest's system", 40)

        world.client.delete(kubevirt.VirtualMachineInstance, "web", "demo")
        # No finalizer of a controller here: the object is gone, and the pod is ended by its node.
        assert pod.process is not None
        pod.process.terminate()
        assert pod.process.wait(40) == 0

    events = world.events("web")
    assert ("Normal", "Created", "VirtualMachineInstance defined.") in events
    assert ("Normal", "Started", "VirtualMachineInstance started.") in events
    assert world.handler.stop() == 0
    node = world.client.get(core.Node, launched.NODE)
    assert node.metadata.labels["kubevirt.io/schedulable"] == "false"


def _os(world: World) -> str:
    status = world.vmi("web").status
    return (status.guest_os_info.id if status and status.guest_os_info else None) or ""


def test_handler_that_was_killed_finds_its_vm_and_serves_it(world: World, tmp_path):
    allow_emulation(world.client)
    world.handler.start()
    with world.scheduled(launched.vmi(), tmp_path) as pod:
        before = world.wait_phase("web", "Running", 30)
        world.handler.kill()
        world.handler.start()
        wait_until(lambda: "boot=" in pod.serial_log(), "the guest", 60)
        wait_until(lambda: world.condition("web", "AgentConnected"), "the guest agent", 40)
        after = world.vmi("web")
        for name in ("handler-saw", "boot-ordered", "domain-running"):
            key = f"mtv.dev/{name}"
            assert after.metadata.annotations[key] == before.metadata.annotations[key]
        assert after.status is not None
        assert after.status.interfaces[0].ip_address == pod.ip
        _only_virt_api_may_call(world)
        _pauses_and_goes_on(world)
        _agent_answers(world)
        asyncio.run(_second_console_cuts_the_first_off(world))
        asyncio.run(_display_speaks_rfb(world))
        _ends_gracefully_when_deleted(world, pod)


def _call(world: World, method: str, path: str, name: str = "virt-api"):
    connection = http.client.HTTPSConnection(
        "127.0.0.1", world.handler.port, context=world.handler.context(name), timeout=30
    )
    root = "/v1/namespaces/demo/virtualmachineinstances"
    connection.request(method, f"{root}/{path}")
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, json.loads(content) if content else None


def _only_virt_api_may_call(world: World) -> None:
    assert _call(world, "PUT", "web/pause", "somebody")[0] == 403
    code, status = _call(world, "PUT", "nobody/pause")
    assert (code, status["kind"], status["reason"]) == (404, "Status", "NotFound")
    bare = ssl.create_default_context(cafile=str(world.api.pki.certificate_path))
    connection = http.client.HTTPSConnection("127.0.0.1", world.handler.port, context=bare)
    connection.request("GET", "/healthz")  # TLS 1.3 says no only after the handshake
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connection.getresponse()


def _pauses_and_goes_on(world: World) -> None:
    assert _call(world, "PUT", "web/pause") == (200, None)
    servers.until(lambda: world.condition("web", "Paused"), "paused")
    paused = world.condition("web", "Paused")
    assert paused is not None
    assert (paused.reason, paused.message) == ("PausedByUser", "VMI was paused by user")
    assert world.phase("web") == "Running"
    assert _call(world, "PUT", "web/unpause") == (200, None)
    servers.until(lambda: world.condition("web", "Paused") is None, "going on")


def _agent_answers(world: World) -> None:
    code, about = _call(world, "GET", "web/guestosinfo")
    assert (code, about["os"]["id"], about["hostname"]) == (200, "kvguest", "kvguest")
    code, mounted = _call(world, "GET", "web/filesystemlist")
    assert code == 200
    assert any(one["mountPoint"] == "/" for one in mounted["items"])
    code, users = _call(world, "GET", "web/userlist")
    assert (code, users["kind"]) == (200, "VirtualMachineInstanceGuestOSUserList")


def _url(world: World, name: str, device: str) -> str:
    root = f"wss://127.0.0.1:{world.handler.port}/v1/namespaces/demo/virtualmachineinstances"
    return f"{root}/{name}/{device}"


async def _second_console_cuts_the_first_off(world: World) -> None:
    more = {"ssl": world.handler.context(), "subprotocols": ["plain.kubevirt.io"]}
    async with connect(_url(world, "web", "console"), **more) as first:
        assert first.subprotocol == "plain.kubevirt.io"
        await first.send(b"\n")
        assert isinstance(await asyncio.wait_for(first.recv(), 20), bytes)
        async with connect(_url(world, "web", "console"), ssl=world.handler.context()) as second:
            with pytest.raises(ConnectionClosed) as caught:
                await asyncio.wait_for(_read_all(first), 20)
            assert caught.value.rcvd is None  # cut off: code 1006
            await second.send("text is ignored")
            await second.send(b"echo hel''lo\n")
            seen = b""
            while b"hello" not in seen:
                seen += await asyncio.wait_for(second.recv(), 20)
    with pytest.raises(InvalidStatus) as refused:
        async with connect(_url(world, "nobody", "console"), **more):
            pass
    assert refused.value.response.status_code == 404


async def _read_all(console: ClientConnection) -> None:
    while True:
        await console.recv()


async def _display_speaks_rfb(world: World) -> None:
    async with connect(_url(world, "web", "vnc"), ssl=world.handler.context()) as display:
        assert (await asyncio.wait_for(display.recv(), 20)).startswith(b"RFB 003.008")


def _ends_gracefully_when_deleted(world: World, pod) -> None:
    world.client.patch(
        kubevirt.VirtualMachineInstance, "web", "demo", {"metadata": {"finalizers": ["test/keep"]}}
    )
    world.client.delete(kubevirt.VirtualMachineInstance, "web", "demo")
    vmi = world.wait_phase("web", "Succeeded", 40)
    assert pod.process is not None
    assert pod.process.wait(20) == 0  # the launcher was released
    events = world.events("web")
    assert ("Normal", "ShuttingDown", "Signaled Graceful Shutdown") in events
    assert ("Normal", "Stopped", "The VirtualMachineInstance was shut down.") in events
    assert vmi.status is not None
    assert [one.phase for one in vmi.status.phase_transition_timestamps] == ["Running", "Succeeded"]
    world.client.patch(
        kubevirt.VirtualMachineInstance, "web", "demo", {"metadata": {"finalizers": None}}
    )


def test_what_hinders_a_start_is_said_and_tried_again(world: World, tmp_path):
    world.handler.start("--emulation", "allow")
    instance = launched.vmi()
    with world.scheduled(instance, tmp_path, start=False) as pod:
        disk = pod.claims["root"] / "disk.img"
        good = disk.read_bytes()
        disk.write_bytes(b"QFI\xfb" + bytes(1 << 20))
        pod.start()
        servers.until(lambda: world.condition("web", "Synchronized"), "the condition", 30)
        condition = world.condition("web", "Synchronized")
        assert condition is not None
        assert (condition.status, condition.reason) == ("False", "BadInput")
        assert condition.message == (
            "spec.volumes[root]: disk.img is qcow2, and a claim's disk must be raw. "
            "convert it: qemu-img convert -O raw disk.img new.img"
        )
        assert world.phase("web") == "Scheduled"
        said = "spec.volumes[root]: disk.img is qcow2, and a claim's disk must be raw"
        assert ("Warning", "SyncFailed", said) in world.events("web")
        disk.write_bytes(good)
        world.wait_phase("web", "Running", 60)
        assert world.condition("web", "Synchronized") is None


def test_emulation_that_nobody_allowed_is_refused_with_the_reason(world: World, tmp_path):
    world.handler.start()
    with world.scheduled(launched.vmi(), tmp_path):
        servers.until(lambda: world.condition("web", "Synchronized"), "the condition", 30)
        condition = world.condition("web", "Synchronized")
        assert condition is not None
        assert condition.reason == "KVMUnavailable"
        assert condition.message is not None
        assert condition.message.startswith("KVM is not usable: ")
        node = world.client.get(core.Node, launched.NODE)
        capacity = node.status.capacity if node.status else {}
        assert capacity.get("devices.kubevirt.io/kvm", "0") == "0"
        assert node.metadata.annotations["mtv.dev/kvm"]
        allow_emulation(world.client)
        world.wait_phase("web", "Running", 60)


def test_launcher_that_vanishes_and_qemu_that_is_killed_end_in_failed(world: World, tmp_path):
    world.handler.start("--emulation", "allow")
    with world.scheduled(launched.vmi("lost"), tmp_path / "1") as pod:
        world.wait_phase("lost", "Running", 60)
        for pid in pod.members():
            os.kill(pid, signal.SIGKILL)
        vmi = world.wait_phase("lost", "Failed", 20)
        assert vmi.status is not None
        assert vmi.status.reason == "LauncherGone"
    with world.scheduled(launched.vmi("shot"), tmp_path / "2") as pod:
        world.wait_phase("shot", "Running", 60)
        world.handler.kill()  # what happens meanwhile is found out afterwards
        os.kill(pod.member("qemu-system"), signal.SIGKILL)
        world.handler.start("--emulation", "allow")
        world.wait_phase("shot", "Failed", 30)
        crashed = ("Warning", "Stopped", "The VirtualMachineInstance crashed.")
        servers.until(lambda: crashed in world.events("shot"), "the event")
        why = "QEMU ended without a word: it crashed or was killed"
        servers.until(lambda: ("Warning", "Stopped", why) in world.events("shot"), "the reason")
        assert pod.process is not None
        assert pod.process.wait(20) == 1
