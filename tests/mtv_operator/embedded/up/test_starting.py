"""What `mtv up` decides before it starts anything, and what it says when it cannot."""

import os
import socket
from datetime import UTC, datetime

import msgspec
import pytest

from mtv import errors
from mtv.api.core import Pod
from mtv_operator.embedded.node import processes
from mtv_operator.embedded.up import (
    bootstrap,
    components,
    credentials,
    machine,
    readiness,
    starting,
    stopping,
)
from mtv_operator.embedded.up.readiness import Facts
from mtv_operator.embedded.up.settings import Settings
from mtv_operator.embedded.up.supervisor import Report, State
from mtv_operator.installation import rbac
from mtv_operator.virt_handler.kvm_probe import Verdict

NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
GOOD = Verdict(usable=True, reason="Proved", message="a guest ran at 2000 MIPS")
BAD = Verdict(usable=False, reason="Emulated", message="KVM crawls")


@pytest.mark.parametrize(
    ("wanted", "verdict", "emulated", "words"),
    [
        ("auto", GOOD, False, "KVM works here: a guest ran at 2000 MIPS; VMs use it"),
        ("auto", BAD, True, "KVM does not work here: KVM crawls; VMs are emulated"),
        ("allow", GOOD, True, "VMs use it"),
        ("allow", BAD, True, "as asked for"),
        ("never", BAD, False, "VMs will wait, as emulation is not allowed"),
        ("never", GOOD, False, "KVM works here"),
    ],
)
def test_emulation_is_decided_by_the_probe_and_the_wish(wanted, verdict, emulated, words):
    chosen, sentence = bootstrap.choose_emulation(wanted, verdict)
    assert chosen is emulated
    assert words in sentence


def test_options_that_were_not_given_stay_as_they_are(tmp_path):
    kept = Settings(data_dir=str(tmp_path), nodes=2, listen="127.0.0.1:7000")
    fresh = starting.decide_settings(kept, tmp_path, {"nodes": 3, "listen": None})
    assert (fresh.nodes, fresh.listen) == (3, "127.0.0.1:7000")


def test_pod_network_cannot_change_under_running_pods(tmp_path):
    kept = Settings(data_dir=str(tmp_path))
    with pytest.raises(errors.BadInput, match=r"--pod-cidr: it was 10\.244\.0\.0/16") as caught:
        starting.decide_settings(kept, tmp_path, {"pod_cidr": "10.9.0.0/16"})
    assert "mtv down --purge" in caught.value.hint


def test_missing_programs_are_named_with_their_packages():
    with pytest.raises(errors.NotFound, match="no-such-program") as caught:
        machine.check_programs(["ip", "no-such-program"])
    assert caught.value.hint == "apt-get install --no-install-recommends no-such-program"


def test_taken_port_names_its_owner():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(errors.TargetRefused, match=rf"taken by process {os.getpid()} \(.*"):
            machine.check_free("127.0.0.1", port)
        machine.check_free("127.0.0.1", port, ours=[os.getpid()])
        assert machine.port_owner(port, "127.0.0.2") is None


@pytest.mark.parametrize(
    ("text", "address"),
    [("0100007F", "127.0.0.1"), ("00000000", "0.0.0.0"), ("0" * 32, "::")],
)
def test_addresses_of_the_kernels_table_are_read(text, address):
    assert machine.parse_address(text) == address


def test_every_component_waits_for_the_first_objects_but_the_api_server(tmp_path):
    settings = Settings(data_dir=str(tmp_path), nodes=2)
    made = components.build(settings, credentials.ensure(settings))
    first, task, *others = made
    assert (first.name, first.after) == ("apiserver", ())
    assert task.task
    assert all(one.after == ("bootstrap",) for one in others)
    names = settings.node_names()
    assert [one.name for one in others][4:] == [
        f"node-{names[0]}",
        f"virt-handler-{names[0]}",
        f"node-{names[1]}",
        f"virt-handler-{names[1]}",
    ]
    assert others[-1].argv[0] == "nsenter"  # the second node has a network namespace of its own


def test_component_that_is_run_by_hand_is_left_out(tmp_path):
    settings = Settings(data_dir=str(tmp_path), without=("virt-api",))
    made = components.build(settings, credentials.ensure(settings))
    assert "virt-api" not in [one.name for one in made]


def test_kubeconfigs_are_private_and_stay_the_same(tmp_path):
    settings = Settings(data_dir=str(tmp_path))
    made = credentials.ensure(settings)
    before = {name: path.read_bytes() for name, path in made.kubeconfigs.items()}
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in made.kubeconfigs.values())
    again = credentials.ensure(settings)
    assert {name: path.read_bytes() for name, path in again.kubeconfigs.items()} == before


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        ("127.0.0.1:6443", ["127.0.0.1:6443", "10.244.0.1:6443"]),
        ("0.0.0.0:6443", ["0.0.0.0:6443"]),
    ],
)
def test_api_server_is_reached_from_pods_wherever_it_listens(tmp_path, listen, expected):
    settings = Settings(data_dir=str(tmp_path), listen=listen)
    assert components.listen_addresses(settings) == expected


def test_roles_bind_the_users_that_certificates_name(tmp_path):
    settings = Settings(data_dir=str(tmp_path))
    credentials.ensure(settings)
    bound = {
        rbac.account_user(subject["namespace"], subject["name"])
        for one in rbac.objects(rbac.EMBEDDED)
        if one["kind"] == "ClusterRoleBinding"
        for subject in one["subjects"]
        if subject["kind"] == "ServiceAccount"
    }
    assert {
        "system:serviceaccount:mtv:mtv-controller",
        "system:serviceaccount:kubevirt:kubevirt-handler",
    } <= bound


def test_first_objects_have_paths_and_unique_names(tmp_path):
    settings = Settings(data_dir=str(tmp_path))
    settings.kvm_verdict.parent.mkdir(parents=True)
    known = msgspec.structs.replace(BAD, boot_id=processes.boot_id())
    settings.kvm_verdict.write_bytes(msgspec.json.encode(known))
    paths = [bootstrap.path_of(one) for one in bootstrap.objects(settings)]
    assert len(set(paths)) == len(paths)
    assert "/apis/kubevirt.io/v1/namespaces/kubevirt/kubevirts/kubevirt" in paths
    assert "/apis/forklift.konveyor.io/v1beta1/namespaces/mtv/providers/host" in paths


SELF = processes.identify(os.getpid())


def said(name, facts, **fields):
    report = Report(name=name, **{"state": State.RUNNING, "process": SELF, **fields})
    return readiness.line(report, facts, NOW)


def test_node_is_ready_when_it_says_so_and_its_lease_is_fresh():
    node = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    fresh = Facts(nodes={"one": node}, leases={"one": "2030-01-01T11:59:50.000000Z"})
    assert said("node-one", fresh).ready
    old = Facts(nodes={"one": node}, leases={"one": "2030-01-01T11:50:00.000000Z"})
    assert said("node-one", old).reason == "its lease is over"
    assert said("node-two", fresh).reason == "it has not registered yet"


def test_nothing_is_ready_while_the_api_server_does_not_answer():
    facts = Facts(api="connection refused")
    assert said("apiserver", facts).reason == "connection refused"
    assert said("controller", facts).reason == "the API server does not answer"


def test_process_that_is_gone_is_not_ready_and_shows_how_it_ended():
    gone = said("controller", Facts(), process=None, last_exit="killed by SIGKILL")
    assert (gone.ready, gone.reason, gone.pid) == (False, "killed by SIGKILL", 0)


def test_scheduler_is_ready_when_this_very_process_says_so():
    assert not said("scheduler", Facts()).ready
    assert said("scheduler", Facts(marks={"scheduler": SELF})).ready


def test_grace_of_pods_is_that_of_the_slowest_but_bounded():
    def pod(seconds):
        document = {"spec": {"terminationGracePeriodSeconds": seconds}}
        return msgspec.convert({"metadata": {"name": "p"}, **document}, Pod)

    assert stopping.grace_of([]) == 30.0
    assert stopping.grace_of([pod(5), pod(90)]) == 90.0
    assert stopping.grace_of([pod(9999)]) == stopping.LONGEST_GRACE_S
