"""The images of a machine: loaded, pulled, kept as long as somebody holds them."""

from __future__ import annotations

import time
from pathlib import Path

import oci_images
import pytest

from converters.oci import reference
from mtv import errors
from mtv_operator.embedded.images import registries
from mtv_operator.embedded.images.store import PullFailed, Store

NAME = "quay.io/containerdisks/fedora:36"


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "data")


def link(tmp_path: Path, number: int = 1) -> Path:
    return tmp_path / f"data/nodes/n/pods/{number}/volumes/kubernetes.io~image/root"


def test_a_disk_that_was_loaded_is_an_image_and_no_registry_is_asked(store, tmp_path):
    (tmp_path / "disk.raw").write_bytes(b"disk" + bytes(100_000))
    store.load(tmp_path / "disk.raw", NAME)
    folder = store.hold(NAME, "Always", link(tmp_path))

    assert [one.name for one in (folder / "disk").iterdir()] == ["disk.raw"]
    assert [one.loaded for one in store.list()] == [True]


def test_a_disk_of_another_format_is_refused_with_the_way_out(store, tmp_path):
    (tmp_path / "disk.vhdx").write_bytes(b"vhdxfile" + bytes(1000))
    with pytest.raises(errors.BadInput, match="vhdx") as caught:
        store.load(tmp_path / "disk.vhdx", NAME)
    assert "mtv convert" in caught.value.hint


def test_an_image_is_pulled_once_and_held_while_a_pod_uses_it(store, tmp_path):
    image = oci_images.Image(oci_images.layer({"disk/a.img": b"a"}))
    with oci_images.registry(image, "vm", "1") as host:
        name = f"{host}/vm:1"
        folder = store.hold(name, "IfNotPresent", link(tmp_path))
    assert store.hold(name, "IfNotPresent", link(tmp_path, 2)) == folder

    store.remove(name)
    assert folder.is_dir()
    assert store.hold(name, "Always", link(tmp_path)) == folder  # a pod that is prepared again


def test_what_cannot_be_pulled_says_so_and_is_not_tried_again_at_once(store, tmp_path):
    for reason in ("ErrImagePull", "ImagePullBackOff"):
        with pytest.raises(PullFailed, match="does not answer") as caught:
            store.hold("127.0.0.1:1/none:1", "IfNotPresent", link(tmp_path))
        assert caught.value.reason == reason
    assert "mtv image load" in caught.value.hint


def test_never_means_never_and_a_bad_name_is_named(store, tmp_path):
    with pytest.raises(PullFailed) as caught:
        store.hold(NAME, "Never", link(tmp_path))
    assert caught.value.reason == "ErrImageNeverPull"
    with pytest.raises(PullFailed) as caught:
        store.hold("Not A Name", "Always", link(tmp_path))
    assert caught.value.reason == "InvalidImageName"


def test_an_image_without_a_name_goes_when_no_pod_holds_it(store, tmp_path):
    for number in (1, 2):
        (tmp_path / f"{number}.raw").write_bytes(b"%d" % number * 1000)
        store.load(tmp_path / f"{number}.raw", NAME)
    old = next(
        one for one in (store.folder / "unpacked").iterdir() if (one / "disk/1.raw").exists()
    )
    import os

    os.utime(old, (time.time() - 3600,) * 2)
    store.hold(NAME, "IfNotPresent", link(tmp_path))
    assert not old.exists()


def test_a_mirror_is_asked_first_and_its_images_keep_their_name():
    entry = registries.Entry(
        prefix="quay.io/containerdisks",
        mirror=(registries.Mirror(location="127.0.0.1:5000/mirror", insecure=True),),
    )
    found = registries.places(reference.parse(NAME), [entry])
    assert [(str(name), place.url) for name, place in found] == [
        ("127.0.0.1:5000/mirror/fedora:36", "http://127.0.0.1:5000/v2"),
        (NAME, "https://quay.io/v2"),
    ]
