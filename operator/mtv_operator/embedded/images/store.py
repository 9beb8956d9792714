"""The container images of this machine, unpacked: one folder per image, shared by all nodes.

    images/names/<hash>.json    a name: whose image it is, and where that came from
    images/unpacked/<digest>/   an image's files; whole, or not there
    images/registries.conf      mirrors and the like, see `registries`

A pod holds an image by a link in its own folder; what neither a name nor a pod holds is removed.
Images that were loaded by hand are never asked for at a registry.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from converters.errors import Cancelled, ConversionError
from converters.images import identify
from converters.oci import layout, origin, reference, unpacking
from converters.oci.origin import Image, Origin
from converters.oci.reference import Reference
from converters.oci.registry import Login, Registry
from mtv import errors
from mtv_operator.embedded.images import registries

FIRST_PAUSE_S, LONGEST_PAUSE_S = 10.0, 300.0  # the kubelet's back-off of pulls
LINKS = "nodes/*/pods/*/volumes/kubernetes.io~image/*"
ERR_PULL, BACK_OFF = "ErrImagePull", "ImagePullBackOff"
ERR_NEVER, ERR_NAME = "ErrImageNeverPull", "InvalidImageName"


class PullFailed(errors.Retryable):
    """An image that cannot be had. `reason` is the kubelet's word for it."""

    def __init__(self, message: str, *, reason: str = ERR_PULL, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class Stored(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A name and its image."""

    name: str
    digest: str
    source: str
    loaded: bool = False  # by hand
    at: float = 0.0


@dataclass(slots=True)
class _Failure:
    """A pull that failed, and when it is tried again."""

    message: str
    hint: str
    pause_s: float
    again_at: float


class Store:
    """The images below one data folder. `stop` cuts off what is being pulled."""

    def __init__(self, data: Path, stop: threading.Event | None = None) -> None:
        self._data = data
        self.folder = data / "images"
        self._stop = stop or threading.Event()
        self._failures: dict[str, _Failure] = {}

    def find(self, name: str) -> Stored | None:
        """Return what a name stands for here. Raises PullFailed for a text that is no name."""
        return self._read(self._name_file(str(_parsed(name))))

    def list(self) -> Sequence[Stored]:
        """Return all images that have a name, by name."""
        found = [self._read(path) for path in self.folder.glob("names/*.json")]
        return sorted((one for one in found if one is not None), key=lambda one: one.name)

    def path(self, stored: Stored) -> Path:
        """Return the folder of an image's files."""
        return self.folder / "unpacked" / stored.digest.replace(":", "-")

    def hold(
        self,
        name: str,
        policy: str,
        link: Path,
        logins: Callable[[], Mapping[str, Login]] = dict,
    ) -> Path:
        """Return the folder of an image, pulled if `policy` says so; `link` keeps it there.

        Raises PullFailed with the kubelet's reasons.
        """
        if link.is_symlink() and link.exists():
            return link.resolve()
        parsed = _parsed(name)
        stored = self.find(name)
        if stored is None or (policy == "Always" and not stored.loaded):
            if policy == "Never":
                message = f"container image {name} is not present with pull policy of Never"
                raise PullFailed(message, reason=ERR_NEVER, hint=_hint(name))
            stored = self._pulled(name, parsed, logins)
        with self._locked("lock"):
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(self.path(stored))
            self._collect()
        return self.path(stored)

    def load(self, path: Path, name: str, version: str = "") -> Stored:
        """Take an image from a file or folder of this machine under a name. Raises MigrationError.

        `path` is a disk (raw or qcow2), an image layout, or an archive of one. `version` chooses
        one of several images in a layout.
        """
        parsed = _parsed(name)
        try:
            if path.is_dir():
                digest = self._unpacked(layout.Layout(path), version, str(path))
            elif _is_archive(path):
                with layout.Archive(path) as archive:
                    digest = self._unpacked(archive, version, str(path))
            else:
                digest = self._disk(path)
        except ConversionError as fault:
            raise errors.BadInput(str(fault), field=str(path), hint=fault.hint) from fault
        return self._named(str(parsed), digest, str(path), loaded=True)

    def remove(self, name: str) -> None:
        """Forget a name, and its image if no pod uses it. Raises NotFound."""
        path = self._name_file(str(_parsed(name)))
        with self._locked("lock"):
            if not path.exists():
                raise errors.NotFound(f"there is no image {name}", hint="see `mtv image list`")
            path.unlink()
            self._collect()

    def _pulled(
        self, name: str, parsed: Reference, logins: Callable[[], Mapping[str, Login]]
    ) -> Stored:
        """Pull an image; remember for a while that it could not be."""
        failure = self._failures.get(name)
        if failure is not None and time.monotonic() < failure.again_at:
            message = f'Back-off pulling image "{name}": {failure.message}'
            raise PullFailed(message, reason=BACK_OFF, hint=failure.hint)
        try:
            with self._locked(f"pull-{_hash(str(parsed))}"):
                stored = self._pull(parsed, logins())
        except Cancelled as fault:
            raise PullFailed(f"pulling {name} was cut off") from fault
        except (ConversionError, errors.BadInput) as fault:
            pause = min(failure.pause_s * 2, LONGEST_PAUSE_S) if failure else FIRST_PAUSE_S
            hint = fault.hint or _hint(name)
            again = time.monotonic() + pause
            self._failures[name] = _Failure(str(fault), hint, pause, again)
            raise PullFailed(f'failed to pull image "{name}": {fault}', hint=hint) from fault
        self._failures.pop(name, None)
        return stored

    def _pull(self, parsed: Reference, logins: Mapping[str, Login]) -> Stored:
        """Fetch an image from the first place that has it. Raises ConversionError."""
        faults: list[ConversionError] = []
        for name, place in registries.places(parsed, registries.read(self.folder)):
            login = logins.get(name.registry) or logins.get(parsed.registry)
            try:
                digest = self._unpacked(Registry(name, place, login), name.version, str(parsed))
            except ConversionError as fault:
                faults.append(fault)
                continue
            return self._named(str(parsed), digest, place.url)
        raise faults[-1]

    def _unpacked(self, source: Origin, version: str, name: str) -> str:
        """Return the digest of an image that is unpacked now."""
        image = origin.resolve(source, version, name)
        self._whole(image.digest, lambda folder: self._unpack(source, image, folder))
        return image.digest

    def _unpack(self, source: Origin, image: Image, folder: Path) -> None:
        unpacking.unpack(source, image, folder, cancelled=self._stop.is_set)

    def _disk(self, path: Path) -> str:
        """Return the digest of a disk file, stored as an image that has only it."""
        try:
            with path.open("rb") as file:
                found = identify.identify(file.read(identify.START_BYTES))
                if found.value not in ("raw", "qcow2"):
                    raise errors.BadInput(
                        f"{path.name} is {found.value}; a container disk is raw or qcow2",
                        hint=f"mtv convert {path.name} disk.qcow2",
                    )
                file.seek(0)
                digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
                file.seek(0)

                def write(folder: Path) -> None:
                    (folder / "disk").mkdir()
                    size = os.fstat(file.fileno()).st_size
                    unpacking.write_sparse(file, folder / "disk" / path.name, size)

                self._whole(digest, write)
        except OSError as fault:
            raise errors.BadInput(f"{path}: {fault.strerror}", field=str(path)) from fault
        return digest

    def _whole(self, digest: str, write: Callable[[Path], None]) -> None:
        """Have `write` fill an image's folder, which gets its name when it is whole."""
        final = self.folder / "unpacked" / digest.replace(":", "-")
        if final.is_dir():
            return
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".new-", dir=final.parent))
        try:
            temporary.chmod(0o755)
            write(temporary)
            os.sync()
            if not final.is_dir():
                temporary.rename(final)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _named(self, name: str, digest: str, source: str, *, loaded: bool = False) -> Stored:
        stored = Stored(name=name, digest=digest, source=source, loaded=loaded, at=time.time())
        path = self._name_file(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._locked("lock"):
            temporary = path.with_suffix(".new")
            temporary.write_bytes(msgspec.json.encode(stored))
            temporary.replace(path)
        return stored

    def _collect(self) -> None:
        """Remove what neither a name nor a pod holds. The lock is held."""
        kept = {self.path(one).name for one in self.list()}
        kept |= {Path(os.readlink(link)).name for link in self._data.glob(LINKS)}
        for path in self.folder.glob("unpacked/sha256-*"):
            # One that was just unpacked gets its name in a moment.
            if path.name not in kept and path.stat().st_mtime < time.time() - 60:
                shutil.rmtree(path, ignore_errors=True)

    def _name_file(self, name: str) -> Path:
        return self.folder / "names" / f"{_hash(name)}.json"

    def _read(self, path: Path) -> Stored | None:
        try:
            stored = msgspec.json.decode(path.read_bytes(), type=Stored)
        except (OSError, msgspec.MsgspecError):
            return None
        return stored if self.path(stored).is_dir() else None

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """Hold a lock among all processes of this machine; the kernel frees it with its holder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f".{name}").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _parsed(name: str) -> Reference:
    try:
        return reference.parse(name)
    except ConversionError as fault:
        raise PullFailed(str(fault), reason=ERR_NAME, hint=fault.hint) from fault


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def _hint(name: str) -> str:
    return f"where the registry cannot be reached: mtv image load FILE {name}"


def _is_archive(path: Path) -> bool:
    """Tell whether a file is a tar archive, compressed or not."""
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError:
        return False
    return start[257:262] == b"ustar" or start[:2] == b"\x1f\x8b" or start[:6] == b"\xfd7zXZ\0"
