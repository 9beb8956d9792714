"""`mtv provider` and `mtv inventory` against a vCenter: what works, and each kind of bad input."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import migration_cluster
import pytest
import servers
from migration_cluster import FORKLIFT, Cluster

from mtv.cli import main

pytestmark = pytest.mark.vcenter

TWINS = {"name": "twin", "disks": [], "nics": []}
CONFIG = {
    "vms": [
        {"name": "web1", "disks": [{"sizeMB": 16}], "nics": [{"network": "VM Network"}]},
        {"name": "web2", "disks": [{"sizeMB": 16}], "nics": [{"network": "DC0_DVPG0"}]},
    ]
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with migration_cluster.running(tmp_path_factory.mktemp("cluster"), CONFIG) as found:
        found.add_provider("vc")
        yield found


def left(cluster: Cluster) -> set[str]:
    providers = cluster.api.get(f"{FORKLIFT}/providers")["items"]
    secrets = cluster.api.get("/api/v1/namespaces/mtv/secrets")["items"]
    return {one["metadata"]["name"] for one in (*providers, *secrets)}


def add(cluster: Cluster, name: str, *more: str, stdin: str = "secret") -> tuple[int, str]:
    url = [] if "--url" in more else ["--url", cluster.vcenter.url]
    done = cluster.mtv(
        *("provider", "add", name, *url, "--user", cluster.vcenter.user, *more), stdin=stdin
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("name", "more", "stdin", "code", "text"),
    [
        ("bad", ["--password-stdin", "--insecure"], "wrong", 77, "wrong user name or password"),
        ("bad", ["--password-stdin", "--insecure"], "", 65, "the password is empty"),
        ("bad", ["--insecure"], "", 65, "no password is given, and there is no terminal"),
        ("bad", ["--password-stdin"], "secret", 69, "is not trusted"),
        (
            "bad",
            ["--password-stdin", "--thumbprint", "AB:" * 19 + "CD"],
            "secret",
            69,
            "expected the thumbprint AB:AB:",
        ),
        ("bad", ["--password-stdin", "--thumbprint", "AB"], "secret", 65, "is not a SHA-1"),
        (
            "bad",
            ["--password-stdin", "--thumbprint", "AB", "--insecure"],
            "secret",
            65,
            "exclude each other",
        ),
        ("bad", ["--password-file", "/nowhere", "--insecure"], "", 66, "No such file"),
        ("bad", ["--password-stdin", "--cacert", "/nowhere"], "secret", 66, "No such file"),
        (
            "bad",
            ["--password-stdin", "--insecure", "--url", "http://vc"],
            "secret",
            65,
            "does not begin with https://",
        ),
        ("bad", ["--password-stdin", "--insecure", "--type", "ovirt"], "x", 65, "not supported"),
        ("Bad_Name", ["--password-stdin", "--insecure"], "secret", 65, "is no DNS label"),
        ("vc", ["--password-stdin", "--insecure"], "secret", 73, "already exists"),
        ("bad", ["--password-stdin", "--insecure", "-n", "no"], "secret", 66, "no namespace no"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bad_input_is_one_clear_error_and_leaves_nothing(
    cluster: Cluster, name: str, more: list[str], stdin: str, code: int, text: str
) -> None:
    before = left(cluster)
    found, error = add(cluster, name, *more, stdin=stdin)
    assert (found, text in error) == (code, True), error
    assert error.startswith("error: ")
    assert "Traceback" not in error
    assert left(cluster) == before


def test_what_cannot_be_reached_is_kept_and_tried_again(cluster: Cluster) -> None:
    url = f"https://127.0.0.1:{servers.free_port()}/sdk"
    code, error = add(
        cluster, "away", "--password-stdin", "--insecure", "--url", url, "--timeout", "2"
    )
    assert code == 75, error
    assert "nobody listens on" in error
    assert "away" in left(cluster)
    assert cluster.mtv("provider", "delete", "away").returncode == 0
    assert not [name for name in left(cluster) if name.startswith("away")]


def test_no_wait_stores_it_untested(cluster: Cluster) -> None:
    code, error = add(
        cluster, "later", "--password-stdin", "--insecure", "--no-wait", stdin="wrong"
    )
    assert code == 0, error
    found = cluster.until_condition("providers", "later", "ConnectionAuthFailed")
    assert found["suggestion"]
    assert cluster.mtv("provider", "delete", "later").returncode == 0


def test_the_ca_is_enough_and_so_is_the_password_of_a_file(
    cluster: Cluster, tmp_path: Path
) -> None:
    ca, password = tmp_path / "ca.pem", tmp_path / "password"
    ca.write_text(cluster.vcenter.ca_pem())
    password.write_text("secret\n")
    code, error = add(cluster, "safe", "--password-file", str(password), "--cacert", str(ca))
    assert code == 0, error
    assert "ConnectionInsecure" not in cluster.conditions("providers", "safe")
    assert cluster.mtv("provider", "test", "safe").returncode == 0
    assert cluster.mtv("provider", "delete", "safe").returncode == 0


def test_inventory_is_shown_in_every_format(cluster: Cluster) -> None:
    table = cluster.mtv("inventory", "vms", "vc")
    assert table.returncode == 0, table.stderr
    assert [line.split()[1] for line in table.stdout.splitlines()[1:]] == ["web1", "web2"]
    first = cluster.mtv("inventory", "vms", "vc", "-o", "json").stdout
    assert first == cluster.mtv("inventory", "vms", "vc", "-o", "json").stdout
    (web1, _) = json.loads(first)
    assert (web1["name"], web1["disks"][0]["capacityBytes"]) == ("web1", 16 << 20)
    for kind in ("networks", "datastores", "hosts", "clusters"):
        assert cluster.mtv("inventory", kind, "vc", "-o", "wide").returncode == 0
        assert json.loads(cluster.mtv("inventory", kind, "vc", "-o", "json").stdout)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["inventory", "vms", "nope"], 66, "there is no provider nope in namespace mtv"),
        (["inventory", "vms", "host"], 65, "has no inventory to read"),
        (["plan", "check", "nope"], 66, "there is no plan nope in namespace mtv"),
        (["plan", "start", "nope"], 66, "there is no plan nope"),
        (["import", "web9", "--from", "vc"], 66, "provider vc has no VM 'web9'"),
        (["import", "web1", "--from", "disk.ova"], 69, "No such file"),
        (["import", "web1", "web2", "--from", "vc", "--name", "x"], 65, "one name for 2 VMs"),
        (["import", "web1", "--from", "vc"], 1, 'add --network "VM Network=pod" --storage'),
        (["provider", "show", "nope"], 66, "there are: host (-n mtv), vc (-n mtv)"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_not_there_is_named(
    cluster: Cluster, arguments: list[str], code: int, text: str
) -> None:
    done = cluster.mtv(*arguments)
    assert (done.returncode, text in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_a_dry_run_writes_nothing(cluster: Cluster) -> None:
    done = cluster.mtv(
        *("import", "web1", "--from", "vc", "--network", "VM Network=pod"),
        *("--storage", "LocalDS_0=local", "--dry-run", "-o", "json"),
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["bytesToCopy"]["atMost"] == 16 << 20
    assert [one["kind"] for one in found["objects"]] == [
        "PersistentVolumeClaim",
        "DiskTransfer",
        "VirtualMachine",
    ]
    assert cluster.api.get(f"{FORKLIFT}/plans")["items"] == []


@pytest.mark.parametrize("name", ["provider", "inventory", "import", "plan"])
def test_every_help_has_an_example(name: str) -> None:
    command = main.load(name)
    every = [command, *getattr(command, "commands", {}).values()]
    assert all("Example" in (one.epilog or "") for one in every)
