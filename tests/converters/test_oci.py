"""Disks in container images: names, layouts, a registry, and images made to do harm."""

from __future__ import annotations

import tarfile

import oci_images
import pytest

from converters.errors import CorruptImage, SourceRefused, SourceUnauthorized, UnsupportedImage
from converters.oci import layout, origin, reference, registry, unpacking
from converters.oci.registry import Login

DISK = b"a disk" + bytes(300_000) + b"its end"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("quay.io/containerdisks/fedora:36", "quay.io/containerdisks/fedora:36"),
        ("docker://quay.io/a/b", "quay.io/a/b:latest"),
        ("alpine", "docker.io/library/alpine:latest"),
        ("kubevirt/cirros:v1", "docker.io/kubevirt/cirros:v1"),
        ("registry:5000/kubevirt/alpine:devel", "registry:5000/kubevirt/alpine:devel"),
        ("localhost/x", "localhost/x:latest"),
        (f"r.io/x:1@sha256:{'a' * 64}", f"r.io/x@sha256:{'a' * 64}"),
    ],
)
def test_a_name_is_read_as_container_engines_read_it(text, expected):
    assert str(reference.parse(text)) == expected


@pytest.mark.parametrize("text", ["", "UPPER/case", "a b", "x:", "r.io/x@sha256:short", "../x"])
def test_what_is_no_name_is_refused(text):
    with pytest.raises(UnsupportedImage):
        reference.parse(text)


def unpacked(image, folder, source):
    found = origin.resolve(source, image if isinstance(image, str) else "", "image")
    folder.mkdir()
    unpacking.unpack(source, found, folder)
    return folder


def test_a_layout_is_unpacked_with_its_later_layers_over_the_earlier(tmp_path):
    first = oci_images.layer({"disk/old.img": b"old", "disk/disk.img": DISK, "etc/kept": b"1"})
    image = oci_images.Image(first, oci_images.layer({"disk/.wh.old.img": b""}))
    found = unpacked("", tmp_path / "out", layout.Layout(image.write(tmp_path / "in")))

    assert sorted(str(one.relative_to(found)) for one in found.rglob("*") if one.is_file()) == [
        "disk/disk.img",
        "etc/kept",
    ]
    disk = found / "disk/disk.img"
    assert disk.read_bytes() == DISK
    assert disk.stat().st_blocks * 512 < len(DISK)  # zeros are holes


def test_an_archive_of_a_layout_is_one_too(tmp_path):
    image = oci_images.Image(oci_images.layer({"disk/disk.img": DISK}))
    image.write(tmp_path / "in")
    with tarfile.open(tmp_path / "image.tar", "w") as archive:
        archive.add(tmp_path / "in", arcname=".")
    with layout.Archive(tmp_path / "image.tar") as source:
        found = unpacked("", tmp_path / "out", source)
    assert (found / "disk/disk.img").read_bytes() == DISK


def _link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


def test_nothing_is_written_outside_of_the_folder(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    evil = oci_images.layer(
        {"../escaped": b"x", "/absolute": b"y"}, more=[_link("way", str(outside))]
    )
    through = oci_images.layer({"way/in": b"z"})
    image = oci_images.Image(evil, through)
    found = unpacked("", tmp_path / "out", layout.Layout(image.write(tmp_path / "in")))

    assert not list(outside.iterdir())
    assert not (tmp_path / "escaped").exists()
    assert (found / "absolute").read_bytes() == b"y"
    assert (found / "way/in").read_bytes() == b"z"  # the link gave way to a folder


def test_a_layer_that_is_not_what_its_digest_says_is_refused(tmp_path):
    image = oci_images.Image(oci_images.layer({"disk/disk.img": DISK}))
    digest = next(name for name, content in image.blobs.items() if content[:2] == b"\x1f\x8b")
    changed = bytearray(image.blobs[digest])
    changed[-5] ^= 1
    image.blobs[digest] = bytes(changed)
    with pytest.raises(CorruptImage):
        unpacked("", tmp_path / "out", layout.Layout(image.write(tmp_path / "in")))


def test_an_image_of_another_architecture_says_which_there_are(tmp_path):
    image = oci_images.Image(oci_images.layer({"disk/disk.img": b"x"}), architecture="s390x")
    with pytest.raises(UnsupportedImage, match="only for s390x"):
        unpacked("", tmp_path / "out", layout.Layout(image.write(tmp_path / "in")))


def test_a_registry_is_read_with_the_token_that_it_asks_for(tmp_path):
    image = oci_images.Image(oci_images.layer({"disk/disk.img": DISK}))
    with oci_images.registry(image, "team/vm", "v1", token="secret") as host:
        name = reference.parse(f"{host}/team/vm:v1")
        place = registry.place_of(host)
        with pytest.raises(SourceUnauthorized):
            registry.Registry(name, place).manifest("v1")
        source = registry.Registry(name, place, Login(user="u", password="p"))
        found = unpacked("v1", tmp_path / "out", source)
        with pytest.raises(SourceRefused, match="no such image"):
            source.manifest("v2")
    assert (found / "disk/disk.img").read_bytes() == DISK


def test_a_login_never_shows_its_password():
    assert "p4ss" not in repr(Login(user="u", password="p4ss"))
