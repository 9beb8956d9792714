"""The loop around every controller: workers that observe, decide, perform, and write the status."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from datetime import UTC, datetime

from mtv import errors
from mtv_operator.objects import Key
from mtv_operator.reconciling import back_off
from mtv_operator.reconciling.controller import Controller
from mtv_operator.reconciling.work_queue import Item, WorkQueue

log = logging.getLogger(__name__)


class Loop:
    """Reconciles the keys that are put in. `run` blocks until `stop` is set."""

    def __init__(
        self, controllers: Sequence[Controller], *, workers: int = 4, stop: threading.Event
    ) -> None:
        self._controllers = {controller.name: controller for controller in controllers}
        self._queue = WorkQueue()
        self._failures: dict[Item, int] = {}
        self._workers = workers
        self._stop = stop

    def enqueue(self, controller: str, key: Key, after_s: float = 0.0) -> None:
        """Have a key reconciled. From any thread."""
        self._queue.put(Item(controller, key), after_s)

    def run(self) -> None:
        """Work until `stop` is set; what is being worked on is finished."""
        threads = [
            threading.Thread(target=self._work, name=f"reconcile-{number}")
            for number in range(self._workers)
        ]
        for thread in threads:
            thread.start()
        try:
            self._stop.wait()
        finally:
            self._queue.close()
            for thread in threads:
                thread.join()

    def _work(self) -> None:
        while (item := self._queue.take()) is not None:
            try:
                again_after_s = self._reconcile(item)
                self._failures.pop(item, None)
            except Exception as fault:  # a worker must not die: said, and tried again later
                again_after_s = self._failed(item, fault)
            if again_after_s is not None:
                self._queue.put(item, again_after_s)
            self._queue.done(item)

    def _reconcile(self, item: Item) -> float | None:
        """Do what one key needs; return after how many seconds to look again."""
        controller = self._controllers[item.controller]
        observed = controller.observe(item.key)
        if observed is None:
            return None
        decision = controller.decide(observed, datetime.now(UTC))
        for action in decision.actions:
            controller.perform(observed, action)
        if decision.status is not None:
            controller.write_status(observed, decision.status)
        return decision.requeue_after_s

    def _failed(self, item: Item, fault: Exception) -> float:
        """Say what was wrong, once for each kind of trouble; return how long to wait."""
        failed = self._failures[item] = self._failures.get(item, 0) + 1
        if isinstance(fault, errors.Conflict):
            return back_off.CONFLICT_S * min(failed, 10)
        where = f"{item.controller} {item.key}"
        if isinstance(fault, errors.MigrationError):
            level = logging.WARNING if failed in (1, 5) else logging.DEBUG
            log.log(level, "%s: %s", where, fault)
        else:
            log.error("%s", where, exc_info=fault)
        return back_off.delay_s(failed, needs_operator=isinstance(fault, errors.NeedsOperator))
