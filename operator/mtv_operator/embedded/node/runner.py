"""One turn with one pod: see what is true, do what `lifecycle` decides, write the status."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from mtv import errors
from mtv.api.core import Container, Pod
from mtv_operator.embedded.images.store import BACK_OFF, PullFailed
from mtv_operator.embedded.node import (
    attempts,
    containers,
    downward,
    entering,
    lifecycle,
    pod_status,
    probing,
    processes,
    sandboxes,
    starting,
)
from mtv_operator.embedded.node.attempts import Attempt, PodFolder
from mtv_operator.embedded.node.containers import Code, Sandbox
from mtv_operator.embedded.node.lifecycle import Action, Observed
from mtv_operator.embedded.node.probing import Prober, Subject, Target
from mtv_operator.embedded.node.processes import Identity
from mtv_operator.embedded.node.sandboxes import Sandboxes
from mtv_operator.objects import Client

log = logging.getLogger(__name__)

COMPONENT = "kubelet"
REFRESH_S = 60.0  # how old a ConfigMap in a volume may be, as the kubelet's default
FAULT_FIRST_S, FAULT_LONGEST_S = 1.0, 30.0
FORGET_AGAIN_S = 10.0  # when the watch did not say that the pod is gone
LOG_LIMIT_BYTES = 50 << 20


@dataclass(slots=True, kw_only=True)
class _Known:
    """What this process remembers of a pod; all of it can be made anew."""

    sandbox: Sandbox | None = None
    fault: str = ""
    fault_reason: str = ""  # as the kubelet names it, where it has a name
    faults: int = 0
    refreshed_at: float = 0.0
    reported: Pod | None = None  # as the API server answered the last write


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """Runs the pods of one node. `find` says what the API server has, by uid."""

    folder: Path  # pods/
    client: Client
    sandboxes: Sandboxes
    code: Code
    find: Callable[[str], Pod | None]
    watch: Callable[[Identity, str], None]
    prober: Prober
    _known: dict[str, _Known] = field(default_factory=dict)

    def turn(self, uid: str) -> float | None:
        """Do what a pod needs now; return in how many seconds it needs another turn."""
        observed = self.observe(uid)
        if observed is None:
            self._forget(uid)
            return None
        known = self._known.setdefault(uid, _Known())
        decision = lifecycle.decide(observed)
        try:
            for action in decision.actions:
                if isinstance(action, lifecycle.Forget):
                    self.report(uid)  # how it ended, before it is gone
                self.perform(observed, action)
            known.fault, known.fault_reason, known.faults = "", "", 0
        except errors.MigrationError as fault:
            return self._failed(observed, known, fault)
        self._refresh(observed, known)
        self.report(uid)
        if any(isinstance(action, lifecycle.Prepare) for action in decision.actions):
            return 0.0
        if any(isinstance(action, lifecycle.Forget) for action in decision.actions):
            return None if observed.gone else FORGET_AGAIN_S
        dates = [decision.requeue_after_s] if decision.requeue_after_s is not None else []
        if observed.prepared:
            dates.append(REFRESH_S)
        return min(dates, default=None)

    def _failed(self, observed: Observed, known: _Known, fault: errors.MigrationError) -> float:
        """Say what is wrong in the status and as an event, and when it is tried again."""
        text = str(fault) + (f" ({fault.hint})" if fault.hint else "")
        if text != known.fault:
            log.warning("pod %s: %s", _name(observed.pod), text)
            reason = (
                "FailedMount" if isinstance(fault, errors.NotFound) else "FailedCreatePodSandBox"
            )
            if observed.prepared:
                reason = "FailedSync"
            if isinstance(fault, PullFailed):
                reason = "BackOff" if fault.reason == BACK_OFF else "Failed"
            self._event(observed.pod, reason, text, warning=True)
        known.fault, known.faults = text, known.faults + 1
        known.fault_reason = fault.reason if isinstance(fault, PullFailed) else ""
        self.report(observed.pod.metadata.uid)
        return float(min(FAULT_LONGEST_S, FAULT_FIRST_S * 2.0 ** min(known.faults - 1, 8)))

    def observe(self, uid: str) -> Observed | None:
        """Return what is true of a pod here; None when there is nothing."""
        folder = PodFolder(self.folder / uid)
        pod = self.find(uid)
        gone = pod is None
        if pod is not None:
            sandboxes.remember(pod, folder)
            reported = self._known.setdefault(uid, _Known()).reported
            if reported is not None and _newer(reported, pod):
                pod = reported
        else:
            pod = sandboxes.recall(folder)
            if pod is None:
                if folder.path.is_dir():
                    self.sandboxes.release(uid, folder)
                    folder.remove()
                return None
        found = {
            container.name: folder.attempts(container.name)
            for container in lifecycle.all_containers(pod)
        }
        running = {
            name: starts[-1] for name, starts in found.items() if starts and starts[-1].running
        }
        self._follow(pod, folder, running)
        return Observed(
            pod=pod,
            now=time.time(),
            attempts=found,
            prepared=self.sandboxes.is_prepared(folder),
            started_at=_started_at(folder),
            gone=gone,
            liveness=self.prober.liveness(uid, running),
        )

    def _follow(self, pod: Pod, folder: PodFolder, running: dict[str, Attempt]) -> None:
        """Watch what runs, also what another process of this node has started."""
        uid = pod.metadata.uid
        self.prober.forget(uid, {name: attempt.number for name, attempt in running.items()})
        for container in lifecycle.all_containers(pod):
            attempt = running.get(container.name)
            if attempt is None or attempt.process is None:
                continue
            self.watch(attempt.process, uid)
            described = starting.described(folder.container(container.name, attempt.number))
            if described is not None and (
                container.startup_probe or container.liveness_probe or container.readiness_probe
            ):
                subject = Subject(
                    pod=pod,
                    container=container,
                    process=attempt.process,
                    started_at=attempt.started_at or time.time(),
                    address=self.sandboxes.address(pod),
                    enter=entering.command(described, attempt.process),
                    environment=described.environment,
                )
                target = Target(uid, container.name, attempt.number)
                if self.prober.follow(target, subject):
                    self.prober.inherit(target, _was_ready(pod, container, attempt))

    def perform(self, observed: Observed, action: Action) -> None:
        """Do one thing. Raises MigrationError."""
        pod = observed.pod
        folder = PodFolder(self.folder / pod.metadata.uid)
        match action:
            case lifecycle.Prepare():
                sandbox = self.sandboxes.prepare(pod, folder)
                self._known[pod.metadata.uid].sandbox = sandbox
            case lifecycle.Start():
                self._start(observed, folder, action)
            case lifecycle.Terminate():
                folder.tell_to_end(action.container, action.attempt.number)
                if action.attempt.process is not None:
                    processes.send(action.attempt.process, signal.SIGTERM)
                self._event(pod, action.reason, f"Stopping container {action.container}")
            case lifecycle.Kill():
                if action.attempt.process is not None:
                    processes.send(action.attempt.process, signal.SIGKILL)
            case lifecycle.Release():
                self.sandboxes.release(pod.metadata.uid, folder)
                self._known[pod.metadata.uid].sandbox = None
            case lifecycle.Forget():
                if observed.gone:
                    folder.remove()
                    self._forget(pod.metadata.uid)
                else:
                    self.client.delete(
                        Pod,
                        pod.metadata.name,
                        pod.metadata.namespace,
                        uid=pod.metadata.uid,
                        grace_period_s=0,
                    )

    def _start(self, observed: Observed, folder: PodFolder, action: lifecycle.Start) -> None:
        pod = observed.pod
        known = self._known[pod.metadata.uid]
        if known.sandbox is None:
            known.sandbox = self.sandboxes.prepare(pod, folder)
        container = next(
            one for one in lifecycle.all_containers(pod) if one.name == action.container
        )
        state = folder.begin(action.container, action.number, action.failures)
        try:
            fault = self._build_and_start(pod, container, state, known.sandbox)
        except errors.MigrationError as error:
            fault = str(error) + (f" ({error.hint})" if error.hint else "")
        if fault:
            (state / "fault").write_text(fault, encoding="utf-8")
            log.warning("pod %s: container %s: %s", _name(pod), container.name, fault)
            self._event(pod, "Failed", f"Error: {fault}", warning=True)
        else:
            self._event(pod, "Started", f"Started container {container.name}")
        observed_again = attempts.read_attempt(state, action.number)
        if observed_again is not None and observed_again.process is not None:
            self.watch(observed_again.process, pod.metadata.uid)

    def _build_and_start(
        self, pod: Pod, container: Container, state: Path, sandbox: Sandbox
    ) -> str:
        user = containers.user_of(pod, container)
        environment = downward.environment(
            pod,
            container,
            containers.base_environment(sandbox, self.code, user),
            sandbox.addresses,
            self.sandboxes.keeper.amounts,
            lambda kind, name: self.sandboxes.keeper.source.values(
                kind, pod.metadata.namespace, name
            ),
        )
        described = containers.describe(
            pod,
            container,
            state=state,
            sandbox=sandbox,
            environment=environment,
            code=self.code,
        )
        if not user.known:
            (state / "passwd").write_text(containers.passwd_with(user), encoding="utf-8")
        if not user.group_known:
            (state / "group").write_text(containers.group_with(user), encoding="utf-8")
        return starting.start(described)

    def _refresh(self, observed: Observed, known: _Known) -> None:
        """Bring volumes up to date now and then; what fails is tried at the next turn."""
        if not observed.prepared or observed.pod.metadata.deletion_timestamp:
            return
        if observed.now < known.refreshed_at + REFRESH_S:
            return
        known.refreshed_at = observed.now
        folder = PodFolder(self.folder / observed.pod.metadata.uid)
        try:
            self.sandboxes.refresh(observed.pod, folder)
        except errors.MigrationError as fault:
            log.info("pod %s: volumes are not brought up to date: %s", _name(observed.pod), fault)
        for path in (folder.path / "containers").glob("*/*/log"):
            shorten(path)

    def report(self, uid: str) -> None:
        """Write the pod's status, if it is not what the API server has."""
        observed = self.observe(uid)
        if observed is None or observed.gone:
            return
        running = probing.running(observed)
        known = self._known.setdefault(uid, _Known())
        status = pod_status.build(
            observed,
            pod_status.Surroundings(
                host_address=self.sandboxes.node.address,
                pod_address=self.sandboxes.address(observed.pod),
                fault_reason=known.fault_reason,
                fault=known.fault,
                readiness=self.prober.readiness(uid, running),
                started=self.prober.started(uid, running),
            ),
        )
        pod = observed.pod
        before = msgspec.to_builtins(pod.status) if pod.status else {}
        change = difference(before, msgspec.to_builtins(status))
        if not change:
            return
        body = {"metadata": {"uid": uid}, "status": change}
        try:
            known.reported = self.client.patch(
                Pod, pod.metadata.name, pod.metadata.namespace, body, subresource="status"
            )
        except errors.NotFound:
            return  # deleted meanwhile: the watch will say so

    def _event(self, pod: Pod, reason: str, message: str, *, warning: bool = False) -> None:
        kind = "Warning" if warning else "Normal"
        self.client.record(pod, reason, message, type=kind, component=COMPONENT)

    def _forget(self, uid: str) -> None:
        self._known.pop(uid, None)
        self.prober.forget(uid)


def difference(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON merge patch that makes `after` of `before`. Pure."""
    change: dict[str, Any] = {key: None for key in before if key not in after}
    for key, value in after.items():
        old = before.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            inner = difference(old, value)
            if inner:
                change[key] = inner
        elif value != old:
            change[key] = value
    return change


def shorten(path: Path) -> None:
    """Drop the older half of a log that has grown too long; its writer appends."""
    try:
        if path.stat().st_size <= LOG_LIMIT_BYTES:
            return
        with path.open("r+b") as file:
            file.seek(-LOG_LIMIT_BYTES // 2, 2)
            file.readline()
            kept = file.read()
            file.truncate(0)
        with path.open("ab") as file:
            file.write(kept)
    except FileNotFoundError:
        return


def _started_at(folder: PodFolder) -> float | None:
    """Return when this node first saw the pod; kept in a file's time."""
    mark = folder.path / "first-seen"
    if not mark.exists() and folder.path.is_dir():
        mark.touch()
    return mark.stat().st_mtime if mark.exists() else None


def _was_ready(pod: Pod, container: Container, attempt: Attempt) -> bool:
    statuses = pod.status.container_statuses if pod.status else ()
    return any(
        one.name == container.name and one.ready and one.restart_count == attempt.number
        for one in statuses
    )


def _newer(left: Pod, right: Pod) -> bool:
    """Tell whether `left` was written after `right`; our API server counts its writes."""
    try:
        return int(left.metadata.resource_version) > int(right.metadata.resource_version)
    except ValueError:
        return False


def _name(pod: Pod) -> str:
    return f"{pod.metadata.namespace}/{pod.metadata.name}"
