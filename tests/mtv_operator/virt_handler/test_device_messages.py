"""The device plugin protocol's messages, byte for byte as protobuf writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtv_operator.virt_handler import device_messages


def test_a_registration_is_version_endpoint_and_resource():
    assert device_messages.register_request("a.sock", "x/y") == (
        b"\x0a\x07v1beta1\x12\x06a.sock\x1a\x03x/y"
    )


def test_devices_are_listed_as_healthy():
    assert device_messages.devices(["d0"]) == b"\x0a\x0d\x0a\x02d0\x12\x07Healthy"


def test_each_container_that_asks_gets_the_device():
    request = b"\x0a\x04\x0a\x02d0" * 2
    count = device_messages.containers(request)
    answer = device_messages.allocation(["/dev/kvm"], count)

    assert count == 2
    assert answer == b"\x0a\x1b\x1a\x19\x0a\x08/dev/kvm\x12\x08/dev/kvm\x1a\x03mrw" * 2


@given(st.binary(max_size=60))
def test_nonsense_is_counted_or_refused(message):
    try:
        assert device_messages.containers(message) >= 0
    except ValueError:
        return


def test_a_field_longer_than_the_message_is_refused():
    with pytest.raises(ValueError, match="longer"):
        device_messages.containers(b"\x0a\x7f")
