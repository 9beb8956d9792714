"""VMIs for tests, and a launcher pod by hand with what the handler would do for it."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path
from typing import Any

import msgspec
import pytest
from guest import pod_by_hand
from guest.pod_by_hand import Pod, wait_until

from mtv.api import kubevirt
from mtv_operator.virt_handler import (
    devices,
    guest_network,
    launcher_socket,
    namespaces,
    order,
    pod_network,
)
from mtv_operator.virt_launcher import protocol
from mtv_operator.virt_launcher.protocol import Domain, Options, Reply, Request

NODE = "test-node"


def needs_hypervisor() -> list[pytest.MarkDecorator]:
    """Return the marks of a test that starts real guests, with the reason to skip it."""
    missing = [
        name
        for name, there in (
            ("root", os.geteuid() == 0),
            ("libvirtd", shutil.which("libvirtd", path="/usr/sbin:/usr/bin")),
            ("qemu-system-x86_64", shutil.which("qemu-system-x86_64")),
            ("nft", shutil.which("nft", path="/usr/sbin:/usr/bin")),
            ("the test guest (make setup)", pod_by_hand.GUEST_DISK.exists()),
        )
        if not there
    ]
    reason = f"needs {', '.join(missing)}"
    return [
        pytest.mark.libvirt,
        pytest.mark.netns,
        pytest.mark.timeout(240),
        pytest.mark.skipif(bool(missing), reason=reason),
    ]


def vmi(
    name: str = "web",
    *,
    disks: tuple[dict[str, Any], ...] = ({"name": "root", "disk": {"bus": "virtio"}},),
    volumes: tuple[dict[str, Any], ...] = (
        {"name": "root", "persistentVolumeClaim": {"claimName": "root"}},
    ),
    interfaces: tuple[dict[str, Any], ...] = ({"name": "default", "masquerade": {}},),
    devices: dict[str, Any] | None = None,
    domain: dict[str, Any] | None = None,
    **spec: Any,
) -> kubevirt.VirtualMachineInstance:
    """Return a VMI with one disk and one NIC, and what is given besides."""
    document = {
        "metadata": {"name": name, "namespace": "demo", "uid": str(uuid.uuid4())},
        "spec": {
            "terminationGracePeriodSeconds": 30,
            "domain": {
                "memory": {"guest": "192Mi"},
                "devices": {
                    "disks": disks,
                    "interfaces": interfaces,
                    "logSerialConsole": True,
                    **(devices or {}),
                },
                **(domain or {}),
            },
            "networks": [{"name": one["name"], "pod": {}} for one in interfaces],
            "volumes": volumes,
            **spec,
        },
    }
    return msgspec.convert(document, kubevirt.VirtualMachineInstance)


def no_cloud(script: str) -> tuple[tuple[dict[str, Any], ...], tuple[dict[str, Any], ...]]:
    """Return disks and volumes of a guest that runs `script` when it is up."""
    disks = (
        {"name": "root", "disk": {"bus": "virtio"}},
        {"name": "seed", "disk": {"bus": "virtio"}},
    )
    volumes = (
        {"name": "root", "persistentVolumeClaim": {"claimName": "root"}},
        {"name": "seed", "cloudInitNoCloud": {"userData": f"#!/bin/sh\n{script}\n"}},
    )
    return disks, volumes


class Launched:
    """A pod by hand in which a launcher runs, and the handler's part done by hand."""

    def __init__(self, pod: Pod, instance: kubevirt.VirtualMachineInstance) -> None:
        self.pod = pod
        self.vmi = instance
        self.path = launcher_socket.path_of(pod.kubelet_root, pod.uid)

    def start(self, *options: str) -> None:
        """Start the launcher and wait until it listens."""
        self.pod.start(*options)
        try:
            wait_until(self.path.exists, "the launcher's socket", 30)
        except AssertionError:
            raise AssertionError(self.pod.log.read_text()) from None

    def pid(self) -> int:
        with launcher_socket.connect(self.path) as connection:
            return launcher_socket.peer_pid(connection)

    def options(self, **more: Any) -> Options:
        """Lay the pod's network and return the options of an order."""
        pid = self.pid()
        devices.give(pid, pod_by_hand.UID)
        nics = guest_network.plan(self.vmi)
        connected = pod_network.apply(namespaces.network_namespace(pid), nics)
        return order.with_networks(Options(**more), nics, connected, vhost=False)

    def call(self, request: Request, timeout_s: float = 60.0) -> Reply:
        return launcher_socket.call(self.path, request, timeout_s)

    def order(self, **more: Any) -> Domain:
        """Order the boot and return the state after it."""
        request = protocol.SyncVirtualMachine(vmi=self.vmi, options=self.options(**more))
        domain = self.call(request, 120).domain
        assert domain is not None
        return domain

    def domain(self) -> Domain:
        domain = self.call(protocol.GetDomain()).domain
        assert domain is not None
        return domain

    def state_file(self) -> Domain:
        """Return the state as it lies beside the socket."""
        content = (self.pod.sockets / protocol.STATE_FILE).read_bytes()
        return msgspec.json.decode(content, type=Domain)

    def wait_serial(self, text: str, timeout_s: float = 90.0) -> str:
        """Return what the guest wrote on its serial line, once `text` is in it."""
        wait_until(lambda: text in self.pod.serial_log(), f"{text!r} on the serial line", timeout_s)
        return self.pod.serial_log()

    def wait_ended(self, timeout_s: float = 60.0) -> Domain:
        wait_until(lambda: self.domain().ended, "the end of the domain", timeout_s)
        return self.domain()

    def release(self) -> int:
        """Release the launcher; return its exit status, and see that nothing is left."""
        self.call(protocol.Release())
        return self.wait_gone()

    def wait_gone(self, timeout_s: float = 30.0) -> int:
        assert self.pod.process is not None
        status = self.pod.process.wait(timeout_s)
        wait_until(lambda: not self.pod.members(), "the end of all processes of the pod", 10)
        return status


def folder_for(tmp_path: Path) -> Path:
    """Return a folder that uid 107 may walk to."""
    for path in (tmp_path, *tmp_path.parents):
        if path == Path("/tmp"):
            break
        path.chmod(path.stat().st_mode | 0o011)
    return tmp_path
