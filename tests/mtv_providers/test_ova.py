"""Packages as a source: what becomes of their descriptors, which are refused, bytes of disks."""

import gzip
import http.server
import threading
from pathlib import Path

import ova_packages
import pytest

from converters import pipeline, testing
from converters.errors import ConversionError
from converters.sinks.memory import MemorySink
from mtv import errors
from mtv.inventory.model import Firmware, PowerState
from mtv.providers.ova import disks, inventory, location
from mtv.providers.ova.session import Session

ONE = testing.sample_disk(3 << 20, seed=1)
TWO = testing.sample_disk(1 << 20, seed=2)
MAC = "00:50:56:01:02:03"


@pytest.fixture(scope="module")
def vmdks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vmdks")
    made = []
    for name, content in (("one", ONE), ("two", TWO)):
        raw = folder / f"{name}.raw"
        raw.write_bytes(content)
        made.append(ova_packages.stream_vmdk(raw, folder / f"{name}.vmdk").read_bytes())
    return made


def members(vmdks, *, packed=False):
    first, second = vmdks
    name = "disk1.vmdk.gz" if packed else "disk1.vmdk"
    return ova_packages.members_of(
        "web",
        [
            (name, gzip.compress(first, 1) if packed else first, len(ONE)),
            ("disk2.vmdk", second, len(TWO)),
        ],
        [ova_packages.system("web", ["vmdisk1", "vmdisk2"], macs=[MAC], efi=True)],
    )


def pulled(path):
    with Session(str(path), name="lab") as session:
        return session.pull()


def only_vm(found):
    return next(iter(found.vms.values()))


def copied(place, member):
    with disks.opened(place, member) as disk:
        sink = MemorySink(disk.source.capacity_bytes)
        with pipeline.Copy(disk.source, sink) as running:
            while not running.wait(1):
                pass
        return bytes(sink.content)


def test_ova_when_pulled_is_a_vm_with_its_hardware(tmp_path, vmdks):
    found = pulled(ova_packages.ova(tmp_path / "web.ova", members(vmdks)))
    vm = only_vm(found)
    assert (vm.name, vm.cpu_count, vm.memory_bytes) == ("web", 2, 512 << 20)
    assert (vm.firmware, vm.power_state) == (Firmware.EFI, PowerState.OFF)
    assert vm.guest_id == "rhel9_64Guest"
    assert [nic.mac for nic in vm.nics] == [MAC]
    assert [one.name for one in found.networks.values()] == ["VM Network"]
    stores = [one.name for one in found.datastores.values()]
    assert stores == ["Dummy storage for source provider lab"]
    assert [one.capacity_bytes for one in vm.disks] == [len(ONE), len(TWO)]
    assert [(str(one.bus), one.controller_model) for one in vm.disks] == [("scsi", "pvscsi")] * 2


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_disk_of_an_ova_when_copied_is_the_disk(tmp_path, vmdks, packed):
    path = ova_packages.ova(tmp_path / "web.ova", members(vmdks, packed=packed))
    vm = only_vm(pulled(path))
    place = disks.Place(location=location.parse(str(path)))
    for disk, content in zip(vm.disks, (ONE, TWO), strict=True):
        assert copied(place, inventory.member_of(disk.file, disk.package)) == content


def test_folder_when_pulled_has_the_vms_of_all_its_packages(tmp_path, vmdks):
    folder = tmp_path / "packages"
    (folder / "unpacked").mkdir(parents=True)
    ova_packages.ova(folder / "web.ova", members(vmdks))
    systems = [ova_packages.system(name, ["vmdisk1"]) for name in ("app1", "app2")]
    for name, content in ova_packages.members_of("apps", [("d.vmdk", vmdks[1], len(TWO))], systems):
        (folder / "unpacked" / name).write_bytes(content)
    (folder / "broken.ova").write_bytes(b"not a package")
    found = pulled(folder)
    assert sorted(vm.path for vm in found.vms.values()) == [
        "/unpacked/apps.ovf/app1",
        "/unpacked/apps.ovf/app2",
        "/web.ova/web",
    ]
    shared = [vm.disks[0] for vm in found.vms.values() if vm.name.startswith("app")]
    assert len({one.base_file for one in shared}) == 2  # each VM gets a copy of its own
    assert any(note.startswith("broken.ova: ") for note in found.notes)
    place = disks.Place(location=location.parse(str(folder / "unpacked/apps.ovf")))
    assert copied(place, "d.vmdk") == TWO


def test_ids_when_the_folder_is_mounted_elsewhere_stay(tmp_path, vmdks):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        ova_packages.ova(tmp_path / name / "web.ova", members(vmdks))
    assert list(pulled(tmp_path / "a").vms) == list(pulled(tmp_path / "b").vms)


def test_ova_when_a_disk_is_damaged_is_refused_at_its_end(tmp_path, vmdks):
    def spoiled(name, content):
        return content[:-700] + b"\x01" + content[-699:] if name == "disk1.vmdk" else content

    damaged = [(name, spoiled(name, content)) for name, content in members(vmdks)]
    place = disks.Place(
        location=location.parse(str(ova_packages.ova(tmp_path / "web.ova", damaged)))
    )
    with pytest.raises(ConversionError, match="disk1"):
        copied(place, "disk1.vmdk")


def _cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda given: [*given, ("../../etc/evil", b"x")], "plain name"),
        (lambda given: [given[0], (given[1][0], b"SHA256(web.ovf)= " + b"0" * 64), *given[2:]],
         "as the manifest says"),
        (lambda given: given[:-1], "disk2.vmdk is missing"),
    ],
    ids=["a member leads elsewhere", "the descriptor is another", "a disk is missing"],
)  # fmt: skip
def test_ova_when_it_lies_is_refused(tmp_path, vmdks, spoil, said):
    path = ova_packages.ova(tmp_path / "web.ova", spoil(members(vmdks)))
    with pytest.raises(errors.SourceRefused, match=said):
        pulled(path)


def test_ova_when_it_was_cut_short_is_refused(tmp_path, vmdks):
    path = ova_packages.ova(tmp_path / "web.ova", members(vmdks))
    _cut(path)
    with pytest.raises(errors.SourceRefused, match="in the middle of"):
        pulled(path)


def test_packages_when_they_come_from_a_web_server_are_the_same(tmp_path, vmdks):
    ova_packages.ova(tmp_path / "web.ova", members(vmdks))
    for name, content in members(vmdks):
        (tmp_path / name).write_bytes(content)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    def handler(*arguments):
        return Quiet(*arguments, directory=str(tmp_path))

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            for name in ("web.ova", "web.ovf"):
                url = f"http://127.0.0.1:{server.server_port}/{name}"
                vm = only_vm(pulled(url))
                assert [one.capacity_bytes for one in vm.disks] == [len(ONE), len(TWO)]
                place = disks.Place(location=location.parse(url))
                assert copied(place, "disk2.vmdk") == TWO
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    "url",
    ["nfs.example.org:/export", "relative/path.ova", "/a/../b.ova", "ftp://x/y.ova",
     "https://host/folder/", "https://u:p@host/x.ova"],
)  # fmt: skip
def test_location_when_it_is_none_is_refused_with_a_way_out(url):
    with pytest.raises(errors.BadInput) as refused:
        location.parse(url)
    assert refused.value.field == "spec.url"
    assert refused.value.hint
