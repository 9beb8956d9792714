"""What is filled in, and what is left as it was given."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubevirt_objects import NOW, instance_spec, vm_document

from mtv.api import configuration, kubevirt, meta, well_known
from mtv_operator.virt_api import defaults

UUID = "11111111-2222-3333-4444-555555555555"


def _uuid():
    return UUID


def _spec(domain=None, **changed):
    document = {**instance_spec(), **changed}
    document["domain"] = {**document["domain"], **(domain or {})}
    return msgspec.convert(document, kubevirt.VirtualMachineInstanceSpec)


def _filled(spec, settings=configuration.DEFAULT):
    return defaults.instance_spec(spec, settings, _uuid)


def test_new_vm_gets_an_identity_once():
    vm = msgspec.convert(vm_document(), kubevirt.VirtualMachine)
    made = defaults.virtual_machine(vm, configuration.DEFAULT, _uuid, created=True)
    domain = made.spec.template.spec.domain
    assert (domain.firmware.uuid, domain.firmware.serial) == (UUID, UUID)
    assert domain.machine.type == "q35"
    assert made.spec.template.spec.architecture == "amd64"
    later = defaults.virtual_machine(vm, configuration.DEFAULT, _uuid, created=False)
    assert later.spec.template.spec.domain.firmware is None


def test_given_identity_stays():
    document = vm_document()
    given = {"uuid": "420f1c2e-aaaa-bbbb-cccc-0123456789ab", "serial": "VMware-42"}
    document["spec"]["template"]["spec"]["domain"]["firmware"] = given
    vm = msgspec.convert(document, kubevirt.VirtualMachine)
    made = defaults.virtual_machine(vm, configuration.DEFAULT, _uuid, created=True)
    assert msgspec.to_builtins(made.spec.template.spec.domain.firmware) == given


def test_instance_gets_finalizer_phase_and_memory_status():
    vmi = kubevirt.VirtualMachineInstance(
        metadata=meta.ObjectMeta(name="a", namespace="b"), spec=_spec()
    )
    made = defaults.instance(vmi, configuration.DEFAULT, _uuid, NOW)
    assert made.metadata.finalizers == (well_known.VMI_FINALIZER,)
    assert made.status.phase == "Pending"
    assert made.status.memory.guest_at_boot == "1Gi"
    assert made.status.runtime_user == 107


@pytest.mark.parametrize(
    ("domain", "guest"),
    [
        ({"memory": {}, "resources": {"requests": {"memory": "2Gi"}}}, "2Gi"),
        ({"memory": {}, "resources": {"limits": {"memory": "3Gi"}}}, "3Gi"),
        ({"memory": {"hugepages": {"pageSize": "1Gi"}}}, "1Gi"),
        ({"memory": {"guest": "512Mi"}, "resources": {"requests": {"memory": "1Gi"}}}, "512Mi"),
    ],
    ids=["the request", "the limit", "one huge page", "what was given"],
)
def test_guest_memory_is(domain, guest):
    assert _filled(_spec(domain)).domain.memory.guest == guest


@pytest.mark.parametrize(
    ("domain", "topology"),
    [
        ({"cpu": {}}, (1, 1, 1)),
        ({"cpu": {}, "resources": {"limits": {"cpu": "3"}}}, (3, 1, 1)),
        ({"cpu": {}, "resources": {"requests": {"cpu": "1500m"}}}, (2, 1, 1)),
        ({"cpu": {"cores": 4}}, (1, 4, 1)),
    ],
    ids=["nothing said", "the limit", "the request, rounded up", "cores"],
)
def test_topology_is(domain, topology):
    cpu = _filled(_spec(domain)).domain.cpu
    assert (cpu.sockets, cpu.cores, cpu.threads) == topology
    assert cpu.model == "host-model"


def test_cpu_limit_is_requested_too():
    domain = _filled(_spec({"resources": {"limits": {"cpu": "2"}}})).domain
    assert domain.resources.requests["cpu"] == "2"


def test_instance_without_networks_is_on_the_pod_network():
    found = _filled(_spec({"devices": {}}, networks=[], volumes=[]))
    (interface,) = found.domain.devices.interfaces
    assert interface.masquerade is not None
    assert found.networks[0].pod is not None
    settings = configuration.Configuration(default_interface="bridge")
    (bridged,) = _filled(
        _spec({"devices": {}}, networks=[], volumes=[]), settings
    ).domain.devices.interfaces
    assert bridged.bridge is not None


def test_instance_that_wants_no_network_has_none():
    found = _filled(_spec({"devices": {"autoattachPodInterface": False}}, networks=[], volumes=[]))
    assert found.networks == ()


def test_volume_without_disk_gets_one_and_buses_are_filled_in():
    devices = {
        "disks": [{"name": "cd", "cdrom": {}}, {"name": "lun", "lun": {}}],
        "inputs": [{"name": "i", "type": "tablet"}],
        "watchdog": {"name": "w", "i6300esb": {}},
    }
    volumes = [{"name": name, "emptyDisk": {"capacity": "1Gi"}} for name in ("cd", "lun", "more")]
    found = _filled(_spec({"devices": devices}, volumes=volumes)).domain.devices
    cd, lun, more = found.disks
    assert (cd.cdrom.bus, cd.cdrom.readonly, cd.cdrom.tray) == ("sata", True, "closed")
    assert lun.lun.bus == "sata"
    assert (more.name, more.disk.bus) == ("more", "sata")
    assert found.inputs[0].bus == "usb"
    assert found.watchdog.i6300esb.action == "reset"


def test_hyperv_features_bring_what_they_need():
    domain = {"features": {"acpi": {}, "hyperv": {"synictimer": {}, "evmcs": {}}}}
    found = _filled(_spec(domain)).domain
    hyperv = found.features.hyperv
    assert found.features.acpi.enabled
    assert hyperv.synic.enabled
    assert hyperv.vpindex.enabled
    assert hyperv.vapic.enabled
    assert [feature.name for feature in found.cpu.features] == ["vmx"]


def test_probe_gets_its_times():
    probe = _filled(_spec(readinessProbe={"tcpSocket": {"port": 22}})).readiness_probe
    assert (probe.period_seconds, probe.timeout_seconds, probe.failure_threshold) == (10, 1, 3)


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("fedora", "Always"),
        ("fedora:latest", "Always"),
        ("fedora:40", "IfNotPresent"),
        ("registry:5000/fedora", "Always"),
        ("fedora@sha256:0", "IfNotPresent"),
    ],
)
def test_container_disk_is_pulled(image, policy):
    found = _filled(_spec(volumes=[{"name": "root", "containerDisk": {"image": image}}]))
    assert found.volumes[0].container_disk.image_pull_policy == policy


@given(
    bus=st.sampled_from([None, "virtio", "scsi"]),
    memory=st.sampled_from([None, "1Gi", 1073741824]),
    cores=st.integers(min_value=0, max_value=8),
    binding=st.sampled_from(["masquerade", "bridge"]),
)
def test_defaults_are_filled_in_once(bus, memory, cores, binding):
    """A second pass finds nothing to add: what was given stays."""
    devices = {"disks": [{"name": "root", "disk": {"bus": bus} if bus else {}}]}
    domain = {"memory": {"guest": memory} if memory else {}, "cpu": {"cores": cores}}
    settings = configuration.Configuration(default_interface=binding)
    once = _filled(_spec({**domain, "devices": devices}), settings)
    assert _filled(once, settings) == once
    if bus:
        assert once.domain.devices.disks[0].disk.bus == bus
