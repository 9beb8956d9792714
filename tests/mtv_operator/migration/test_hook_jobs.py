"""Hooks: a Job before a VM is moved, one after; and Jobs in a container engine of this machine."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field, replace
from datetime import timedelta

import msgspec
import pytest
import yaml
from migration_simulation import START, Simulation, of_vms

from mtv.api import batch, core, forklift, meta
from mtv.inventory.model import PowerState
from mtv_operator.migration import actions, hook_engine
from mtv_operator.migration.hook_engine import Container, Remove, Start
from mtv_operator.migration.plan import Observed

PLAYBOOK = "- hosts: all\n"
HOOK = forklift.Hook(
    metadata=meta.ObjectMeta(name="check", namespace="mtv"),
    spec=forklift.HookSpec(
        image="example.org/hooks:1",
        playbook=base64.b64encode(PLAYBOOK.encode()).decode(),
        deadline=30,
    ),
)


@dataclass
class WithHooks(Simulation):
    """A cluster that runs Jobs; `fails_in` are steps whose hook fails."""

    jobs: dict[str, batch.Job] = field(default_factory=dict)
    files: dict[str, core.ConfigMap] = field(default_factory=dict)
    fails_in: tuple[str, ...] = ()
    no_hooks: str = ""

    def observe(self) -> Observed:
        seen = super().observe()
        target = replace(seen.target, hooks={"mtv/check": HOOK}, no_hooks=self.no_hooks)
        workloads = {vm_id: {"name": vm.name} for vm_id, vm in self.inventory.vms.items()}
        return replace(seen, target=target, jobs=dict(self.jobs), workloads=workloads)

    def perform(self, action: actions.OfPlan) -> None:
        if isinstance(action, actions.EnsureHook):
            self.done.append(action)
            name = action.job.metadata.name
            self.files.setdefault(name, action.config_map)
            self.jobs.setdefault(name, self._ended(action.job))
        elif isinstance(action, actions.DeleteJob):
            self.jobs.pop(action.name, None)
        else:
            super().perform(action)

    def _ended(self, job: batch.Job) -> batch.Job:
        failed = job.metadata.labels["mtv.dev/hook"] in self.fails_in
        end = meta.Condition(
            type="Failed" if failed else "Complete", status="True", message="exit code 2"
        )
        return msgspec.structs.replace(job, status=batch.JobStatus(conditions=(end,)))


def with_hooks(*steps: str, **more: object) -> WithHooks:
    plain = of_vms()
    reference = meta.ObjectReference(name="check", namespace="mtv")
    hooks = tuple(forklift.HookRef(step=step, hook=reference) for step in steps)
    vms = tuple(msgspec.structs.replace(vm, hooks=hooks) for vm in plain.plan.spec.vms)
    plan = msgspec.structs.replace(
        plain.plan, spec=msgspec.structs.replace(plain.plan.spec, vms=vms)
    )
    return WithHooks(inventory=plain.inventory, plan=plan, **more)  # type: ignore[arg-type]


def kinds(simulation: Simulation) -> list[str]:
    return [type(one).__name__ for one in simulation.done]


def test_hooks_before_and_after_run_around_the_move() -> None:
    simulation = with_hooks("PreHook", "PostHook")
    simulation.start()
    simulation.run()
    assert "Succeeded" in simulation.conditions()
    done = [one for one in kinds(simulation) if one in ("EnsureHook", "ShutDownGuest", "CreateVM")]
    assert done == ["EnsureHook", "ShutDownGuest", "CreateVM", "EnsureHook"]
    steps = [step.name for step in simulation.status.vms[0].pipeline]
    assert steps[0:2] == ["Initialize", "PreHook"]
    assert steps[-1] == "PostHook"


def test_a_hook_finds_plan_workload_and_playbook() -> None:
    simulation = with_hooks("PreHook")
    simulation.start()
    simulation.run()
    ((name, files),) = simulation.files.items()
    job = simulation.jobs[name]
    assert name.startswith("move-web1-check-")
    assert set(files.data) == {"plan.yml", "workload.yml", "playbook.yml"}
    assert yaml.safe_load(files.data["plan.yml"])["metadata"]["name"] == "move"
    assert yaml.safe_load(files.data["workload.yml"]) == {"name": "web1"}
    assert files.data["playbook.yml"] == PLAYBOOK
    (container,) = job.spec.template.spec.containers
    assert container.image == "example.org/hooks:1"
    assert [mount.mount_path for mount in container.volume_mounts] == ["/tmp/hook"]
    assert job.spec.active_deadline_seconds == 30
    assert job.metadata.labels["vmID"] == "vm-34"


def test_a_hook_that_fails_before_fails_the_vm_and_nothing_was_touched() -> None:
    simulation = with_hooks("PreHook", fails_in=("PreHook",))
    simulation.start()
    simulation.run()
    assert "Failed" in simulation.conditions()
    (vm,) = simulation.status.vms
    assert vm.error is not None
    assert "hook mtv/check (PreHook) failed: exit code 2" in vm.error.reasons[0]
    assert simulation.vm("vm-34").power_state is PowerState.ON
    assert "ShutDownGuest" not in kinds(simulation)


def test_a_hook_that_fails_after_fails_the_vm_which_stays_moved() -> None:
    simulation = with_hooks("PostHook", fails_in=("PostHook",))
    simulation.start()
    simulation.run()
    assert "Failed" in simulation.conditions()
    assert list(simulation.vms) == ["web1"]
    assert simulation.vm("vm-34").power_state is PowerState.OFF


def test_a_plan_with_hooks_where_they_cannot_run_is_not_ready() -> None:
    simulation = with_hooks("PreHook", no_hooks="no engine answers")
    simulation.run(3)
    assert "HookNotReady" in simulation.conditions()
    assert "Ready" not in simulation.conditions()


JOB = batch.Job(
    metadata=meta.ObjectMeta(name="move-web1-check-abc", namespace="mtv", uid="j"),
    spec=batch.JobSpec(
        backoff_limit=1,
        active_deadline_seconds=30,
        template=batch.JobTemplate(
            spec=core.PodSpec(containers=(core.Container(name="hook", image="i"),))
        ),
    ),
)


def test_a_job_in_an_engine_is_started_looked_at_and_started_again() -> None:
    first = hook_engine.decide(hook_engine.Observed(job=JOB, container=None), START)
    assert first.actions == (Start(name="move-web1-check-abc-0"),)
    running = msgspec.structs.replace(JOB, status=first.status)
    failed = Container(name="move-web1-check-abc-0", exit_code=3, said="no")
    second = hook_engine.decide(hook_engine.Observed(job=running, container=failed), START)
    assert second.actions == (Remove(name="move-web1-check-abc-0"),)
    again = msgspec.structs.replace(JOB, status=second.status)
    assert hook_engine.container_name(again) == "move-web1-check-abc-1"
    over = hook_engine.decide(
        hook_engine.Observed(
            job=again, container=Container(name="move-web1-check-abc-1", exit_code=3, said="no")
        ),
        START,
    )
    assert over.status is not None
    (end,) = over.status.conditions
    assert (end.type, end.reason) == ("Failed", "BackoffLimitExceeded")
    assert "ended with 3: no" in (end.message or "")


@pytest.mark.parametrize(
    ("container", "later_s", "end"),
    [
        (Container(name="x", exit_code=0), 1, "Complete"),
        (Container(name="x"), 31, "Failed"),
    ],
    ids=["it ends well", "it takes longer than it may"],
)
def test_a_job_in_an_engine_ends(container: Container, later_s: int, end: str) -> None:
    begun = hook_engine.decide(hook_engine.Observed(job=JOB, container=None), START).status
    job = msgspec.structs.replace(JOB, status=begun)
    over = hook_engine.decide(
        hook_engine.Observed(job=job, container=container), START + timedelta(seconds=later_s)
    )
    assert over.status is not None
    assert [one.type for one in over.status.conditions] == [end]
    assert [type(one) for one in over.actions] == [Remove]


def test_a_vm_that_failed_is_told_why_what_to_do_and_what_it_costs() -> None:
    simulation = with_hooks("PreHook", fails_in=("PreHook",))
    simulation.start()
    simulation.run()
    (failed,) = [one for one in simulation.status.vms[0].conditions if one.type == "Failed"]
    assert failed.reason == "PreHookFailed"
    assert "read the logs" in (failed.suggestion or "")
    assert "nothing had been done" in (failed.suggestion or "")
    said = [
        one.message
        for one in simulation.done
        if isinstance(one, actions.Record) and one.reason == "VMFailed"
    ]
    assert "PreHookFailed" in said[0]
