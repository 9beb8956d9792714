"""Every decision about a VMI on its node."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from guest import launched
from hypothesis import given
from hypothesis import strategies as st

from mtv import errors
from mtv.api import kubevirt
from mtv_operator.virt_handler import instance
from mtv_operator.virt_handler.instance import (
    Boot,
    Destroy,
    Failure,
    Launcher,
    Observed,
    Reach,
    Release,
    Said,
    Shutdown,
)
from mtv_operator.virt_launcher import libvirt_errors
from mtv_operator.virt_launcher.protocol import Domain, GuestInfo, GuestInterface, Status, TapDevice

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
EARLIER = NOW - timedelta(seconds=3)
TAP = TapDevice(interface="default", device="tap0", mac="02:00:00:00:00:01")
RUNNING = Domain(
    status=Status.RUNNING,
    started_at="2026-01-02T03:04:04.000001Z",
    accelerator="kvm",
    machine="pc-q35-7.2",
    interfaces=(TAP,),
)


def vmi(phase: str = "Scheduled", *, going: bool = False, grace: int | None = 30, **status):
    found = launched.vmi(terminationGracePeriodSeconds=grace)
    metadata = msgspec.structs.replace(
        found.metadata, deletion_timestamp="2026-01-02T03:04:05Z" if going else None
    )
    return msgspec.structs.replace(
        found,
        metadata=metadata,
        status=kubevirt.VirtualMachineInstanceStatus(phase=phase, **status),
    )


def observed(instance_=None, reach=Reach.READY, domain=None, since=EARLIER, **more) -> Observed:
    launcher = Launcher(reach=reach, since=since, domain=domain or Domain())
    return Observed(
        vmi=instance_ or vmi(), saw=EARLIER, launcher=launcher, addresses=("10.0.0.5",), **more
    )


def phase_of(decision: instance.Decided) -> str:
    assert decision.status is not None
    assert decision.status.status is not None
    return decision.status.status.phase or ""


def test_launcher_that_listens_is_given_the_order():
    decision = instance.decide(observed(), NOW)

    assert decision.actions == (Boot(),)
    assert decision.status is None


@pytest.mark.parametrize("phase", ["", "Pending", "Scheduling"])
def test_vmi_that_is_not_handed_over_is_left_alone(phase):
    assert instance.decide(observed(vmi(phase), domain=RUNNING), NOW) == instance.Decision()


def test_launcher_that_does_not_listen_yet_is_looked_for_often_and_then_less():
    soon = instance.decide(observed(reach=Reach.ABSENT), NOW)
    later = instance.decide(observed(reach=Reach.ABSENT, since=NOW - timedelta(minutes=1)), NOW)

    assert soon.requeue_after_s == instance.LOOK_SOON_S
    assert later.requeue_after_s == instance.LOOK_S


@pytest.mark.parametrize(
    ("reach", "patience_s", "reason"),
    [(Reach.ABSENT, 180, "LauncherNotReady"), (Reach.SILENT, 30, "LauncherUnresponsive")],
)
def test_launcher_is_given_up_after_its_time(reach, patience_s, reason):
    before = observed(reach=reach, since=NOW - timedelta(seconds=patience_s))
    after = observed(reach=reach, since=NOW - timedelta(seconds=patience_s + 1))

    assert instance.decide(before, NOW).status is None
    decision = instance.decide(after, NOW)
    assert phase_of(decision) == "Failed"
    assert decision.status is not None
    assert decision.status.status is not None
    assert decision.status.status.reason == reason


def test_domain_that_runs_makes_the_vmi_running_with_times_and_addresses():
    ordered = NOW - timedelta(seconds=1)
    decision = instance.decide(observed(domain=RUNNING, ordered=ordered), NOW)

    assert phase_of(decision) == "Running"
    stored = decision.status
    assert stored is not None
    assert stored.metadata.annotations == {
        "mtv.dev/handler-saw": "2026-01-02T03:04:02.000000Z",
        "mtv.dev/boot-ordered": "2026-01-02T03:04:04.000000Z",
        "mtv.dev/domain-running": "2026-01-02T03:04:04.000001Z",
    }
    assert stored.status is not None
    (interface,) = stored.status.interfaces
    assert (interface.ip_address, interface.mac, interface.info_source) == (
        "10.0.0.5",
        "02:00:00:00:00:01",
        "domain",
    )
    assert stored.spec == observed().vmi.spec


def test_status_that_is_right_is_decided_again_without_a_change():
    first = instance.decide(observed(domain=RUNNING), NOW).status
    assert first is not None

    second = instance.decide(observed(first, domain=RUNNING), NOW + timedelta(hours=1)).status

    assert second == first


def test_agent_gives_names_and_the_system():
    guest = GuestInfo(
        os_id="debian", interfaces=(GuestInterface(name="ens3", mac="02:00:00:00:00:01"),)
    )
    domain = msgspec.structs.replace(RUNNING, agent_connected=True, guest=guest)

    stored = instance.decide(observed(domain=domain), NOW).status

    assert stored is not None
    assert stored.status is not None
    assert stored.status.interfaces[0].interface_name == "ens3"
    assert stored.status.interfaces[0].info_source == "domain, guest-agent"
    assert stored.status.guest_os_info is not None
    assert stored.status.guest_os_info.id == "debian"
    assert [one.type for one in stored.status.conditions] == ["AgentConnected", "LiveMigratable"]


@pytest.mark.parametrize(
    ("why", "reason", "message"),
    [
        ("User", "PausedByUser", "VMI was paused by user"),
        ("IOError", "PausedIOError", "VMI was paused, low-level IO error detected"),
        ("Watchdog", "PausedWatchdog", "VMI was paused: Watchdog"),
    ],
)
def test_domain_that_is_paused_is_running_with_a_condition(why, reason, message):
    domain = msgspec.structs.replace(RUNNING, status=Status.PAUSED, reason=why)

    stored = instance.decide(observed(vmi("Running"), domain=domain), NOW).status

    assert stored is not None
    assert stored.status is not None
    assert stored.status.phase == "Running"
    paused = stored.status.conditions[0]
    assert (paused.type, paused.status, paused.reason, paused.message) == (
        "Paused",
        "True",
        reason,
        message,
    )


def test_emulation_is_said_with_its_reason():
    domain = msgspec.structs.replace(RUNNING, accelerator="qemu", compromises=("cpu is max",))

    stored = instance.decide(observed(domain=domain, emulated_because="KVM crawls"), NOW).status

    assert stored is not None
    assert stored.status is not None
    said = next(one for one in stored.status.conditions if one.type == "SoftwareEmulation")
    assert (said.status, said.message) == ("True", "KVM crawls; cpu is max")


@pytest.mark.parametrize(
    ("status", "reason", "grace", "acpi", "phase"),
    [
        pytest.param(Status.SHUTOFF, "Shutdown", 30, None, "Succeeded", id="the guest powered off"),
        pytest.param(Status.SHUTOFF, "Saved", 30, None, "Succeeded", id="saved"),
        pytest.param(Status.SHUTOFF, "Crashed", 30, None, "Failed", id="QEMU crashed"),
        pytest.param(Status.SHUTOFF, "Failed", 30, None, "Failed", id="QEMU did not start"),
        pytest.param(Status.CRASHED, "Panicked", 30, None, "Failed", id="the guest panicked"),
        pytest.param(Status.SHUTOFF, "Destroyed", 30, None, "Failed", id="it ignored the button"),
        pytest.param(Status.SHUTOFF, "Destroyed", 0, None, "Succeeded", id="it had no time"),
        pytest.param(Status.SHUTOFF, "Destroyed", 30, False, "Succeeded", id="it has no button"),
    ],
)
def test_end_of_the_domain_is_the_phase_that_upstream_shows(status, reason, grace, acpi, phase):
    found = vmi("Running", grace=grace)
    if acpi is not None:
        features = kubevirt.Features(acpi=kubevirt.FeatureState(enabled=acpi))
        domain_spec = msgspec.structs.replace(found.spec.domain, features=features)
        found = msgspec.structs.replace(
            found, spec=msgspec.structs.replace(found.spec, domain=domain_spec)
        )

    decision = instance.decide(observed(found, domain=Domain(status=status, reason=reason)), NOW)

    assert phase_of(decision) == phase


def test_launcher_that_is_gone_left_word_how_its_guest_ended():
    off = Domain(status=Status.SHUTOFF, reason="Shutdown")

    told = instance.decide(observed(vmi("Running"), Reach.GONE, off), NOW)
    untold = instance.decide(observed(vmi("Running"), Reach.GONE, RUNNING), NOW)

    assert phase_of(told) == "Succeeded"
    assert phase_of(untold) == "Failed"


def test_vmi_that_is_deleted_is_asked_to_shut_down_with_its_grace_period():
    decision = instance.decide(observed(vmi("Running", going=True, grace=7), domain=RUNNING), NOW)

    assert decision.actions == (Shutdown(7),)
    assert decision.requeue_after_s == instance.PRESS_AGAIN_S


def test_vmi_that_is_deleted_before_its_start_is_not_started():
    assert instance.decide(observed(vmi(going=True)), NOW).actions == ()


def test_launcher_is_released_once_the_end_is_stored():
    off = Domain(status=Status.SHUTOFF, reason="Shutdown")

    assert instance.decide(observed(vmi("Running"), domain=off), NOW).actions == ()
    assert instance.decide(observed(vmi("Succeeded"), domain=off), NOW).actions == (Release(),)
    assert instance.decide(observed(vmi("Failed"), domain=RUNNING), NOW).actions == (Destroy(),)
    assert instance.decide(observed(vmi("Failed"), Reach.GONE), NOW).actions == ()


def test_failed_order_is_said_and_given_again_later_and_later():
    fault = libvirt_errors.NoDirectIO("no direct I/O here", hint="leave cache out")
    failure = Failure(error=fault, at=NOW, attempts=1)

    decision = instance.decide(observed(failure=failure), NOW)

    assert decision.actions == ()
    assert decision.requeue_after_s == instance.OPERATOR_PAUSE_S
    assert decision.status is not None
    assert decision.status.status is not None
    (condition,) = decision.status.status.conditions
    assert (condition.type, condition.status, condition.reason, condition.message) == (
        "Synchronized",
        "False",
        "NoDirectIO",
        "no direct I/O here. leave cache out",
    )
    assert instance.decide(observed(failure=failure), failure.next_try).actions == (Boot(),)
    flaky = Failure(error=errors.Retryable("again"), at=NOW, attempts=1)
    assert [(replace(flaky, attempts=n).next_try - NOW).total_seconds() for n in (1, 2, 3, 50)] == [
        0.5,
        1,
        2,
        30,
    ]


def test_failure_is_forgotten_when_the_domain_runs():
    fault = Failure(error=errors.Retryable("again"), at=NOW, attempts=1)
    waiting = instance.decide(observed(failure=fault), NOW).status

    running = instance.decide(observed(waiting, domain=RUNNING), NOW).status

    assert running is not None
    assert running.status is not None
    assert "Synchronized" not in [one.type for one in running.status.conditions]


@pytest.mark.parametrize(
    ("before", "after", "domain", "events"),
    [
        ("Scheduled", "Running", RUNNING, [Said("Started", "VirtualMachineInstance started.")]),
        ("Running", "Running", RUNNING, []),
        (
            "Running",
            "Succeeded",
            Domain(status=Status.SHUTOFF),
            [Said("Stopped", "The VirtualMachineInstance was shut down.")],
        ),
        (
            "Running",
            "Failed",
            Domain(status=Status.SHUTOFF, message="QEMU: out of luck"),
            [
                Said("Stopped", "The VirtualMachineInstance crashed.", "Warning"),
                Said("Stopped", "QEMU: out of luck", "Warning"),
            ],
        ),
    ],
)
def test_events_are_upstreams(before, after, domain, events):
    assert instance.said(vmi(before), vmi(after), domain) == events


@given(
    phase=st.sampled_from(["", "Pending", "Scheduling", "Scheduled", "Running", "Failed", "Odd"]),
    going=st.booleans(),
    reach=st.sampled_from(list(Reach)),
    status=st.sampled_from(list(Status)),
    reason=st.sampled_from(["", "User", "Shutdown", "Destroyed", "Crashed", "Panicked"]),
    seconds=st.integers(0, 4000),
)
def test_every_state_has_a_decision_and_final_phases_stay(
    phase, going, reach, status, reason, seconds
):
    domain = Domain(status=status, reason=reason)
    since = NOW - timedelta(seconds=seconds)

    decision = instance.decide(observed(vmi(phase, going=going), reach, domain, since), NOW)

    if phase not in instance.OURS:
        assert decision.status is None
    if any(isinstance(one, Boot) for one in decision.actions):
        assert (phase, going, reach) == (phase, False, Reach.READY)
        assert not domain.alive
        assert not domain.ended
