"""One connection to an NBD server, with several requests in flight. One thread at a time."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import ssl
import struct
from dataclasses import dataclass

from converters.errors import CorruptImage, SourceBroken, SourceRefused, UnsupportedImage
from converters.images import nbd
from converters.sources import nbd_tls

_TIMEOUT_S = 60.0
_REFUSALS = (errno.EPERM, errno.EINVAL, errno.ENOTSUP)


@dataclass(slots=True, eq=False)
class _Pending:
    offset: int
    room: memoryview
    left: int  # bytes that have not come yet
    failed: str = ""


class Connection:
    """An export that is open. `size_bytes` and `multi_conn` are what the server says."""

    def __init__(self, address: nbd.Address, *, name: str) -> None:
        self.name = name
        self.size_bytes = 0
        self.multi_conn = False
        self.most_request = 32 << 20
        self.structured = False
        self._context: int | None = None
        self._pending: dict[int, _Pending] = {}
        self._done: list[int] = []
        self._status: list[tuple[int, bool]] = []
        self._status_cookie = 0  # while a status is waited for
        self._next = 1
        self._receive_flags: int = socket.MSG_WAITALL
        try:
            self._socket = _connect(address)
        except OSError as fault:
            raise SourceBroken(f"cannot connect: {fault.strerror or fault}", file=name) from fault
        try:
            self._negotiate(address)
        except Exception:
            self._socket.close()
            raise

    @property
    def has_map(self) -> bool:
        """Whether `status` can be asked."""
        return self._context is not None

    def _negotiate(self, address: nbd.Address) -> None:
        export = address.export
        if self._receive(16) != nbd.GREETING:
            raise UnsupportedImage("does not speak NBD's newstyle", file=self.name)
        (flags,) = struct.unpack(">H", self._receive(2))
        if not flags & nbd.FIXED_NEWSTYLE:
            raise UnsupportedImage("does not speak NBD's fixed newstyle", file=self.name)
        self._send(struct.pack(">I", nbd.FIXED_NEWSTYLE | (flags & nbd.NO_ZEROES)))
        if address.tls:
            self._secure(address)
        self._send(nbd.option(nbd.OPT_STRUCTURED))
        self.structured = self._option_reply(nbd.OPT_STRUCTURED)[0] == nbd.REP_ACK
        if self.structured:
            self._send(nbd.set_meta(export))
            while (reply := self._option_reply(nbd.OPT_SET_META))[0] == nbd.REP_META:
                if reply[1][4:] == nbd.ALLOCATION:
                    (self._context,) = struct.unpack_from(">I", reply[1])
        self._send(nbd.go(export))
        while (reply := self._option_reply(nbd.OPT_GO))[0] == nbd.REP_INFO:
            self._take_info(reply[1])
        if reply[0] != nbd.REP_ACK:
            text = reply[1].decode("utf-8", "replace")
            raise SourceRefused(
                f"refuses the export {export!r}{': ' if text else ''}{text}", file=self.name
            )
        if not self.size_bytes:
            raise CorruptImage(file=self.name, field="size of the export", value=0,
                               expected="at least 1")  # fmt: skip

    def _secure(self, address: nbd.Address) -> None:
        """Begin to encrypt. Raises SourceRefused."""
        self._send(nbd.option(nbd.OPT_TLS))
        if self._option_reply(nbd.OPT_TLS)[0] != nbd.REP_ACK:
            raise SourceRefused(
                "the server does not encrypt", file=self.name,
                hint="nbd:// in place of nbds:// reads it without encryption",
            )  # fmt: skip
        self._socket = nbd_tls.secured(self._socket, address, file=self.name)
        # TLS knows no MSG_WAITALL: a record is what comes at once.
        self._receive_flags = 0

    def _take_info(self, content: bytes) -> None:
        if len(content) < 2:
            return
        (kind,) = struct.unpack_from(">H", content)
        if kind == nbd.INFO_EXPORT and len(content) >= 12:
            self.size_bytes, flags = nbd.EXPORT.unpack_from(content, 2)
            self.multi_conn = bool(flags & nbd.MULTI_CONN)
        elif kind == nbd.INFO_BLOCK_SIZE and len(content) >= 14:
            most = struct.unpack_from(">I", content, 10)[0]
            self.most_request = max(min(most, 32 << 20), 64 * 1024)

    def _option_reply(self, option: int) -> tuple[int, bytes]:
        magic, said, kind, length = nbd.OPTION_REPLY.unpack(self._receive(nbd.OPTION_REPLY.size))
        if magic != nbd.OPTION_REPLY_MAGIC or said != option or length > nbd.MOST_OPTION_REPLY:
            raise CorruptImage(
                file=self.name, field="reply to an option", value=length,
                expected=f"one to option {option}, of at most {nbd.MOST_OPTION_REPLY} bytes",
            )  # fmt: skip
        return kind, self._receive(length)

    def ask_read(self, offset: int, room: memoryview) -> int:
        """Ask for the bytes from `offset` on; return the cookie that `finished` will give."""
        cookie = self._cookie()
        self._pending[cookie] = _Pending(offset, room, len(room))
        self._send(nbd.request(nbd.READ, cookie, offset, len(room)))
        return cookie

    def finished(self) -> int:
        """Wait for a read to finish; return its cookie. Raises SourceBroken or SourceRefused."""
        while not self._done:
            self._take_reply()
        return self._done.pop(0)

    def status(self, offset: int, length: int) -> list[tuple[int, bool]]:
        """Return lengths from `offset` on, and whether each reads as zeros."""
        cookie = self._cookie()
        self._status, self._status_cookie = [], cookie
        self._send(nbd.request(nbd.BLOCK_STATUS, cookie, offset, length))
        while self._waits_for_status():
            self._take_reply()
        return self._status

    def _waits_for_status(self) -> bool:
        return self._status_cookie != 0

    def _cookie(self) -> int:
        self._next += 1
        return self._next

    def _take_reply(self) -> None:
        # As much as the shorter of the two heads has: each call costs the interpreter's lock.
        head = self._receive(4 + nbd.SIMPLE.size)
        (magic,) = struct.unpack_from(">I", head)
        if magic == nbd.SIMPLE_MAGIC:
            error, cookie = nbd.SIMPLE.unpack_from(head, 4)
            pending = self._find(cookie)
            if error:
                pending.failed = os.strerror(error)
            else:
                self._receive_into(pending.room)
                pending.left = 0
            self._finish(cookie, error)
        elif magic == nbd.STRUCTURED_MAGIC:
            head += self._receive(nbd.STRUCTURED.size - nbd.SIMPLE.size)
            self._take_chunk(*nbd.STRUCTURED.unpack_from(head, 4))
        else:
            raise CorruptImage(
                file=self.name, field="magic of a reply", value=magic,
                expected=f"{nbd.SIMPLE_MAGIC} or {nbd.STRUCTURED_MAGIC}",
            )  # fmt: skip

    def _take_chunk(self, flags: int, kind: int, cookie: int, length: int) -> None:
        error = 0
        if kind & nbd.CHUNK_ERROR:
            error, text = nbd.error_text(self._bounded(length, nbd.MOST_OPTION_REPLY))
            failed = text or os.strerror(error or errno.EIO)
            if cookie == self._status_cookie:
                raise SourceBroken(f"block status: {failed}", file=self.name)
            self._find(cookie).failed = failed
        elif kind == nbd.CHUNK_STATUS and cookie == self._status_cookie:
            content = self._bounded(length, nbd.MOST_STATUS)
            found = nbd.parse_status(content, self._context or 0, file=self.name)
            self._status += found
        elif kind == nbd.CHUNK_DATA:
            self._take_data(self._find(cookie), length)
        elif kind == nbd.CHUNK_HOLE and length == 12:
            offset, size = struct.unpack(">QI", self._receive(12))
            room = self._room(self._find(cookie), offset, size)
            room[:] = bytes(size)
        elif kind != nbd.CHUNK_NONE or length:
            raise CorruptImage(
                file=self.name, field="type of a chunk", value=kind, expected="one of the protocol"
            )
        if flags & nbd.CHUNK_DONE:
            if cookie == self._status_cookie:
                self._status_cookie = 0
            else:
                self._finish(cookie, error)

    def _take_data(self, pending: _Pending, length: int) -> None:
        (offset,) = struct.unpack(">Q", self._bounded(8, 8))
        self._receive_into(self._room(pending, offset, length - 8))

    def _room(self, pending: _Pending, offset: int, length: int) -> memoryview:
        """Return where a chunk goes. Raises CorruptImage where it was not asked for."""
        start = offset - pending.offset
        if start < 0 or length <= 0 or start + length > len(pending.room) or length > pending.left:
            raise CorruptImage(
                file=self.name, offset=offset, field="length of a chunk", value=length,
                expected=f"bytes of the {len(pending.room)} from {pending.offset} on, once",
            )  # fmt: skip
        pending.left -= length
        return pending.room[start : start + length]

    def _find(self, cookie: int) -> _Pending:
        pending = self._pending.get(cookie)
        if pending is None:
            raise CorruptImage(
                file=self.name,
                field="cookie of a reply",
                value=cookie,
                expected="that of a request",
            )
        return pending

    def _finish(self, cookie: int, error: int) -> None:
        pending = self._find(cookie)
        del self._pending[cookie]
        if pending.failed:
            if error in _REFUSALS:
                raise SourceRefused(f"byte {pending.offset}: {pending.failed}", file=self.name)
            raise SourceBroken(pending.failed, file=self.name, offset=pending.offset)
        if pending.left:
            raise CorruptImage(
                file=self.name, offset=pending.offset, field="bytes of a reply",
                value=len(pending.room) - pending.left, expected=f"{len(pending.room)}",
            )  # fmt: skip
        self._done.append(cookie)

    def _bounded(self, length: int, most: int) -> bytes:
        if length > most:
            raise CorruptImage(
                file=self.name, field="length of a chunk", value=length, expected=f"at most {most}"
            )
        return self._receive(length)

    def _receive(self, length: int) -> bytes:
        content = bytearray(length)
        self._receive_into(memoryview(content))
        return bytes(content)

    def _receive_into(self, room: memoryview) -> None:
        done = 0
        while done < len(room):
            try:
                count = self._socket.recv_into(room[done:], 0, self._receive_flags)
            except (TimeoutError, BlockingIOError, ssl.SSLWantReadError) as fault:
                raise SourceBroken(
                    f"did not answer for {_TIMEOUT_S:.0f} s", file=self.name
                ) from fault
            except OSError as fault:
                raise SourceBroken(str(fault.strerror or fault), file=self.name) from fault
            if not count:
                raise SourceBroken("the server closed the connection", file=self.name)
            done += count

    def _send(self, content: bytes) -> None:
        try:
            self._socket.sendall(content)
        except OSError as fault:
            raise SourceBroken(str(fault.strerror or fault), file=self.name) from fault

    def interrupt(self) -> None:
        """Make a wait for the server fail soon. From any thread."""
        with contextlib.suppress(OSError):
            # Not SSLSocket.shutdown: that changes the object under the thread that reads.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Say good-bye and close."""
        with contextlib.suppress(OSError):
            self._socket.sendall(nbd.request(nbd.DISCONNECT, 0, 0, 0))
        self._socket.close()


def _connect(address: nbd.Address) -> socket.socket:
    if address.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.settimeout(_TIMEOUT_S)
            made.connect(address.socket)
        except OSError:
            made.close()
            raise
    else:
        made = socket.create_connection((address.host, address.port), timeout=_TIMEOUT_S)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # The kernel's own timeouts: with Python's, each piece that comes costs a poll and a wakeup.
    made.settimeout(None)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        made.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(_TIMEOUT_S), 0))
    return made
