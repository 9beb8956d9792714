"""What a node does next with a pod: simulated turn by turn, without processes or clocks."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtv.api.core import Container, Pod, PodSpec
from mtv.api.meta import ObjectMeta
from mtv_operator.embedded.node import lifecycle
from mtv_operator.embedded.node.attempts import Attempt
from mtv_operator.embedded.node.lifecycle import (
    Forget,
    Health,
    Kill,
    Observed,
    Prepare,
    Release,
    Start,
    Terminate,
)


def pod(policy="Always", names=("a",), init=(), *, deleted=False, **spec):
    return Pod(
        metadata=ObjectMeta(
            name="p",
            namespace="n",
            uid="u",
            deletion_timestamp="2030-01-01T00:00:00Z" if deleted else None,
        ),
        spec=PodSpec(
            containers=tuple(Container(name=name) for name in names),
            init_containers=tuple(init),
            restart_policy=policy,
            **spec,
        ),
    )


def ended(number=0, code=0, at=100.0, failures=0):
    return Attempt(
        number=number, exit_code=code, started_at=at - 1, finished_at=at, failures=failures
    )


def running(number=0, **fields):
    return Attempt(number=number, running=True, started_at=50.0, **fields)


def decide(given_pod, now=100.0, prepared=True, attempts=None, **fields):
    return lifecycle.decide(
        Observed(
            pod=given_pod,
            now=now,
            prepared=prepared,
            attempts=attempts or {},
            started_at=1.0,
            **fields,
        )
    )


def test_new_pod_is_prepared_before_anything_is_started():
    assert decide(pod(), prepared=False).actions == (Prepare(),)


def test_prepared_pod_starts_all_its_containers_at_once():
    actions = decide(pod(names=("a", "b"))).actions
    assert [action.container for action in actions] == ["a", "b"]


def test_init_containers_run_one_after_another():
    init = (Container(name="first"), Container(name="second"))
    assert [one.container for one in decide(pod(init=init)).actions] == ["first"]
    after = decide(pod(init=init), attempts={"first": [ended()]})
    assert [one.container for one in after.actions] == ["second"]
    done = decide(pod(init=init), attempts={"first": [ended()], "second": [ended()]})
    assert [one.container for one in done.actions] == ["a"]


def test_sidecar_is_started_first_and_does_not_hold_up_the_others():
    init = (Container(name="side", restart_policy="Always"), Container(name="first"))
    assert [one.container for one in decide(pod(init=init)).actions] == ["side"]
    after = decide(pod(init=init), attempts={"side": [running()]})
    assert [one.container for one in after.actions] == ["first"]


@pytest.mark.parametrize(
    ("policy", "code", "again"),
    [
        ("Always", 0, True),
        ("Always", 1, True),
        ("OnFailure", 0, False),
        ("OnFailure", 1, True),
        ("Never", 1, False),
    ],
)
def test_ended_container_is_started_again_as_the_policy_says(policy, code, again):
    decision = decide(
        pod(policy, names=("a", "b")), attempts={"a": [ended(code=code)], "b": [running()]}
    )
    assert any(isinstance(one, Start) for one in decision.actions) is again


def test_container_that_fails_again_waits_longer_each_time():
    pauses = [lifecycle.back_off_s(failures) for failures in range(8)]
    assert pauses == [0, 0, 10, 20, 40, 80, 160, 300]
    waiting = decide(pod(), now=101.0, attempts={"a": [ended(code=1, failures=2)]})
    assert waiting.actions == ()
    assert waiting.requeue_after_s == pytest.approx(19.0)


def test_ended_pod_gives_its_surroundings_back_once():
    finished = pod("Never")
    assert decide(finished, attempts={"a": [ended()]}).actions == (Release(),)
    assert decide(finished, attempts={"a": [ended()]}, prepared=False).actions == ()


def test_deleted_pod_is_told_to_end_then_killed_then_forgotten():
    doomed = pod(deleted=True, termination_grace_period_seconds=5)
    first = decide(doomed, attempts={"a": [running()]})
    assert isinstance(first.actions[0], Terminate)
    told = running(told_to_end_at=100.0)
    assert decide(doomed, now=104.0, attempts={"a": [told]}).actions == ()
    assert isinstance(decide(doomed, now=105.0, attempts={"a": [told]}).actions[0], Kill)
    assert decide(doomed, attempts={"a": [ended(code=137)]}).actions == (Release(), Forget())


def test_pod_that_the_server_does_not_have_is_ended_like_a_deleted_one():
    assert isinstance(decide(pod(), gone=True, attempts={"a": [running()]}).actions[0], Terminate)
    assert decide(pod(), gone=True).actions == (Release(), Forget())


def test_container_with_a_bad_liveness_is_told_to_end_and_started_again():
    sick = decide(pod(), attempts={"a": [running()]}, liveness={"a": Health.BAD})
    assert isinstance(sick.actions[0], Terminate)
    again = decide(pod(), attempts={"a": [ended(code=143)]})
    assert again.actions == (Start(container="a", number=1, failures=1),)


def test_pod_over_its_deadline_ends_though_nobody_deleted_it():
    late = pod("Never", active_deadline_seconds=10)
    assert isinstance(decide(late, now=11.0, attempts={"a": [running()]}).actions[0], Terminate)
    soon = decide(late, now=8.0, attempts={"a": [running()]})
    assert soon.requeue_after_s == pytest.approx(3.0)


@dataclass
class World:
    """A node in fast motion: actions have their effects, containers end at random."""

    pod: Pod
    now: float = 1000.0
    prepared: bool = False
    forgotten: bool = False
    attempts: dict = field(default_factory=dict)

    def turn(self):
        decision = lifecycle.decide(
            Observed(
                pod=self.pod,
                now=self.now,
                prepared=self.prepared,
                attempts=self.attempts,
                started_at=1000.0,
            )
        )
        for action in decision.actions:
            self.perform(action)
        self.now += decision.requeue_after_s or 1.0
        return decision

    def perform(self, action):
        match action:
            case Prepare():
                self.prepared = True
            case Release():
                assert not any(self.runs(name) for name in self.attempts)
                self.prepared = False
            case Forget():
                self.forgotten = True
            case Start():
                assert not self.runs(action.container), "a container runs once"
                started = Attempt(number=action.number, running=True, started_at=self.now)
                self.attempts.setdefault(action.container, []).append(started)
            case Terminate():
                last = replace(action.attempt, told_to_end_at=self.now)
                self.attempts[action.container][-1] = last
            case Kill():
                self.end(action.container, 137)

    def runs(self, name):
        return bool(self.attempts.get(name)) and self.attempts[name][-1].running

    def end(self, name, code):
        if self.runs(name):
            last = self.attempts[name][-1]
            self.attempts[name][-1] = replace(
                last, running=False, exit_code=code, finished_at=self.now
            )


@settings(deadline=None)  # machines that run tests are busy
@given(
    policy=st.sampled_from(["Always", "OnFailure", "Never"]),
    codes=st.lists(
        st.tuples(st.sampled_from(["i", "a", "b"]), st.sampled_from([0, 1])), max_size=12
    ),
)
def test_every_pod_when_deleted_ends_and_is_forgotten(policy, codes):
    world = World(pod(policy, names=("a", "b"), init=(Container(name="i"),)))
    for name, code in codes:
        world.turn()
        world.end(name, code)
    gone = replace_metadata(world.pod)
    world.pod = gone
    for _ in range(8):
        world.turn()
    assert world.forgotten
    assert not world.prepared


def replace_metadata(given_pod):
    import msgspec

    metadata = msgspec.structs.replace(
        given_pod.metadata, deletion_timestamp="2030-01-01T00:00:00Z"
    )
    return msgspec.structs.replace(given_pod, metadata=metadata)
