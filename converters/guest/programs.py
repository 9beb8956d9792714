"""Programs that work on a guest's bytes: no shell, no environment, a time limit, bounded output.

They run with the rights of the caller. Their messages are shown shortened and escaped.
"""

from __future__ import annotations

import os
import resource
import selectors
import shutil
import subprocess
import time
from collections.abc import Sequence

from converters.errors import CorruptGuest, ProgramFailed

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_CHUNK = 1 << 18
MOST_MEMORY = 4 << 30  # address space of a program that reads a guest's bytes


def find(name: str, package: str) -> str:
    """Return a program's path. Raises ProgramFailed, which names its Debian package."""
    path = shutil.which(name, path=_PATH)
    if path is None:
        raise ProgramFailed(
            f"the program {name} is not on this machine", hint=f"install {package} (Debian's name)"
        )
    return path


def dies_with_us() -> list[str]:
    """Return the start of a command whose program ends when this process is killed."""
    return [find("setpriv", "util-linux"), "--pdeathsig", "TERM", "--"]


def environment() -> dict[str, str]:
    """Return what a program is told: where programs are, and to speak plainly."""
    return {"PATH": _PATH, "LC_ALL": "C.UTF-8", "HOME": "/nonexistent"}


def shown(raw: bytes) -> str:
    """Return a program's words for people: one line, escaped, shortened."""
    text = " ".join(raw.decode("utf-8", "replace").split())
    text = ascii(text)[1:-1]
    return text if len(text) <= 300 else text[:297] + "..."


def run(
    arguments: Sequence[str],
    *,
    stdin: bytes = b"",
    most: int = 1 << 24,
    timeout_s: float = 60,
    accepted: Sequence[int] = (0,),
    both: bool = False,
) -> bytes:
    """Run a program to its end; return what it prints, with `both` its complaints, too.

    Raises ProgramFailed for another exit code than those `accepted`, or a time above
    `timeout_s`, CorruptGuest for more than `most` bytes of output.
    """
    name = os.path.basename(arguments[0])
    process = subprocess.Popen(
        list(arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if both else subprocess.PIPE,
        env=environment(),
    )
    try:
        resource.prlimit(process.pid, resource.RLIMIT_CORE, (0, 0))
        resource.prlimit(process.pid, resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
        out, errors = _exchange(process, stdin, most, time.monotonic() + timeout_s)
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()
    if process.returncode not in accepted:
        raise ProgramFailed(
            f"{name} ended with {process.returncode}: {shown(errors or out[-2000:])}"
        )
    return out


def _exchange(
    process: subprocess.Popen[bytes], stdin: bytes, most: int, deadline: float
) -> tuple[bytes, bytes]:
    """Feed a program and collect its words until it ends."""
    assert process.stdin
    assert process.stdout
    name = os.path.basename(str(process.args[0]))  # type: ignore[index]
    out, errors, rest = bytearray(), bytearray(), memoryview(stdin)
    os.set_blocking(process.stdin.fileno(), False)
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, out)
        if process.stderr is not None:
            selector.register(process.stderr, selectors.EVENT_READ, errors)
        selector.register(process.stdin, selectors.EVENT_WRITE)
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                raise ProgramFailed(f"{name} took too long")
            for key, _ in selector.select(left):
                if key.fileobj is process.stdin:
                    try:
                        rest = rest[os.write(key.fd, rest[:_CHUNK]) :] if rest else rest
                    except BrokenPipeError:
                        rest = memoryview(b"")
                    if not rest:
                        selector.unregister(process.stdin)
                        process.stdin.close()
                    continue
                chunk = os.read(key.fd, _CHUNK)
                if not chunk:
                    selector.unregister(key.fileobj)
                elif key.data is errors:
                    errors += chunk[: max(0, 65536 - len(errors))]
                else:
                    out += chunk
                    if len(out) > most:
                        raise CorruptGuest(f"{name} makes more than {most} bytes of it")
    try:
        process.wait(max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise ProgramFailed(f"{name} took too long") from None
    return bytes(out), bytes(errors)
