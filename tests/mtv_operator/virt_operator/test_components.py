"""Components that are gone are made again; the KubeVirt object says where they run."""

import msgspec
import pytest

from mtv.api import installation
from mtv_operator.installation import workloads
from mtv_operator.installation.settings import Settings
from mtv_operator.virt_operator import components
from mtv_operator.virt_operator.components import Make, Place, There

SETTINGS = Settings(image="mtv:1")
ALL = (*components.INFRA, *components.WORKLOADS)
UNPLACED = dict.fromkeys(ALL, There(placement=""))
WISHES = {
    "infra": {"replicas": 3, "nodePlacement": {"nodeSelector": {"infra": "yes"}}},
    "workloads": {"nodePlacement": {"tolerations": [{"key": "gpu", "operator": "Exists"}]}},
}


def spec(**found) -> installation.KubeVirtSpec:
    return msgspec.convert(found, installation.KubeVirtSpec)


def test_while_all_is_there_and_nothing_is_wished_nothing_is_done():
    assert components.decide(spec(), SETTINGS, UNPLACED) == ()


@pytest.mark.parametrize("name", ALL)
def test_what_is_gone_is_made_as_it_was_installed(name):
    (action,) = components.decide(spec(), SETTINGS, {**UNPLACED, name: None})

    assert isinstance(action, Make)
    assert action.document in workloads.runtime(SETTINGS)
    assert action.document["metadata"]["name"] == name


def test_what_may_be_on_its_way_out_is_left_alone():
    assert components.decide(spec(), SETTINGS, {}) == ()


def test_replicas_and_placement_are_laid_over_once():
    actions = components.decide(spec(**WISHES), SETTINGS, UNPLACED)

    assert all(isinstance(one, Place) for one in actions)
    by_name = {one.document["metadata"]["name"]: one.document for one in actions}
    assert set(by_name) == set(ALL)
    api = by_name["virt-api"]["spec"]
    assert api["replicas"] == 3
    assert api["template"]["spec"]["nodeSelector"]["infra"] == "yes"
    assert "containers" not in api["template"]["spec"]
    handler = by_name["virt-handler"]["spec"]
    assert "replicas" not in handler
    assert {"key": "gpu", "operator": "Exists"} in handler["template"]["spec"]["tolerations"]
    laid = {
        name: There(placement=one["metadata"]["annotations"][workloads.PLACEMENT])
        for name, one in by_name.items()
    }
    assert components.decide(spec(**WISHES), SETTINGS, laid) == ()
    # A wish that is withdrawn: as installed again.
    back = components.decide(spec(), SETTINGS, laid)
    assert [one.document["spec"].get("replicas") for one in back] == [2, 2, None]
