"""Probes: when a container counts as healthy, and how it is asked."""

import http.server
import threading

import msgspec
import pytest

from mtv.api.core import Container, ContainerProbe
from mtv_operator.embedded.node import health
from mtv_operator.embedded.node.health import Answer, Kind, Record
from mtv_operator.embedded.node.lifecycle import Health
from mtv_operator.embedded.node.processes import Identity

SELF = Identity(pid=1, start_time=1, boot_id="b")


def probe(**fields):
    return msgspec.convert(fields, ContainerProbe)


def after(answers, **fields):
    record = Record()
    for answer in answers:
        record = health.judge(record, Answer(good=answer), probe(**fields), 0.0)
    return record.health


def test_probe_is_bad_only_after_the_failure_threshold():
    assert after([False, False]) is Health.UNKNOWN
    assert after([False, False, False]) is Health.BAD
    assert after([False, False, True, False, False]) is Health.GOOD
    assert after([False], failureThreshold=1) is Health.BAD


def test_probe_is_good_again_only_after_the_success_threshold():
    assert after([False] * 3 + [True], successThreshold=2) is Health.BAD
    assert after([False] * 3 + [True, True], successThreshold=2) is Health.GOOD


def test_next_question_is_a_period_later():
    assert health.judge(Record(), Answer(good=True), probe(periodSeconds=7), 100.0).due == 107.0
    assert health.first_due(probe(initialDelaySeconds=5), 100.0) == 105.0


def test_other_probes_wait_for_the_startup_probe():
    before = {Kind.STARTUP: Record(), Kind.LIVENESS: Record()}
    assert health.is_asked(Kind.STARTUP, before, True)
    assert not health.is_asked(Kind.LIVENESS, before, True)
    started = {**before, Kind.STARTUP: Record(health=Health.GOOD)}
    assert not health.is_asked(Kind.STARTUP, started, True)
    assert health.is_asked(Kind.LIVENESS, started, True)


def ask(container=None, **fields):
    return health.ask(
        probe(**fields),
        container or Container(name="c"),
        process=SELF,
        address="127.0.0.1",
        command=[],
        environment={"PATH": "/usr/bin:/bin"},
    )


def test_exec_probe_is_good_when_the_command_is():
    assert ask(exec={"command": ["true"]}).good
    answer = ask(exec={"command": ["sh", "-c", "echo no space; exit 3"]})
    assert answer == Answer(good=False, output="no space")


def test_exec_probe_that_takes_too_long_is_bad():
    answer = ask(exec={"command": ["sleep", "30"]}, timeoutSeconds=1)
    assert not answer.good
    assert "timed out" in answer.output


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/healthz" else 503)
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def port():
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_http_probe_asks_the_path_and_a_named_port(port):
    container = msgspec.convert(
        {"name": "c", "ports": [{"name": "web", "containerPort": port}]}, Container
    )
    assert ask(container, httpGet={"path": "/healthz", "port": "web"}).good
    answer = ask(httpGet={"path": "/x", "port": port})
    assert answer.output == "HTTP probe failed with statuscode: 503"
    assert "couldn't find port" in ask(httpGet={"port": "none"}).output


def test_tcp_probe_connects(port):
    assert ask(tcpSocket={"port": port}).good
    assert not ask(tcpSocket={"port": 1}).good
