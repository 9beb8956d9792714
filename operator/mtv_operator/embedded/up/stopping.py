"""`mtv down`: ends the components; VMs and transfers go on unless they are to end too."""

from __future__ import annotations

import contextlib
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mtv import errors
from mtv.api.core import Pod
from mtv_operator.embedded.node import (
    addresses,
    attachments,
    attempts,
    devices,
    network,
    processes,
    volumes,
)
from mtv_operator.embedded.up import main, starting, supervisor
from mtv_operator.embedded.up.settings import Settings
from mtv_operator.objects import Client

POLL_S = 0.1
END_S = 30.0  # the supervisor kills after 10 s
PODS_MARGIN_S = 15.0
LONGEST_GRACE_S = 180.0
# Who would start again what is being ended.
STARTERS = ("controller", "scheduler")

Say = Callable[[str], None]


def stop(settings: Settings, say: Say, *, stop_vms: bool, purge: bool) -> None:
    """End this installation's processes. With `stop_vms` pods too; with `purge` remove all."""
    alive = starting.running_supervisor(settings)
    if stop_vms or purge:
        if alive is not None:
            stop_pods(settings, say)
        end_leftovers(settings, say)
    else:
        pods = [uid for folder in node_folders(settings) for uid in starting.running_pods(folder)]
        if pods:
            say(f"pods that go on: {len(pods)}; the next `mtv up` finds them again")
    end_supervisor(settings, say)
    if purge:
        remove(settings, say)


def node_folders(settings: Settings) -> list[Path]:
    """Return the folders of all nodes that ever were."""
    return sorted(path for path in (settings.folder / "nodes").glob("*") if path.is_dir())


def end_supervisor(settings: Settings, say: Say) -> None:
    """End the supervisor and its components; also those of a supervisor that was killed."""
    alive = starting.running_supervisor(settings)
    if alive is not None:
        processes.send(alive, signal.SIGTERM)
        deadline = time.monotonic() + END_S
        while processes.alive(alive):
            if time.monotonic() > deadline:
                say(f"the supervisor {alive.pid} does not end: killed")
                processes.send(alive, signal.SIGKILL)
                break
            time.sleep(POLL_S)
    for report in supervisor.read_summary(settings.run).components:
        if report.process is not None and processes.alive(report.process):
            supervisor.end_now(report.process)
    say("the components have ended" if alive is not None else "nothing was running")


def stop_pods(settings: Settings, say: Say) -> None:
    """Have every pod end as its node ends it: guests are shut down, within their grace periods."""
    names = [one.name for one in main.read_components(settings.run)]
    stop_components(settings, [name for name in STARTERS if name in names])
    try:
        client = Client.connect(str(settings.kubeconfig))
        pods = client.list(Pod)
        for pod in pods:
            found = pod.metadata
            client.delete(Pod, found.name, found.namespace, uid=found.uid)
        if pods:
            say(f"pods that are told to end: {len(pods)}")
        wait_for_pods(client, grace_of(pods) + PODS_MARGIN_S)
    except errors.MigrationError as fault:
        say(f"the API server does not help ({fault}): containers are ended directly")


def grace_of(pods: Sequence[Pod]) -> float:
    """Return how long the slowest of the pods may take. Pure."""
    graces = [
        float(pod.spec.termination_grace_period_seconds)
        for pod in pods
        if pod.spec and pod.spec.termination_grace_period_seconds is not None
    ]
    return min(LONGEST_GRACE_S, max([30.0, *graces]))


def wait_for_pods(client: Client, patience_s: float) -> None:
    """Wait until no pod is left, or the time is over."""
    deadline = time.monotonic() + patience_s
    while client.list(Pod) and time.monotonic() < deadline:
        time.sleep(POLL_S * 3)


def stop_components(settings: Settings, names: Sequence[str]) -> None:
    """Have the supervisor end some components for good, and wait for it."""
    alive = starting.running_supervisor(settings)
    if alive is None or not names:
        return
    (settings.run / main.STOP).write_text(" ".join(names), encoding="utf-8")
    processes.send(alive, signal.SIGUSR1)
    deadline = time.monotonic() + END_S
    while time.monotonic() < deadline:
        states = {one.name: one.state for one in supervisor.read_summary(settings.run).components}
        if all(states.get(name) is supervisor.State.STOPPED for name in names):
            return
        time.sleep(POLL_S)


def end_leftovers(settings: Settings, say: Say) -> None:
    """End containers that no node has ended: SIGTERM, then SIGKILL."""
    left = [
        attempt.process
        for folder in node_folders(settings)
        for pod in attempts.pods(folder / "pods")
        for path in (pod.path / "containers").glob("*")
        for attempt in pod.attempts(path.name)
        if attempt.running and attempt.process is not None
    ]
    if not left:
        return
    end_supervisor(settings, say)  # a node would start them again
    for process in left:
        processes.send(process, signal.SIGTERM)
    deadline = time.monotonic() + END_S
    while any(processes.alive(one) for one in left) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    for process in left:
        processes.send(process, signal.SIGKILL)
    say(f"containers that were ended: {len(left)}")


def remove(settings: Settings, say: Say) -> None:
    """Take away all that this installation made on the machine, its volumes too."""
    for folder in node_folders(settings):
        for pod in attempts.pods(folder / "pods"):
            network.detach(pod.uid)
            devices.release(settings.volumes, pod.uid)
            with contextlib.suppress(errors.MigrationError):
                volumes.remove(pod.path)
        for owner in addresses.Pool(folder / "addresses", settings.pod_cidr).taken().values():
            network.detach(owner)
        network.detach(settings.node_key(folder.name))
    for name in settings.node_names():
        network.detach(settings.node_key(name))
    found = network.link(settings.bridge)
    if found is not None and found.get("ifalias") == settings.owner:
        network.remove_bridge(settings.network)
    attachments.remove_bridges(settings.owner)
    left = volumes.mounts_below(settings.folder)
    if left:
        raise errors.TargetRefused(
            f"{left[0]} is still mounted; {settings.folder} was not removed",
            hint=f"umount {left[0]}, then `mtv down --purge` again",
        )
    shutil.rmtree(settings.folder)
    say(f"{settings.folder} and the bridge {settings.bridge} are removed")
