"""The launcher's socket: answers the handler, one thread per connection, few connections."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import assert_never

import msgspec

from mtv import errors
from mtv_operator.virt_launcher import guest_agent, protocol
from mtv_operator.virt_launcher.protocol import Reply, Request
from mtv_operator.virt_launcher.virtual_machine import VirtualMachine

log = logging.getLogger(__name__)

MOST_CONNECTIONS = 8
WATCH_TURN_S = 10.0  # a watcher that went away is noticed by then


class Server:
    """Listens under the name that says "not ready yet" until `ready` renames the socket."""

    def __init__(self, machine: VirtualMachine, folder: Path) -> None:
        self.machine = machine
        self.released = threading.Event()
        self._folder = folder
        self._slots = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self._open: set[socket.socket] = set()
        self._decoder = msgspec.json.Decoder(Request)
        self._encoder = msgspec.json.Encoder()
        path = folder / protocol.INIT_SOCKET
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX)
        mask = os.umask(0o077)
        try:
            self._socket.bind(str(path))
        finally:
            os.umask(mask)
        self._socket.listen(MOST_CONNECTIONS)
        self._thread = threading.Thread(target=self._accept, name="accept", daemon=True)

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for one in (self._socket, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._thread.join(5.0)

    def ready(self) -> None:
        """Give the socket the name that the handler looks for."""
        (self._folder / protocol.INIT_SOCKET).rename(self._folder / protocol.SOCKET)

    def _accept(self) -> None:
        while True:
            self._slots.acquire()
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return  # closed: the launcher ends
            self._open.add(connection)
            threading.Thread(
                target=self._serve, args=(connection,), name="connection", daemon=True
            ).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as lines:
                while line := lines.readline(protocol.MOST_BYTES):
                    if not self._answer(connection, line):
                        return
        except OSError as fault:
            log.debug("the handler's connection ended: %s", fault)
        finally:
            self._open.discard(connection)
            self._slots.release()

    def _answer(self, connection: socket.socket, line: bytes) -> bool:
        """Answer one line; False when the connection is of no more use."""
        try:
            request = self._decoder.decode(line)
        except (msgspec.DecodeError, msgspec.ValidationError) as fault:
            bad = errors.BadInput(f"not a request: {fault}")
            self._send(connection, Reply(failure=protocol.failure_of(bad)))
            return line.endswith(b"\n")
        if isinstance(request, protocol.Watch):
            self._watch(connection, request.id)
            return False
        try:
            reply = self._perform(request)
        except errors.MigrationError as fault:
            asked_often = isinstance(request, protocol.RunInGuest)  # by probes
            level = logging.DEBUG if asked_often else logging.INFO
            log.log(level, "%s failed: %s", type(request).__name__, fault)
            failure = protocol.failure_of(fault)
            reply = Reply(id=request.id, failure=failure, domain=self.machine.state.domain)
        self._send(connection, reply)
        return True

    def _send(self, connection: socket.socket, reply: Reply) -> None:
        connection.sendall(self._encoder.encode(reply) + b"\n")

    def _watch(self, connection: socket.socket, request: int) -> None:
        """Send the state at every change, and now and then to see whether anybody is there."""
        sequence = -1
        while True:
            newer = self.machine.state.wait_for_change(sequence, WATCH_TURN_S)
            domain = newer or self.machine.state.domain
            sequence = domain.sequence
            self._send(connection, Reply(id=request, domain=domain, launcher_pid=os.getpid()))

    def _perform(self, request: Request) -> Reply:
        """Do what was asked for and return the state after it."""
        machine, capabilities, picture = self.machine, None, b""
        stats: dict[str, int | float | str] = {}
        ended = guest_agent.Ended(exit_code=0, output="")
        match request:
            case protocol.Ping() | protocol.GetDomain() | protocol.Watch():
                pass
            case protocol.GetDomainStats():
                stats = machine.hypervisor.stats()
            case protocol.SyncVirtualMachine():
                machine.sync(request.vmi, request.options)
            case protocol.Shutdown():
                machine.shutdown(request.grace_period_s)
            case protocol.Destroy():
                machine.destroy()
            case protocol.Pause():
                machine.hypervisor.suspend()
            case protocol.Unpause():
                machine.hypervisor.resume()
            case protocol.Reset():
                machine.hypervisor.reset()
            case protocol.SoftReboot():
                machine.hypervisor.reboot()
            case protocol.Freeze():
                machine.freeze()
            case protocol.Unfreeze():
                machine.thaw()
            case protocol.GetGuestInfo():
                machine.ask_agent()
            case protocol.RunInGuest():
                ended = machine.run_in_guest(request.command, request.timeout_s)
            case protocol.AttachDisk():
                machine.disks.attach(request.disk, read_only=request.read_only)
            case protocol.DetachDisk():
                machine.disks.detach(request.name)
            case protocol.TakeScreenshot():
                picture = machine.hypervisor.screenshot(move_cursor=request.move_cursor)
            case protocol.GetCapabilities():
                capabilities = machine.capabilities()
            case protocol.PrepareMigration():
                machine.receive(request.uid, request.vmi, request.options)
            case protocol.Migrate():
                machine.outgoing.begin(request)
            case protocol.CancelMigration():
                machine.outgoing.cancel(request.uid)
            case protocol.Release():
                self._release()
            case _:
                assert_never(request)
        if isinstance(request, protocol.Pause | protocol.Unpause):
            machine.refresh()
        return Reply(
            id=request.id,
            domain=machine.state.domain,
            capabilities=capabilities,
            picture=picture,
            stats=stats,
            exit_code=ended.exit_code,
            output=ended.output,
            launcher_pid=os.getpid(),
        )

    def _release(self) -> None:
        if self.machine.state.domain.alive:
            raise errors.TargetRefused("the domain still runs")
        self.released.set()
        self.machine.wake.put(None)
