"""Metrics: the text form, what controllers count, what guests use."""

from datetime import timedelta

import msgspec
from kubevirt_objects import NOW, instance, vm

from mtv.api import kubevirt
from mtv_operator.objects import Key
from mtv_operator.serving import exposition
from mtv_operator.virt_controller import metrics
from mtv_operator.virt_handler import metrics as handler_metrics

KEY = Key("prod", "web1")


def _text(families):
    return exposition.text(families).splitlines()


def test_text_form_escapes_labels_and_leaves_out_what_has_no_samples():
    samples = (exposition.Sample(1.5, {"a": 'x"\\\n'}), exposition.Sample(2))
    families = [exposition.Family("m", "Help."), exposition.Family("n", "More.", samples=samples)]
    assert _text(families) == [
        "# HELP n More.",
        "# TYPE n gauge",
        r'n{a="x\"\\\n"} 1.5',
        "n 2",
    ]


def test_histograms_count_up_to_each_bound():
    times = exposition.Histograms("t", "Times.", (1, 10))
    for value in (0.5, 1, 5, 50):
        times.observe(value, {"phase": "Running"})
    assert _text([times.family()])[2:] == [
        't_bucket{phase="Running",le="1"} 2',
        't_bucket{phase="Running",le="10"} 3',
        't_bucket{phase="Running",le="+Inf"} 4',
        't_sum{phase="Running"} 56.5',
        't_count{phase="Running"} 4',
    ]


def test_controllers_count_phases_states_and_resources():
    status = kubevirt.VirtualMachineStatus(printable_status="ErrorUnschedulable")
    seen = metrics.Seen(
        vms=[vm(status=status)],
        instances=[instance("Running", node_name="node1"), instance("Failed")],
        migrations=[],
    )
    lines = _text(metrics.families(seen))
    assert any('status_group="error"' in line for line in lines)
    assert any(
        line.startswith('kubevirt_vmi_phase_count{node="node1",phase="running"') for line in lines
    )
    request = 'resource="memory",unit="bytes",source="guest"'
    assert any(request in line and line.endswith(" 1073741824") for line in lines)
    assert "kubevirt_vmi_migrations_in_pending_phase 0" in lines


def _at(phase, seconds):
    passed = kubevirt.VirtualMachineInstancePhaseTransitionTimestamp(
        phase=phase,
        phase_transition_timestamp=(NOW + timedelta(seconds=seconds)).isoformat(),
    )
    return passed


def test_times_between_phases_are_counted_as_they_pass():
    transitions = metrics.Transitions()
    times = (_at("Scheduled", 0), _at("Running", 3))
    for phase in ("Scheduled", "Running", "Running"):
        found = instance(phase)
        status = msgspec.structs.replace(found.status, phase_transition_timestamps=times)
        transitions.look(KEY, msgspec.structs.replace(found, status=status))
    lines = _text(transitions.families())
    labels = 'last_phase="Scheduled",phase="Running"'
    assert f"kubevirt_vmi_phase_transition_time_seconds_sum{{{labels}}} 3" in lines
    assert f"kubevirt_vmi_phase_transition_time_seconds_count{{{labels}}} 1" in lines


def test_figures_of_a_guest_have_kubevirts_names_units_and_labels():
    volumes = (kubevirt.VolumeStatus(name="root", target="vda"),)
    figures = {
        "cpu.time": 2_500_000_000,
        "balloon.rss": 1024,
        "balloon.available": 900,
        "balloon.usable": 400,
        "vcpu.maximum": 1,
        "vcpu.0.time": 1_000_000_000,
        "vcpu.0.state": 1,
        "net.count": 1,
        "net.0.name": "tap0",
        "net.0.rx.bytes": 7,
        "block.count": 1,
        "block.0.name": "vda",
        "block.0.wr.reqs": 3,
    }
    one = handler_metrics.Scraped(vmi=instance("Running", volume_status=volumes), figures=figures)
    lines = _text(handler_metrics.families("node1", [one]))
    at = 'node="node1",namespace="prod",name="web1"'
    assert f"kubevirt_vmi_cpu_usage_seconds_total{{{at}}} 2.5" in lines
    assert f"kubevirt_vmi_memory_resident_bytes{{{at}}} 1048576" in lines
    assert f"kubevirt_vmi_memory_used_bytes{{{at}}} 512000" in lines
    assert f'kubevirt_vmi_vcpu_seconds_total{{{at},id="0",state="running"}} 1' in lines
    assert f'kubevirt_vmi_network_receive_bytes_total{{{at},interface="default"}} 7' in lines
    assert f'kubevirt_vmi_storage_iops_write_total{{{at},drive="root"}} 3' in lines
