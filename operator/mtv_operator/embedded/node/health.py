"""Startup, liveness and readiness probes: how they are judged (pure) and how they are asked.

A probe belongs to one start of a container. Until the startup probe has succeeded the others wait,
as with the kubelet.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from mtv.api.core import Container, ContainerProbe, HTTPGetAction
from mtv_operator.embedded.node.lifecycle import Health
from mtv_operator.embedded.node.processes import Identity

PERIOD_S, TIMEOUT_S, FAILURES, SUCCESSES = 10, 1, 3, 1  # as Kubernetes' API says
LONGEST_OUTPUT = 200


class Kind(StrEnum):
    """What a probe is for."""

    STARTUP = "startup"
    LIVENESS = "liveness"
    READINESS = "readiness"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is known of one probe of one start of a container."""

    health: Health = Health.UNKNOWN
    in_a_row: int = 0  # results like the last one
    last_good: bool | None = None
    output: str = ""
    due: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One result of a probe."""

    good: bool
    output: str = ""


def probes_of(container: Container) -> dict[Kind, ContainerProbe]:
    """Return the probes that a container has."""
    found = {
        Kind.STARTUP: container.startup_probe,
        Kind.LIVENESS: container.liveness_probe,
        Kind.READINESS: container.readiness_probe,
    }
    return {kind: probe for kind, probe in found.items() if probe is not None}


def first_due(probe: ContainerProbe, started_at: float) -> float:
    """Return when a probe is asked first."""
    return started_at + (probe.initial_delay_seconds or 0)


def judge(record: Record, answer: Answer, probe: ContainerProbe, now: float) -> Record:
    """Return what is known after one more answer. Pure."""
    in_a_row = record.in_a_row + 1 if record.last_good is answer.good else 1
    health = record.health
    if answer.good and in_a_row >= (probe.success_threshold or SUCCESSES):
        health = Health.GOOD
    if not answer.good and in_a_row >= (probe.failure_threshold or FAILURES):
        health = Health.BAD
    return replace(
        record,
        health=health,
        in_a_row=in_a_row,
        last_good=answer.good,
        output=answer.output,
        due=now + (probe.period_seconds or PERIOD_S),
    )


def is_asked(kind: Kind, records: Mapping[Kind, Record], has_startup: bool) -> bool:
    """Tell whether a probe has its turn: startup first, then the others. Pure."""
    startup = records.get(Kind.STARTUP)
    started = not has_startup or (startup is not None and startup.health is Health.GOOD)
    return not started if kind is Kind.STARTUP else started


def ask(
    probe: ContainerProbe,
    container: Container,
    *,
    process: Identity,
    address: str,
    command: Sequence[str],
    environment: Mapping[str, str],
) -> Answer:
    """Ask once. `command` is what enters the container; an exec probe is added to it."""
    timeout_s = float(probe.timeout_seconds or TIMEOUT_S)
    if probe.exec is not None:
        return _execute([*command, *probe.exec.command], environment, timeout_s)
    if probe.http_get is not None:
        return _http(probe.http_get, container, address, timeout_s)
    if probe.tcp_socket is not None:
        host = probe.tcp_socket.host or address
        try:
            number = port(probe.tcp_socket.port, container)
            socket.create_connection((host, number), timeout_s).close()
        except (OSError, ValueError) as fault:
            return Answer(good=False, output=f"dial tcp {host}: {fault}")
        return Answer(good=True)
    return Answer(good=False, output="this node asks by exec, httpGet and tcpSocket only")


def _execute(command: Sequence[str], environment: Mapping[str, str], timeout_s: float) -> Answer:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Answer(good=False, output=f"command timed out after {timeout_s:.0f}s")
    except OSError as fault:
        return Answer(good=False, output=str(fault))
    text = done.stdout.decode("utf-8", "replace").strip()[:LONGEST_OUTPUT]
    return Answer(good=done.returncode == 0, output=text or f"exit status {done.returncode}")


def _http(action: HTTPGetAction, container: Container, address: str, timeout_s: float) -> Answer:
    host = action.host or address
    try:
        number = port(action.port, container)
        if action.scheme == "HTTPS":
            context = ssl._create_unverified_context()  # a probe asks for life, not for identity
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, number, timeout=timeout_s, context=context
            )
        else:
            connection = http.client.HTTPConnection(host, number, timeout=timeout_s)
        try:
            headers = {"User-Agent": "kube-probe/1.32"}
            headers.update({header.name: header.value for header in action.http_headers})
            connection.request("GET", action.path or "/", headers=headers)
            answer = connection.getresponse()
            body = answer.read(LONGEST_OUTPUT).decode("utf-8", "replace")
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as fault:
        return Answer(good=False, output=f"GET {host}: {fault}")
    good = 200 <= answer.status < 400
    words = f"HTTP probe failed with statuscode: {answer.status}"
    return Answer(good=good, output=body if good else words)


def port(wanted: int | str, container: Container) -> int:
    """Return a port by number or by name. Raises ValueError for a name that is not there."""
    if isinstance(wanted, int) or wanted.isdigit():
        return int(wanted)
    for one in container.ports:
        if one.name == wanted:
            return one.container_port
    raise ValueError(f"couldn't find port: {wanted!r}")
