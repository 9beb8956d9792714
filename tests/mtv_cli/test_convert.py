"""`mtv convert` and `mtv disk info`, as processes: what is written, said, and returned."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import disk_images
import pytest
from servers import until

from converters import testing
from mtv import errors
from mtv.cli import conversions, convert, progress_line

MTV = str(Path(sys.executable).parent / "mtv")
DISK = testing.sample_disk((3 << 20) + 512, seed=21)


def mtv(*arguments, code=0, **options):
    done = subprocess.run(
        [MTV, *map(str, arguments)], capture_output=True, text=True, timeout=120, **options
    )
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture
def vmdk(tmp_path):
    path = tmp_path / "web1.vmdk"
    path.write_bytes(testing.stream_image(DISK))
    return path


def test_convert_when_vmdk_writes_the_disk_and_says_what_was_done(vmdk, tmp_path):
    done = mtv("convert", vmdk, tmp_path / "web1.raw", "--verify", "--jobs", 2)
    assert (tmp_path / "web1.raw").read_bytes() == DISK
    assert "verified" in done.stdout


def test_convert_when_asked_for_json_prints_only_that(vmdk, tmp_path):
    done = mtv("convert", vmdk, tmp_path / "web1.qcow2", "-o", "json")
    (result,) = json.loads(done.stdout)["disks"]
    assert (result["format"], result["capacityBytes"]) == ("qcow2", len(DISK))
    assert (tmp_path / "web1.qcow2").read_bytes().startswith(b"QFI\xfb")
    mtv("convert", tmp_path / "web1.qcow2", tmp_path / "back.raw")
    assert (tmp_path / "back.raw").read_bytes() == DISK


def test_convert_when_source_is_a_pipe_reads_it(vmdk, tmp_path):
    with vmdk.open("rb") as file:
        done = subprocess.run([MTV, "convert", "-q", "-", tmp_path / "x"], stdin=file, check=False)
    assert done.returncode == 0
    assert (tmp_path / "x").read_bytes() == DISK


def test_convert_when_package_writes_its_disks_into_a_folder(tmp_path):
    image = testing.stream_image(DISK)
    text = disk_images.ovf("web1.vmdk", len(image), len(DISK))
    ova = tmp_path / "web1.ova"
    ova.write_bytes(disk_images.tar([("web1.ovf", text), ("web1.vmdk", image)]))
    done = mtv("convert", ova, f"{tmp_path}/disks/")
    assert (tmp_path / "disks" / "web1.raw").read_bytes() == DISK
    assert "has no manifest" in done.stderr
    mtv("convert", ova, tmp_path / "one.raw", "--disk", 1)
    assert (tmp_path / "one.raw").read_bytes() == DISK
    refused = mtv("convert", ova, tmp_path / "two.raw", code=errors.BadInput.exit_code)
    assert "hint: make the folder first" in refused.stderr


def test_convert_when_target_has_content_refuses_unless_forced(vmdk, tmp_path):
    target = tmp_path / "precious"
    target.write_bytes(b"precious")
    refused = mtv("convert", vmdk, target, code=errors.AlreadyExists.exit_code)
    assert refused.stderr == (
        f"error: {target}: exists and is not empty\n\n"
        "hint: name another target, or allow it to be overwritten with --force\n"
    )
    assert target.read_bytes() == b"precious"
    mtv("convert", vmdk, target, "--force")
    assert target.read_bytes() == DISK


def test_convert_when_target_is_read_itself_refuses(tmp_path):
    path = tmp_path / "disk.raw"
    path.write_bytes(DISK)
    os.link(path, tmp_path / "same")
    mtv("convert", path, tmp_path / "same", "--force", code=errors.BadInput.exit_code)
    assert path.read_bytes() == DISK


def test_convert_when_image_is_damaged_leaves_no_half_disk(vmdk, tmp_path):
    image = bytearray(vmdk.read_bytes())
    image[len(image) // 2] ^= 0xFF
    vmdk.write_bytes(image)
    refused = mtv("convert", vmdk, tmp_path / "x.raw", code=errors.BadInput.exit_code)
    assert refused.stderr.startswith("error: web1.vmdk, byte ")
    assert not (tmp_path / "x.raw").exists()


def test_convert_when_file_is_missing_says_so(tmp_path):
    refused = mtv("convert", tmp_path / "gone", tmp_path / "x", code=errors.NotFound.exit_code)
    assert "No such file" in refused.stderr


def test_convert_when_killed_goes_on_where_it_stopped(tmp_path):
    source, target = tmp_path / "disk.raw", tmp_path / "out.raw"
    content = os.urandom(96 << 20)
    source.write_bytes(content)
    first = subprocess.Popen([MTV, "convert", "-q", source, target, "--limit", "40M"])
    until(lambda: target.exists() and target.stat().st_blocks * 512 > 56 << 20, "half a disk", 60)
    first.send_signal(signal.SIGKILL)
    first.wait()
    written = target.stat().st_blocks * 512
    (result,) = json.loads(mtv("convert", source, target, "-o", "json", "--verify").stdout)["disks"]
    assert target.read_bytes() == content
    assert result["continuedAtBytes"] >= written - (64 << 20)
    if result["continuedAtBytes"]:  # the file system of the tests has extended attributes
        assert result["readBytes"] < len(content)
    mtv("convert", source, target, code=errors.AlreadyExists.exit_code)


def test_convert_when_interrupted_ends_within_a_second(tmp_path):
    source = tmp_path / "disk.raw"
    source.write_bytes(os.urandom(8 << 20))
    running = subprocess.Popen(
        [MTV, "convert", "-q", source, tmp_path / "out", "--limit", "100K"], stderr=subprocess.PIPE
    )
    until(lambda: (tmp_path / "out").exists(), "the copy", 30)
    running.send_signal(signal.SIGINT)
    assert running.wait(10) == 130
    running.stderr.close()


def test_info_when_vmdk_tells_format_size_and_checks(vmdk):
    shown = mtv("disk", "info", vmdk).stdout
    assert f"({len(DISK)} bytes)" in shown
    assert "streamOptimized" in shown
    told = json.loads(mtv("disk", "info", vmdk, "-o", "json", "--check").stdout)
    assert (told["format"], told["capacityBytes"]) == ("vmdk", len(DISK))
    assert told["disks"][0]["chain"][0]["cid"] == "fffffffe"
    assert "content" in told["checks"]
    assert told["checksum"].startswith("xxh3-64k:")


def test_info_when_image_is_cut_is_an_error(vmdk):
    os.truncate(vmdk, 100_000)
    refused = mtv("disk", "info", vmdk, code=errors.BadInput.exit_code)
    assert "no footer" in refused.stderr
    assert "hint: it was cut short" in refused.stderr


@pytest.mark.parametrize(
    ("text", "count"),
    [("100", 100), ("1k", 1024), ("1.5G", 3 << 29), ("2 MiB/s", 2 << 20), ("1T", 1 << 40)],
)
def test_size_when_written_as_people_do_is_bytes(text, count):
    assert conversions.parse_size(text, "--limit") == count


@pytest.mark.parametrize("text", ["", "x", "-1", "1E", "0", "1..2M"])
def test_size_when_it_is_none_is_refused(text):
    with pytest.raises(errors.BadInput, match="expected a size like 100M"):
        conversions.parse_size(text, "--limit")


def test_line_when_rendered_shows_share_rate_and_time_left():
    from converters.conversion import Stage
    from converters.pipeline import Progress

    progress = Progress(
        capacity_bytes=4 << 30, settled_bytes=1 << 30, read_bytes=0, written_bytes=0, elapsed_s=1
    )
    line = progress_line.render("web1", Stage(name="copying", progress=progress), 512 << 20)
    assert line == (
        "web1  copying  25 % [######                  ] 1.0 GiB of 4.0 GiB  512 MiB/s  0:06 left"
    )


def test_plain_when_compared_with_typer_knows_the_same_options():
    import typer

    command = typer.main.get_command(convert.app)
    known = {name for one in command.params for name in one.opts if name.startswith("-")}
    helps = {"--help", "--install-completion", "--show-completion"}
    assert known - helps == {*conversions.FLAGS, *conversions.VALUES}


@pytest.mark.parametrize(
    "line", ["a b", "-q a b -f qcow2 -j 2", "a --limit=1M b --verify -o json", "- b --disk 2"]
)
def test_plain_when_line_is_usual_wishes_what_typer_does(line, monkeypatch):
    import typer

    words = line.split()
    seen = []
    monkeypatch.setattr(conversions, "convert", seen.append)
    typer.main.get_command(convert.app).main(words, standalone_mode=False)
    assert [conversions.plain(words)] == seen


@pytest.mark.parametrize(
    "line",
    [
        "",
        "a",
        "a b c",
        "--help",
        "a b -j x",
        "a b -j 99",
        "a b -f raww",
        "a b -o xml",
        "a b --limit",
        "a b --limit -q",
        "a b --disk 0",
        "a b -fraw",
        "a b -f=raw",
        "a b --unknown",
        "a b --limit=",
    ],
)
def test_plain_when_line_is_unusual_leaves_it_to_typer(line):
    assert conversions.plain(line.split()) is None
