"""A shutdown that was asked for: the button is pressed until the guest obeys or patience ends."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass

from mtv import errors
from mtv_operator.virt_launcher.hypervisor import Hypervisor

log = logging.getLogger(__name__)

PRESS_EVERY_S = 5.0  # a guest that boots misses the button


@dataclass(slots=True)
class _Wish:
    """When the button is pressed next, when patience ends."""

    deadline: float
    next_press: float
    presses: int = 0


class Stopping:
    """Presses the button. `ask` may be called from any thread, `turn` from one."""

    def __init__(self, hypervisor: Hypervisor) -> None:
        self._hypervisor = hypervisor
        self._lock = threading.Lock()
        self._wish: _Wish | None = None

    @property
    def asked(self) -> bool:
        """Tell whether a shutdown was asked for."""
        return self._wish is not None

    def ask(self, grace_s: float) -> bool:
        """Note the wish, and tell whether it is the first; only a shorter grace changes it."""
        with self._lock:
            now = time.monotonic()
            if self._wish is not None:
                self._wish.deadline = min(self._wish.deadline, now + grace_s)
                return False
            self._wish = _Wish(deadline=now + grace_s, next_press=now)
        log.info("shutdown was asked for; patience ends in %d s", grace_s)
        return True

    def due_in_s(self) -> float | None:
        """Return in how many seconds something is due; None: nothing was asked for."""
        wish = self._wish
        if wish is None:
            return None
        return max(min(wish.deadline, wish.next_press) - time.monotonic(), 0.05)

    def turn(self, *, agent_connected: bool) -> None:
        """Do what is due now with a domain that runs. Raises what went wrong at its end."""
        wish = self._wish
        if wish is None:
            return
        now = time.monotonic()
        if now >= wish.deadline:
            log.warning("the guest did not shut down in time; it is destroyed")
            self._hypervisor.destroy()
            return
        if now < wish.next_press:
            return
        wish.next_press = now + PRESS_EVERY_S
        wish.presses += 1
        try:
            if wish.presses % 2 == 0 and agent_connected:
                self._hypervisor.shutdown_by_agent()
            else:
                self._hypervisor.press_power_button()
        except errors.MigrationError as fault:
            log.info("the guest was not reached: %s", fault)
