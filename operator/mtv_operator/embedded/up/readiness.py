"""Whether the components do their work: what is looked at, and what follows from it (pure)."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from mtv import errors
from mtv_operator.embedded.node import processes
from mtv_operator.embedded.up.settings import INVENTORY_PORT, Settings
from mtv_operator.embedded.up.supervisor import Report, State
from mtv_operator.objects import Client

FRESH_S = 40.0
CONNECT_TIMEOUT_S = 2.0
READY_MARKS = "ready"  # a folder below `run`: a file per component, with its process


class Line(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What `mtv status` says of one component."""

    name: str
    state: str
    ready: bool
    reason: str = ""
    pid: int = 0
    restarts: int = 0
    last_exit: str = ""
    started_at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was found out about all components."""

    api: str = ""  # why the API server does not answer; "" when it does
    nodes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    leases: Mapping[str, str] = field(default_factory=dict)  # node to time of renewal
    services: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # APIServices
    marks: Mapping[str, processes.Identity] = field(default_factory=dict)
    inventory: str = ""  # why the inventory API does not answer; "" when it does


def look(settings: Settings) -> Facts:
    """Ask the API server and read what components left."""
    marks = read_marks(settings.run)
    try:
        client = Client.connect(str(settings.kubeconfig))
        client.raw("GET", "/api/v1/namespaces", query=[("limit", "1")])
        nodes = client.raw("GET", "/api/v1/nodes")["items"]
        leases = client.raw("GET", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases")
        services = client.raw("GET", "/apis/apiregistration.k8s.io/v1/apiservices")["items"]
    except errors.MigrationError as fault:
        return Facts(api=str(fault), marks=marks)
    return Facts(
        nodes={one["metadata"]["name"]: one for one in nodes},
        leases={
            one["metadata"]["name"]: one.get("spec", {}).get("renewTime", "")
            for one in leases["items"]
        },
        services={one["metadata"]["name"]: one for one in services},
        marks=marks,
        inventory=_connects(settings.network.gateway, INVENTORY_PORT),
    )


def _connects(host: str, port: int) -> str:
    """Return why nobody takes connections at an address, or ""."""
    try:
        with socket.create_connection((host, port), CONNECT_TIMEOUT_S):
            return ""
    except OSError as fault:
        return f"{host}:{port}: {fault.strerror or fault}"


def read_marks(run: Path) -> dict[str, processes.Identity]:
    """Return which processes have said that they are ready."""
    found = {}
    for path in (run / READY_MARKS).glob("*"):
        identity = processes.read(path)
        if identity is not None:
            found[path.name] = identity
    return found


def leave_mark(run: Path, component: str, pid: int) -> None:
    """Say that a component, this process, is ready."""
    identity = processes.identify(pid)
    if identity is not None:
        (run / READY_MARKS).mkdir(exist_ok=True)
        processes.write(run / READY_MARKS / component, identity)


def line(report: Report, facts: Facts, now: datetime) -> Line:
    """Return what is said of one component. Pure but for whether its process lives."""
    alive = report.process is not None and processes.alive(report.process)
    state = report.state
    if state is State.RUNNING and not alive:
        state = State.BACK_OFF
    reason = ""
    if state is State.STOPPED:
        reason = "stopped"
    elif report.task:
        reason = "" if state is State.DONE else "not done yet"
    elif not alive:
        reason = report.last_exit or "not started yet"
    else:
        reason = _doubt(report, facts, now)
    return Line(
        name=report.name,
        state=str(state),
        ready=not reason,
        reason=reason,
        pid=report.process.pid if alive and report.process else 0,
        restarts=report.restarts,
        last_exit=report.last_exit,
        started_at=report.started_at,
    )


def _doubt(report: Report, facts: Facts, now: datetime) -> str:
    """Return why a running component does not do its work yet, or ""."""
    name = report.name
    if facts.api:
        return facts.api if name == "apiserver" else "the API server does not answer"
    if name.startswith("node-"):
        return node_doubt(name.removeprefix("node-"), facts, now)
    if name.startswith("virt-handler-"):
        return handler_doubt(name.removeprefix("virt-handler-"), facts, now)
    if name == "virt-api":
        return _service_doubt(facts, "v1.subresources.kubevirt.io")
    if name == "inventory":
        return facts.inventory
    if name == "scheduler" and facts.marks.get(name) != report.process:
        return "it has not read the cluster yet"
    return ""


def node_doubt(name: str, facts: Facts, now: datetime) -> str:
    """Return why a node is not ready, or ""."""
    node = facts.nodes.get(name)
    if node is None:
        return "it has not registered yet"
    if not _is_fresh(facts.leases.get(name, ""), now):
        return "its lease is over"
    ready = _condition(node, "Ready")
    if ready.get("status") != "True":
        return str(ready.get("message") or "the node is not ready")
    return ""


def handler_doubt(name: str, facts: Facts, now: datetime) -> str:
    """Return why a node takes no VMs, or ""; KubeVirt says it in a label and an annotation."""
    metadata = facts.nodes.get(name, {}).get("metadata", {})
    if metadata.get("labels", {}).get("kubevirt.io/schedulable") != "true":
        return "the node does not take VMs yet"
    return ""


def _service_doubt(facts: Facts, name: str) -> str:
    service = facts.services.get(name)
    if service is None:
        return f"APIService {name} is not there yet"
    available = _condition(service, "Available")
    if available and available.get("status") != "True":
        return str(available.get("message") or f"{name} is not available")
    return ""


def _condition(document: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    conditions: Sequence[Mapping[str, Any]] = document.get("status", {}).get("conditions", ())
    return next((one for one in conditions if one.get("type") == kind), {})


def _is_fresh(renewed: str, now: datetime) -> bool:
    try:
        seen = datetime.fromisoformat(renewed.replace("Z", "+00:00"))
    except ValueError:
        return False
    return now - seen < timedelta(seconds=FRESH_S)


def lines(reports: Sequence[Report], facts: Facts) -> list[Line]:
    """Return what is said of all components now."""
    now = datetime.now(UTC)
    return [line(report, facts, now) for report in reports]
