"""The hooks of a VM: one Job after another before it is moved, and after. Pure.

A Job finds the plan, the VM and the playbook in /tmp/hook, as Forklift's hooks do. Its name tells
the run, so that a controller that is killed makes no second one, and a new run a new one. A hook
that fails fails the VM; one before the move is the cheapest place for that: nothing has been done.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec
import yaml

from mtv.api import batch, core, forklift, meta
from mtv.planning import labels, names
from mtv.planning.plan import PlannedVM
from mtv_operator.migration import actions, vm_scene
from mtv_operator.migration.progress import FAILED
from mtv_operator.migration.vm_scene import WAIT_S, Advance, Scene

PRE, POST = "PreHook", "PostHook"
FOLDER = "/tmp/hook"
RUNNER = "quay.io/konveyor/hook-runner"  # where a hook names no image
LABEL = "mtv.dev/hook"  # on what is made for hooks; its value is the step
SELECTOR = LABEL
RETRIES = 3  # Forklift's HOOK_RETRY
_PLAYBOOK = "playbook.yml"


def of_step(entry: forklift.PlanVM, step: str) -> tuple[forklift.HookRef, ...]:
    """Return the hooks of one step, in their order."""
    return tuple(one for one in entry.hooks if one.step == step)


def before(scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime) -> Advance:
    """Run the hooks before the move."""
    return _run(scene, vm, planned, PRE, now)


def after(scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, now: datetime) -> Advance:
    """Run the hooks after the move; the target VM is there by then."""
    return _run(scene, vm, planned, POST, now)


def has_failed_after(vm: forklift.VMStatus) -> bool:
    """Tell whether a VM was moved, and then a hook failed."""
    return vm.error is not None and vm.error.phase == POST


def ended(scene: Scene, vm: forklift.VMStatus) -> Iterator[actions.OfPlan]:
    """Yield what ends the Jobs of a VM that still run."""
    for job in scene.jobs.values():
        if scene.owner.selects(job.metadata.labels, vm.id or "") and not _outcome(job):
            there = job.metadata
            yield actions.DeleteJob(namespace=there.namespace, name=there.name, uid=there.uid)


def _run(
    scene: Scene, vm: forklift.VMStatus, planned: PlannedVM, step: str, now: datetime
) -> Advance:
    for at, reference in enumerate(of_step(planned.entry, step)):
        namespace = reference.hook.namespace or scene.plan.metadata.namespace
        hook = scene.hooks.get(f"{namespace}/{reference.hook.name}")
        what = f"hook {namespace}/{reference.hook.name} ({step})"
        if hook is None:
            return vm_scene.failed(vm, f"{what} is not there any more")
        name = job_name(scene, planned, reference, at)
        job = scene.jobs.get(name)
        if job is None:
            ensure = actions.EnsureHook(
                job=build(scene, planned, hook, name, step),
                config_map=config_map(scene, planned, hook, name, step),
            )
            return Advance(vm=vm, actions=(ensure,), requeue_after_s=WAIT_S)
        outcome = _outcome(job)
        if outcome is None:
            return Advance(vm=vm)  # the Job's change wakes us
        if outcome.type == FAILED:
            why = outcome.message or outcome.reason or "its Job failed"
            return vm_scene.failed(
                vm, f"{what} failed: {why} (see the logs of job {job.metadata.namespace}/{name})"
            )
    return Advance(vm=vm_scene.onward(vm, now))


def _outcome(job: batch.Job) -> meta.Condition | None:
    found = job.status.conditions if job.status else ()
    return next(
        (one for one in found if one.type in ("Complete", FAILED) and one.status == "True"), None
    )


def job_name(scene: Scene, planned: PlannedVM, reference: forklift.HookRef, at: int) -> str:
    """Return `<plan>-<vm>-<hook>`, with what tells this run and this place in the list."""
    parts = (scene.plan.metadata.name, planned.target_name, reference.hook.name)
    base = names.label("-".join(part or "" for part in parts), otherwise="hook", limit=48)
    mark = names.digest(scene.owner.migration_uid, planned.id, reference.step, str(at))
    return f"{base}-{mark}"


def build(scene: Scene, planned: PlannedVM, hook: forklift.Hook, name: str, step: str) -> batch.Job:
    """Return the Job of a hook."""
    spec = hook.spec
    mount = core.VolumeMount(name="hook", mount_path=FOLDER)
    playbook = f"{FOLDER}/{_PLAYBOOK}"
    container = core.Container(
        name="hook",
        image=spec.image or RUNNER,
        command=("/bin/entrypoint", "ansible-runner", "-p", playbook, "run", "/tmp/runner")
        if spec.playbook
        else (),
        volume_mounts=(mount,),
    )
    config = core.Volume(name="hook", config_map=core.ConfigMapVolumeSource(name=name))
    return batch.Job(
        metadata=_metadata(scene, planned, name, step),
        spec=batch.JobSpec(
            backoff_limit=RETRIES,
            active_deadline_seconds=spec.deadline or None,
            template=batch.JobTemplate(
                metadata=meta.ObjectMeta(labels=_metadata(scene, planned, name, step).labels),
                spec=core.PodSpec(
                    containers=(container,),
                    volumes=(config,),
                    restart_policy="Never",
                    service_account_name=spec.service_account
                    or scene.plan.spec.service_account
                    or None,
                ),
            ),
        ),
    )


def config_map(
    scene: Scene, planned: PlannedVM, hook: forklift.Hook, name: str, step: str
) -> core.ConfigMap:
    """Return the files that a hook finds."""
    files = {
        "plan.yml": _yaml(msgspec.to_builtins(scene.plan)),
        "workload.yml": _yaml(scene.workloads.get(planned.id, {})),
    }
    if hook.spec.playbook:
        try:
            files[_PLAYBOOK] = base64.b64decode(hook.spec.playbook).decode()
        except (binascii.Error, UnicodeDecodeError):
            files[_PLAYBOOK] = ""  # the Hook is not Ready then, nor is the plan
    return core.ConfigMap(metadata=_metadata(scene, planned, name, step), data=files)


def _metadata(scene: Scene, planned: PlannedVM, name: str, step: str) -> meta.ObjectMeta:
    return meta.ObjectMeta(
        name=name,
        namespace=scene.plan.metadata.namespace,
        labels={**scene.owner.of_vm(planned.id), LABEL: step, labels.RESOURCE: "hook-config"},
        owner_references=(meta.owner_of(scene.plan, controller=False),),
    )


def _yaml(document: Any) -> str:  # noqa: ANN401 - any JSON
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
