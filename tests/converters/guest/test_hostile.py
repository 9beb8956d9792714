"""Whole disks with damage anywhere: what is said of them is bounded, and never a crash."""

import time

import disk_images
import fuzzing
import small_guests as guests

from converters.guest.application import adapt
from converters.guest.decision import Bus, Nic, Tools, Wish, decide
from converters.guest.inspection import inspect


def test_look_when_a_disk_is_damaged_anywhere_then_it_is_said_and_decided(tmp_path):
    content = guests.ext4(tmp_path, guests.debian(), "root", options=("-b", "1024"))
    path = guests.disk(tmp_path / "disk.raw", [content])
    good = path.read_bytes()
    chance = fuzzing.chance(88)
    begin = 1 << 20
    for _ in fuzzing.rounds(40):
        damaged = bytearray(good)
        for _ in range(chance.randrange(1, 60)):
            place = chance.choice([chance.randrange(446, 512), begin + chance.randrange(900_000)])
            damaged[place] = chance.randrange(256)
        path.write_bytes(damaged)
        started = time.monotonic()
        with disk_images.allowed_to_fail(), inspect.open_disks([str(path)]) as disks:
            found = inspect.look(disks, [str(path)]).inspection
            wish = Wish(bus=Bus.VIRTIO, nics=(Nic(mac=guests.MAC),))
            assert decide(found, wish, Tools()).reasons
        assert time.monotonic() - started < 60


def test_adapt_when_a_disk_is_damaged_anywhere_then_a_dry_run_ends_with_a_sentence(tmp_path):
    content = guests.ext4(tmp_path, guests.debian(), "root", options=("-b", "4096"))
    path = guests.disk(tmp_path / "disk.raw", [content])
    good = path.read_bytes()
    chance = fuzzing.chance(89)
    for _ in fuzzing.rounds(40):
        damaged = bytearray(good)
        for _ in range(chance.randrange(1, 40)):
            damaged[(1 << 20) + chance.randrange(4 << 20)] = chance.randrange(256)
        path.write_bytes(damaged)
        order = adapt.Order(
            disks=(str(path),), wish=Wish(bus=Bus.VIRTIO, nics=(Nic(mac=guests.MAC),)),
            tools=Tools(), packages={}, dry_run=True,
        )  # fmt: skip
        with disk_images.allowed_to_fail():
            adapt.adapt(order)
