"""From a container of a pod to what is started."""

import msgspec
import pytest

from mtv import errors
from mtv.api.core import Container, Pod, SecurityContext
from mtv_operator.embedded.node import containers, etc_files
from mtv_operator.embedded.node.containers import Code, Sandbox
from mtv_operator.embedded.node.stage import Device, Mount
from mtv_operator.embedded.node.volumes import Prepared


def sandbox(**fields):
    given = {
        "network_namespace": "/run/netns/x",
        "hostname": "p",
        "addresses": {"status.podIP": "10.244.1.5"},
        "volumes": {},
        "files": {},
        "conceal": ("/var/lib/mtv",),
        "api_host": "10.244.0.1",
        "api_port": 6443,
    }
    return Sandbox(**{**given, **fields})


def pod(container, **spec):
    document = {
        "metadata": {"name": "p", "namespace": "n"},
        "spec": {"containers": [{"name": "c", "command": ["true"], **container}], **spec},
    }
    return msgspec.convert(document, Pod)


def describe(tmp_path, given, box=None, environment=None):
    return containers.describe(
        given,
        given.spec.containers[0],
        state=tmp_path,
        sandbox=box or sandbox(),
        environment=environment or {},
        code=Code(commands="/opt/bin", roots=["/opt"]),
    )


def test_command_expands_variables_as_kubernetes_does(tmp_path):
    given = pod({"command": ["run", "$(NAME)", "$$(NAME)", "$(NONE)"], "args": ["x$(NAME)"]})
    made = describe(tmp_path, given, environment={"NAME": "web"})
    assert made.argv == ["run", "web", "$(NAME)", "$(NONE)", "xweb"]


def test_container_without_command_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(errors.BadInput, match="no command") as caught:
        describe(tmp_path, pod({"command": []}))
    assert "set `command`" in caught.value.hint


def test_container_that_must_not_be_root_needs_a_user(tmp_path):
    given = pod({"securityContext": {"runAsNonRoot": True}})
    with pytest.raises(errors.BadInput, match="runAsNonRoot"):
        describe(tmp_path, given)


def test_users_and_groups_are_the_containers_before_the_pods(tmp_path):
    context = {"runAsUser": 5000, "runAsGroup": 5001, "fsGroup": 7, "supplementalGroups": [9]}
    given = pod({"securityContext": {"runAsUser": 0}}, securityContext=context)
    made = describe(tmp_path, given)
    assert (made.uid, made.gid, made.groups) == (0, 5001, [7, 9])


def test_user_whom_the_machine_does_not_know_gets_an_entry(tmp_path):
    given = pod({"securityContext": {"runAsUser": 54321}})
    made = describe(tmp_path, given)
    assert Mount(str(tmp_path / "passwd"), "/etc/passwd", True) in made.mounts
    user = containers.user_of(given, given.spec.containers[0])
    assert containers.passwd_with(user).splitlines()[-1].startswith("user54321:x:54321:0:")


def test_group_that_the_machine_does_not_know_gets_an_entry(tmp_path):
    given = pod({"securityContext": {"runAsUser": 54321, "runAsGroup": 54321}})
    made = describe(tmp_path, given)
    assert Mount(str(tmp_path / "group"), "/etc/group", True) in made.mounts
    user = containers.user_of(given, given.spec.containers[0])
    assert containers.group_with(user).splitlines()[-1] == "group54321:x:54321:"


def context(**fields):
    return msgspec.convert(fields, SecurityContext)


@pytest.mark.parametrize(
    ("fields", "uid", "has", "lacks", "ambient"),
    [
        ({}, 0, {"chown", "kill"}, {"sys_admin"}, []),
        ({"capabilities": {"drop": ["ALL"]}}, 0, set(), {"chown"}, []),
        (
            {"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}},
            107,
            {"net_bind_service"},
            {"chown"},
            ["net_bind_service"],
        ),
        ({"capabilities": {"add": ["CAP_SYS_NICE"]}}, 0, {"sys_nice"}, set(), []),
    ],
)
def test_capabilities_are_dropped_and_added(fields, uid, has, lacks, ambient):
    bounding, from_the_start = containers.capabilities(context(**fields), uid)
    assert has <= set(bounding)
    assert not lacks & set(bounding)
    assert from_the_start == ambient


def test_devices_are_given_for_resources_and_block_volumes(tmp_path):
    container = {
        "resources": {"limits": {"devices.kubevirt.io/tun": "1", "devices.kubevirt.io/kvm": 0}},
        "volumeDevices": [{"name": "v", "devicePath": "/dev/target"}],
        "securityContext": {"runAsUser": 107, "runAsGroup": 107},
    }
    box = sandbox(volumes={"v": Prepared(path="/dev/loop9", device=True)})
    made = describe(tmp_path, pod(container), box)
    assert Device("/dev/loop9", "/dev/target", 107, 107) in made.devices
    assert not any(device.path == "/dev/kvm" for device in made.devices)


def test_block_volume_that_is_mounted_as_files_is_refused(tmp_path):
    container = {"volumeMounts": [{"name": "v", "mountPath": "/data"}]}
    box = sandbox(volumes={"v": Prepared(path="/dev/loop9", device=True)})
    with pytest.raises(errors.BadInput, match="is a device"):
        describe(tmp_path, pod(container), box)


@pytest.mark.parametrize("path", ["../out", "a/../../out", "link/x"])
def test_sub_path_that_leads_out_of_the_volume_is_refused(tmp_path, path):
    (tmp_path / "link").symlink_to("/etc")
    with pytest.raises(errors.BadInput, match="leads out"):
        containers.below(tmp_path, path)


def test_mount_of_the_pod_hides_the_nodes_own_file(tmp_path):
    box = sandbox(files={"/etc/hosts": "/n/hosts"}, volumes={"v": Prepared(path="/n/v")})
    container = {"volumeMounts": [{"name": "v", "mountPath": "/etc/hosts"}]}
    made = describe(tmp_path, pod(container), box)
    assert [one.source for one in made.mounts if one.target == "/etc/hosts"] == ["/n/v"]


def test_environment_says_where_the_api_server_is():
    user = containers.user_of(pod({}), Container(name="c"))
    made = containers.base_environment(sandbox(), Code(commands="/opt/bin", roots=[]), user)
    assert made["KUBERNETES_SERVICE_HOST"] == "10.244.0.1"
    assert made["KUBERNETES_SERVICE_PORT"] == "6443"
    assert made["PATH"].startswith("/opt/bin:")


def test_hosts_names_the_pod_and_its_aliases():
    given = pod({}, hostAliases=[{"ip": "10.0.0.9", "hostnames": ["vc", "vcenter"]}])
    lines = etc_files.hosts(given, "p", "10.244.1.5").splitlines()
    assert "10.244.1.5\tp" in lines
    assert "10.0.0.9\tvc\tvcenter" in lines


def test_resolv_conf_with_policy_none_is_the_pods_own():
    given = pod({}, dnsPolicy="None", dnsConfig={"nameservers": ["10.0.0.1"], "searches": ["lab"]})
    assert etc_files.resolv_conf(given) == "nameserver 10.0.0.1\nsearch lab\n"
    assert etc_files.only_loopback(["127.0.0.53"])
    assert not etc_files.only_loopback(["10.0.0.1", "127.0.0.53"])
