"""Keys and passwords: what is refused, what the pod mounts, what the seed says."""

import json
from pathlib import Path

import msgspec
import pytest
from kubevirt_objects import instance, instance_spec

from mtv import errors
from mtv.api import kubevirt
from mtv_operator.virt_api import credential_rules
from mtv_operator.virt_controller import launcher_volumes
from mtv_operator.virt_launcher import cloud_init, credentials, volumes
from mtv_operator.virt_launcher.kept_state import KeptState

SEED = {"name": "seed", "cloudInitNoCloud": {"userData": "#cloud-config"}}
KEY = {
    "sshPublicKey": {
        "source": {"secret": {"secretName": "keys"}},
        "propagationMethod": {"noCloud": {}},
    }
}


def _spec(*credentials, seeds=(SEED,)):
    document = instance_spec()
    document["volumes"] = [*document["volumes"], *seeds]
    document["accessCredentials"] = list(credentials)
    return msgspec.convert(document, kubevirt.VirtualMachineInstanceSpec)


@pytest.mark.parametrize(
    ("credential", "seeds", "fields"),
    [
        (KEY, (SEED,), []),
        (KEY, (), ["sshPublicKey.propagationMethod"]),
        ({}, (SEED,), [""]),
        (
            {"sshPublicKey": {"source": {}, "propagationMethod": {"qemuGuestAgent": {}}}},
            (SEED,),
            ["sshPublicKey.propagationMethod.qemuGuestAgent.users", "sshPublicKey.source"],
        ),
        (
            {"userPassword": {"source": {"secret": {"secretName": "p"}}, "propagationMethod": {}}},
            (SEED,),
            ["userPassword.propagationMethod"],
        ),
    ],
    ids=["good", "no seed", "neither", "no users and no source", "no method"],
)
def test_what_cannot_work_is_refused_with_its_path(credential, seeds, fields):
    found = credential_rules.causes(_spec(credential, seeds=seeds), "spec")
    at = "spec.accessCredentials[0]"
    assert [one.field for one in found] == [f"{at}.{name}" if name else at for name in fields]


def test_the_secret_is_mounted_and_its_keys_are_in_the_seed(tmp_path: Path):
    spec = _spec(KEY)
    mounted = next(
        one for one in launcher_volumes.of(spec, {}) if one.volume.name == "keys-access-cred"
    )
    assert mounted.volume.secret.secret_name == "keys"
    assert mounted.mounts[0].mount_path.endswith("/secret/keys-access-cred")

    vmi = msgspec.structs.replace(instance(), spec=spec)
    seed = spec.volumes[-1].cloud_init_no_cloud
    files = cloud_init.no_cloud(vmi, "seed", seed, {}, ["ssh-ed25519 AAAA a", "ssh-rsa BBBB b"])
    meta = json.loads(files["meta-data"])
    assert meta["public-keys"] == {"0": "ssh-ed25519 AAAA a", "1": "ssh-rsa BBBB b"}
    assert volumes.ACCESS_SUFFIX == launcher_volumes.ACCESS_SUFFIX


class Agent:
    """A guest agent that remembers what it was told, or refuses."""

    def __init__(self):
        self.told, self.fault = [], None

    def set_ssh_keys(self, user, keys):
        self._take(user, keys)

    def set_password(self, user, password):
        self._take(user, password)

    def _take(self, user, what):
        if self.fault is not None:
            raise self.fault
        self.told.append((user, what))


def _by_agent():
    key = {"propagationMethod": {"qemuGuestAgent": {"users": ["root"]}}}
    password = {"propagationMethod": {"qemuGuestAgent": {}}}
    key["source"] = {"secret": {"secretName": "keys"}}
    password["source"] = {"secret": {"secretName": "passwords"}}
    spec = _spec({"sshPublicKey": key}, {"userPassword": password})
    return msgspec.structs.replace(instance(), spec=spec)


def test_the_agent_is_told_once_and_again_when_a_secret_changes(tmp_path: Path):
    private = tmp_path / "private"
    for name, file, content in (("keys", "k", "ssh-rsa A\n"), ("passwords", "joe", "secret")):
        folder = private / f"secret/{name}{volumes.ACCESS_SUFFIX}"
        folder.mkdir(parents=True)
        (folder / file).write_text(content)
    (tmp_path / "sockets").mkdir()
    agent, state = Agent(), KeptState(tmp_path / "sockets")
    paths = volumes.Paths(private=private)
    told = credentials.Credentials(agent, paths, state)
    told.describe(_by_agent())

    told.turn(agent_connected=False)
    assert agent.told == []
    told.turn(agent_connected=True)
    told.turn(agent_connected=True)
    assert agent.told == [("joe", "secret"), ("root", ("ssh-rsa A",))]
    assert state.domain.credentials_set

    (private / f"secret/keys{volumes.ACCESS_SUFFIX}/k").write_text("ssh-rsa B\n")
    agent.fault = errors.Retryable("the agent is busy")
    told.turn(agent_connected=True)
    assert (state.domain.credentials_set, state.domain.credentials_message) == (
        False,
        "the agent is busy",
    )
