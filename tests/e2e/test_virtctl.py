"""A real virtctl and the YAML that people learn from, against the embedded home."""

from __future__ import annotations

import http.client
import json
import pty
import subprocess
import time
from pathlib import Path

import homes
import pytest
import servers
import virtctl_binary

NAMESPACE = "ctl"
IMAGE = "quay.io/containerdisks/fedora:36"
TESTVM = """
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: testvm}
spec:
  running: false
  template:
    metadata: {labels: {kubevirt.io/size: small, kubevirt.io/domain: testvm}}
    spec:
      domain:
        devices:
          disks:
          - {name: rootdisk, disk: {bus: virtio}}
          - {name: cloudinitdisk, disk: {bus: virtio}}
          interfaces: [{name: default, masquerade: {}, model: virtio}]
        resources: {requests: {memory: 1Gi}}
      hostname: testvm
      networks: [{name: default, pod: {}}]
      volumes:
      - name: rootdisk
        containerDisk: {image: 'quay.io/containerdisks/fedora:36'}
      - name: cloudinitdisk
        cloudInitNoCloud: {userData: "#cloud-config\\npassword: fedora\\nchpasswd: { expire: False }\\n"}
"""  # noqa: E501 - as it stands in the guide


class Virtctl:
    """virtctl as the administrator runs it."""

    def __init__(self, home: homes.Home, program: Path) -> None:
        self.home, self.program = home, str(program)

    def __call__(self, *arguments: str, expect: int = 0) -> str:
        """Return what it prints on both outputs."""
        done = self.home.run(self.program, "-n", NAMESPACE, *arguments)
        text = done.stdout + done.stderr
        assert done.returncode == expect, f"{arguments}: {done.returncode}\n{text}"
        return text

    def start(self, *arguments: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """Start it and go on."""
        command = [self.program, "--kubeconfig", str(self.home.kubeconfig), "-n", NAMESPACE]
        return subprocess.Popen(
            [*command, *arguments], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )


@pytest.fixture(scope="module")
def ctl(home) -> Virtctl:
    program = virtctl_binary.path()
    home.kubectl("create", "namespace", NAMESPACE)
    home.mtv("image", "load", str(homes.GUEST), IMAGE)
    home.kubectl("apply", "-n", NAMESPACE, "-f", "-", stdin=TESTVM)
    return Virtctl(home, program)


@pytest.fixture(scope="module")
def vm(home, ctl) -> str:
    """The VM of the guide; it runs."""
    servers.until(lambda: printable(home, "testvm") == "Stopped", "Stopped", 20)
    assert "VM testvm was scheduled to start" in ctl("start", "testvm")
    home.wait_guest("testvm", NAMESPACE)
    return "testvm"


def printable(home, name: str) -> str:
    found = home.get("vm", name, NAMESPACE)
    return str(found.get("status", {}).get("printableStatus", "")) if found else ""


def uid(home, name: str) -> str:
    found = home.get("vmi", name, NAMESPACE)
    return str(found["metadata"]["uid"]) if found else ""


def test_both_versions_are_shown(ctl):
    said = ctl("version")
    assert 'Client Version: version.Info{GitVersion:"v1.6.0"' in said
    assert "Server Version: version.Info{GitVersion:" in said


def test_what_does_not_fit_is_refused_in_upstreams_words(ctl, vm):
    conflict = 'Operation cannot be fulfilled on virtualmachine.kubevirt.io "testvm"'
    assert f"{conflict}: VM is already running" in ctl("start", vm, expect=1)
    assert 'virtualmachine.kubevirt.io "none" not found' in ctl("stop", "none", expect=1)
    assert "Found no migration to cancel" in ctl("migrate-cancel", vm, expect=1)
    assert "VMI is not paused" in ctl("unpause", "vmi", vm, expect=1)


def test_pause_and_unpause(home, ctl, vm):
    ctl("pause", "vm", vm)
    servers.until(lambda: printable(home, vm) == "Paused", "Paused", 20)
    assert "VMI is already paused" in ctl("pause", "vmi", vm, expect=1)
    ctl("unpause", "vm", vm)
    servers.until(lambda: printable(home, vm) == "Running", "Running", 20)


def test_the_console_answers(ctl, vm):
    ours, its = pty.openpty()
    with (
        ctl.start("console", vm, stdin=its) as console,
        open(ours, "r+b", buffering=0) as keys,
    ):
        assert console.stdout is not None
        said, end = b"", time.monotonic() + 60
        while b"hi-42" not in said and time.monotonic() < end:
            keys.write(b"\necho hi-$((40+2))\n")
            while b"# " not in said[-4000:]:
                said += console.stdout.read1(4096)
            said += console.stdout.read1(4096)
        keys.write(b"\x1d")
        console.wait(10)
    assert b"Successfully connected to testvm console" in said
    assert b"hi-42" in said


def test_a_screenshot_is_a_picture(home, ctl, vm):
    path = home.folder / "screen.png"
    ctl("vnc", "screenshot", vm, "-f", str(path))
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_vnc_is_proxied_to_a_port(ctl, vm):
    import socket

    with ctl.start("vnc", vm, "--proxy-only") as proxy:
        assert proxy.stdout is not None
        port = 0
        while not port:
            line = proxy.stdout.readline().decode()
            port = json.loads(line).get("port", 0) if line.startswith('{"port"') else 0
        with socket.create_connection(("127.0.0.1", port), timeout=20) as screen:
            assert screen.recv(12).startswith(b"RFB 003.")
        proxy.terminate()


def test_a_port_of_the_guest_is_forwarded(ctl, vm):
    port = servers.free_port()
    with ctl.start("port-forward", f"vm/{vm}", f"tcp/{port}:{homes.GUEST_PORT}") as forward:

        def answer() -> str:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            try:
                connection.request("GET", "/cgi-bin/status")
                return connection.getresponse().read().decode()
            except OSError:
                return ""

        assert "hostname=" in servers.until(answer, "the guest answers", 30)
        forward.terminate()


def test_stdio_forwards_as_ssh_needs_it(ctl, vm):
    target = f"vm/{vm}/{NAMESPACE}"
    words = ("port-forward", "--stdio=true", target, str(homes.GUEST_PORT))
    with ctl.start(*words, stdin=subprocess.PIPE) as tunnel:
        assert tunnel.stdin is not None
        assert tunnel.stdout is not None
        tunnel.stdin.write(b"GET /cgi-bin/status HTTP/1.0\r\n\r\n")
        tunnel.stdin.flush()
        said = b""
        while b"hostname=" not in said and (part := tunnel.stdout.read1(4096)):
            said += part
        tunnel.terminate()
    assert b"hostname=" in said


def test_expose_makes_a_service_that_selects_the_launcher(home, ctl, vm):
    ctl("expose", "vm", vm, "--name", "web", "--port", "80", "--target-port", "8080")
    service = home.get("service", "web", NAMESPACE)
    pods = home.kubectl("get", "pods", "-n", NAMESPACE, "-o", "json")
    (launcher,) = [
        one["metadata"]["labels"]
        for one in json.loads(pods)["items"]
        if one["metadata"]["labels"].get("kubevirt.io") == "virt-launcher"
    ]
    assert service["spec"]["selector"].items() <= launcher.items()


def test_the_guest_agent_is_asked(home, ctl, vm):
    def connected() -> bool:
        found = home.instance(vm, NAMESPACE).get("conditions", [])
        return any(one["type"] == "AgentConnected" for one in found)

    servers.until(connected, "the agent is connected", 60)
    assert '"guestAgentVersion"' in ctl("guestosinfo", vm)
    assert '"mountPoint": "/"' in ctl("fslist", vm)
    assert '"items"' in ctl("userlist", vm)


def test_expand_returns_the_vm(ctl, vm):
    assert "containerDisk" in ctl("expand", "--vm", vm)


def test_a_volume_comes_and_goes_while_the_guest_runs(home, ctl, vm):
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "extra", "namespace": NAMESPACE},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "16Mi"}},
        },
    }
    home.kubectl("apply", "-f", "-", stdin=json.dumps(claim))

    def volumes() -> dict[str, str]:
        found = home.instance(vm, NAMESPACE).get("volumeStatus", [])
        return {one["name"]: one.get("phase", "") for one in found}

    ctl("addvolume", vm, "--volume-name", "extra")
    servers.until(lambda: volumes().get("extra") == "Ready", "the volume is Ready", 60)
    seen = home.type_on_console(vm, NAMESPACE, "cat /proc/partitions")
    assert b"sda" in seen

    ctl("removevolume", vm, "--volume-name", "extra")
    servers.until(lambda: "extra" not in volumes(), "the volume is gone", 60)
    said = ctl("removevolume", vm, "--volume-name", "extra", expect=1)
    assert "Unable to remove volume [extra] because it does not exist" in said


def test_an_upload_becomes_a_disk_that_boots(home, ctl):
    ctl(
        *("image-upload", "dv", "uploaded", "--size", "64Mi", "--insecure"),
        *("--image-path", str(homes.GUEST)),
    )
    vm = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": "cloned", "namespace": NAMESPACE},
        "spec": {
            "runStrategy": "Always",
            "dataVolumeTemplates": [
                {
                    "metadata": {"name": "cloned-root"},
                    "spec": {
                        "source": {"pvc": {"name": "uploaded", "namespace": NAMESPACE}},
                        "storage": {},
                    },
                }
            ],
            "template": {
                "spec": {
                    "domain": {
                        "devices": {
                            "disks": [{"name": "root", "disk": {"bus": "virtio"}}],
                            "interfaces": [{"name": "default", "masquerade": {}}],
                        },
                        "resources": {"requests": {"memory": "192Mi"}},
                    },
                    "networks": [{"name": "default", "pod": {}}],
                    "volumes": [{"name": "root", "dataVolume": {"name": "cloned-root"}}],
                }
            },
        },
    }
    home.kubectl("apply", "-f", "-", stdin=json.dumps(vm))
    home.wait_guest("cloned", NAMESPACE)
    home.kubectl("delete", "vm", "cloned", "-n", NAMESPACE)
    servers.until(
        lambda: home.get("pvc", "cloned-root", NAMESPACE) is None, "the disk goes with its VM", 60
    )


def test_an_image_that_cannot_be_had_is_named_in_the_state(home, ctl):
    text = TESTVM.replace("quay.io/containerdisks/fedora:36", "127.0.0.1:1/none:1")
    text = text.replace("name: testvm}", "name: imageless}").replace("false", "true", 1)
    home.kubectl("apply", "-n", NAMESPACE, "-f", "-", stdin=text)
    words = ("ErrImagePull", "ImagePullBackOff")
    servers.until(lambda: printable(home, "imageless") in words, "the error", 60)
    conditions = home.instance("imageless", NAMESPACE)["conditions"]
    (said,) = [one["message"] for one in conditions if one["type"] == "Synchronized"]
    assert "the registry 127.0.0.1:1 does not answer" in said
    assert "mtv image load" in said
    home.kubectl("delete", "vm", "imageless", "-n", NAMESPACE)


def test_restart_stop_by_force_and_start_paused(home, ctl, vm):
    before = uid(home, vm)
    ctl("soft-reboot", vm)
    ctl("reset", vm)
    ctl("restart", vm, "--force", "--grace-period=0")
    servers.until(lambda: uid(home, vm) not in ("", before), "another instance", 60)
    home.wait_phase(vm, "Running", namespace=NAMESPACE)
    ctl("stop", vm, "--force", "--grace-period=0")
    servers.until(lambda: printable(home, vm) == "Stopped", "Stopped", 60)
    assert "VM is not running" in ctl("stop", vm, expect=1)
    ctl("start", vm, "--paused")
    servers.until(lambda: printable(home, vm) == "Paused", "Paused", 60)
    ctl("stop", vm, "--force", "--grace-period=0")
