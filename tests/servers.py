"""Real servers as processes, for tests: started, reached over TLS, ended or killed."""

from __future__ import annotations

import contextlib
import datetime
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtv_operator.embedded import pki

DEADLINE_S = 15.0


def until(check: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """Return the first true result of `check`; fail when there is none in time."""
    end = time.monotonic() + deadline_s
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s:g} s: {what}; last seen {found!r}")
        time.sleep(0.01)


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class ApiServer:
    """An API server process, and what is needed to reach it as administrator."""

    folder: Path
    port: int
    pki: pki.Authority
    process: subprocess.Popen[bytes] | None = None
    arguments: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def log(self) -> Path:
        return self.folder / "apiserver.log"

    def start(self) -> float:
        """Start the process and wait until it is ready; return the seconds that took."""
        began = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mtv_operator.embedded.apiserver", *self.arguments],
                stderr=log,
                stdout=log,
            )
        until(self._ready, f"ready, see {self.log}")
        return time.monotonic() - began

    def _ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"it ended: {self.log.read_text()[-2000:]}")
        try:
            return self.request("GET", "/readyz")[0] == 200
        except OSError:
            return False

    def kill(self) -> None:
        """End the process by SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End the process by SIGTERM; return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=DEADLINE_S)

    # requests

    def tls(self, user: str = "admin", groups: tuple[str, ...] = ()) -> ssl.SSLContext:
        """Return the client's side of TLS for a user; "" for nobody."""
        context = ssl.create_default_context(cafile=str(self.pki.certificate_path))
        if user == "admin":
            groups = ("system:masters",)
        if user:
            pair = self.pki.issue(f"client-{user}", common_name=user, organisations=groups)
            context.load_cert_chain(pair.certificate, pair.key)
        return context

    def connect(self, user: str = "admin", **more: Any) -> http.client.HTTPSConnection:
        """Return a connection as some user."""
        return http.client.HTTPSConnection(
            "127.0.0.1", self.port, context=self.tls(user, **more), timeout=DEADLINE_S
        )

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        user: str = "admin",
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Return the code and the decoded body of one request."""
        connection = self.connect(user)
        try:
            content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            sent = {"Content-Type": content_type, **(headers or {})}
            connection.request(method, path, content, sent)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text.decode()

    def get(self, path: str) -> Any:
        """Return an object that must be there."""
        code, found = self.request("GET", path)
        assert code == 200, found
        return found

    def post(self, path: str, document: object) -> Any:
        """Create an object, which must succeed."""
        code, made = self.request("POST", path, document)
        assert code == 201, made
        return made

    def watch(self, path: str) -> Iterator[dict[str, Any]]:
        """Yield the events of a watch until the server ends it."""
        connection = self.connect()
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            while line := answer.readline():
                yield json.loads(line)
        finally:
            connection.close()

    def kubectl(
        self, *arguments: str, stdin: str = "", expect: int | None = 0, **environment: str
    ) -> str:
        """Return what stock kubectl prints (stdout, then stderr); check its exit code."""
        result = subprocess.run(
            ["kubectl", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            env={
                **os.environ,
                "KUBECONFIG": str(self.kubeconfig),
                "HOME": str(self.folder),
                "NO_PROXY": "*",
                **environment,
            },
        )
        text = result.stdout + result.stderr
        assert expect is None or result.returncode == expect, text
        return text


@contextlib.contextmanager
def api_server(folder: Path, *more: str) -> Iterator[ApiServer]:
    """Run an API server in a folder; ended when left."""
    now = datetime.datetime.now(datetime.UTC)
    authority = pki.Authority(folder / "pki", now)
    serving = authority.issue(
        "apiserver",
        common_name="kube-apiserver",
        organisations=["system:masters"],
        addresses=["127.0.0.1", "localhost", "kubernetes", "kubernetes.default.svc"],
    )
    front_proxy = authority.issue("front-proxy", common_name="front-proxy-client")
    admin = authority.issue("client-admin", common_name="admin", organisations=["system:masters"])
    port = free_port()
    server = ApiServer(folder=folder, port=port, pki=authority)
    server.arguments = [
        *("--data-dir", str(folder)),
        *("--listen", f"127.0.0.1:{port}"),
        *("--tls-cert", str(serving.certificate), "--tls-key", str(serving.key)),
        *("--client-ca", str(authority.certificate_path)),
        *("--service-account-key", str(authority.signing_key("service-accounts"))),
        *("--front-proxy-cert", str(front_proxy.certificate)),
        *("--front-proxy-key", str(front_proxy.key)),
        *more,
    ]
    server.kubeconfig.write_text(
        pki.kubeconfig(server=server.url, ca=authority.certificate_path, client=admin)
    )
    server.start()
    try:
        yield server
    finally:
        assert server.process is not None
        if server.process.poll() is None:
            server.process.terminate()
            try:
                server.process.wait(timeout=DEADLINE_S)
            except subprocess.TimeoutExpired:
                server.kill()
                raise
