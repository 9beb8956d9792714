"""The embedded home as people use it: `mtv up`, pods, kills, `mtv down`. Real processes."""

import getpass
import json
import os
import re
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from servers import free_port, until

from mtv import errors
from mtv.api.core import PersistentVolume, PersistentVolumeClaim, Pod
from mtv_operator.embedded.node import network
from mtv_operator.embedded.up import settings as up_settings
from mtv_operator.embedded.up import supervisor
from mtv_operator.objects import Client

pytestmark = [
    pytest.mark.netns,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason=f"needs root, runs as {getpass.getuser()}"),
]
OTHERS = ("controller", "virt-api", "virt-handler-{node}")
MINUTE = 60.0


@dataclass
class Home:
    """One installation, and how it is spoken to."""

    folder: Path
    options: list

    def mtv(self, *words, check=True, text=""):
        done = subprocess.run(
            [str(Path(sys.executable).with_name("mtv")), *words],
            input=text,
            capture_output=True,
            text=True,
            env={**os.environ, "KUBECONFIG": str(self.folder / "kubeconfig")},
            timeout=240,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def up(self, *more):
        return self.mtv("up", "--data-dir", str(self.folder), *self.options, *more)

    def down(self, *more):
        return self.mtv("down", "--data-dir", str(self.folder), *more)

    def apply(self, *documents):
        return self.mtv("apply", "-f", "-", text="\n---\n".join(map(json.dumps, documents)))

    @property
    def client(self):
        return Client.connect(str(self.folder / "kubeconfig"))

    def components(self):
        summary = supervisor.read_summary(self.folder / "run")
        return {one.name: one for one in summary.components}

    def pod(self, name):
        return self.client.get(Pod, name, "default")

    def wait(self, name, check, what):
        return until(lambda: (found := self.pod(name)) and check(found) and found, what, MINUTE)

    def log(self, name, **query):
        path = Pod.resource.path("default", name, "log")
        content = self.client._to.call("GET", path, query=list(query.items()))
        return content.decode()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    node = up_settings.node_name(socket.gethostname())
    number = os.getpid() % 90 + 100
    without = [word for name in OTHERS for word in ("--without", name.format(node=node))]
    made = Home(
        tmp_path_factory.mktemp("home") / "data",
        [
            *("--listen", f"127.0.0.1:{free_port()}", "--pod-cidr", f"10.{number}.0.0/16"),
            *("--bridge", f"mtvt{number}", *without),
        ],
    )
    made.folder.parent.chmod(0o755)
    made.up()
    yield made
    settings = up_settings.load(made.folder)
    made.down("--purge")
    assert not made.folder.exists()
    assert network.link(settings.bridge) is None
    assert str(made.folder) not in Path("/proc/self/mountinfo").read_text()
    assert not processes_of(made.folder)


def processes_of(folder):
    """Return the command lines that name a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if str(folder) in words:
            found.append(words)
    return found


def pod(name, script, *, policy="Never", volumes=(), **container):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": policy,
            "terminationGracePeriodSeconds": 2,
            "volumes": list(volumes),
            "containers": [
                {"name": "main", "image": "x", "command": ["/bin/sh", "-c", script], **container}
            ],
        },
    }


def claim(name, storage, **spec):
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "storageClassName": storage,
            "resources": {"requests": {"storage": "16Mi"}},
            **spec,
        },
    }


def is_running(found):
    return found.status.container_statuses and found.status.container_statuses[0].ready


def has_ended(found):
    return found.status.phase in ("Succeeded", "Failed")


def remove(home, *names):
    for name in names:
        home.client.delete(Pod, name, "default")
    until(
        lambda: all(home.client.find(Pod, name, "default") is None for name in names),
        f"{names} are gone",
        MINUTE,
    )


def test_pod_runs_in_its_own_network_and_its_log_is_read(home):
    home.apply(pod("hello", "echo to stdout; echo to stderr >&2; hostname; exec sleep inf"))
    found = home.wait("hello", is_running, "hello runs")
    assert home.log("hello") == "to stdout\nto stderr\nhello\n"
    assert home.log("hello", tailLines="1") == "hello\n"
    settings = up_settings.load(home.folder)
    assert found.status.pod_ip.startswith(settings.pod_cidr.rpartition(".0.0/")[0])
    remove(home, "hello")
    until(lambda: not list(home.folder.glob("nodes/*/pods/*")), "the pod's folder is gone")
    assert found.metadata.uid not in " ".join(network.namespaces())


def test_pod_that_fails_says_its_code_and_its_last_words(home):
    home.apply(pod("fails", "echo the disk is gone > /dev/termination-log; exit 3"))
    found = home.wait("fails", has_ended, "fails has ended")
    ended = found.status.container_statuses[0].state.terminated
    assert (ended.exit_code, ended.reason) == (3, "Error")
    assert ended.message == "the disk is gone"
    remove(home, "fails")


def test_token_of_the_pod_lets_it_ask_the_api_server(home):
    folder = "/var/run/secrets/kubernetes.io/serviceaccount"
    script = (
        f'curl -s --cacert {folder}/ca.crt -H "Authorization: Bearer $(cat {folder}/token)" '
        "https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT/api/v1/namespaces/default/pods"
    )
    home.apply(pod("asks", script))
    home.wait("asks", has_ended, "asks has ended")
    assert "system:serviceaccount:default:default" in home.log("asks")
    remove(home, "asks")


def test_pod_too_large_for_the_node_says_so(home):
    home.apply(pod("large", "true", resources={"requests": {"memory": "900Ti"}}))
    found = home.wait("large", lambda one: one.status.conditions, "large was looked at")
    (condition,) = [one for one in found.status.conditions if one.type == "PodScheduled"]
    assert condition.message == "0/1 nodes are available: 1 Insufficient memory."
    remove(home, "large")


def test_node_that_is_killed_finds_its_pods_again(home):
    home.apply(pod("stays", "exec sleep inf", policy="Always"))
    before = home.wait("stays", is_running, "stays runs").status.container_statuses[0]
    (name,) = [one for one in home.components() if one.startswith("node-")]
    victim = home.components()[name].process
    os.kill(victim.pid, signal.SIGKILL)
    until(
        lambda: (one := home.components()[name]).process and one.process != victim,
        "another node process",
        MINUTE,
    )
    home.apply(pod("later", "true"))
    home.wait("later", has_ended, "the new node works")
    after = home.pod("stays").status.container_statuses[0]
    assert (after.container_id, after.restart_count) == (before.container_id, 0)
    remove(home, "stays", "later")


def test_container_that_ends_while_nobody_looks_is_noticed_by_the_next_node(home):
    home.apply(pod("ends", "while ! test -e /tmp/go; do sleep 0.05; done; exit 7"))
    found = home.wait("ends", is_running, "ends runs")
    (name,) = [one for one in home.components() if one.startswith("node-")]
    os.kill(home.components()[name].process.pid, signal.SIGKILL)
    (folder,) = home.folder.glob(f"nodes/*/pods/{found.metadata.uid}/containers/main/0/tmp")
    (folder / "go").touch()
    ended = home.wait("ends", has_ended, "ends has ended").status.container_statuses[0].state
    assert ended.terminated.exit_code == 7
    remove(home, "ends")


def test_volumes_keep_their_data_until_the_claim_goes(home):
    files = {"name": "v", "persistentVolumeClaim": {"claimName": "files"}}
    block = {"name": "b", "persistentVolumeClaim": {"claimName": "device"}}
    home.apply(
        claim("files", "local", accessModes=["ReadWriteOnce"]),
        claim("device", "shared", accessModes=["ReadWriteMany"], volumeMode="Block"),
        pod(
            "writer",
            "echo data > /data/file && dd if=/data/file of=/dev/disk conv=sync bs=4096",
            volumes=[files, block],
            volumeMounts=[{"name": "v", "mountPath": "/data"}],
            volumeDevices=[{"name": "b", "devicePath": "/dev/disk"}],
        ),
    )
    assert home.wait("writer", has_ended, "writer has ended").status.phase == "Succeeded"
    found = home.client.get(PersistentVolumeClaim, "files", "default")
    assert found.status.phase == "Bound"
    assert found.status.capacity == {"storage": "16Mi"}
    volumes = {one.spec.claim_ref.name: one for one in home.client.list(PersistentVolume)}
    assert Path(volumes["files"].spec.local.path, "file").read_text() == "data\n"
    device = Path(volumes["device"].spec.host_path.path)
    assert device.read_bytes().startswith(b"data\n")
    assert device.stat().st_size == 16 << 20
    home.client.delete(PersistentVolumeClaim, "files", "default")
    remove(home, "writer")
    home.client.delete(PersistentVolumeClaim, "device", "default")
    until(lambda: not home.client.list(PersistentVolume), "volumes are gone", MINUTE)
    assert not [one for one in (home.folder / "volumes").iterdir() if one.name != ".attached"]


def test_claim_in_use_is_deleted_after_its_pod(home):
    volume = {"name": "v", "persistentVolumeClaim": {"claimName": "used"}}
    home.apply(
        claim("used", "local", accessModes=["ReadWriteOnce"]),
        pod(
            "user",
            "exec sleep inf",
            volumes=[volume],
            volumeMounts=[{"name": "v", "mountPath": "/data"}],
        ),
    )
    home.wait("user", is_running, "user runs")
    home.client.delete(PersistentVolumeClaim, "used", "default")
    assert home.client.get(PersistentVolumeClaim, "used", "default").metadata.deletion_timestamp
    assert len(home.client.list(PersistentVolume)) == 1
    remove(home, "user")
    until(lambda: not home.client.list(PersistentVolume), "the volume is gone", MINUTE)


def test_pods_go_on_through_down_and_are_found_by_the_next_up(home):
    home.apply(pod("survivor", "exec sleep inf", policy="Always"))
    before = home.wait("survivor", is_running, "survivor runs").status.container_statuses[0]
    told = home.down().stderr
    assert "pods that go on: 1" in told
    status = home.mtv("status", "--data-dir", str(home.folder), check=False)
    assert status.returncode == errors.Retryable.exit_code
    pid = int(re.search(r"//(\d+)-", before.container_id)[1])
    assert Path(f"/proc/{pid}").exists()
    home.up()
    after = home.wait("survivor", is_running, "survivor is found").status.container_statuses[0]
    assert after.container_id == before.container_id
    again = home.up()
    assert "already running" in again.stderr
    remove(home, "survivor")


def test_supervisor_that_is_killed_is_replaced_and_components_are_adopted(home):
    before = {name: one.process for name, one in home.components().items() if one.process}
    os.kill(supervisor.read_summary(home.folder / "run").supervisor.pid, signal.SIGKILL)
    home.up()
    after = {name: one.process for name, one in home.components().items() if one.process}
    assert after == before


def test_status_is_a_table_for_people_and_json_for_programs(home):
    table = home.mtv("status", "--data-dir", str(home.folder)).stdout.splitlines()
    assert table[0].split()[:4] == ["COMPONENT", "STATE", "READY", "PID"]
    told = json.loads(home.mtv("status", "--data-dir", str(home.folder), "-o", "json").stdout)
    assert all(one["ready"] for one in told["components"])


def test_apply_says_what_it_did_and_delete_takes_it_away(home):
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "c"},
        "data": {"a": "1"},
    }
    assert home.apply(config).stdout == "configmap/c created\n"
    assert home.apply(config).stdout == "configmap/c unchanged\n"
    assert home.apply({**config, "data": {"a": "2"}}).stdout == "configmap/c configured\n"
    deleted = home.mtv("delete", "-f", "-", text=json.dumps(config))
    assert deleted.stdout == "configmap/c deleted\n"
    again = home.mtv("delete", "-f", "-", text=json.dumps(config), check=False)
    assert again.returncode == errors.NotFound.exit_code


def test_port_that_is_taken_names_its_owner_before_anything_is_made(home, tmp_path):
    settings = up_settings.load(home.folder)
    done = home.mtv(
        *("up", "--data-dir", str(tmp_path / "other"), "--listen", settings.listen),
        *("--bridge", "mtvtother", "--pod-cidr", "10.99.0.0/16"),
        check=False,
    )
    assert done.returncode == errors.TargetRefused.exit_code
    assert re.search(r"is taken by process \d+ \(.*mtv-apiserver", done.stderr)
    assert not (tmp_path / "other").exists()


def test_bridge_of_another_data_folder_is_refused(home, tmp_path):
    settings = up_settings.load(home.folder)
    done = home.mtv(
        *("up", "--data-dir", str(tmp_path / "other"), "--listen", f"127.0.0.1:{free_port()}"),
        *("--bridge", settings.bridge, "--pod-cidr", "10.99.0.0/16"),
        check=False,
    )
    assert done.returncode == errors.TargetRefused.exit_code
    assert f"belongs to mtv:{home.folder}" in done.stderr
