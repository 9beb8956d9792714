"""Volumes of pods: what is made on the node, who may read it, and what is left."""

import getpass
import os
import stat
from pathlib import Path

import msgspec
import pytest

from mtv import errors
from mtv.api.core import PersistentVolume, Pod
from mtv_operator.embedded.node import devices, volumes

ADDRESSES = {"status.podIP": "10.244.1.5"}
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason=f"needs root, is {getpass.getuser()}")


class Known:
    """An API server that knows a few things."""

    def __init__(self, volume=None, **values):
        self.objects = values
        self.volume = volume

    def values(self, kind, namespace, name):
        return self.objects.get(name)

    def claimed(self, namespace, claim):
        if self.volume is None:
            raise errors.TargetUnavailable(f"claim {namespace}/{claim} is not bound yet")
        return self.volume

    def token(self, pod, wanted):
        return f"token for {wanted.audience or 'the API server'}".encode()


def keeper(folder, source):
    return volumes.Keeper(node="one", volumes=folder / "pvs", source=source, amounts={"cpu": 2000})


def pod(*described, group=None, **fields):
    spec = {"containers": [{"name": "c"}], "volumes": list(described), **fields}
    if group is not None:
        spec["securityContext"] = {"fsGroup": group}
    metadata = {"name": "p", "namespace": "n", "uid": "uid-1", "labels": {"app": "web"}}
    return msgspec.convert({"metadata": metadata, "spec": spec}, Pod)


def prepare(tmp_path, source, given):
    return keeper(tmp_path, source).prepare(given, tmp_path / "pod", ADDRESSES)


def test_empty_dir_lies_where_the_kubelet_has_it_and_all_may_write(tmp_path):
    made = prepare(tmp_path, Known(), pod({"name": "scratch", "emptyDir": {}}))
    path = Path(made["scratch"].path)
    assert path == tmp_path / "pod/volumes/kubernetes.io~empty-dir/scratch"
    assert stat.S_IMODE(path.stat().st_mode) == 0o777


@needs_root
def test_empty_dir_with_fs_group_belongs_to_the_group(tmp_path):
    made = prepare(tmp_path, Known(), pod({"name": "s", "emptyDir": {}}, group=1234))
    found = os.stat(made["s"].path)
    assert found.st_gid == 1234
    assert found.st_mode & stat.S_ISGID


@needs_root
def test_empty_dir_in_memory_is_mounted_and_released_again(tmp_path):
    given = pod({"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}})
    made = prepare(tmp_path, Known(), given)
    try:
        assert os.path.ismount(made["m"].path)
        assert os.statvfs(made["m"].path).f_blocks * 4096 == 1 << 20
    finally:
        volumes.remove(tmp_path / "pod")
    assert not (tmp_path / "pod/volumes").exists()


def test_secret_items_choose_keys_paths_and_modes(tmp_path):
    secret = {"secretName": "s", "items": [{"key": "k", "path": "sub/file", "mode": 0o400}]}
    made = prepare(
        tmp_path, Known(s={"k": b"v", "other": b""}), pod({"name": "x", "secret": secret})
    )
    path = Path(made["x"].path, "sub/file")
    assert path.read_bytes() == b"v"
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert not Path(made["x"].path, "other").exists()


@pytest.mark.parametrize(
    ("volume", "sentence"),
    [
        ({"name": "x", "secret": {"secretName": "none"}}, "Secret n/none does not exist"),
        ({"name": "x", "configMap": {"name": "none"}}, "ConfigMap n/none does not exist"),
        (
            {"name": "x", "configMap": {"name": "s", "items": [{"key": "q", "path": "q"}]}},
            "ConfigMap n/s has no key q",
        ),
    ],
)
def test_missing_object_is_named(tmp_path, volume, sentence):
    with pytest.raises(errors.NotFound, match=sentence):
        prepare(tmp_path, Known(s={"k": b"v"}), pod(volume))


def test_optional_object_that_is_missing_gives_an_empty_folder(tmp_path):
    volume = {"name": "x", "configMap": {"name": "none", "optional": True}}
    made = prepare(tmp_path, Known(), pod(volume))
    assert not [one for one in os.listdir(made["x"].path) if not one.startswith("..")]


def test_projected_volume_holds_token_ca_and_fields(tmp_path):
    sources = [
        {"serviceAccountToken": {"path": "token"}},
        {"configMap": {"name": "ca", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "ip", "fieldRef": {"fieldPath": "status.podIP"}}]}},
    ]
    given = pod({"name": "x", "projected": {"sources": sources}})
    made = prepare(tmp_path, Known(ca={"ca.crt": b"PEM"}), given)
    folder = Path(made["x"].path)
    assert (folder / "token").read_text() == "token for the API server"
    assert (folder / "ca.crt").read_text() == "PEM"
    assert (folder / "ip").read_text() == "10.244.1.5"


def test_refresh_shows_the_new_value_of_a_config_map(tmp_path):
    source = Known(s={"k": b"old"})
    given = pod({"name": "x", "configMap": {"name": "s"}})
    made = prepare(tmp_path, source, given)
    source.objects["s"] = {"k": b"new"}
    assert keeper(tmp_path, source).refresh(given, tmp_path / "pod", ADDRESSES)
    assert Path(made["x"].path, "k").read_bytes() == b"new"


@pytest.mark.parametrize("kind", ["Directory", "File", "Socket", "BlockDevice", "Nonsense"])
def test_host_path_of_the_wrong_type_is_refused(tmp_path, kind):
    volume = {"name": "x", "hostPath": {"path": str(tmp_path / "none"), "type": kind}}
    with pytest.raises(errors.NeedsOperator, match=r"volume x|hostPath"):
        prepare(tmp_path, Known(), pod(volume))


def test_claim_that_is_not_bound_is_waited_for(tmp_path):
    volume = {"name": "x", "persistentVolumeClaim": {"claimName": "c"}}
    with pytest.raises(errors.Retryable, match="n/c is not bound"):
        prepare(tmp_path, Known(), pod(volume))


def persistent(path, mode):
    return msgspec.convert(
        {
            "metadata": {"name": "pv"},
            "spec": {"volumeMode": mode, "local": {"path": str(path)}},
        },
        PersistentVolume,
    )


@needs_root
def test_filesystem_claim_is_shared_with_the_group_each_time(tmp_path):
    (tmp_path / "pv").mkdir()
    (tmp_path / "pv/disk.img").touch(0o600)
    volume = {"name": "x", "persistentVolumeClaim": {"claimName": "c"}}
    source = Known(persistent(tmp_path / "pv", "Filesystem"))
    made = prepare(tmp_path, source, pod(volume, group=107))
    assert made["x"] == volumes.Prepared(path=str(tmp_path / "pv"))
    found = (tmp_path / "pv/disk.img").stat()
    assert found.st_gid == 107
    assert stat.S_IMODE(found.st_mode) == 0o660
    (tmp_path / "pv/late").touch(0o600)
    prepare(tmp_path, source, pod(volume, group=107))
    assert stat.S_IMODE((tmp_path / "pv/late").stat().st_mode) == 0o660


def test_claim_whose_folder_is_gone_says_which(tmp_path):
    volume = {"name": "x", "persistentVolumeClaim": {"claimName": "c"}}
    with pytest.raises(errors.NotFound, match=f"{tmp_path}/pv of volume pv is not there"):
        prepare(tmp_path, Known(persistent(tmp_path / "pv", "Filesystem")), pod(volume))


@needs_root
@pytest.mark.skipif(not Path("/dev/loop-control").exists(), reason="needs loop devices")
def test_block_claim_is_a_device_until_its_last_user_goes(tmp_path):
    place = tmp_path / "pvs"
    place.mkdir()
    file = place / "pv.img"
    with file.open("wb") as opened:
        opened.truncate(8 << 20)
    try:
        first = devices.attach(place, file, "pod-1", "one")
        assert devices.attach(place, file, "pod-2", "two") == first
        assert sorted(devices.in_use(place, "pv.img")) == ["pod-1", "pod-2"]
        os.truncate(file, 16 << 20)
        devices.resize(file)
        assert int(Path(f"/sys/block/{first.name}/size").read_text()) * 512 == 16 << 20
        devices.release(place, "pod-1")
        assert devices.find(file) == first
        devices.keep_only(place, "two", pods=set())
        assert devices.find(file) is None
    finally:
        devices.release(place, "pod-1")
        devices.release(place, "pod-2")
