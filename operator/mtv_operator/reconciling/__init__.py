"""Queue, loop, Decision: once, for every controller."""

from mtv_operator.reconciling.controller import Controller, Decision
from mtv_operator.reconciling.loop import Loop

__all__ = ["Controller", "Decision", "Loop"]
