"""What a plan wants of the adaptation of its guests."""

from __future__ import annotations

import pytest

from mtv.errors import BadInput
from mtv.planning import adaptation
from mtv.planning.adaptation import Place, Wish


def test_plan_that_says_nothing_has_its_guests_tried_on_virtio_scsi() -> None:
    assert adaptation.parse({}) == Wish(bus="scsi", boot_test=True, timeout_s=600)


def test_everything_that_can_be_said_is_read() -> None:
    wish = adaptation.parse(
        {
            "mtv.dev/boot-test": "False",
            "mtv.dev/boot-test-timeout": "90s",
            "mtv.dev/guest-packages": "pvc:debs",
            "mtv.dev/virtio-win": "registry.example:5000/drivers/virtio-win:1",
            "mtv.dev/serial-console": "true",
        },
        "virtio",
    )
    assert wish == Wish(
        bus="virtio",
        boot_test=False,
        timeout_s=90,
        packages=Place(claim="debs"),
        virtio_win=Place(image="registry.example:5000/drivers/virtio-win:1"),
        console=True,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mtv.dev/boot-test", "perhaps"),
        ("mtv.dev/boot-test-timeout", "soon"),
        ("mtv.dev/boot-test-timeout", "1e9"),
        ("mtv.dev/guest-packages", "pvc:Not_A_Claim"),
        ("mtv.dev/virtio-win", "/etc/shadow"),
    ],
)
def test_what_cannot_be_understood_names_its_annotation(name: str, value: str) -> None:
    with pytest.raises(BadInput) as caught:
        adaptation.parse({name: value})
    assert caught.value.field == f"metadata.annotations[{name}]"
    assert caught.value.hint
