"""mtv.dev/v1alpha1: what is ours alone. A DiskTransfer copies a disk into a claim."""

from __future__ import annotations

from typing import Annotated, ClassVar

from mtv.api import meta

GROUP = "mtv.dev"
GROUP_VERSION = "mtv.dev/v1alpha1"


class NamespacedName(meta.Part, frozen=True, kw_only=True):
    namespace: str
    name: str


class SourceVM(meta.Part, frozen=True, kw_only=True):
    id: str
    name: str


class SourceDisk(meta.Part, frozen=True, kw_only=True):
    """The disk in the source. `file` is what is read, `base_file` the bottom of its chain."""

    key: int
    file: str
    base_file: str
    capacity_bytes: int


class TransferTarget(meta.Part, frozen=True, kw_only=True):
    claim_name: str
    volume_mode: Annotated[str, meta.one_of("Filesystem", "Block")] = "Filesystem"


class Checkpoint(meta.Part, frozen=True, kw_only=True):
    """A state of a disk whose VM runs on: a snapshot's moref, and the disk's change id in it.

    `change_id` is "" where changes are not tracked; the next delta is then found by hashes.
    """

    snapshot: str
    change_id: str = ""


class DiskTransferSpec(meta.Part, frozen=True, kw_only=True):
    provider: NamespacedName
    secret: NamespacedName
    url: str
    vm: SourceVM
    disk: SourceDisk
    target: TransferTarget
    # "" lets the transfer choose: vddk where the user's library is there, https where the file can
    # be read by ranges, else nfc. `package`: `url` is that of an OVA or OVF that has the disk.
    transport: Annotated[str, meta.one_of("", "vddk", "https", "nfc", "package")] = ""
    # Where VMware's VDDK library is: an image that has it, or a folder of the nodes ("/opt/…").
    vddk: str | None = None
    # None: the disk as it is, and its VM is off. Else this state is brought to the target: all of
    # it at first, then what has changed since `status.checkpoint`.
    checkpoint: Checkpoint | None = None
    suspend: bool | None = None  # no pod is made, and one that runs is ended; nothing is forgotten
    bandwidth_limit_bytes_per_second: int | None = None
    # Whether the target is read again and compared with the checksums; "" does not.
    verify: Annotated[str, meta.one_of("", "none", "sample", "full")] = ""


class DiskTransferStatus(meta.Part, frozen=True, kw_only=True):
    """`journal` is what is on the target for good, after fdatasync: where a restart goes on.

    Its text is that of `converters.journal.State`.
    """

    phase: Annotated[str, meta.one_of("Pending", "Running", "Succeeded", "Failed")] | None = None
    conditions: tuple[meta.Condition, ...] = ()
    observed_generation: int | None = None
    transport: str | None = None
    pod: str | None = None
    attempts: int | None = None
    started: meta.Time | None = None
    completed: meta.Time | None = None
    total_bytes: int | None = None
    done_bytes: int | None = None
    fetched_bytes: int | None = None  # what came over the wire, repeated parts included
    written_bytes: int | None = None  # what is data on the target; the rest are holes
    rate_per_second: int | None = None
    percent: str | None = None  # "42%", for `kubectl get`
    journal: str | None = None
    source_revision: str | None = None  # of which state of the source disk the journal tells
    checksum: str | None = None  # "xxh3:<hex>" of the whole disk, once it is complete
    checkpoint: Checkpoint | None = None  # the state that is wholly on the target
    # A delta that is not complete: areas that may be newer than `checkpoint`, and the sum of the
    # rest, as `journal` has them.
    pending_delta: str | None = None
    delta_bytes: int | None = None  # of the last delta: what was read of the source
    delta_seconds: float | None = None
    verified: str | None = None  # "sample" or "full": so much was read again, and is as it was read
    verified_bytes: int | None = None


class DiskTransfer(meta.Object, frozen=True, kw_only=True):
    """Copies a disk of a source into a claim."""

    resource: ClassVar[meta.Resource] = meta.Resource(
        group=GROUP,
        version="v1alpha1",
        plural="disktransfers",
        singular="disktransfer",
        short_names=("dt", "dts"),
        status=True,
        columns=(
            meta.Column("VM", ".spec.vm.name"),
            meta.Column("Phase", ".status.phase"),
            meta.Column("Progress", ".status.percent"),
            meta.Column("Transport", ".status.transport"),
            meta.Column("Rate", ".status.ratePerSecond", type="integer", priority=1),
            meta.Column("Age", ".metadata.creationTimestamp", type="date"),
        ),
    )
    api_version: str = meta.always(GROUP_VERSION)
    kind: str = meta.always("DiskTransfer")
    spec: DiskTransferSpec
    status: DiskTransferStatus | None = None


Day = Annotated[str, meta.one_of("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")]
ClockTime = Annotated[str, meta.matching("^([01][0-9]|2[0-3]):[0-5][0-9]$")]


class TimeRange(meta.Part, frozen=True, kw_only=True):
    """A part of a week, in the schedule's time zone.

    An `end` at or before `start` is on the next day; no days means every day.
    """

    start: ClockTime
    end: ClockTime
    days: tuple[Day, ...] = ()


class BandwidthRange(TimeRange, frozen=True, kw_only=True):
    """A part of a week in which each disk is copied with at most so many bytes per second."""

    limit_bytes_per_second: int


class ScheduleGroup(meta.Part, frozen=True, kw_only=True):
    """Plans that run in the same step. With `together` they are an application.

    Its warm plans are cut over at the same moment, when all are ready; when one fails, the others
    are rolled back.
    """

    plans: tuple[meta.ObjectReference, ...]
    name: str | None = None
    concurrency: int | None = None  # plans at once; None: all
    together: bool | None = None


class MigrationScheduleSpec(meta.Part, frozen=True, kw_only=True):
    """Starts plans, group after group, at the times of a cron expression."""

    schedule: str
    groups: tuple[ScheduleGroup, ...]
    time_zone: str | None = None  # a name of the IANA database; None: UTC
    windows: tuple[TimeRange, ...] = ()  # plans are started and cut over only in these
    bandwidth: tuple[BandwidthRange, ...] = ()
    suspend: bool | None = None  # nothing new is started; what runs goes on
    starting_deadline_seconds: int | None = None
    on_failure: Annotated[str, meta.one_of("Stop", "Continue")] = "Stop"
    history_limit: int | None = None  # runs that are remembered; None: 10


class ScheduledPlan(meta.Part, frozen=True, kw_only=True):
    """A plan in a run; `state` is Pending, Running, Succeeded, Failed, Canceled or Skipped."""

    plan: str
    group: int
    state: str
    migration: str | None = None
    message: str | None = None


class ScheduledRun(meta.Part, frozen=True, kw_only=True):
    """One time at which the schedule was due."""

    scheduled: meta.Time
    started: meta.Time | None = None
    completed: meta.Time | None = None
    outcome: str | None = None
    plans: tuple[ScheduledPlan, ...] = ()


class MigrationScheduleStatus(meta.Part, frozen=True, kw_only=True):
    conditions: tuple[meta.Condition, ...] = ()
    observed_generation: int | None = None
    last_schedule_time: meta.Time | None = None
    next_schedule_time: meta.Time | None = None
    last_successful_time: meta.Time | None = None
    state: str | None = None  # Waiting, Running, Suspended, Invalid
    active: ScheduledRun | None = None
    history: tuple[ScheduledRun, ...] = ()  # newest first


class MigrationSchedule(meta.Object, frozen=True, kw_only=True):
    """Plans that are started by the clock."""

    resource: ClassVar[meta.Resource] = meta.Resource(
        group=GROUP,
        version="v1alpha1",
        plural="migrationschedules",
        singular="migrationschedule",
        short_names=("ms",),
        status=True,
        columns=(
            meta.Column("Schedule", ".spec.schedule"),
            meta.Column("Timezone", ".spec.timeZone"),
            meta.Column("Suspend", ".spec.suspend", type="boolean"),
            meta.Column("State", ".status.state"),
            meta.Column("Last", ".status.lastScheduleTime", type="date"),
            meta.Column("Next", ".status.nextScheduleTime"),
            meta.Column("Age", ".metadata.creationTimestamp", type="date"),
        ),
    )
    api_version: str = meta.always(GROUP_VERSION)
    kind: str = meta.always("MigrationSchedule")
    spec: MigrationScheduleSpec
    status: MigrationScheduleStatus | None = None


KINDS: tuple[type[meta.Object], ...] = (DiskTransfer, MigrationSchedule)
