"""A guest is made ready for virtio on its way, by a pod without rights, and says what was done."""

from __future__ import annotations

import json

import pytest
import small_guests
from e2e_machines import source_sums

from converters.guest.inspection import inspect

NAME = "small-debian"
reason = small_guests.can_change()
pytestmark = pytest.mark.skipif(bool(reason), reason=reason)


def apply(home, kind, spec, **annotations):
    document = {
        "apiVersion": "forklift.konveyor.io/v1beta1",
        "kind": kind,
        "metadata": {"name": NAME, "namespace": "mtv", "annotations": annotations},
        "spec": spec,
    }
    path = home.folder / f"{kind}.json"
    path.write_text(json.dumps(document))
    home.kubectl("apply", "-f", str(path))


def test_a_linux_guest_is_adapted_by_its_plan_and_the_source_is_not(home, vcenter):
    before = source_sums(vcenter, NAME)
    pair = {
        "source": {"name": "vc", "namespace": "mtv"},
        "destination": {"name": "host", "namespace": "mtv"},
    }
    named = {"name": NAME, "namespace": "mtv"}
    network = {"source": {"name": "VM Network"}, "destination": {"type": "pod"}}
    storage = {"source": {"name": "LocalDS_0"}, "destination": {"storageClass": "local"}}
    apply(home, "NetworkMap", {"provider": pair, "map": [network]})
    apply(home, "StorageMap", {"provider": pair, "map": [storage]})
    plan = {
        "provider": pair,
        "targetNamespace": "moved",
        "map": {"network": named, "storage": named},
        "vms": [{"name": NAME}],
        "targetPowerState": "off",
    }
    apply(home, "Plan", plan, **{"mtv.dev/boot-test": "false"})
    home.kubectl("wait", "--for=condition=Ready", f"plan/{NAME}", "-n", "mtv", "--timeout=120s")
    home.mtv("plan", "start", NAME, "-n", "mtv")
    home.mtv("plan", "watch", NAME, "-n", "mtv", "--timeout", "200")

    vm = home.get("vm", NAME, "moved")
    record = json.loads(vm["metadata"]["annotations"]["mtv.dev/adaptation"])
    assert record["way"] == "light"
    assert "/etc/fstab" in {one["path"] for one in record["changes"]}
    devices = vm["spec"]["template"]["spec"]["domain"]["devices"]
    assert devices["disks"][0]["disk"]["bus"] == "scsi"
    assert devices["interfaces"][0]["model"] == "virtio"
    (status,) = home.get("plan", NAME, "mtv")["status"]["migration"]["vms"]
    kinds = {one["type"] for one in status["conditions"]}
    assert {"GuestInspected", "GuestAdapted", "Succeeded"} <= kinds
    claim = home.get(
        "pvc", vm["spec"]["template"]["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"],
        "moved",
    )  # fmt: skip
    persistent = home.get("pv", claim["spec"]["volumeName"])
    place = persistent["spec"].get("hostPath") or persistent["spec"]["local"]
    image = f"{place['path']}/disk.img"
    with inspect.open_disks([image]) as disks:
        found = inspect.look(disks, [image]).inspection.linux
    assert found is not None
    assert found.adapted
    assert source_sums(vcenter, NAME) == before
