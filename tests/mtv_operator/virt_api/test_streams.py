"""Console and forwarded ports, from the client through API server, virt-api and virt-handler.

QEMU is played by an echo behind the handler's socket; everything before it is real.
"""

import contextlib
import socket
import threading
from pathlib import Path

import pytest
import servers
import websockets
from runtime_cluster import SUBRESOURCES, Runtime
from websockets.sync.client import connect

from mtv import errors
from mtv.api import kubevirt
from mtv_operator.objects import Client
from mtv_operator.serving import tls
from mtv_operator.serving.background import Background
from mtv_operator.virt_handler.server import Application

PROTOCOL = websockets.Subprotocol("plain.kubevirt.io")


@contextlib.contextmanager
def _echo(listening: socket.socket):
    """Answer every byte by itself, upper case, on each connection."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(connection,), daemon=True).start()

    def talk(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while content := connection.recv(4096):
                connection.sendall(content.upper())

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield
    finally:
        listening.close()


@pytest.fixture(scope="module")
def handler(runtime: Runtime, tmp_path_factory: pytest.TempPathFactory):
    """A real console server of virt-handler; the sockets of its guests are echoes."""
    root: Path = tmp_path_factory.mktemp("h")
    authority = runtime.api.pki
    pair = authority.issue("handler", common_name="virt-handler", addresses=["virt-handler"])

    def find(namespace: str, name: str):
        found = runtime.vmi(name)
        if found is None:
            raise errors.NotFound(f"there is no {name} here")
        with Client.connect(str(runtime.api.kubeconfig)) as client:
            vmi = client.get(kubevirt.VirtualMachineInstance, name, namespace)
        folder = root / "private" / vmi.metadata.uid
        folder.mkdir(parents=True, exist_ok=True)
        return vmi, root / "sockets" / "launcher-sock"

    server = Background(
        Application(find).asgi,
        host="127.0.0.1",
        port=0,
        certificate=str(pair.certificate),
        key=str(pair.key),
        client_ca=str(authority.certificate_path),
        http=tls.only_for(frozenset({"virt-api"}), "not allowed"),
    )
    with server:
        annotations = {"mtv.dev/handler-port": str(server.port)}
        runtime.merge("/api/v1/nodes/node1", {"metadata": {"annotations": annotations}})
        yield root


@pytest.fixture(scope="module")
def guest(runtime: Runtime, handler: Path):
    """A VM that runs, with an echo on its serial port and on a TCP port of its address."""
    runtime.create_vm("talks", runStrategy="Always")
    listening = socket.create_server(("127.0.0.1", 0))
    runtime.boot(
        "talks",
        interfaces=[{"name": "default", "ipAddress": "127.0.0.1", "mac": "02:00:00:00:00:01"}],
    )
    folder = handler / "private" / runtime.vmi("talks")["metadata"]["uid"]
    folder.mkdir(parents=True, exist_ok=True)
    serial = socket.socket(socket.AF_UNIX)
    serial.bind(str(folder / "virt-serial0"))
    serial.listen()
    with _echo(listening), _echo(serial):
        yield listening.getsockname()[1]


def _open(runtime: Runtime, path: str, **options):
    return connect(
        f"wss://127.0.0.1:{runtime.api.port}{SUBRESOURCES}/{path}",
        ssl=runtime.api.tls("admin"),
        open_timeout=10,
        proxy=None,
        **options,
    )


def test_console_carries_bytes_both_ways(runtime: Runtime, guest: int):
    with _open(
        runtime, "virtualmachineinstances/talks/console", subprotocols=[PROTOCOL]
    ) as console:
        assert console.subprotocol == PROTOCOL
        console.send("text is ignored")
        console.send(b"login: root\n")
        assert console.recv(timeout=10) == b"LOGIN: ROOT\n"


def test_console_without_subprotocol_is_opened_too(runtime: Runtime, guest: int):
    with _open(runtime, "virtualmachineinstances/talks/console") as console:
        console.send(b"x")
        assert console.recv(timeout=10) == b"X"


def test_second_console_cuts_the_first_off(runtime: Runtime, guest: int):
    path = "virtualmachineinstances/talks/console"
    with _open(runtime, path) as first:
        first.send(b"a")
        assert first.recv(timeout=10) == b"A"
        with _open(runtime, path) as second:
            second.send(b"b")
            assert second.recv(timeout=10) == b"B"
            with pytest.raises(websockets.ConnectionClosed) as closed:
                first.recv(timeout=10)
            assert closed.value.rcvd is None  # 1006: what `virtctl` explains with another user


def _refused(runtime: Runtime, path: str) -> int:
    with pytest.raises(websockets.InvalidStatus) as caught, _open(runtime, path):
        pass
    return int(caught.value.response.status_code)


def test_console_of_what_does_not_run_yet_is_400(runtime: Runtime, guest: int):
    runtime.create_vm("boots", runStrategy="Always")
    runtime.until_phase("boots", "Scheduling")
    assert _refused(runtime, "virtualmachineinstances/boots/console") == 400
    assert _refused(runtime, "virtualmachineinstances/nobody/console") == 404
    code, answer = runtime.api.request(
        "GET", f"{SUBRESOURCES}/virtualmachineinstances/talks/console"
    )
    assert (code, answer["kind"]) == (400, "Status")


@pytest.mark.parametrize("resource", ["virtualmachines", "virtualmachineinstances"])
def test_port_is_forwarded(runtime: Runtime, guest: int, resource: str):
    with _open(runtime, f"{resource}/talks/portforward/{guest}/tcp") as forwarded:
        forwarded.send(b"get /")
        assert forwarded.recv(timeout=10) == b"GET /"


def test_forwarded_port_that_nobody_listens_on_is_500(runtime: Runtime, guest: int):
    path = f"virtualmachineinstances/talks/portforward/{servers.free_port()}/tcp"
    assert _refused(runtime, path) == 500


def test_calls_of_an_instance_know_its_state(runtime: Runtime, guest: int):
    assert runtime.put("virtualmachineinstances/talks/unpause")[0] == 409
    assert runtime.put("virtualmachineinstances/boots/pause")[0] == 409
    code, answer = runtime.api.request(
        "GET", f"{SUBRESOURCES}/virtualmachineinstances/talks/guestosinfo"
    )
    assert code == 500
    assert "agent" in answer  # plain text, as upstream
    assert runtime.put("virtualmachineinstances/talks/pause", {"dryRun": ["All"]}) == (200, "")
    code, answer = runtime.put("virtualmachineinstances/talks/pause")
    assert code == 503  # the echo is no launcher; what the handler said is passed on
    assert answer["kind"] == "Status"


def test_port_of_a_vm_that_is_not_started_is_409(runtime: Runtime, guest: int):
    runtime.create_vm("sleeps", runStrategy="Halted")
    runtime.until_status("sleeps", "Stopped")
    assert _refused(runtime, "virtualmachines/sleeps/portforward/22") == 409
