from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import servers
from guest import launched
from guest.world import Handler, World

from mtv.api import core, meta, schema
from mtv_operator.objects import Client


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    folder = launched.folder_for(tmp_path)
    with servers.api_server(tmp_path / "api") as api, Client.connect(str(api.kubeconfig)) as client:
        for definition in schema.definitions():
            api.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
        for name in ("demo", "kubevirt"):
            client.create(core.Namespace(metadata=meta.ObjectMeta(name=name)))
        client.create(core.Node(metadata=meta.ObjectMeta(name=launched.NODE)))
        kubelet_root = folder / "kubelet"
        kubelet_root.mkdir()
        handler = Handler(api, kubelet_root)
        try:
            yield World(api, client, handler)
        finally:
            if handler.process is not None and handler.process.poll() is None:
                handler.process.kill()
                handler.process.wait()
