"""Live migration as a launcher sees it: the domain leaves from here, or comes to here.

The way between two launchers is made of UNIX sockets in both pods, under the same names; the
handlers of the two nodes connect them. A migration that ends in a fault or is given up leaves the
guest running where it was: that is libvirt's promise, and nothing here touches the domain.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import msgspec

from mtv import errors
from mtv.api import kubevirt
from mtv_operator.virt_launcher import protocol
from mtv_operator.virt_launcher.hypervisor import Hypervisor, Route, State
from mtv_operator.virt_launcher.protocol import Migrate, MigrationJob, Status
from mtv_operator.virt_launcher.volumes import Paths

log = logging.getLogger(__name__)

FOLDER = "migrationproxy"  # below Paths.private
DATA_PORT = 49152  # libvirt's first port for migrations: names the socket of the data, as upstream
LOOK_S = 0.4
TELL_S = 1.0
ARRIVAL_LOOKS, ARRIVAL_LOOK_S = 30, 0.05
LEAST_DOWNTIME_MS, MOST_DOWNTIME_MS = 30, 300  # QEMU's own limit is 300
DOWNTIME_STEP_S = 5.0
PRE_COPY, POST_COPY, PAUSED = "PreCopy", "PostCopy", "Paused"
NO_POST_COPY = "postcopy is not supported"
ABORTED = "Live migration has been aborted"
# Why a domain that comes is still paused: it is not here yet.
_ON_ITS_WAY = ("Migration", "StartingUp")


def route(paths: Paths, uid: str) -> Route:
    """Return the sockets of a migration, in the pod of either side."""
    folder = paths.private / FOLDER
    return Route(
        daemon=str(folder / daemon_socket(uid)),
        data=str(folder / data_socket(uid)),
    )


def daemon_socket(uid: str) -> str:
    """Return the name of the socket that leads to the other node's libvirtd."""
    return f"{uid}-source.sock"


def data_socket(uid: str) -> str:
    """Return the name of the socket on which QEMU receives, and to which the other sends."""
    return f"{uid}-{DATA_PORT}-source.sock"


def make_folder(paths: Paths) -> None:
    """Make the folder of the sockets."""
    (paths.private / FOLDER).mkdir(mode=0o700, parents=True, exist_ok=True)


def arrived(state: State) -> bool:
    """Tell whether a domain that comes runs here; one that was paused before comes paused. Pure."""
    if state.status is Status.PAUSED:
        return state.reason not in _ON_ITS_WAY
    return state.status in protocol.RUNNING


def without_claims(vmi: kubevirt.VirtualMachineInstance) -> kubevirt.VirtualMachineInstance:
    """Return the VMI without the disks that are on claims. Pure."""
    shared = {
        volume.name
        for volume in vmi.spec.volumes
        if volume.persistent_volume_claim is not None or volume.data_volume is not None
    }
    devices = vmi.spec.domain.devices
    kept = tuple(disk for disk in devices.disks if disk.name not in shared)
    domain = msgspec.structs.replace(
        vmi.spec.domain, devices=msgspec.structs.replace(devices, disks=kept)
    )
    return msgspec.structs.replace(vmi, spec=msgspec.structs.replace(vmi.spec, domain=domain))


def with_figures(job: MigrationJob, figures: Mapping[str, int]) -> MigrationJob:
    """Return a job with libvirt's figures (virDomainGetJobStats); without any, as it is. Pure."""
    if not figures.get("data_total"):
        return job
    return msgspec.structs.replace(
        job,
        elapsed_ms=figures.get("time_elapsed", job.elapsed_ms),
        downtime_ms=figures.get("downtime", job.downtime_ms),
        total_bytes=figures["data_total"],
        processed_bytes=figures.get("data_processed", job.processed_bytes),
        remaining_bytes=figures.get("data_remaining", job.remaining_bytes),
        iterations=figures.get("memory_iteration", job.iterations),
    )


def downtime_ms(elapsed_s: float, limit_ms: int) -> int:
    """Return how long the guest may stand still: little at first, more as it takes longer. Pure.

    QEMU stops the guest as soon as the rest fits into the time that is allowed: an idle guest gets
    there at once, one that writes much only when more is allowed.
    """
    steps = min(int(elapsed_s / DOWNTIME_STEP_S), 16)
    return min(limit_ms or MOST_DOWNTIME_MS, LEAST_DOWNTIME_MS << steps)


@dataclasses.dataclass(slots=True)
class Patience:
    """When a migration is given up: it takes too long, or what remains gets no less."""

    request: Migrate
    began: float
    least: int = -1
    progress_at: float = 0.0

    def stuck(self, remaining: int, now: float) -> str:
        """Return why the migration gets nowhere; empty: it does."""
        if remaining and (self.least < 0 or remaining < self.least):
            self.least, self.progress_at = remaining, now
        limit = self.request.progress_timeout_s
        if limit and now - (self.progress_at or self.began) > limit:
            return f"Live migration is stuck for {limit:.0f} seconds and has been aborted"
        return ""

    def late(self, now: float, *, twice: bool = False) -> str:
        """Return why the migration takes too long; empty: it does not."""
        limit = self.request.completion_timeout_s * (2 if twice else 1)
        if limit and now - self.began > limit:
            return f"Live migration is not completed after {limit:.0f} seconds and has been aborted"
        return ""


class Outgoing:
    """Moves the domain away; one migration at a time. Methods may be called from any thread."""

    def __init__(
        self,
        hypervisor: Hypervisor,
        paths: Paths,
        tell: Callable[[MigrationJob], None],
        wake: Callable[[], None],
    ) -> None:
        self._hypervisor = hypervisor
        self._paths = paths
        self._tell = tell
        self._wake = wake
        self._lock = threading.Lock()
        self._job: MigrationJob | None = None
        self._why_aborted = ""
        self._post_copy_refused = False
        self._ended = threading.Event()
        self._ended.set()

    @property
    def runs(self) -> bool:
        """Tell whether a migration is under way."""
        return not self._ended.is_set()

    def begin(self, request: Migrate) -> None:
        """Begin a migration; the same one is begun once. Raises Conflict while another runs."""
        with self._lock:
            if self._job is not None and self._job.uid == request.uid:
                return
            if self.runs:
                raise errors.Conflict("another migration of this domain is under way")
            self._job = MigrationJob(uid=request.uid, started_at=_now())
            self._why_aborted, self._post_copy_refused = "", False
            self._ended.clear()
            self._tell(self._job)
        for target in (self._move, self._follow):
            threading.Thread(
                target=target, args=(request,), name=target.__name__.strip("_"), daemon=True
            ).start()

    def cancel(self, uid: str, why: str = ABORTED) -> None:
        """Give a migration up; what has ended, or is another one, is left as it is."""
        with self._lock:
            if not self.runs or self._job is None or self._job.uid != uid:
                return
            self._why_aborted = why
        log.info("migration %s is given up: %s", uid, why)
        self._hypervisor.abort_job()

    def arrival(self, uid: str) -> MigrationJob:
        """Return the figures of the migration by which the domain came; they come after it."""
        figures: Mapping[str, int] = {}
        for _ in range(ARRIVAL_LOOKS):
            figures = self._hypervisor.job(completed=True)
            if figures.get("data_total"):
                break
            time.sleep(ARRIVAL_LOOK_S)
        now = _now()
        return with_figures(MigrationJob(uid=uid, started_at=now, ended_at=now), figures)

    def _move(self, request: Migrate) -> None:
        """Have libvirt move the domain; tell how it ended."""
        message = ""
        try:
            self._allow_downtime(downtime_ms(0.0, request.max_downtime_ms))
            self._send(request, post_copy=request.post_copy)
        except errors.MigrationError as fault:
            message = str(fault)
        figures = self._hypervisor.job(completed=True) if not message else {}
        with self._lock:
            assert self._job is not None
            aborted = bool(message and self._why_aborted)
            self._job = msgspec.structs.replace(
                with_figures(self._job, figures),
                ended_at=_now(),
                failed=bool(message),
                aborted=aborted,
                message=self._why_aborted if aborted else message,
                **({} if message else {"remaining_bytes": 0}),
            )
            self._ended.set()
            self._tell(self._job)
        log.info("migration %s ended: %s", request.uid, message or "the guest runs there")
        self._wake()

    def _send(self, request: Migrate, *, post_copy: bool) -> None:
        """Have libvirt move the domain; without post-copy where the nodes do not have it."""
        try:
            self._hypervisor.migrate(
                route(self._paths, request.uid),
                bandwidth_mib=request.bandwidth_mib,
                auto_converge=request.auto_converge,
                post_copy=post_copy,
            )
        except errors.MigrationError as fault:
            if not post_copy or NO_POST_COPY not in str(fault).lower():
                raise
            log.warning("post-copy is allowed, and the nodes do not have it: %s", fault)
            self._post_copy_refused = True
            self._send(request, post_copy=False)

    def _allow_downtime(self, milliseconds: int) -> None:
        try:
            self._hypervisor.set_max_downtime(milliseconds)
        except errors.MigrationError as fault:
            log.debug("the downtime cannot be limited to %d ms: %s", milliseconds, fault)

    def _follow(self, request: Migrate) -> None:
        """Tell how far the migration is; let the guest stand still for longer as it takes longer;
        give it up when patience is over."""
        patience = Patience(request=request, began=time.monotonic())
        told, allowed = 0.0, downtime_ms(0.0, request.max_downtime_ms)
        while not self._ended.wait(LOOK_S):
            figures = self._hypervisor.job()
            now = time.monotonic()
            with self._lock:
                if self._job is None or not self.runs:
                    return
                self._job = with_figures(self._job, figures)
                mode = self._job.mode
                if figures and now - told >= TELL_S:
                    told = now
                    self._tell(self._job)
            stuck = patience.stuck(figures.get("data_remaining", 0), now)
            if self._why_aborted:
                self._abort_again(request.uid, self._why_aborted)
            elif mode == POST_COPY:
                continue  # the guest is over there: to give up now would lose it
            elif stuck:
                self._abort_again(request.uid, stuck)
            elif why := patience.late(now, twice=mode == PAUSED):
                self._end_late(request, why, mode)
            elif (more := downtime_ms(now - patience.began, request.max_downtime_ms)) != allowed:
                allowed = more
                self._allow_downtime(allowed)

    def _end_late(self, request: Migrate, why: str, mode: str) -> None:
        """Bring a migration to its end that takes too long, as far as that is allowed."""
        try:
            if mode == PRE_COPY and request.post_copy and not self._post_copy_refused:
                self._hypervisor.start_post_copy()
                self._now_in(POST_COPY)
            elif mode == PRE_COPY and request.disrupt:
                self._hypervisor.suspend()
                self._now_in(PAUSED)
            else:
                self._abort_again(request.uid, why)
        except errors.MigrationError as fault:
            log.warning("the migration cannot be hurried: %s", fault)
            self._abort_again(request.uid, why)

    def _now_in(self, mode: str) -> None:
        with self._lock:
            if self._job is not None and self.runs:
                self._job = msgspec.structs.replace(self._job, mode=mode)
                self._tell(self._job)

    def _abort_again(self, uid: str, why: str) -> None:
        """Repeat the abortion: one that comes before libvirt has begun is not heard."""
        try:
            self.cancel(uid, why)
        except errors.MigrationError as fault:
            log.debug("not aborted yet: %s", fault)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
