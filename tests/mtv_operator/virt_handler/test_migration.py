"""Live migration at a node: who says what when, what can migrate, and the way between nodes."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from datetime import UTC, datetime

import msgspec
import pytest
import servers
from kubevirt_objects import NOW, instance

from mtv.api import kubevirt
from mtv_operator.embedded import pki
from mtv_operator.objects import Key
from mtv_operator.virt_handler import migratable, migration_proxy, migration_state
from mtv_operator.virt_handler.migration_state import Begin, Cancel, Observed, Prepare
from mtv_operator.virt_launcher import migration
from mtv_operator.virt_launcher.protocol import Domain, Migrate, MigrationJob, Status

RUNS = Domain(status=Status.RUNNING)
WAITS = Domain(receives="m")
KEY = Key("prod", "web1")


def vmi(**state):
    found = instance("Running", node_name="a", evacuation_node_name="a")
    state = kubevirt.VirtualMachineInstanceMigrationState(
        migration_uid="m", source_node="a", target_node="b", **state
    )
    return msgspec.structs.replace(
        found, status=msgspec.structs.replace(found.status, migration_state=state)
    )


def at(node, domain, found=None, **changed):
    return Observed(vmi=found or vmi(), node=node, pod_uid="p", domain=domain, **changed)


READY = {"target_node_address": "10.0.0.2", "target_direct_migration_node_ports": {"4": 0}}
STARTED = {**READY, "start_timestamp": "2026-03-01T12:00:00Z"}


def state_of(decision):
    return decision.status.status.migration_state


def test_the_target_prepares_itself_and_says_where_it_listens():
    plan = migration_state.decide_target(at("b", Domain()), NOW)
    assert plan.actions == (Prepare(),)

    seen = at("b", WAITS, ports={"4": 0}, address="10.0.0.2")
    state = state_of(migration_state.decide_target(seen, NOW))
    assert (state.target_node_address, state.target_direct_migration_node_ports) == (
        "10.0.0.2",
        {"4": 0},
    )


def test_the_target_takes_the_vm_over_when_its_guest_runs_there():
    job = MigrationJob(uid="m", total_bytes=9, downtime_ms=70, ended_at="x")
    domain = msgspec.structs.replace(RUNS, migration=job)
    stored = migration_state.decide_target(at("b", domain, vmi(**STARTED)), NOW).status

    assert stored.metadata.labels["kubevirt.io/nodeName"] == "b"
    assert (stored.status.node_name, stored.status.active_pods) == ("b", {"p": "b"})
    assert stored.status.evacuation_node_name is None
    state = stored.status.migration_state
    assert (state.completed, state.failed, state.progress.downtime_ms) == (True, None, 70)


def test_the_source_begins_when_the_target_is_ready_and_says_so():
    assert migration_state.decide_source(at("a", RUNS), NOW).actions == ()
    ready = at("a", RUNS, vmi(**READY))
    assert migration_state.decide_source(ready, NOW).actions == (Begin(),)

    job = MigrationJob(uid="m", started_at="2026-03-01T12:00:00Z", processed_bytes=1)
    runs = msgspec.structs.replace(RUNS, migration=msgspec.structs.replace(job, remaining_bytes=3))
    state = state_of(migration_state.decide_source(at("a", runs, vmi(**READY)), NOW))
    assert (state.start_timestamp, state.progress.percent) == ("2026-03-01T12:00:00Z", 25)


def test_the_source_alone_says_that_it_failed():
    job = MigrationJob(uid="m", ended_at="x", failed=True, message="why")
    domain = msgspec.structs.replace(RUNS, migration=job)
    state = state_of(migration_state.decide_source(at("a", domain, vmi(**STARTED)), NOW))
    assert (state.completed, state.failed, state.failure_reason) == (True, True, "why")
    waits = migration_state.decide_target(at("b", WAITS, vmi(**STARTED), ports={}), NOW)
    assert (waits.status, waits.actions) == (None, ())


def test_a_cancelled_migration_is_given_up_by_the_source():
    cancelled = vmi(**STARTED, abort_requested=True)
    job = msgspec.structs.replace(RUNS, migration=MigrationJob(uid="m"))
    plan = migration_state.decide_source(at("a", job, cancelled), NOW)
    assert plan.actions == (Cancel(),)

    before = vmi(**READY, abort_requested=True)
    state = state_of(migration_state.decide_source(at("a", RUNS, before), NOW))
    assert (state.failed, state.abort_status) == (True, "Succeeded")


def test_who_is_neither_does_nothing():
    for decide in (migration_state.decide_source, migration_state.decide_target):
        plan = decide(at("c", RUNS, vmi(**READY)), NOW)
        assert (plan.status, plan.actions) == (None, ())


def shared(mode):
    about = kubevirt.PersistentVolumeClaimInfo(claim_name="web1-root", access_modes=(mode,))
    volume = kubevirt.VolumeStatus(name="root", target="", persistent_volume_claim_info=about)
    return instance("Running", volume_status=(volume,))


def with_devices(found, **changed):
    devices = msgspec.structs.replace(found.spec.domain.devices, **changed)
    domain = msgspec.structs.replace(found.spec.domain, devices=devices)
    return msgspec.structs.replace(found, spec=msgspec.structs.replace(found.spec, domain=domain))


def plugged():
    found = shared("ReadWriteMany")
    (volume,) = found.spec.volumes
    claim = msgspec.structs.replace(volume.persistent_volume_claim, hotpluggable=True)
    volume = msgspec.structs.replace(volume, persistent_volume_claim=claim)
    spec = msgspec.structs.replace(found.spec, volumes=(volume,))
    return msgspec.structs.replace(found, spec=spec)


BRIDGE = (kubevirt.Interface(name="default", bridge=kubevirt.InterfaceBridge()),)
GPU = (kubevirt.HostDevice(name="gpu", device_name="v.com/gpu"),)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        pytest.param(shared("ReadWriteMany"), None, id="shared"),
        pytest.param(shared("ReadWriteOnce"), "DisksNotLiveMigratable", id="a disk of one node"),
        pytest.param(plugged(), "DisksNotLiveMigratable", id="a disk that came later"),
        pytest.param(
            with_devices(shared("ReadWriteMany"), interfaces=BRIDGE),
            "InterfaceNotLiveMigratable",
            id="the pod's own address",
        ),
        pytest.param(
            with_devices(shared("ReadWriteMany"), host_devices=GPU),
            "HostDeviceNotLiveMigratable",
            id="a device of the host",
        ),
    ],
)
def test_what_cannot_migrate_says_why(found, reason):
    said = migratable.condition(found)
    assert (said.status, said.reason) == ("False" if reason else "True", reason)


# the way


def identity(authority, name, dns):
    pair = authority.issue(name, common_name=name, addresses=[dns])
    return migration_proxy.Identity(
        certificate=str(pair.certificate),
        key=str(pair.key),
        authority=str(authority.certificate_path),
    )


@pytest.fixture
def authority(tmp_path):
    return pki.Authority(tmp_path / "pki", datetime.now(UTC))


def echo(folder, name):
    """Serve one connection that gets back what it sends."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / name))
    listener.listen()

    def serve():
        with listener, listener.accept()[0] as got:
            while piece := got.recv(65536):
                got.sendall(piece)

    threading.Thread(target=serve, daemon=True).start()
    return lambda: _connected(folder / name)


def _connected(path):
    found = socket.socket(socket.AF_UNIX)
    found.connect(str(path))
    return found


def test_bytes_go_both_ways_between_handlers(authority, tmp_path):
    proxies = migration_proxy.Proxies(identity(authority, "h", "virt-handler"))
    receiving = migration_proxy.Proxies(identity(authority, "g", "virt-handler"))
    receiving.receive(KEY, "m", "127.0.0.1", {0: echo(tmp_path, "end")})
    (port,) = receiving.ports(KEY, "m")
    out = socket.socket(socket.AF_UNIX)
    out.bind(str(tmp_path / "out"))
    out.listen()
    proxies.send(KEY, "m", "127.0.0.1", {int(port): out})

    content = bytes(range(256)) * 8192
    with _connected(tmp_path / "out") as connection:
        connection.settimeout(servers.DEADLINE_S)
        sender = threading.Thread(target=connection.sendall, args=(content,))
        sender.start()
        got = b""
        while len(got) < len(content):
            got += connection.recv(1 << 20)
        sender.join(servers.DEADLINE_S)
    for one in (proxies, receiving):
        one.close(KEY)
    assert got == content
    assert receiving.ports(KEY, "m") is None


def test_who_is_no_handler_is_refused(authority, tmp_path):
    receiving = migration_proxy.Proxies(identity(authority, "g", "virt-handler"))
    receiving.receive(KEY, "m", "127.0.0.1", {0: echo(tmp_path, "end")})
    (port,) = receiving.ports(KEY, "m")
    tls = identity(authority, "other", "virt-api").outbound()

    said = b""
    plain = socket.create_connection(("127.0.0.1", int(port)), 10)
    with (
        contextlib.suppress(ssl.SSLError, OSError),
        plain,
        tls.wrap_socket(plain, server_hostname="virt-handler") as secure,
    ):
        secure.sendall(b"x")
        said = secure.recv(1)
    receiving.close(KEY)
    assert said == b""


def test_a_link_in_a_pods_folder_is_not_followed(tmp_path):
    volume = tmp_path / "pods/p/volumes/kubernetes.io~empty-dir"
    volume.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (volume / "private").mkdir()
    (volume / "private/migrationproxy").symlink_to(tmp_path / "elsewhere")
    folder = migration_proxy.PodFolder(
        kubelet_root=tmp_path, pod_uid="p", volume="private", parts=("migrationproxy",)
    )
    with pytest.raises(OSError, match=r"ot a directory|oo many"):
        folder.listen("x", 0)
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize(
    ("given", "post_copy", "disrupt"),
    [
        ({}, False, False),
        ({"allow_post_copy": True}, True, True),
        ({"allow_post_copy": True, "allow_workload_disruption": False}, True, False),
        ({"allow_workload_disruption": True}, False, True),
    ],
    ids=["nothing", "post-copy", "post-copy only", "pausing only"],
)
def test_the_order_says_how_a_late_migration_may_be_ended(given, post_copy, disrupt):
    options = kubevirt.VMIMConfigurationOptions(max_downtime_ms=100, **given)
    found = vmi(migration_configuration=options)
    order = migration_state.order(migration_state.of(found), found)
    assert (order.post_copy, order.disrupt, order.max_downtime_ms) == (post_copy, disrupt, 100)


def test_a_guest_may_stand_still_longer_the_longer_its_migration_takes():
    allowed = [migration.downtime_ms(seconds, 0) for seconds in (0, 4, 5, 10, 15, 20, 900)]
    assert allowed == [30, 30, 60, 120, 240, 300, 300]
    assert migration.downtime_ms(900, 100) == 100
    assert migration.downtime_ms(0, 10) == 10


def test_a_migration_that_takes_too_long_or_gets_nowhere_is_noticed():
    request = Migrate(uid="m", progress_timeout_s=10, completion_timeout_s=60)
    patience = migration.Patience(request=request, began=0.0)
    assert not patience.stuck(100, 5)
    assert not patience.stuck(90, 14)
    assert not patience.stuck(95, 24)
    assert "stuck" in patience.stuck(95, 25)
    assert not patience.late(60)
    assert "not completed" in patience.late(61)
    assert not patience.late(61, twice=True)
