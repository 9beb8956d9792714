"""Where pods go: filters in kube-scheduler's words, scores, and volumes that wait for a node."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtv.api.core import Node, PersistentVolume, PersistentVolumeClaim, Pod, StorageClass
from mtv_operator.embedded.scheduler import choosing, fitting, matching
from mtv_operator.embedded.scheduler.choosing import Bind, SelectNode
from mtv_operator.embedded.scheduler.fitting import Cluster


def node(name="one", *, labels=None, taints=(), ready="True", cordoned=False, **allocatable):
    given_amounts = {"cpu": "2", "memory": "4Gi", "pods": "10", **allocatable}
    return msgspec.convert(
        {
            "metadata": {
                "name": name,
                "labels": {"kubernetes.io/hostname": name, **(labels or {})},
            },
            "spec": {"taints": list(taints), **({"unschedulable": True} if cordoned else {})},
            "status": {
                "allocatable": given_amounts,
                "conditions": [{"type": "Ready", "status": ready}],
            },
        },
        Node,
    )


def pod(name="p", *, requests=None, on=None, labels=None, phase=None, **spec):
    container = {"name": "c", "resources": {"requests": requests or {}}}
    return msgspec.convert(
        {
            "metadata": {
                "name": name,
                "namespace": "n",
                "uid": f"uid-{name}",
                "labels": labels or {},
            },
            "spec": {"containers": [container], **({"nodeName": on} if on else {}), **spec},
            "status": {"phase": phase} if phase else {},
        },
        Pod,
    )


def choose(given_pod, *nodes, **cluster):
    return choosing.choose(given_pod, Cluster(nodes=nodes, **cluster))


def test_no_nodes_is_said_as_kubernetes_says_it():
    assert choose(pod()).problem == "no nodes available to schedule pods"


@pytest.mark.parametrize(
    ("given_pod", "given_node", "reason"),
    [
        (pod(requests={"memory": "9Gi"}), node(), "Insufficient memory"),
        (pod(requests={"cpu": "2100m"}), node(), "Insufficient cpu"),
        (
            pod(requests={"devices.kubevirt.io/kvm": "1"}),
            node(**{"devices.kubevirt.io/kvm": "0"}),
            "Insufficient devices.kubevirt.io/kvm",
        ),
        (
            pod(nodeSelector={"disk": "ssd"}),
            node(),
            "node(s) didn't match Pod's node affinity/selector",
        ),
        (pod(), node(cordoned=True), "node(s) were unschedulable"),
        (
            pod(),
            node(taints=[{"key": "k", "value": "v", "effect": "NoSchedule"}]),
            "node(s) had untolerated taint {k: v}",
        ),
        (pod(), node(ready="Unknown"), "node(s) were not ready"),
        (pod(), node(pods="0"), "Too many pods"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_pod_that_fits_nowhere_learns_why(given_pod, given_node, reason):
    assert choose(given_pod, given_node).problem == f"0/1 nodes are available: 1 {reason}."


def test_reasons_of_all_nodes_are_counted():
    nodes = [node("a", cpu="1"), node("b", cpu="1"), node("c", cordoned=True)]
    problem = choose(pod(requests={"cpu": "2"}), *nodes).problem
    expected = "1 node(s) were unschedulable, 2 Insufficient cpu"
    assert problem == f"0/3 nodes are available: {expected}."


def test_tolerated_taint_is_no_obstacle():
    tainted = node(taints=[{"key": "k", "effect": "NoSchedule"}])
    tolerant = pod(tolerations=[{"key": "k", "operator": "Exists"}])
    assert choose(tolerant, tainted).actions == (Bind(node="one"),)


def test_what_runs_already_takes_room_and_what_has_ended_does_not():
    running = pod("other", requests={"cpu": "1500m"}, on="one")
    ended = pod("old", requests={"cpu": "1500m"}, on="one", phase="Succeeded")
    wish = pod(requests={"cpu": "1"})
    assert "Insufficient cpu" in choose(wish, node(), pods=[running]).problem
    assert choose(wish, node(), pods=[ended]).actions == (Bind(node="one"),)


def test_emptier_node_is_taken_and_equal_ones_by_name():
    busy = pod("other", requests={"cpu": "1"}, on="a")
    assert choose(pod(), node("a"), node("b"), pods=[busy]).actions == (Bind(node="b"),)
    assert choose(pod(), node("b"), node("a")).actions == (Bind(node="a"),)


def test_preferred_node_beats_the_emptier_one():
    preference = {
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 1,
                    "preference": {
                        "matchExpressions": [{"key": "z", "operator": "In", "values": ["1"]}]
                    },
                }
            ]
        }
    }
    busy = pod("other", requests={"cpu": "1"}, on="a")
    nodes = [node("a", labels={"z": "1"}), node("b")]
    assert choose(pod(affinity=preference), *nodes, pods=[busy]).actions == (Bind(node="a"),)


def apart(key="kubernetes.io/hostname"):
    term = {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": key}
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def test_anti_affinity_keeps_pods_apart_in_both_directions():
    first = pod("first", labels={"app": "web"}, on="one", affinity=apart())
    second = pod("second", labels={"app": "web"}, affinity=apart())
    assert "anti-affinity" in choose(second, node(), pods=[first]).problem
    plain = pod("plain", labels={"app": "web"})
    assert "existing pods anti-affinity" in choose(plain, node(), pods=[first]).problem
    assert choose(second, node(), node("two"), pods=[first]).actions == (Bind(node="two"),)


def test_affinity_lets_the_first_of_its_kind_in():
    term = {
        "labelSelector": {"matchLabels": {"app": "web"}},
        "topologyKey": "kubernetes.io/hostname",
    }
    together = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    first = pod("first", labels={"app": "web"}, affinity=together)
    assert choose(first, node()).actions == (Bind(node="one"),)
    there = pod("there", labels={"app": "web"}, on="two")
    assert choose(first, node(), node("two"), pods=[there]).actions == (Bind(node="two"),)


def claim(name="c", *, bound="", storage="local", selected="", modes=("ReadWriteOnce",)):
    return msgspec.convert(
        {
            "metadata": {
                "name": name,
                "namespace": "n",
                "uid": f"uid-{name}",
                "annotations": {fitting.SELECTED_NODE: selected} if selected else {},
            },
            "spec": {
                "storageClassName": storage,
                "accessModes": list(modes),
                **({"volumeName": bound} if bound else {}),
            },
            "status": {"phase": "Bound" if bound else "Pending"},
        },
        PersistentVolumeClaim,
    )


def storage_class(name, mode):
    return StorageClass(
        metadata=msgspec.convert({"name": name}, type(StorageClass(provisioner="x").metadata)),
        provisioner="x",
        volume_binding_mode=mode,
    )


CLASSES = {
    "local": storage_class("local", "WaitForFirstConsumer"),
    "shared": storage_class("shared", "Immediate"),
}


def user(*claims, **fields):
    volumes = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims]
    return pod(volumes=volumes, **fields)


def with_claims(*claims, **fields):
    found = {("n", one.metadata.name): one for one in claims}
    return {"claims": found, "classes": CLASSES, **fields}


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ([], 'persistentvolumeclaim "c" not found'),
        ([claim(storage="shared")], "pod has unbound immediate PersistentVolumeClaims"),
    ],
)
def test_pod_waits_for_its_claims(claims, words):
    problem = choose(user("c"), node(), **with_claims(*claims)).problem
    assert problem == f"0/1 nodes are available: {words}."


def test_claim_that_waits_for_its_consumer_is_given_a_node_first():
    first = choose(user("c"), node(), **with_claims(claim()))
    assert first.actions == (SelectNode(claim="c", node="one"),)
    meanwhile = choose(user("c"), node(), **with_claims(claim(selected="one")))
    assert meanwhile.actions == ()
    assert meanwhile.problem == ""


def test_pod_goes_where_its_volume_is():
    volume = msgspec.convert(
        {
            "metadata": {"name": "pv"},
            "spec": {
                "nodeAffinity": {
                    "required": {
                        "nodeSelectorTerms": [
                            {
                                "matchExpressions": [
                                    {
                                        "key": "kubernetes.io/hostname",
                                        "operator": "In",
                                        "values": ["two"],
                                    }
                                ]
                            }
                        ]
                    }
                }
            },
        },
        PersistentVolume,
    )
    there = with_claims(claim(bound="pv"), volumes={"pv": volume})
    assert choose(user("c"), node(), node("two"), **there).actions == (Bind(node="two"),)
    assert "volume node affinity conflict" in choose(user("c"), node(), **there).problem


def test_claim_for_one_pod_only_keeps_the_second_waiting():
    only = claim(bound="pv", modes=("ReadWriteOncePod",))
    first = user("c", name="first", on="one")
    problem = choose(user("c"), node(), **with_claims(only, pods=[first])).problem
    assert 'in use by pod "first"' in problem


def test_requests_count_init_containers_by_the_highest_and_sidecars_always():
    document = {
        "metadata": {"name": "p"},
        "spec": {
            "overhead": {"memory": "1Mi"},
            "initContainers": [
                {"name": "i", "resources": {"requests": {"cpu": "3"}}},
                {
                    "name": "s",
                    "restartPolicy": "Always",
                    "resources": {"requests": {"cpu": "500m"}},
                },
            ],
            "containers": [
                {"name": "a", "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}},
                {"name": "b", "resources": {"limits": {"cpu": "1"}}},
            ],
        },
    }
    found = fitting.requests(msgspec.convert(document, Pod))
    assert found == {"cpu": 3000, "memory": (1 << 20) * 1000}


@settings(deadline=None)  # machines that run tests are busy
@given(st.lists(st.integers(0, 3000), max_size=12))
def test_pods_placed_one_after_another_never_take_more_than_there_is(amounts):
    nodes = [node("a"), node("b", cpu="3")]
    placed = []
    for number, amount in enumerate(amounts):
        wish = pod(f"p{number}", requests={"cpu": f"{amount}m"})
        choice = choosing.choose(wish, Cluster(nodes=nodes, pods=placed))
        wishes = {"cpu": f"{amount}m"}
        placed += [pod(f"p{number}", requests=wishes, on=one.node) for one in choice.actions]
    for one in nodes:
        taken = fitting.used(fitting.on_node(Cluster(nodes=nodes, pods=placed), one.metadata.name))
        assert taken.get("cpu", 0) <= fitting.allocatable(one)["cpu"]


@pytest.mark.parametrize(
    ("operator", "values", "labels", "holds"),
    [
        ("In", ["1"], {"k": "1"}, True),
        ("NotIn", ["1"], {}, True),
        ("Exists", [], {"k": ""}, True),
        ("DoesNotExist", [], {"k": ""}, False),
        ("Gt", ["5"], {"k": "10"}, True),
        ("Lt", ["5"], {"k": "x"}, False),
    ],
)
def test_requirements_hold_as_kubernetes_defines_them(operator, values, labels, holds):
    one = {"key": "k", "operator": operator, "values": values}
    selector = msgspec.convert(
        {"nodeSelectorTerms": [{"matchExpressions": [one]}]}, fitting.matching.NodeSelector
    )
    assert matching.node_matches(selector, node(labels=labels)) is holds
