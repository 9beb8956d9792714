"""`mtv up`: from what was asked for to components that do their work. May be repeated."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from mtv import errors
from mtv_operator.embedded.node import attempts, network, processes
from mtv_operator.embedded.up import (
    bootstrap,
    components,
    credentials,
    machine,
    main,
    readiness,
    supervisor,
)
from mtv_operator.embedded.up import settings as up_settings
from mtv_operator.embedded.up.readiness import Line
from mtv_operator.embedded.up.settings import KUBELET_PORT, VIRT_API_PORT, Settings
from mtv_operator.embedded.up.supervisor import Component

READY_S = 120.0
POLL_S = 0.25
HANDOVER_S = 10.0
FIXED = ("pod_cidr", "bridge")  # pods have addresses of it

Say = Callable[[str], None]


def start(data_dir: Path, asked: Mapping[str, object], say: Say) -> Settings:
    """Start what is not running, and wait until everything is ready.

    `asked` holds the options that were given; others stay as they are. Raises MigrationError.
    """
    machine.check_root()
    kept = up_settings.load(data_dir)
    settings = decide_settings(kept, data_dir, asked)
    up_settings.check(settings)
    machine.check_programs(needed(settings))
    before = supervisor.read_summary(settings.run)
    routes = machine.routes()
    if kept is None and asked.get("pod_cidr") is None:
        settings = msgspec.structs.replace(
            settings, pod_cidr=machine.free_network(routes, settings.bridge)
        )
    machine.check_routes(routes, settings.pod_cidr, settings.bridge)
    check_ports(settings, before)
    check_nodes(settings)
    network.ensure_bridge(settings.network, settings.owner)
    for index, name in enumerate(settings.node_names(), 1):
        if settings.node_namespace(name, index):
            network.attach(settings.network, settings.node_key(name), settings.node_address(index))
    for folder in (settings.folder / "nodes").glob("*"):
        if folder.name not in settings.node_names():
            network.detach(settings.node_key(folder.name))
    up_settings.save(settings)
    for folder in (settings.run, settings.logs, settings.folder / "apiserver", settings.volumes):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    say(bootstrap.decide_emulation(settings)[1])
    made = components.build(settings, credentials.ensure(settings))
    supervise(settings, made, say)
    wait_until_ready(settings, say)
    return settings


def decide_settings(kept: Settings | None, data_dir: Path, asked: Mapping[str, object]) -> Settings:
    """Return the settings: as they were kept, with what was asked for. Raises BadInput."""
    base = kept or Settings(data_dir=str(data_dir))
    given = {name: value for name, value in asked.items() if value is not None}
    fresh: Settings = msgspec.structs.replace(base, **given)
    for name in FIXED:
        if kept is not None and getattr(fresh, name) != getattr(kept, name):
            raise errors.BadInput(
                f"it was {getattr(kept, name)} when {data_dir} was made, and cannot change",
                field=f"--{name.replace('_', '-')}",
                hint="`mtv down --purge` removes this installation, then it can be made anew",
            )
    return fresh


def needed(settings: Settings) -> list[str]:
    """Return the programs that the components of this installation start."""
    runtime = {"qemu-system-x86_64", "qemu-img", "libvirtd"}
    handlers = [f"virt-handler-{name}" for name in settings.node_names()]
    no_runtime = set(handlers) <= set(settings.without)
    return [name for name in machine.PROGRAMS if not (no_runtime and name in runtime)]


def check_ports(settings: Settings, before: supervisor.Summary) -> None:
    """Raise TargetRefused when somebody else has a port that we need."""
    ours = [
        report.process.pid
        for report in before.components
        if report.process is not None and processes.alive(report.process)
    ]
    gateway = settings.network.gateway
    hosts = [one.rpartition(":")[0] for one in components.listen_addresses(settings)]
    for host in hosts:
        if host != gateway:
            machine.check_free(host, settings.port, ours)
    if network.check_bridge(settings.network, settings.owner):  # else nobody can have these
        own = [settings.port] if gateway in hosts else []
        for port in (*own, KUBELET_PORT, VIRT_API_PORT):
            machine.check_free(gateway, port, ours)


def check_nodes(settings: Settings) -> None:
    """Raise TargetRefused when a node with running pods is no longer asked for."""
    names = settings.node_names()
    for folder in sorted((settings.folder / "nodes").glob("*")):
        if folder.name in names:
            continue
        alive = running_pods(folder)
        if alive:
            raise errors.TargetRefused(
                f"node {folder.name} has {len(alive)} running pods, and would not be there",
                hint=f"start with more --nodes, and drain it: kubectl drain {folder.name}",
            )


def running_pods(folder: Path) -> list[str]:
    """Return the uids of a node's pods that have a running container."""
    return [
        pod.uid
        for pod in attempts.pods(folder / "pods")
        if any(
            starts and starts[-1].running
            for starts in (pod.attempts(path.name) for path in (pod.path / "containers").glob("*"))
        )
    ]


def supervise(settings: Settings, made: Sequence[Component], say: Say) -> None:
    """Have a supervisor keep these components running; one that does so already is left alone."""
    alive = running_supervisor(settings)
    if alive is not None:
        if main.read_components(settings.run) == list(made):
            say(f"already running: supervisor {alive.pid}")
            return
        say("settings changed: the supervisor is replaced, what runs is adopted")
        processes.send(alive, signal.SIGHUP)
        _wait_for_end(alive)
    main.write_components(settings.run, made)
    with (settings.logs / "supervisor.log").open("ab") as log:
        subprocess.Popen(
            [
                *(sys.executable, "-m", "mtv_operator.embedded.up.main"),
                *(str(settings.run), str(settings.logs)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={**os.environ, **components.ENVIRONMENT, "PATH": path_with_sbin()},
            start_new_session=True,
        )


def path_with_sbin() -> str:
    """Return PATH with the folders of administrators' programs, which users may lack."""
    words = os.environ.get("PATH", "/usr/bin:/bin").split(":")
    return ":".join(dict.fromkeys([*words, *machine.SBIN.split(":")]))


def running_supervisor(settings: Settings) -> processes.Identity | None:
    """Return the supervisor of this installation, if it runs."""
    found = supervisor.read_summary(settings.run).supervisor
    return found if found is not None and processes.alive(found) else None


def _wait_for_end(process: processes.Identity) -> None:
    deadline = time.monotonic() + HANDOVER_S
    while processes.alive(process):
        if time.monotonic() > deadline:
            raise errors.TargetUnavailable(
                f"the supervisor {process.pid} does not end", hint=f"kill -9 {process.pid}"
            )
        time.sleep(POLL_S / 5)


def wait_until_ready(settings: Settings, say: Say, patience_s: float = READY_S) -> None:
    """Wait for all components, and say when each is ready. Raises TargetUnavailable with logs."""
    began = time.monotonic()
    names = [one.name for one in main.read_components(settings.run)]
    said: set[str] = set()
    while True:
        summary = supervisor.read_summary(settings.run)
        fresh = summary.supervisor is not None and processes.alive(summary.supervisor)
        reports = summary.components if fresh else ()  # else it is what the last one left
        facts = readiness.look(settings)
        found = {one.name: one for one in readiness.lines(reports, facts)}
        for name in names:
            one = found.get(name)
            if one is not None and one.ready and name not in said:
                said.add(name)
                pid = f" (pid {one.pid})" if one.pid else ""
                say(f"{name} is ready{pid}, {time.monotonic() - began:.1f} s")
        if said >= set(names):
            return
        if time.monotonic() - began > patience_s:
            waiting = [found[name] for name in names if name in found and name not in said]
            raise not_ready(settings, waiting, patience_s)
        time.sleep(POLL_S)


def not_ready(
    settings: Settings, waiting: Sequence[Line], patience_s: float
) -> errors.TargetUnavailable:
    """Return the error of components that did not become ready, with the end of their logs."""
    text = "; ".join(f"{one.name}: {one.reason}" for one in waiting) or "the supervisor"
    tails = [
        f"\n  {one.name}.log: {words}"
        for one in waiting
        if (words := last_line(settings.logs / f"{one.name}.log"))
    ]
    return errors.TargetUnavailable(
        f"not ready after {patience_s:.0f} s: {text}{''.join(tails)}",
        hint=f"logs are in {settings.logs}; `mtv status` shows what goes on",
    )


def last_line(path: Path) -> str:
    """Return the last line of a log, "" when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
    except FileNotFoundError:
        return ""
    return lines[-1][:300] if lines else ""
