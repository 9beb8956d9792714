"""How fast the embedded API server is, over TLS, against a real process with fsync on.

Prints each number beside what it must be: start to /readyz, a list of 1000 virtual machine
instances (3.3 MB), validated writes by 8 writers, the latency of a watch at that load, memory.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import uvloop
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "operator"), str(ROOT / "tests")]

import servers  # noqa: E402 - needs the path

OBJECTS = 1000
OBJECT_BYTES = 2400  # as sent; the server adds who owns which field
WRITERS = 8
LOAD_S = 5.0
STARTS = 7
VMIS = "/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstances"
STAMP = "bench/sent-at"


def instance(name: str) -> dict[str, Any]:
    """Return a virtual machine instance of about 3.3 kB, as our controllers make them."""
    disks = [{"name": f"disk{i}", "disk": {"bus": "virtio"}, "bootOrder": i + 1} for i in range(4)]
    volumes = [
        {"name": f"disk{i}", "persistentVolumeClaim": {"claimName": f"{name}-disk{i}"}}
        for i in range(4)
    ]
    document: dict[str, Any] = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": {"kubevirt.io/domain": name, "app": "bench"},
            "annotations": {"mtv.dev/original-name": name, STAMP: "0"},
        },
        "spec": {
            "domain": {
                "cpu": {"cores": 2, "sockets": 1, "threads": 1},
                "memory": {"guest": "2Gi"},
                "firmware": {"uuid": "5d307ca9-b3ef-428c-8861-06e72d69f223", "serial": "x1"},
                "machine": {"type": "q35"},
                "clock": {"timezone": "UTC", "timer": {"hpet": {"present": False}}},
                "devices": {
                    "disks": disks,
                    "interfaces": [
                        {"name": "default", "masquerade": {}, "macAddress": "02:00:00:00:00:01"}
                    ],
                    "rng": {},
                },
                "resources": {"requests": {"memory": "2Gi", "cpu": "2"}},
            },
            "networks": [{"name": "default", "pod": {}}],
            "terminationGracePeriodSeconds": 180,
            "volumes": volumes,
        },
    }
    missing = OBJECT_BYTES - len(json.dumps(document, separators=(",", ":")))
    document["metadata"]["annotations"]["padding"] = "x" * max(0, missing)
    return document


class Client:
    """One keep-alive connection with as little work of its own as possible."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self.port, self.context = port, context

    async def open(self) -> Client:
        self.reader, self.writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=self.context, server_hostname="localhost", limit=1 << 24
        )
        return self

    def send(self, method: str, path: str, body: bytes = b"", kind: str = "json") -> None:
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/{kind}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self.writer.write(head.encode() + body)

    async def receive(self) -> tuple[int, bytes]:
        head = await self.reader.readuntil(b"\r\n\r\n")
        code = int(head[9:12])
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return code, await self.reader.readexactly(length)

    async def call(
        self, method: str, path: str, body: bytes = b"", kind: str = "json"
    ) -> tuple[int, bytes]:
        self.send(method, path, body, kind)
        return await self.receive()


async def fill(port: int, context: ssl.SSLContext) -> None:
    clients = [await Client(port, context).open() for _ in range(WRITERS)]

    async def some(client: Client, first: int) -> None:
        for index in range(first, OBJECTS, WRITERS):
            body = json.dumps(instance(f"vmi-{index:04}")).encode()
            code, text = await client.call("POST", VMIS, body)
            assert code == 201, text

    await asyncio.gather(*(some(client, index) for index, client in enumerate(clients)))


async def list_times(port: int, context: ssl.SSLContext) -> tuple[list[float], int]:
    client = await Client(port, context).open()
    took, size = [], 0
    for _ in range(20):
        began = time.perf_counter()
        code, body = await client.call("GET", VMIS)
        took.append(time.perf_counter() - began)
        assert code == 200
        size = len(body)
    assert len(json.loads(body)["items"]) == OBJECTS
    return took, size


async def write_load(port: int, context: ssl.SSLContext, verb: str) -> int:
    """Write for some seconds with all writers; return how many writes were acknowledged."""
    clients = [await Client(port, context).open() for _ in range(WRITERS)]
    until = time.perf_counter() + LOAD_S
    marker = f'"{STAMP}": "0"'.encode()

    async def creator(client: Client, writer: int) -> int:
        count = 0
        template = json.dumps(instance("the-name")).encode()
        while time.perf_counter() < until:
            body = template.replace(b"the-name", f"w{writer}-{count}".encode())
            body = body.replace(marker, f'"{STAMP}": "{time.monotonic()}"'.encode())
            code, text = await client.call("POST", VMIS, body)
            assert code == 201, text
            count += 1
        return count

    async def patcher(client: Client, writer: int) -> int:
        count = 0
        while time.perf_counter() < until:
            path = f"{VMIS}/vmi-{(count * WRITERS + writer) % OBJECTS:04}"
            patch = {
                "metadata": {"annotations": {STAMP: str(time.monotonic())}},
                "spec": {"terminationGracePeriodSeconds": count % 1000},
            }
            code, text = await client.call(
                "PATCH", path, json.dumps(patch).encode(), "merge-patch+json"
            )
            assert code == 200, text
            count += 1
        return count

    run = creator if verb == "create" else patcher
    return sum(await asyncio.gather(*(run(client, index) for index, client in enumerate(clients))))


async def watch_latency(port: int, context: ssl.SSLContext, ready: Connection) -> list[float]:
    """Return the seconds from sending a write to seeing it in a watch, for each write."""
    client = await Client(port, context).open()
    client.send("GET", VMIS + "?watch=1&resourceVersion=" + await _revision(port, context))
    await client.reader.readuntil(b"\r\n\r\n")
    ready.send("watching")
    mark = f'"{STAMP}":"'.encode()
    took: list[float] = []
    rest = b""
    while not ready.poll():
        try:
            async with asyncio.timeout(0.2):
                rest += await client.reader.read(1 << 20)
        except TimeoutError:
            continue
        now = time.monotonic()
        *lines, rest = rest.split(b"}\n")
        for line in lines:
            start = line.find(mark) + len(mark)
            sent = float(line[start : line.index(b'"', start)])
            if sent:
                took.append(now - sent)
    return took


async def _revision(port: int, context: ssl.SSLContext) -> str:
    client = await Client(port, context).open()
    _, body = await client.call("GET", VMIS + "?limit=1")
    return str(json.loads(body)["metadata"]["resourceVersion"])


def watcher(folder: Path, port: int, pipe: Connection) -> None:
    """Run a watch in a process of its own."""
    context = servers.ApiServer(folder=folder, port=port, pki=_authority(folder)).tls()
    pipe.send(uvloop.run(watch_latency(port, context, pipe)))


def _authority(folder: Path) -> Any:
    import datetime

    from mtv_operator.embedded import pki

    return pki.Authority(folder / "pki", datetime.datetime.now(datetime.UTC))


def resident_mib(server: servers.ApiServer) -> float:
    assert server.process is not None
    text = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) / 1024


def cpu_s(server: servers.ApiServer) -> float:
    """Return the processor time that the server has used: what other load does not change."""
    assert server.process is not None
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def loaded(server: servers.ApiServer, verb: str) -> tuple[float, list[float], float]:
    """Return writes per second, watch latencies under load, and CPU seconds per write."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=watcher, args=(server.folder, server.port, theirs)
    )
    process.start()
    assert ours.recv() == "watching"
    before = cpu_s(server)
    count = uvloop.run(write_load(server.port, server.tls(), verb))
    used_s = (cpu_s(server) - before) / count
    ours.send("stop")
    latencies: list[float] = ours.recv()
    process.join()
    return count / LOAD_S, latencies, used_s


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def say(what: str, value: str, wanted: str = "") -> None:
    print(f"{what:<58}{value:>14}   {wanted}", flush=True)


def install(server: servers.ApiServer) -> None:
    for path in sorted((ROOT / "operator/manifests/crds").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            server.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", document)


def measured(repeat: int, run: Callable[[], float]) -> str:
    values = [run() for _ in range(repeat)]
    return f"{statistics.median(values) * 1000:.0f} ms"


def main() -> None:
    with tempfile.TemporaryDirectory() as name, servers.api_server(Path(name)) as server:

        def restart() -> float:
            server.stop()
            return server.start()

        say("start to /readyz, nothing stored", measured(STARTS, restart), "< 500 ms")
        install(server)
        say("start to /readyz, our definitions", measured(STARTS, restart), "< 500 ms")
        say("memory with our definitions", f"{resident_mib(server):.0f} MiB")
        uvloop.run(fill(server.port, server.tls()))
        took, size = uvloop.run(list_times(server.port, server.tls()))
        say(
            f"list of {OBJECTS} instances, {size / 1e6:.1f} MB, median",
            f"{statistics.median(took) * 1000:.1f} ms",
            "< 50 ms",
        )
        say("  worst of 20", f"{max(took) * 1000:.1f} ms")
        for verb in ("patch", "create"):
            rate, latencies, used_s = loaded(server, verb)
            say(f"{verb} by {WRITERS} writers, validated, fsync", f"{rate:.0f} /s", ">= 1000 /s")
            say("  processor time of the server per write", f"{used_s * 1e6:.0f} us")
            say(
                f"  watch latency from sending, {len(latencies)} events, p50",
                f"{percentile(latencies, 0.5) * 1000:.1f} ms",
            )
            say("  p99", f"{percentile(latencies, 0.99) * 1000:.1f} ms", "< 25 ms")
            if verb == "patch":
                say("memory after it", f"{resident_mib(server):.0f} MiB", "< 80 MiB")
        count = len(server.get(VMIS)["items"])
        say(f"memory with {count} instances", f"{resident_mib(server):.0f} MiB")
        say("start to /readyz with those", measured(3, restart))


if __name__ == "__main__":
    main()
