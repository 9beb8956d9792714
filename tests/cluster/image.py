"""Write an image archive that `ctr images import` and `docker load` read.

    image.py NAME:TAG OUT.tar [--layer TAR|DIR]... [--file SRC:DEST[:MODE]]...
             [--entrypoint ARG]... [--env K=V]... [--workdir DIR]

No container engine is needed: an image is a few tar files, their digests and
two JSON documents.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


class Layer:
    """A compressed layer in a scratch file, with its two digests."""

    def __init__(self, source: Path, scratch: Path):
        if source.is_dir():
            plain = scratch / f"{source.name}.tar"
            with tarfile.open(plain, "w") as tar:
                tar.add(source, arcname=".", filter=_rooted)
        else:
            plain = source
        self.diff_id = _digest_file(plain)
        self.path = scratch / f"{self.diff_id[7:]}.gz"
        # Level 1: the archive is read once, on the machine that wrote it.
        with (
            open(plain, "rb") as src,
            open(self.path, "wb") as raw,
            gzip.GzipFile("", "wb", 1, raw, mtime=0) as dst,
        ):
            shutil.copyfileobj(src, dst, 1 << 20)
        self.digest = _digest_file(self.path)
        self.size = self.path.stat().st_size


def _rooted(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    return info


def _digest_file(path: Path) -> str:
    with open(path, "rb") as stream:
        return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def file_layer(specs: list[str], scratch: Path) -> Path:
    """A layer tar from SRC:DEST[:MODE] specifications."""
    out = scratch / "files.tar"
    with tarfile.open(out, "w") as tar:
        for spec in specs:
            src, dest, *mode = spec.split(":")
            info = _rooted(tar.gettarinfo(src, dest.lstrip("/")))
            info.mode = int(mode[0], 8) if mode else 0o755
            with open(src, "rb") as stream:
                tar.addfile(info, stream)
    return out


def write_image(
    name: str, out: Path, sources: list[Path], *, entrypoint=(), env=(), workdir="/", scratch: Path
) -> None:
    layers = [Layer(source, scratch) for source in sources]
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {
                "Entrypoint": list(entrypoint) or None,
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", *env],
                "WorkingDir": workdir,
            },
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": _digest(config), "size": len(config)},
            "layers": [{"mediaType": LAYER, "digest": i.digest, "size": i.size} for i in layers],
        }
    ).encode()
    reference = {
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": name.rpartition(":")[2],
    }
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [
            {
                "mediaType": MANIFEST,
                "digest": _digest(manifest),
                "size": len(manifest),
                "annotations": reference,
            }
        ],
    }
    # manifest.json is Docker's older index; both may stand in one archive.
    docker = [
        {
            "Config": _blob(_digest(config)),
            "RepoTags": [name],
            "Layers": [_blob(layer.digest) for layer in layers],
        }
    ]
    with tarfile.open(out, "w") as tar:
        _add(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        _add(tar, "index.json", json.dumps(index).encode())
        _add(tar, "manifest.json", json.dumps(docker).encode())
        _add(tar, _blob(_digest(config)), config)
        _add(tar, _blob(_digest(manifest)), manifest)
        for layer in {i.digest: i for i in layers}.values():
            tar.add(layer.path, _blob(layer.digest), filter=_rooted)


def _blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("out", type=Path)
    parser.add_argument("--layer", action="append", type=Path, default=[])
    parser.add_argument("--file", action="append", default=[])
    parser.add_argument("--entrypoint", action="append", default=[])
    parser.add_argument("--env", action="append", default=[])
    parser.add_argument("--workdir", default="/")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.out.parent or os.curdir) as name:
        scratch = Path(name)
        sources = list(args.layer)
        if args.file:
            sources.append(file_layer(args.file, scratch))
        write_image(
            args.name,
            args.out,
            sources,
            entrypoint=args.entrypoint,
            env=args.env,
            workdir=args.workdir,
            scratch=scratch,
        )


if __name__ == "__main__":
    main()
