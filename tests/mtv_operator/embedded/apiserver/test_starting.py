from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from servers import ApiServer


def start(arguments: list[str]) -> tuple[int, str]:
    """Start a server that must not run; return its exit code and its last line."""
    result = subprocess.run(
        [sys.executable, "-m", "mtv_operator.embedded.apiserver", *arguments],
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert "Traceback" not in result.stderr
    return result.returncode, result.stderr.strip().splitlines()[-1]


def replaced(server: ApiServer, option: str, value: str) -> list[str]:
    arguments = list(server.arguments)
    arguments[arguments.index(option) + 1] = value
    return arguments


def test_start_when_another_server_has_the_folder_is_refused(own_server: ApiServer) -> None:
    code, told = start(replaced(own_server, "--listen", "127.0.0.1:0"))
    assert code == 73
    assert f"another API server uses {own_server.folder}" in told


def test_start_when_the_address_is_taken_is_refused(own_server: ApiServer, tmp_path: Path) -> None:
    code, told = start(replaced(own_server, "--data-dir", str(tmp_path / "other")))
    assert code == 65
    assert "Address already in use" in told


def test_start_when_a_file_is_missing_names_it(own_server: ApiServer, tmp_path: Path) -> None:
    code, told = start(replaced(own_server, "--client-ca", str(tmp_path / "none")))
    assert code == 66
    assert "--client-ca" in told


def test_stop_when_asked_ends_cleanly_and_starts_again(own_server: ApiServer) -> None:
    own_server.post("/api/v1/namespaces", {"metadata": {"name": "kept"}})
    assert own_server.stop() == 0
    own_server.start()
    assert own_server.get("/api/v1/namespaces/kept")["status"]["phase"] == "Active"
    mode = (own_server.folder / "apiserver.db").stat().st_mode
    assert mode & 0o077 == 0
