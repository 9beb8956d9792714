"""Doing something inside another process's network namespace, and its way to files and devices."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

CLONE_NEWNET = 0x40000000  # sched.h


def network_namespace(pid: int) -> Path:
    """Return the file that stands for the network namespace of a process."""
    return Path(f"/proc/{pid}/ns/net")


def same_namespace(left: Path, right: Path) -> bool:
    """Tell whether two namespace files are the same namespace."""
    return left.stat().st_ino == right.stat().st_ino


def inside(namespace: Path, work: Callable[[], T]) -> T:
    """Run `work` in a network namespace and return what it returns.

    Namespaces belong to threads: the work is done by one that ends with it, and child processes
    that it starts are born inside. Raises what `work` raises.
    """
    results: list[T] = []
    faults: list[BaseException] = []

    def enter() -> None:
        try:
            descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _setns(descriptor)
            finally:
                os.close(descriptor)
            results.append(work())
        except BaseException as fault:
            faults.append(fault)

    thread = threading.Thread(target=enter, name=f"inside-{namespace}")
    thread.start()
    thread.join()
    if faults:
        raise faults[0]
    return results[0]


def _setns(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")
