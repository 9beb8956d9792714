"""Further networks of a pod: what is asked for, and what of it this node can give."""

import json

import pytest

from mtv import errors
from mtv.api import core, meta
from mtv_operator.embedded.node import attachments
from mtv_operator.embedded.node.attachments import Attachment, Port


def pod(text: str) -> core.Pod:
    annotations = {attachments.ANNOTATION: text} if text else {}
    return core.Pod(metadata=meta.ObjectMeta(name="p", namespace="demo", annotations=annotations))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ()),
        (
            '[{"name": "lan", "interface": "pod1", "mac": "02:00:00:00:00:0A"}]',
            (Attachment(namespace="demo", name="lan", interface="pod1", mac="02:00:00:00:00:0a"),),
        ),
        (
            "lan, other/dmz@eth7",
            (
                Attachment(namespace="demo", name="lan", interface="net1"),
                Attachment(namespace="other", name="dmz", interface="eth7"),
            ),
        ),
    ],
    ids=["none", "a list", "names"],
)
def test_networks_are_read_as_multus_reads_them(text, found):
    assert attachments.asked(pod(text)) == found


@pytest.mark.parametrize("text", ["[1]", "[{", '[{"name": "a", "interface": "eth0"}]', "a@x/../y"])
def test_what_is_no_list_of_networks_is_refused(text):
    with pytest.raises(errors.BadInput):
        attachments.asked(pod(text))


@pytest.mark.parametrize(
    ("config", "port"),
    [
        ({"type": "bridge", "bridge": "br1", "ipam": {}}, Port(bridge="br1")),
        (
            {"plugins": [{"type": "cnv-bridge", "bridge": "br1", "vlan": 7, "mtu": 9000}]},
            Port(bridge="br1", vlan=7, mtu=9000),
        ),
        (
            {
                "type": "bridge",
                "ipam": {"type": "static", "addresses": [{"address": "10.1.1.9/24"}]},
            },
            Port(bridge="cni0", addresses=("10.1.1.9/24",)),
        ),
    ],
    ids=["plain", "a list of plugins", "an address"],
)
def test_bridges_are_understood(config, port):
    assert attachments.parse(json.dumps(config), "here") == port


@pytest.mark.parametrize(
    "config",
    [
        "",
        "[]",
        '{"plugins": []}',
        '{"type": "macvlan"}',
        '{"type": "bridge", "bridge": "br 1"}',
        '{"type": "bridge", "vlan": 5000}',
        '{"type": "bridge", "vlan": "x"}',
        '{"type": "bridge", "ipam": {"type": "host-local"}}',
        '{"type": "bridge", "ipam": {"type": "static", "addresses": [{"address": "x"}]}}',
    ],
)
def test_what_this_node_does_not_do_is_named(config):
    with pytest.raises(errors.BadInput) as caught:
        attachments.parse(config, "here")

    assert caught.value.field == "here"
