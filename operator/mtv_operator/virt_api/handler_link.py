"""The way to virt-handler on an instance's node: HTTPS with both sides' certificates.

What it answers is passed on as it is; that it cannot be reached is said with the node's name.
"""

from __future__ import annotations

import http.client
import ssl
from dataclasses import dataclass
from pathlib import Path

from mtv.api import core, kubevirt, well_known
from mtv_operator.virt_api.statuses import Refusal

# The name in every handler's certificate: their addresses come and go.
HANDLER_NAME = "virt-handler"
CALL_TIMEOUT_S = 60.0
CONNECT_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What virt-handler answered."""

    code: int
    content: bytes
    media_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerLink:
    """How handlers are reached."""

    tls: ssl.SSLContext
    port: int

    def authority(self, node: core.Node) -> str:
        """Return `address:port` of a node's handler. Raises Refusal when it has no address."""
        addresses = node.status.addresses if node.status else ()
        internal = [one.address for one in addresses if one.type == "InternalIP"]
        if not internal:
            raise Refusal(503, f"node {node.metadata.name} has no InternalIP")
        given = node.metadata.annotations.get(well_known.HANDLER_PORT, "")
        port = int(given) if given.isdecimal() else self.port
        host = f"[{internal[0]}]" if ":" in internal[0] else internal[0]
        return f"{host}:{port}"

    def call(
        self,
        node: core.Node,
        vmi: kubevirt.VirtualMachineInstance,
        verb: str,
        *,
        method: str = "PUT",
        body: bytes = b"",
    ) -> Answer:
        """Ask the handler of `node` for something about an instance. Blocks; raises Refusal."""
        host, _, port = self.authority(node).rpartition(":")
        connection = _Connection(host.strip("[]"), int(port), self.tls)
        headers = {"Content-Type": "application/json"} if body else {}
        try:
            connection.request(method, path_of(vmi, verb), body=body, headers=headers)
            answer = connection.getresponse()
            media_type = answer.headers.get("Content-Type", "application/json")
            return Answer(code=answer.status, content=answer.read(), media_type=media_type)
        except (OSError, http.client.HTTPException) as fault:
            raise unreachable(node, fault) from fault
        finally:
            connection.close()


class _Connection(http.client.HTTPConnection):
    """HTTPS to an address, where a certificate with the handlers' name is believed."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=CALL_TIMEOUT_S)
        self._tls = tls

    def connect(self) -> None:
        """Connect and shake hands. Raises OSError."""
        super().connect()
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=HANDLER_NAME)


def path_of(vmi: kubevirt.VirtualMachineInstance, verb: str) -> str:
    """Return the path of a call, as upstream's handlers have it."""
    metadata = vmi.metadata
    return f"/v1/namespaces/{metadata.namespace}/virtualmachineinstances/{metadata.name}/{verb}"


def unreachable(node: core.Node, fault: Exception) -> Refusal:
    """Return what is said when a node's handler does not answer."""
    return Refusal(503, f"virt-handler on node {node.metadata.name} does not answer: {fault}")


def client_tls(certificate: Path, key: Path, ca: bytes) -> ssl.SSLContext:
    """Return our side of TLS to handlers."""
    found = ssl.create_default_context(cadata=ca.decode() if ca else None)
    found.load_cert_chain(certificate, key)
    return found
