"""What a schedule does to the world, as data. Each may be done twice."""

from __future__ import annotations

from dataclasses import dataclass

from mtv.api import forklift
from mtv.api.mtv import DiskTransfer, MigrationSchedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Make a Migration, which starts its plan."""

    migration: forklift.Migration


@dataclass(frozen=True, slots=True, kw_only=True)
class CutOver:
    """Have a warm Migration cut over."""

    migration: forklift.Migration
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeBack:
    """Have migrated VMs go back to their source."""

    migration: forklift.Migration
    vms: tuple[forklift.VMStatus, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Have a disk copied with at most so many bytes per second; 0 is no limit."""

    transfer: DiskTransfer
    bytes_per_second: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Tell what happened, as an Event of the schedule."""

    schedule: MigrationSchedule
    reason: str
    message: str


Action = Start | CutOver | TakeBack | Limit | Record
