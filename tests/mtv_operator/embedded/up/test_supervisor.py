"""The supervisor: what ends comes back, what still runs is adopted, what is stopped stays so."""

import os
import signal
import threading

import pytest

from mtv import errors
from mtv_operator.embedded.node import processes
from mtv_operator.embedded.up import restarts, supervisor
from mtv_operator.embedded.up.supervisor import Component, State


class Running:
    """A supervisor on a thread, and what its state file says."""

    def __init__(self, folder, *components):
        self.run = folder / "run"
        self.run.mkdir(exist_ok=True)
        self.supervisor = supervisor.Supervisor(components, self.run, folder / "logs")
        self.thread = threading.Thread(target=self.supervisor.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exception):
        self.supervisor.stop()
        self.thread.join(20)
        assert not self.thread.is_alive()

    def report(self, name):
        found = {one.name: one for one in supervisor.read_summary(self.run).components}
        return found.get(name)

    def wait(self, name, state, restarted=0):
        while True:
            found = self.report(name)
            if found and found.state is state and found.restarts >= restarted:
                return found
            os.sched_yield()


def service(name, script="sleep 60", **fields):
    return Component(name=name, argv=("sh", "-c", script), **fields)


def test_service_when_killed_comes_back_as_another_process(tmp_path):
    with Running(tmp_path, service("a", "exec sleep 60")) as running:
        first = running.wait("a", State.RUNNING)
        os.kill(first.process.pid, signal.SIGKILL)
        second = running.wait("a", State.RUNNING, restarted=1)
        assert second.process != first.process
        assert second.last_exit == "killed by SIGKILL"
    assert not processes.alive(second.process)


def test_service_when_after_a_task_waits_until_it_succeeded(tmp_path):
    marker = tmp_path / "second-try"
    task = service("task", f"test -e {marker} || {{ touch {marker}; exit 3; }}", task=True)
    with Running(tmp_path, task, service("a", after=("task",))) as running:
        running.wait("a", State.RUNNING)
        done = running.report("task")
        assert (done.state, done.restarts, done.last_exit) == (State.DONE, 1, "exit status 3")


def test_program_when_missing_is_reported_and_tried_again(tmp_path):
    with Running(tmp_path, Component(name="a", argv=("/no/such/program",))) as running:
        found = running.wait("a", State.BACK_OFF)
        assert found.last_exit == "/no/such/program: No such file or directory"
    assert "No such file" in (tmp_path / "logs/a.log").read_text()


def test_process_when_supervisor_was_killed_is_adopted_by_the_next(tmp_path):
    component = service("a", "exec sleep 60")
    first = Running(tmp_path, component)
    first.supervisor._start(first.supervisor._units["a"], 0.0)  # and then it was killed
    first.supervisor._write()
    left = supervisor.read_summary(first.run).components[0].process
    with Running(tmp_path, component) as second:
        while second.supervisor._units["a"].pidfd is None:  # the file may still be the first one's
            os.sched_yield()
        assert second.wait("a", State.RUNNING).process == left
        os.kill(left.pid, signal.SIGKILL)
        first.supervisor._units["a"].child.wait()
        assert second.wait("a", State.RUNNING, restarted=1).last_exit == "exit status not known"


def test_process_when_left_with_another_command_is_replaced(tmp_path):
    first = Running(tmp_path, service("a", "exec sleep 60"))
    unit = first.supervisor._units["a"]
    first.supervisor._start(unit, 0.0)
    first.supervisor._write()
    left = unit.report.process
    reaper = threading.Thread(target=unit.child.wait, daemon=True)
    reaper.start()
    with Running(tmp_path, service("a", "exec sleep 61")) as second:
        while second.wait("a", State.RUNNING).process == left:  # what the first one wrote
            os.sched_yield()
        assert not processes.alive(left)


def test_stop_when_only_some_are_named_leaves_the_others(tmp_path):
    with Running(tmp_path, service("a"), service("b")) as running:
        running.wait("a", State.RUNNING)
        kept = running.wait("b", State.RUNNING)
        running.supervisor.stop(["a"])
        running.wait("a", State.STOPPED)
        assert processes.alive(kept.process)


def test_lock_when_held_is_refused_at_once(tmp_path):
    with (
        supervisor.locked(tmp_path),
        pytest.raises(errors.AlreadyExists, match="another supervisor"),
        supervisor.locked(tmp_path),
    ):
        pass


def test_summary_when_file_is_half_written_is_empty(tmp_path):
    (tmp_path / "state.json").write_text('{"components": [')
    assert supervisor.read_summary(tmp_path) == supervisor.Summary()


def test_delay_when_failing_in_a_row_doubles_up_to_five_seconds():
    assert [restarts.delay_s(failed) for failed in (1, 2, 3, 9, 99)] == [0.2, 0.4, 0.8, 5.0, 5.0]
    assert restarts.failures(5, ran_s=1.0) == 6
    assert restarts.failures(5, ran_s=61.0) == 1
