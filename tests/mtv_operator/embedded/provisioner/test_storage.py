"""Volumes on disk: made, found again, grown and removed, and nothing else."""

import pytest

from mtv import errors
from mtv_operator.embedded.provisioner.storage import Store

NAME = "pvc-00000000-0000-0000-0000-000000000001"


def test_making_a_volume_again_keeps_what_it_holds(tmp_path):
    store = Store(tmp_path / "v")
    path = store.make(NAME, 1 << 20, block=False)
    (path / "disk.img").write_bytes(b"guest")
    assert store.make(NAME, 1 << 20, block=False) == path
    assert (path / "disk.img").read_bytes() == b"guest"


def test_block_volume_is_a_sparse_file_that_grows_and_never_shrinks(tmp_path):
    store = Store(tmp_path)
    path = store.make(NAME, 1 << 30, block=True)
    assert path.stat().st_size == 1 << 30
    assert path.stat().st_blocks * 512 < 1 << 20
    store.grow(path, 2 << 30)
    assert path.stat().st_size == 2 << 30
    store.make(NAME, 1 << 20, block=True)
    assert path.stat().st_size == 2 << 30


@pytest.mark.parametrize("block", [False, True])
def test_destroyed_volume_is_gone(tmp_path, block):
    store = Store(tmp_path)
    path = store.make(NAME, 1 << 20, block=block)
    store.destroy(path)
    store.destroy(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["important", "../pvc-x", "pvc-1", ".."])
def test_what_is_no_volume_is_never_removed(tmp_path, name):
    folder = tmp_path / "v"
    (folder / "important").mkdir(parents=True)
    with pytest.raises(errors.Bug, match="nothing was removed"):
        Store(folder).destroy(folder / name)
    assert (folder / "important").is_dir()


def test_interrupted_removal_is_finished(tmp_path):
    (tmp_path / f".doomed-{NAME}/sub").mkdir(parents=True)
    (tmp_path / NAME).mkdir()
    Store(tmp_path).finish()
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
