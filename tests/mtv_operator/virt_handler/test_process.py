"""virt-handler as a process: real API server, launchers in pods by hand, real guests."""

import asyncio
import http.client
import json
import os
import re
import signal
import ssl
import urllib.request
from datetime import datetime

import pytest
import servers
from guest import launched
from guest.pod_by_hand import wait_until
from guest.world import World, allow_emulation
from websockets.asyncio.client import connect
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
        with urllib.request.urlopen(f"http://{pod.ip}:8080/", timeout=10) as answer:
            assert answer.status == 200
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
