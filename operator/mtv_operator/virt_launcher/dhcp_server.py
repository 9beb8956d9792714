"""The thread that answers the guest's DHCP requests on the pod's bridge."""

from __future__ import annotations

import logging
import socket
import threading
from types import TracebackType

from mtv_operator.virt_launcher import dhcp

log = logging.getLogger(__name__)

PORT = 67
LARGEST = 2048
TURN_S = 1.0


class Server:
    """Serves one lease on one device until it is closed.

    Needs CAP_NET_BIND_SERVICE for the port; binding to the device keeps it off the pod's network.
    """

    def __init__(self, lease: dhcp.Lease, device: str) -> None:
        self.lease = lease
        self.device = device
        self._stop = threading.Event()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
            self._socket.bind(("0.0.0.0", PORT))
            self._socket.settimeout(TURN_S)
        except OSError:
            self._socket.close()
            raise
        self._thread = threading.Thread(target=self._serve, name="dhcp", daemon=True)
        self._thread.start()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop answering and free the port."""
        self._stop.set()
        self._thread.join(2 * TURN_S)
        self._socket.close()

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                packet, _ = self._socket.recvfrom(LARGEST)
            except TimeoutError:
                continue
            except OSError as fault:  # the device went away or is down: it may come back
                log.warning("DHCP on %s: %s", self.device, fault)
                self._stop.wait(TURN_S)
                continue
            reply = dhcp.answer(packet, self.lease)
            if reply is None:
                continue
            try:
                self._socket.sendto(reply.packet, (reply.destination, dhcp.CLIENT_PORT))
            except OSError as fault:
                log.warning("DHCP reply to %s on %s: %s", reply.destination, self.device, fault)
