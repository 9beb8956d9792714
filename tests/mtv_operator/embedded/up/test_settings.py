"""Settings of `mtv up`: each bad one is refused by the name of its option."""

import msgspec
import pytest

from mtv import errors
from mtv_operator.embedded.up import machine, settings
from mtv_operator.embedded.up.settings import Settings


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"data_dir": "relative"}, "--data-dir"),
        ({"data_dir": "/a b"}, "--data-dir"),
        ({"nodes": 0}, "--nodes"),
        ({"listen": "localhost:6443"}, "--listen"),
        ({"listen": "127.0.0.1"}, "--listen"),
        ({"listen": "127.0.0.1:70000"}, "--listen"),
        ({"pod_cidr": "10.244.0.1/16"}, "--pod-cidr"),
        ({"pod_cidr": "10.244.0.0/24"}, "--pod-cidr"),
        ({"pod_cidr": "10.244.0.0/22", "nodes": 4}, "--pod-cidr"),
        ({"bridge": "much-too-long"}, "--bridge"),
        ({"bridge": "0x"}, "--bridge"),
    ],
)
def test_check_when_a_setting_cannot_work_names_its_option(fields, field):
    with pytest.raises(errors.BadInput) as error:
        settings.check(Settings(**fields))
    assert error.value.field == field


def test_check_when_defaults_is_content():
    settings.check(Settings())


def test_settings_when_saved_and_loaded_are_the_same(tmp_path):
    wanted = Settings(data_dir=str(tmp_path / "d"), nodes=2, listen="127.0.0.1:7443")
    settings.save(wanted)
    assert settings.load(tmp_path / "d") == wanted
    assert (tmp_path / "d/settings.json").stat().st_mode & 0o777 == 0o600


def test_load_when_damaged_names_the_file(tmp_path):
    (tmp_path / "settings.json").write_text('{"nodes": "two"}')
    with pytest.raises(errors.BadInput, match="Expected `int`, got `str`") as error:
        settings.load(tmp_path)
    assert error.value.field == f"{tmp_path}/settings.json"


def test_load_when_there_is_none_is_none(tmp_path):
    assert settings.load(tmp_path) is None


def test_addresses_when_defaults_are_of_the_pod_network():
    one = Settings()
    assert one.server == "https://127.0.0.1:6443"
    assert one.server_for_pods == "https://10.244.0.1:6443"
    assert one.node_address(2) == "10.244.0.2"
    assert msgspec.structs.replace(one, listen="0.0.0.0:1").server == "https://127.0.0.1:1"


@pytest.mark.parametrize(
    ("hostname", "name"),
    [("web1.example.com", "web1.example.com"), ("My_PC", "my-pc"), ("_", "node")],
)
def test_node_name_when_hostname_is_odd_is_one_that_kubernetes_accepts(hostname, name):
    assert settings.node_name(hostname) == name


@pytest.mark.parametrize(
    ("route", "found"),
    [
        ({"dst": "10.244.1.0/24", "dev": "cni0"}, True),
        ({"dst": "10.244.0.0/16", "dev": "flannel.1"}, True),
        ({"dst": "10.244.0.0/16", "dev": "mtv0"}, False),
        ({"dst": "10.0.0.0/8", "dev": "eth0"}, False),  # ours is more specific
        ({"dst": "default", "dev": "eth0"}, False),
        ({"dst": "192.0.2.7", "dev": "eth0"}, False),
    ],
)
def test_a_route_into_the_pod_network_that_leads_elsewhere_is_seen(route, found):
    assert machine.clashes(route, "10.244.0.0/16", "mtv0") is found


def test_a_pod_network_is_chosen_that_nobody_else_has():
    assert machine.free_network([], "mtv0") == "10.244.0.0/16"
    assert machine.free_network([{"dst": "10.244.3.0/24", "dev": "cni0"}], "mtv0") == "10.99.0.0/16"


def test_a_network_that_is_routed_elsewhere_is_refused_with_one_that_is_not():
    with pytest.raises(errors.TargetRefused, match="cni0") as refused:
        machine.check_routes([{"dst": "10.244.3.0/24", "dev": "cni0"}], "10.244.0.0/16", "mtv0")
    assert "10.99.0.0/16" in refused.value.hint
