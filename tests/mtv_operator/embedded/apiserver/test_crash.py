"""What was acknowledged is there after SIGKILL, whole; what was not may be there, whole."""

from __future__ import annotations

import http.client
import json
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from servers import ApiServer

PATH = "/apis/example.com/v1/namespaces/default/widgets"
WRITERS = 200


class Writer:
    """Writes one object again and again, and remembers what was acknowledged."""

    def __init__(self, server: ApiServer, number: int) -> None:
        self.name = f"w{number:03}"
        self.connection = server.connect()
        self.acknowledged: list[int] = []
        self.sent = 0

    def document(self, n: int) -> Any:
        return {
            "apiVersion": "example.com/v1",
            "kind": "Widget",
            "metadata": {"name": self.name, "annotations": {"n": str(n), "fill": "x" * 2000}},
            "spec": {"cores": 1 + n % 64},
        }

    def call(self, method: str, path: str, body: Any, kind: str) -> None:
        self.connection.request(
            method, path, json.dumps(body), {"Content-Type": f"application/{kind}"}
        )
        answer = self.connection.getresponse()
        answer.read()
        assert answer.status in (200, 201), answer.status

    def run(self, begun: threading.Barrier, killed: threading.Event) -> None:
        begun.wait()
        try:
            self.call("POST", PATH, self.document(0), "json")
            self.acknowledged.append(0)
            while not killed.is_set():
                self.sent += 1
                document = self.document(self.sent)
                patch = {
                    "metadata": {"annotations": document["metadata"]["annotations"]},
                    "spec": document["spec"],
                }
                self.call("PATCH", f"{PATH}/{self.name}", patch, "merge-patch+json")
                self.acknowledged.append(self.sent)
        except (OSError, http.client.HTTPException):
            return  # the server is gone


@pytest.mark.parametrize("writes_before_kill", [250, 700])
def test_kill_when_200_writers_write_loses_nothing(
    own_server: ApiServer, until: Any, writes_before_kill: int
) -> None:
    with ThreadPoolExecutor(16) as pool:
        writers = list(pool.map(lambda n: Writer(own_server, n), range(WRITERS)))
    begun, killed = threading.Barrier(WRITERS + 1), threading.Event()
    threads = [
        threading.Thread(target=writer.run, args=(begun, killed), daemon=True) for writer in writers
    ]
    for thread in threads:
        thread.start()
    begun.wait()
    until(
        lambda: sum(len(writer.acknowledged) for writer in writers) >= writes_before_kill,
        "enough writes",
        60,
    )
    own_server.kill()
    killed.set()
    for thread in threads:
        thread.join(10)
    assert own_server.start() < 5
    items = own_server.get(PATH)["items"]
    found = {item["metadata"]["name"]: item for item in items}
    for writer in writers:
        if not writer.acknowledged:
            continue
        item = found[writer.name]
        n = int(item["metadata"]["annotations"]["n"])
        assert writer.acknowledged[-1] <= n <= writer.sent
        assert item["spec"]["cores"] == 1 + n % 64
        assert len(item["metadata"]["annotations"]["fill"]) == 2000
    versions = [int(item["metadata"]["resourceVersion"]) for item in items]
    assert len(set(versions)) == len(versions)
    own_server.stop()
    with sqlite3.connect(own_server.folder / "apiserver.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_versions_when_killed_and_started_never_go_back(own_server: ApiServer) -> None:
    seen = 0
    for n in range(5):
        made = own_server.post(
            PATH,
            {
                "apiVersion": "example.com/v1",
                "kind": "Widget",
                "metadata": {"name": f"again-{n}"},
                "spec": {"cores": 1},
            },
        )
        assert int(made["metadata"]["resourceVersion"]) > seen
        seen = int(made["metadata"]["resourceVersion"])
        own_server.kill()
        own_server.start()
    assert len(own_server.get(PATH)["items"]) == 5
