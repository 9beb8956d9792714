"""What a controller is: it observes, decides, and lets the decision be carried out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from mtv_operator.objects import Key

Observed = TypeVar("Observed")
Action = TypeVar("Action")
Status = TypeVar("Status")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision(Generic[Action, Status]):
    """What to do now. `status` None leaves the status as it is."""

    status: Status | None = None
    actions: tuple[Action, ...] = ()
    requeue_after_s: float | None = None


class Controller(Protocol):
    """The controller of one kind.

    `decide` is pure and total; all effects are in `perform` and `write_status`, which may be
    repeated: whoever was killed between them is followed by one that decides anew.
    """

    @property
    def name(self) -> str:
        """How queues and logs call it."""
        ...

    def observe(self, key: Key) -> Any | None:  # noqa: ANN401 - each controller has its own type
        """Return all that a decision needs, or None when there is nothing to decide on."""
        ...

    def decide(self, observed: Any, now: datetime) -> Decision[Any, Any]:  # noqa: ANN401
        """Return what to do. Pure: no input but these two, no logging."""
        ...

    def perform(self, observed: Any, action: Any) -> None:  # noqa: ANN401
        """Carry out one action. Raises MigrationError."""
        ...

    def write_status(self, observed: Any, status: Any) -> None:  # noqa: ANN401
        """Store the status, if it is another one than was observed. Raises MigrationError."""
        ...
