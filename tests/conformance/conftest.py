from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import servers
import yaml

MANIFESTS = Path(__file__).parents[2] / "operator/manifests/crds"
TIMEOUT_S = 60


def found_kubectls() -> list[Path]:
    """Return the kubectl of this machine; KUBECTLS may name others, separated by colons."""
    given = [Path(one) for one in os.environ.get("KUBECTLS", "").split(":") if one]
    on_path = shutil.which("kubectl")
    return given or ([Path(on_path)] if on_path else [])


@dataclass(frozen=True)
class Kubectl:
    """A stock kubectl, its home folder, and the server it talks to."""

    program: Path
    home: Path
    server: servers.ApiServer

    def run(self, *arguments: str, stdin: object = None) -> subprocess.CompletedProcess[str]:
        """Run it; objects go to standard input as YAML."""
        documents = stdin if isinstance(stdin, list) else [stdin]
        text = None if stdin is None else yaml.safe_dump_all(documents)
        return subprocess.run(
            [str(self.program), *arguments],
            input=stdin if isinstance(stdin, str) else text,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.home),
                "KUBECONFIG": str(self.server.kubeconfig),
            },
        )

    def __call__(self, *arguments: str, stdin: object = None) -> str:
        """Return what it prints; it must succeed."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refused(self, *arguments: str, stdin: object = None) -> str:
        """Return what it complains of; it must not succeed."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def object(self, *arguments: str) -> Any:
        """Return an object as JSON."""
        return json.loads(self("get", *arguments, "-o", "json", "--show-managed-fields"))


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.ApiServer]:
    with servers.api_server(tmp_path_factory.mktemp("conformance")) as running:
        for path in sorted(MANIFESTS.glob("*.yaml")):
            definition = yaml.safe_load(path.read_text())
            running.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
        yield running


NO_KUBECTL = pytest.param(
    Path(), id="none", marks=pytest.mark.skip(reason="there is no kubectl on this machine")
)


@pytest.fixture(
    scope="session",
    params=[pytest.param(one, id=one.name) for one in found_kubectls()] or [NO_KUBECTL],
)
def program(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


@pytest.fixture(scope="session")
def home(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp(program.name)


@pytest.fixture
def kubectl(
    program: Path, home: Path, api_server: servers.ApiServer, request: pytest.FixtureRequest
) -> Iterator[Kubectl]:
    """A kubectl whose commands go to a namespace of the test's own."""
    made = Kubectl(program=program, home=home, server=api_server)
    namespace = f"t{abs(hash(request.node.name)) % 10**9}"
    made("create", "namespace", namespace)
    made("config", "set-context", "--current", "--namespace", namespace)
    yield made
    made("delete", "namespace", namespace, "--wait=false")
