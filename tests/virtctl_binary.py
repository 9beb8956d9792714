"""The real virtctl, built once from its own module; the result is kept in the user's cache."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "virtctl"
CACHE = Path.home() / ".cache/mtv-e2e/bin/virtctl"
BUILD_TIMEOUT_S = 1800
VERSION = "v1.6.0"
STAMP = "kubevirt.io/client-go/version.gitVersion"


def path() -> Path:
    """Return virtctl; skip the test, with the reason, where it cannot be built."""
    wanted = max((SOURCE / name).stat().st_mtime for name in ("go.mod", "main.go"))
    if CACHE.exists() and CACHE.stat().st_mtime >= wanted:
        return CACHE
    if shutil.which("go") is None:
        pytest.skip("virtctl cannot be built: there is no Go compiler")
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    new = CACHE.with_name("virtctl.new")
    command = ["go", "build", "-ldflags", f"-X {STAMP}={VERSION}", "-o", str(new), "."]
    built = subprocess.run(
        command, cwd=SOURCE, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S
    )
    if built.returncode:
        pytest.skip(f"virtctl cannot be built: {built.stderr.strip()[-500:]}")
    new.replace(CACHE)
    return CACHE
