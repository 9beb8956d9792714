"""Container images for tests: an image layout, and a registry on this machine that serves it."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def layer(files: dict[str, bytes], *, more: Sequence[tarfile.TarInfo] = ()) -> bytes:
    """Return a gzipped layer with some files, and entries without content."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        for entry in more:
            archive.addfile(entry)
    return gzip.compress(content.getvalue())


class Image:
    """An image: its blobs by digest, the manifest's digest last added."""

    def __init__(self, *layers: bytes, architecture: str = "amd64") -> None:
        self.blobs: dict[str, bytes] = {}
        config = self._add(json.dumps({"architecture": architecture, "os": "linux"}).encode())
        described = [
            {"mediaType": LAYER, "digest": self._add(one), "size": len(one)} for one in layers
        ]
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": "application/json", "digest": config, "size": 1},
            "layers": described,
        }
        self.manifest = self._add(json.dumps(manifest).encode())
        entry = {
            "mediaType": MANIFEST,
            "digest": self.manifest,
            "size": len(self.blobs[self.manifest]),
            "platform": {"architecture": architecture, "os": "linux"},
        }
        self.index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]})

    def _add(self, content: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.blobs[digest] = content
        return digest

    def write(self, folder: Path) -> Path:
        """Write an image layout."""
        (folder / "blobs/sha256").mkdir(parents=True)
        for digest, content in self.blobs.items():
            (folder / "blobs/sha256" / digest.removeprefix("sha256:")).write_bytes(content)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        (folder / "index.json").write_text(self.index)
        return folder


@contextlib.contextmanager
def registry(image: Image, repository: str, tag: str, *, token: str = "") -> Iterator[str]:
    """Serve an image; yield `host:port`. With a `token` it must be fetched first, as user `u:p`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path == "/token":
                scope = parse_qs(parts.query)["scope"][0]
                known = self.headers.get("Authorization") == "Basic dTpw"
                assert scope == f"repository:{repository}:pull"
                self.answer(200 if known else 401, json.dumps({"token": token}).encode())
            elif token and self.headers.get("Authorization") != f"Bearer {token}":
                self.answer(401, b"", ("WWW-Authenticate", self.challenge()))
            else:
                self.content(parts.path)

        def challenge(self) -> str:
            return f'Bearer realm="http://{self.headers["Host"]}/token",service="test"'

        def content(self, path: str) -> None:
            root = f"/v2/{repository}"
            if path == f"{root}/manifests/{tag}":
                self.answer(200, image.index.encode())
                return
            digest = path.rpartition("/")[2]
            found = image.blobs.get(digest) if path.startswith(root) else None
            self.answer(404 if found is None else 200, found or b"")

        def answer(self, code: int, content: bytes, *headers: tuple[str, str]) -> None:
            self.send_response(code)
            for name, value in (*headers, ("Content-Length", str(len(content)))):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
