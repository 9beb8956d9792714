"""Images that a guest can read: names kept in Rock Ridge and Joliet."""

import pycdlib
import pytest

from mtv import errors
from mtv_operator.virt_launcher import iso


def read(path, name):
    image = pycdlib.PyCdlib()
    image.open(str(path))
    try:
        with image.open_file_from_iso(rr_path=f"/{name}") as file:
            return image.pvd.volume_identifier.decode().strip(), file.read()
    finally:
        image.close()


def test_files_and_folders_are_read_back_by_their_names(tmp_path):
    files = {
        "user-data": b"#cloud-config\n",
        "openstack/latest/meta_data.json": b"{}",
        "empty": b"",
    }

    iso.write(tmp_path / "new/seed.iso", "cidata", files)

    for name, content in files.items():
        assert read(tmp_path / "new/seed.iso", name) == ("cidata", content)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["seed.iso"]


def test_a_label_that_cannot_be_is_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(errors.BadInput, match="the image cannot be made"):
        iso.write(tmp_path / "seed.iso", "x" * 40, {"a": b""})

    assert list(tmp_path.iterdir()) == []


def test_too_much_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(errors.BadInput, match="more than 64 MiB"):
        iso.write(tmp_path / "seed.iso", "cidata", {"a": bytes(iso.MOST_BYTES + 1)})
