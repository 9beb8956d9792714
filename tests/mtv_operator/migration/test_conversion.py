"""Guests are made ready between their copy and their VM: what is decided, whatever a pod says."""

from __future__ import annotations

import json
from typing import Any

import migration_simulation as simulation
import msgspec
import pytest
from migration_simulation import Simulation
from mtv_planning import source

from mtv.api import core
from mtv.inventory.model import PowerState
from mtv_operator.adaptation import messages
from mtv_operator.adaptation.messages import Changed, Order, Outcome
from mtv_operator.migration import actions, conversion, conversion_pod

EMULATED = Outcome(way="emulated", reasons=("no system that is known was found",), system="unknown")


def of(*said: Outcome, **spec: Any) -> Simulation:
    vm = source.vm(power_state=PowerState.ON)
    found = simulation.of_vms(vm, skipGuestConversion=False, **spec)
    if said:
        found.said = list(said)
    found.start()
    return found


def devices(found: Simulation) -> tuple[set[str], set[str]]:
    (target,) = found.vms.values()
    spec = target.spec.template.spec
    assert spec is not None
    disks = {one.disk.bus for one in spec.domain.devices.disks if one.disk}
    return (
        {one for one in disks if one},
        {one.model for one in spec.domain.devices.interfaces if one.model},
    )


def order_of(pod: core.Pod) -> Order:
    assert pod.spec is not None
    return msgspec.json.decode(pod.spec.containers[0].args[1], type=Order)


def test_guest_that_was_adapted_gets_virtio_and_its_record() -> None:
    found = of()
    found.run()
    assert devices(found) == ({"scsi"}, {"virtio"})
    (target,) = found.vms.values()
    assert json.loads(target.metadata.annotations["mtv.dev/adaptation"])["way"] == "light"
    assert {"GuestAdapted", "GuestInspected", "Succeeded"} <= found.vm_conditions()
    steps = {one.name: one for one in found.status.vms[0].pipeline}
    assert steps["ImageConversion"].phase == "Completed"
    assert not found.adapters


def test_guest_that_is_not_known_gets_devices_that_always_boot() -> None:
    found = of(EMULATED)
    found.run()
    assert devices(found) == ({"sata"}, {"e1000e"})
    assert "GuestNotAdapted" in found.vm_conditions()


def test_guest_that_is_not_known_gets_the_bus_that_the_plan_names() -> None:
    found = of(EMULATED, diskBus="virtio")
    found.run()
    assert devices(found)[0] == {"virtio"}


def test_guest_that_did_not_boot_runs_on_emulated_devices_and_says_why() -> None:
    found = of(Outcome(way="emulated", system="linux", error="the adapted guest does not boot"))
    found.run()
    assert devices(found) == ({"sata"}, {"e1000e"})
    (why,) = (one for one in found.status.vms[0].conditions if one.type == "GuestNotAdapted")
    assert why.reason == "AdaptationFailed"
    assert "does not boot" in (why.message or "")


def test_commit_that_was_cut_off_for_good_fails_the_vm() -> None:
    found = of(Outcome(way="emulated", error="input/output error", torn=True))
    found.run()
    assert not found.vms
    assert "Failed" in found.vm_conditions()


def test_plan_without_conversion_has_no_such_step() -> None:
    found = simulation.of_vms(source.vm(power_state=PowerState.ON))
    found.start()
    found.run()
    assert not found.count(actions.EnsurePod)
    assert "ImageConversion" not in {one.name for one in found.status.vms[0].pipeline}


def test_controller_that_is_killed_at_any_look_adapts_once() -> None:
    for moment in range(4, 30):
        found = of()
        for number in range(60):
            found.step(crash=number == moment)
            found.pass_time(1.0)
        assert devices(found) == ({"scsi"}, {"virtio"})
        names = {one.pod.metadata.name for one in found.done if isinstance(one, actions.EnsurePod)}
        assert len(names) == 1


def test_cancel_takes_the_pod_away() -> None:
    found = of()
    found.adapt_s = 1000.0
    found.until("ConvertGuest")
    found.cancel(found.status.vms[0].id or "")
    found.run()
    assert not found.adapters
    assert not found.vms


def test_pod_that_finds_no_node_is_made_without_the_device() -> None:
    found = of()
    found.adapt_s = 1000.0
    found.until("ConvertGuest")
    found.step()
    (name,) = found.adapters
    pod = found.adapters[name]
    unplaced = core.PodCondition(
        type="PodScheduled", status="False", reason="Unschedulable", message="no mtv.dev/fuse"
    )
    metadata = msgspec.structs.replace(
        pod.metadata, creation_timestamp=found.now.strftime("%Y-%m-%dT%H:%M:%SZ")
    )
    status = core.PodStatus(phase="Pending", conditions=(unplaced,))
    found.adapters[name] = msgspec.structs.replace(pod, metadata=metadata, status=status)
    found.adapt_s = 1.0
    found.pass_time(12.0)
    found.run()
    made = [one.pod for one in found.done if isinstance(one, actions.EnsurePod)]
    assert {conversion_pod.attempt_of(one) for one in made} == {1, 2}
    assert all("mtv.dev/fuse" in _limits(one) for one in made if one.metadata.name == name)
    assert all("mtv.dev/fuse" not in _limits(one) for one in made if one.metadata.name != name)
    assert devices(found) == ({"scsi"}, {"virtio"})


def _limits(pod: core.Pod) -> dict[str, Any]:
    assert pod.spec is not None
    resources = pod.spec.containers[0].resources
    assert resources is not None
    return dict(resources.limits)


def test_warm_guest_is_rehearsed_between_precopies_and_not_tried_twice() -> None:
    looked = Outcome(way="light", bus="scsi", nic_model="virtio", system="linux", recipe="r",
                     booted=True, rehearsed=True, facts=("system: Debian",))  # fmt: skip
    done = msgspec.structs.replace(looked, rehearsed=False, committed=True)
    found = of(looked, done, warm=True)
    for _ in range(60):
        found.step()
        found.pass_time(1.0)
    assert "GuestInspected" in found.vm_conditions()
    assert not found.adapters
    found.migrations[-1] = msgspec.structs.replace(
        found.migrations[-1],
        spec=msgspec.structs.replace(found.migrations[-1].spec, cutover="2026-01-01T00:00:00Z"),
    )
    found.run()
    assert devices(found) == ({"scsi"}, {"virtio"})
    pods = [one.pod for one in found.done if isinstance(one, actions.EnsurePod)]
    orders = [order_of(pod) for pod in pods]
    assert orders[0].rehearse
    assert not orders[-1].rehearse
    assert orders[-1].proven == "r"


def test_pod_has_no_rights_no_token_and_every_disk() -> None:
    found = of()
    found.until("ConvertGuest")
    found.step()
    (pod,) = found.adapters.values()
    assert pod.spec is not None
    (container,) = pod.spec.containers
    context = container.security_context
    assert context is not None
    assert context.read_only_root_filesystem
    assert context.allow_privilege_escalation is False
    assert context.capabilities == core.Capabilities(drop=("ALL",))
    assert pod.spec.automount_service_account_token is False
    assert pod.spec.security_context is not None
    assert pod.spec.security_context.run_as_non_root
    assert "memory" in _limits(pod)
    order = order_of(pod)
    assert order.disks == ("/disks/0/disk.img",)
    assert order.trial is not None


@pytest.mark.parametrize("count", [0, 10, 400])
def test_message_has_room_for_the_outcome_whatever_is_in_it(count: int) -> None:
    changes = tuple(Changed(path=f"/etc/file-{number}", old="a" * 64) for number in range(count))
    sent = Outcome(way="light", changes=changes, reasons=("x" * 900,), facts=("f" * 300,) * 40)
    text = messages.encode(sent)
    assert len(text) <= messages.MOST_MESSAGE
    got = messages.decode(text.decode())
    assert got is not None
    assert len(got.changes) + got.not_listed == count


def test_what_a_pod_says_is_believed_only_where_it_makes_sense() -> None:
    assert messages.decode("") is None
    assert messages.decode('{"way": 3}') is None
    assert conversion.MOST_ATTEMPTS > 1
