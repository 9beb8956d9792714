"""The launcher pod, as others see it."""

from fractions import Fraction
from pathlib import Path

import msgspec
import pytest
import yaml
from kubevirt_objects import claim, instance, instance_spec

from mtv.api import configuration, installation, kubevirt, quantities, well_known
from mtv_operator.virt_controller import (
    backend_storage,
    launcher_pod,
    launcher_resources,
    launcher_volumes,
)
from mtv_operator.virt_controller.launcher_resources import Offers

GOLDEN = Path(__file__).parent / "golden"
NODE = Offers(
    resources=frozenset({well_known.KVM, well_known.TUN}),
    labels=frozenset(
        {
            well_known.ARCHITECTURE,
            "machine-type.node.kubevirt.io/q35",
            "cpu-model.node.kubevirt.io/X",
        }
    ),
)


def _spec(**changed):
    document = instance_spec()
    document["domain"].update(changed.pop("domain", {}))
    document.update(changed)
    return msgspec.convert(document, kubevirt.VirtualMachineInstanceSpec)


def _built(spec, *, claims=None, offers=NODE, settings=configuration.DEFAULT):
    found = msgspec.structs.replace(instance("Pending"), spec=spec)
    around = launcher_pod.Surroundings(
        image="registry.example/mtv:1",
        configuration=settings,
        offers=offers,
        claims=claims if claims is not None else {"web1-root": claim()},
    )
    return launcher_pod.build(found, around)


def _volumes(*volumes):
    disks = [{"name": one["name"], "disk": {"bus": "virtio"}} for one in volumes]
    document = instance_spec()
    document["volumes"] = list(volumes)
    document["domain"]["devices"]["disks"] = disks
    return msgspec.convert(document, kubevirt.VirtualMachineInstanceSpec)


CASES = {
    "plain": _spec(),
    "everything": msgspec.convert(
        {
            **instance_spec(),
            "hostname": "shop",
            "subdomain": "web",
            "terminationGracePeriodSeconds": 180,
            "nodeSelector": {"disk": "fast"},
            "tolerations": [{"key": "vm", "operator": "Exists"}],
            "priorityClassName": "high",
            "readinessProbe": {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 5},
            "domain": {
                "machine": {"type": "q35"},
                "memory": {"guest": "8Gi"},
                "cpu": {"cores": 2, "sockets": 2, "model": "Skylake-Server"},
                "resources": {"limits": {"memory": "9Gi", "cpu": "4"}, "requests": {"cpu": "2"}},
                "devices": {
                    "disks": [
                        {"name": name, "disk": {}} for name in ("root", "raw", "seed", "conf")
                    ],
                    "interfaces": [
                        {"name": "default", "masquerade": {}, "ports": [{"port": 80}]},
                        {"name": "lan", "bridge": {}, "macAddress": "02:00:00:00:00:01"},
                    ],
                    "tpm": {},
                },
            },
            "networks": [
                {"name": "default", "pod": {}},
                {"name": "lan", "multus": {"networkName": "nets/vlan7"}},
            ],
            "volumes": [
                {"name": "root", "persistentVolumeClaim": {"claimName": "web1-root"}},
                {"name": "raw", "dataVolume": {"name": "raw"}},
                {"name": "seed", "cloudInitNoCloud": {"secretRef": {"name": "seed"}}},
                {"name": "conf", "configMap": {"name": "conf"}},
            ],
        },
        kubevirt.VirtualMachineInstanceSpec,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_pod_is_the_golden_one(name):
    claims = {"web1-root": claim(), "raw": claim("raw", "Block")}
    found = msgspec.json.decode(msgspec.json.encode(_built(CASES[name], claims=claims)))
    path = GOLDEN / f"{name}.yaml"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(found, sort_keys=False))
        pytest.fail(f"{path} was missing and is written now: read it, then commit it")
    assert found == yaml.safe_load(path.read_text())


@pytest.mark.parametrize(
    ("probe", "command"),
    [
        ({"exec": {"command": ["cat", "/tmp/x"]}}, ["--command", "cat", "--", "/tmp/x"]),
        ({"guestAgentPing": {}}, ["--guestAgentPing"]),
    ],
    ids=["exec", "guestAgentPing"],
)
def test_what_the_agent_is_asked_is_an_exec_probe_of_the_pod(probe, command):
    (container,) = _built(_spec(livenessProbe={**probe, "timeoutSeconds": 3})).spec.containers
    asked = container.liveness_probe
    assert list(asked.exec.command) == [
        *("virt-probe", "--domainName", "prod_web1", "--timeoutSeconds", "3"),
        *command,
    ]
    assert asked.timeout_seconds == 3 + launcher_pod.PROBE_START_S


def test_serial_line_is_a_containers_log_where_the_spec_asks_for_it():
    devices = {**instance_spec()["domain"]["devices"], "logSerialConsole": True}
    pod = _built(_spec(domain={"devices": devices}))

    (log,) = pod.spec.init_containers
    assert (log.name, log.restart_policy) == ("guest-console-log", "Always")
    assert log.command[-1].startswith("/var/run/kubevirt-private/")
    assert _built(_spec()).spec.init_containers == ()


PERSISTENT = {
    "EFI variables": {"firmware": {"bootloader": {"efi": {"persistent": True}}}},
    "a TPM": {"devices": {**instance_spec()["domain"]["devices"], "tpm": {"persistent": True}}},
}


@pytest.mark.parametrize("domain", PERSISTENT.values(), ids=PERSISTENT)
def test_what_outlives_the_pod_is_on_a_claim_of_the_vm(domain):
    spec = _spec(domain=domain)
    found = msgspec.structs.replace(instance("Pending"), spec=spec)

    made = backend_storage.claim(found, None, {"web1-root": claim()})
    pod = _built(spec)

    assert made is not None
    assert made.metadata.name == "persistent-state-for-web1"
    assert [one.kind for one in made.metadata.owner_references] == ["VirtualMachine"]
    assert made.spec.access_modes == ("ReadWriteOnce",)
    sources = {one.name: one.persistent_volume_claim for one in pod.spec.volumes}
    assert sources["vm-state"].claim_name == made.metadata.name
    mounts = {one.name: one.mount_path for one in pod.spec.containers[0].volume_mounts}
    assert mounts["vm-state"] == "/var/run/kubevirt-private/vm-state"


def test_state_goes_where_the_disks_are_when_those_are_shared():
    found = msgspec.structs.replace(
        instance("Pending"), spec=_spec(domain=PERSISTENT["EFI variables"])
    )
    disk = claim()
    shared = msgspec.structs.replace(
        disk.spec, access_modes=("ReadWriteMany",), storage_class_name="shared"
    )
    disks = {"web1-root": msgspec.structs.replace(disk, spec=shared)}

    made = backend_storage.claim(found, None, disks)
    given = backend_storage.claim(found, "fast", disks)

    assert (made.spec.storage_class_name, made.spec.access_modes) == ("shared", ("ReadWriteMany",))
    assert given.spec.storage_class_name == "fast"


def test_a_vm_that_keeps_nothing_has_no_claim_for_it():
    found = msgspec.structs.replace(instance("Pending"), spec=_spec())
    assert backend_storage.claim(found, None, {}) is None


@pytest.mark.parametrize(
    ("vcpus", "memory", "mib"), [(1, "1Gi", 290), (4, "8Gi", 328)], ids=["1 vCPU", "4 vCPUs"]
)
def test_overhead_is_upstreams(vcpus, memory, mib):
    domain = _spec(domain={"cpu": {"cores": vcpus}, "memory": {"guest": memory}}).domain
    assert launcher_resources.overhead_bytes(domain) == mib << 20


def test_overhead_ratio_and_reserve_are_added():
    domain = _spec(
        domain={"memory": {"guest": "1Gi", "reservedOverhead": {"addedOverhead": "10Mi"}}}
    ).domain
    assert launcher_resources.overhead_bytes(domain, Fraction(2)) == 600 << 20


def test_request_is_guest_and_overhead_and_there_is_no_limit():
    (container,) = _built(_spec()).spec.containers
    requests = container.resources.requests
    assert quantities.whole(requests["memory"]) == (1024 + 290) << 20
    assert requests["cpu"] == "100m"
    assert "memory" not in container.resources.limits


@pytest.mark.parametrize(
    ("emulation", "offered", "asked"),
    [
        (False, {well_known.KVM}, True),
        (False, set(), True),
        (True, {well_known.KVM}, True),
        (True, set(), False),
    ],
    ids=[
        "KVM is there",
        "KVM is needed and missing: unschedulable says so",
        "emulation is allowed but KVM is there",
        "emulation is allowed and KVM is not there",
    ],
)
def test_kvm_is_asked_for(emulation, offered, asked):
    settings = configuration.Configuration(use_emulation=emulation)
    found = _built(_spec(), offers=Offers(resources=frozenset(offered)), settings=settings)
    (container,) = found.spec.containers
    assert (well_known.KVM in container.resources.limits) is asked


def test_configuration_comes_from_the_kubevirt_object():
    found = msgspec.convert(
        {
            "metadata": {"name": "kubevirt", "namespace": "kubevirt"},
            "spec": {
                "configuration": {
                    "developerConfiguration": {"useEmulation": True, "cpuAllocationRatio": 4},
                    "machineType": "pc-q35-8.2",
                }
            },
        },
        installation.KubeVirt,
    )
    known = configuration.of(found)
    assert known.use_emulation
    assert known.cpu_allocation_ratio == 4
    assert known.machine_type == "pc-q35-8.2"
    assert configuration.of(None) == configuration.DEFAULT


def test_block_claim_is_a_device():
    spec = _volumes({"name": "raw", "persistentVolumeClaim": {"claimName": "raw"}})
    (container,) = _built(spec, claims={"raw": claim("raw", "Block")}).spec.containers
    (device,) = container.volume_devices
    assert (device.name, device.device_path) == ("raw", "/dev/raw")


@pytest.mark.parametrize(
    ("volume", "path"),
    [
        ({"secret": {"secretName": "s"}}, "secret/v"),
        ({"configMap": {"name": "c"}}, "config-map/v"),
        ({"sysprep": {"configMap": {"name": "c"}}}, "sysprep/v"),
        ({"sysprep": {"secret": {"name": "c"}}}, "sysprep/v"),
        ({"serviceAccount": {"serviceAccountName": "sa"}}, "service-account/v"),
        ({"downwardAPI": {"fields": [{"path": "labels"}]}}, "downwardapi/v"),
        ({"hostDisk": {"path": "/data/disk.img", "type": "Disk"}}, "vmi-disks/v"),
        ({"ephemeral": {"persistentVolumeClaim": {"claimName": "web1-root"}}}, "vmi-disks/v"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)  # fmt: skip
def test_volume_is_mounted_where_launcher_and_handler_look(volume, path):
    found = launcher_volumes.of(_volumes({"name": "v", **volume}), {"web1-root": claim()})
    (mount,) = found[-1].mounts
    assert mount.mount_path == f"/var/run/kubevirt-private/{path}"


def test_name_is_made_of_the_uid_and_long_names_are_shortened_in_the_label():
    first, second = instance(uid="a"), instance(uid="b")
    assert launcher_pod.name_of(first) == launcher_pod.name_of(instance(uid="a"))
    assert launcher_pod.name_of(first) != launcher_pod.name_of(second)
    label = launcher_pod.id_label("x" * 70)
    assert len(label) == 63
    assert launcher_pod.id_label("web1") == "web1"
