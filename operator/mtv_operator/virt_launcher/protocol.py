"""What handler and launcher say to each other: newline-delimited JSON over a UNIX socket.

One request is one line, one reply is one line with the same `id`; a connection serves one request
at a time. `Watch` is different: its replies go on, one line per change of the domain, until either
side closes. Every reply carries the whole state, so a handler that was restarted needs no history.
"""

from __future__ import annotations

import enum

import msgspec

from mtv import errors
from mtv.api import kubevirt
from mtv_operator.virt_launcher import libvirt_errors

MOST_BYTES = 64 << 20  # of one line: secrets and config maps travel inside
SOCKET = "launcher-sock"
INIT_SOCKET = "launcher-init-sock"  # renamed to SOCKET when the launcher is ready
STATE_FILE = "domain.json"  # the last state, beside the socket: readable when the launcher is gone


class Status(enum.StrEnum):
    """A domain's state, in upstream's words."""

    NO_STATE = "NoState"
    RUNNING = "Running"
    BLOCKED = "Blocked"
    PAUSED = "Paused"
    SHUTTING_DOWN = "Shutdown"
    SHUTOFF = "Shutoff"
    CRASHED = "Crashed"
    PM_SUSPENDED = "PMSuspended"


RUNNING = (Status.RUNNING, Status.BLOCKED, Status.PAUSED, Status.PM_SUSPENDED, Status.SHUTTING_DOWN)
ENDED = (Status.SHUTOFF, Status.CRASHED)
MIGRATED = "Migrated"  # the reason of a domain that goes on elsewhere


class _Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Base of what is inside requests and replies."""


class Failure(_Part, frozen=True, kw_only=True):
    """An error on its way through the socket. `kind` is a class of `mtv.errors`."""

    kind: str
    message: str
    reason: str = ""
    hint: str = ""
    field: str = ""

    def error(self) -> errors.MigrationError:
        """Return the error again as it was raised; an unknown kind is Retryable."""
        for module, name in ((libvirt_errors, self.reason), (errors, self.kind)):
            found = getattr(module, name, None)
            if not (isinstance(found, type) and issubclass(found, errors.MigrationError)):
                continue
            if issubclass(found, errors.BadInput):
                return found(self.message, field=self.field, hint=self.hint)
            return found(self.message, hint=self.hint)
        return errors.Retryable(self.message, hint=self.hint)


class TapDevice(_Part, frozen=True, kw_only=True):
    """One NIC: what the handler made for it in the pod's network namespace."""

    interface: str
    device: str
    mac: str
    mtu: int = 1500
    queues: int = 1
    vhost: bool = False
    pod_device: str = "eth0"


class GuestNetwork(_Part, frozen=True, kw_only=True):
    """A network that the guest is told by DHCP, on the bridge that the handler made.

    `server` is the bridge's own address; without one the router is.
    """

    interface: str = ""
    bridge: str
    mac: str
    address: str
    router: str
    server: str = ""
    prefix: int = 24
    mtu: int = 1500
    domain: str = ""


class Options(_Part, frozen=True, kw_only=True):
    """What the handler knows and the launcher cannot: the node, the API, the pod's network.

    `files` has the contents of Secrets and ConfigMaps by volume; `capacities` the bytes a volume's
    disk shall have (claims: capacity less file system overhead); `container_disks` the paths of
    containerDisk images. The times are when the handler saw the VMI and when it gave the order:
    kept here, since a handler may be killed before it has written them down.
    """

    saw_at: str = ""
    ordered_at: str = ""
    accelerator: str = "qemu"
    cpu_features_off: tuple[str, ...] = ()
    taps: tuple[TapDevice, ...] = ()
    networks: tuple[GuestNetwork, ...] = ()
    files: dict[str, dict[str, bytes]] = {}
    capacities: dict[str, int] = {}
    container_disks: dict[str, str] = {}
    targets: dict[str, str] = {}
    capabilities: dict[str, bytes] = {}


class DiskTarget(_Part, frozen=True, kw_only=True):
    """The device name of one disk, and the bytes of the image where it is the launcher's own."""

    name: str
    target: str
    size_bytes: int = 0


class GuestInterface(_Part, frozen=True, kw_only=True):
    """A NIC as the guest agent reports it."""

    name: str
    mac: str
    addresses: tuple[str, ...] = ()


class GuestUser(_Part, frozen=True, kw_only=True):
    """Somebody who is logged in at the guest. `login_ms` counts from 1970."""

    name: str
    domain: str = ""
    login_ms: int = 0


class GuestFileSystem(_Part, frozen=True, kw_only=True):
    """A file system that the guest has mounted."""

    name: str
    mount_point: str
    kind: str = ""
    used_bytes: int = 0
    total_bytes: int = 0


class GuestInfo(_Part, frozen=True, kw_only=True):
    """What the guest agent said last."""

    hostname: str = ""
    os_id: str = ""
    os_name: str = ""
    os_pretty_name: str = ""
    os_version: str = ""
    os_version_id: str = ""
    kernel_release: str = ""
    kernel_version: str = ""
    machine: str = ""
    timezone: str = ""
    agent_version: str = ""
    agent_commands: tuple[str, ...] = ()
    interfaces: tuple[GuestInterface, ...] = ()
    users: tuple[GuestUser, ...] = ()
    file_systems: tuple[GuestFileSystem, ...] = ()


class MigrationJob(_Part, frozen=True, kw_only=True):
    """How the migration of this domain to another node stands, or how it ended."""

    uid: str
    started_at: str = ""
    ended_at: str = ""
    failed: bool = False
    aborted: bool = False
    message: str = ""
    elapsed_ms: int = 0
    downtime_ms: int = 0
    total_bytes: int = 0
    processed_bytes: int = 0
    remaining_bytes: int = 0
    iterations: int = 0
    mode: str = "PreCopy"


class Domain(_Part, frozen=True, kw_only=True):
    """The state of the domain: all that a handler needs to go on. `sequence` grows by change.

    `receives` is the uid of the migration by which the domain shall come, until it is there.
    """

    sequence: int = 0
    vmi_uid: str = ""
    name: str = ""
    status: Status = Status.NO_STATE
    reason: str = ""
    message: str = ""
    changed_at: str = ""
    saw_at: str = ""
    ordered_at: str = ""
    started_at: str = ""
    pid: int = 0
    machine: str = ""
    accelerator: str = ""
    compromises: tuple[str, ...] = ()
    disks: tuple[DiskTarget, ...] = ()
    interfaces: tuple[TapDevice, ...] = ()
    shutdown_requested_at: str = ""
    agent_connected: bool = False
    frozen: bool = False
    guest: GuestInfo | None = None
    credentials_set: bool | None = None  # None: the agent has none to set, or is not there
    credentials_message: str = ""
    migration: MigrationJob | None = None
    receives: str = ""

    @property
    def migrated(self) -> bool:
        """Tell whether the domain left for another node."""
        return self.status is Status.SHUTOFF and self.reason == MIGRATED

    @property
    def ended(self) -> bool:
        """Tell whether the domain ran, and runs no more."""
        return self.status in ENDED

    @property
    def alive(self) -> bool:
        """Tell whether QEMU is there."""
        return self.status in RUNNING


class _Request(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    rename="camel",
    tag_field="method",
):
    """Base of all requests."""

    id: int = 0


class Ping(_Request, frozen=True, kw_only=True, tag=True):
    """Ask whether the launcher is there."""


class SyncVirtualMachine(_Request, frozen=True, kw_only=True, tag=True):
    """Make the domain what the VMI says: define and start it, once; later ones change nothing."""

    vmi: kubevirt.VirtualMachineInstance
    options: Options = Options()


class Shutdown(_Request, frozen=True, kw_only=True, tag=True):
    """Ask the guest to shut down, again every few seconds; destroy it after the grace period."""

    grace_period_s: int | None = None


class Destroy(_Request, frozen=True, kw_only=True, tag=True):
    """End QEMU now."""


class Pause(_Request, frozen=True, kw_only=True, tag=True):
    """Stop the vCPUs."""


class Unpause(_Request, frozen=True, kw_only=True, tag=True):
    """Let the vCPUs go on."""


class Reset(_Request, frozen=True, kw_only=True, tag=True):
    """Press the reset button."""


class SoftReboot(_Request, frozen=True, kw_only=True, tag=True):
    """Ask the guest to reboot."""


class Freeze(_Request, frozen=True, kw_only=True, tag=True):
    """Freeze the guest's file systems, through the agent."""


class Unfreeze(_Request, frozen=True, kw_only=True, tag=True):
    """Thaw the guest's file systems, through the agent."""


class GetDomain(_Request, frozen=True, kw_only=True, tag=True):
    """Ask for the state."""


class GetDomainStats(_Request, frozen=True, kw_only=True, tag=True):
    """Ask for libvirt's figures of the domain; the reply has them in `stats`, by libvirt's names.

    Nothing waits for the guest, and the memory that it dirties is not probed: that disturbs it.
    """


class GetGuestInfo(_Request, frozen=True, kw_only=True, tag=True):
    """Ask the guest agent now; the reply is the state with a fresh `guest`."""


class RunInGuest(_Request, frozen=True, kw_only=True, tag=True):
    """Run a program in the guest by its agent, and tell how it ended. Empty: only ask the agent."""

    command: tuple[str, ...] = ()
    timeout_s: float = 1.0


class AttachDisk(_Request, frozen=True, kw_only=True, tag=True):
    """Plug in a disk whose image lies where hot-plugged ones do; done already is fine."""

    disk: kubevirt.Disk
    read_only: bool = False


class DetachDisk(_Request, frozen=True, kw_only=True, tag=True):
    """Pull a disk out. Refused for the moment while the guest holds on to it."""

    name: str


class TakeScreenshot(_Request, frozen=True, kw_only=True, tag=True):
    """Ask for a picture of the display; `move_cursor` wakes a screen that sleeps."""

    move_cursor: bool = False


class Watch(_Request, frozen=True, kw_only=True, tag=True):
    """Ask for the state now and at every change."""


class Release(_Request, frozen=True, kw_only=True, tag=True):
    """Say that the final state is known; the launcher may end. Refused while the domain runs."""


class GetCapabilities(_Request, frozen=True, kw_only=True, tag=True):
    """Ask for libvirt's probed capabilities of QEMU, to spare the next launcher the two seconds."""


class PrepareMigration(_Request, frozen=True, kw_only=True, tag=True):
    """Make everything ready for a domain that comes from another node; define nothing."""

    uid: str
    vmi: kubevirt.VirtualMachineInstance
    options: Options = Options()


class Migrate(_Request, frozen=True, kw_only=True, tag=True):
    """Begin to move the domain to another node; how it goes on is in `Domain.migration`.

    `bandwidth_mib` 0 is unlimited, `max_downtime_ms` 0 QEMU's own limit. A migration that makes no
    progress for `progress_timeout_s`, or takes longer than `completion_timeout_s`, is given up; the
    guest then stays. Where `post_copy` or `disrupt` allow it, one that takes too long is ended by
    post-copy, or by pausing the guest, instead.
    """

    uid: str
    bandwidth_mib: int = 0
    auto_converge: bool = True
    post_copy: bool = False
    disrupt: bool = False
    max_downtime_ms: int = 0
    progress_timeout_s: float = 150.0
    completion_timeout_s: float = 0.0


class CancelMigration(_Request, frozen=True, kw_only=True, tag=True):
    """Give up the migration; the guest goes on here. Nothing happens when there is none."""

    uid: str


Request = (
    PrepareMigration
    | Migrate
    | CancelMigration
    | Ping
    | SyncVirtualMachine
    | Shutdown
    | Destroy
    | Pause
    | Unpause
    | Reset
    | SoftReboot
    | Freeze
    | Unfreeze
    | GetDomain
    | GetDomainStats
    | GetGuestInfo
    | RunInGuest
    | AttachDisk
    | DetachDisk
    | TakeScreenshot
    | Watch
    | Release
    | GetCapabilities
)


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """The answer to one request: a failure, or the state (and what else was asked for)."""

    id: int = 0
    failure: Failure | None = None
    domain: Domain | None = None
    capabilities: dict[str, bytes] | None = None
    picture: bytes = b""  # a portable pixmap
    stats: dict[str, int | float | str] = {}
    exit_code: int = 0
    output: str = ""
    launcher_pid: int = 0


def failure_of(fault: errors.MigrationError) -> Failure:
    """Return an error as data: its class is the reason, its ancestor in `mtv.errors` the kind."""
    kind = next(c.__name__ for c in type(fault).__mro__ if c.__module__ == errors.__name__)
    return Failure(
        kind=kind,
        message=fault.message,
        reason=type(fault).__name__,
        hint=fault.hint,
        field=fault.field if isinstance(fault, errors.BadInput) else "",
    )
