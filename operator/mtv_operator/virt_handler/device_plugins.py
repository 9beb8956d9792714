"""Offers /dev/kvm, /dev/net/tun and /dev/vhost-net to pods, as plugins of the node's kubelet.

Upstream's resource names. The kubelet gives the device to each container that asks for one of
`devices.kubevirt.io/*`, with the right to use it; without a plugin it could only count. A kubelet
that starts again forgets its plugins and empties their folder: that is looked for, and they come
back.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from mtv import errors
from mtv.api import well_known
from mtv_operator.objects import Key
from mtv_operator.reconciling import Decision
from mtv_operator.virt_handler import device_messages

log = logging.getLogger(__name__)

NAME = "device-plugin"
FOLDER = "device-plugins"  # below the kubelet's root
KUBELET = "kubelet.sock"
OFFERED = 1000  # as upstream: a device file may be opened by everybody who has it
LOOK_S = 5.0
CALL_TIMEOUT_S = 5.0
THREADS = 4  # one follows the list, the others answer
DEVICES = {
    well_known.KVM: "/dev/kvm",
    well_known.TUN: "/dev/net/tun",
    well_known.VHOST_NET: "/dev/vhost-net",
    well_known.FUSE: "/dev/fuse",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One resource: whether it is to be offered, and whether the kubelet knows of it."""

    resource: str
    wanted: bool
    known: bool


@dataclass(frozen=True, slots=True)
class Offer:
    """Serve the plugin anew and tell the kubelet of it."""


def decide(observed: Observed, now: datetime) -> Decision[Offer, None]:
    """Return whether to tell the kubelet. Pure."""
    actions = (Offer(),) if observed.wanted and not observed.known else ()
    return Decision(actions=actions, requeue_after_s=LOOK_S)


def takes_plugins(kubelet_root: Path) -> bool:
    """Tell whether a kubelet that takes plugins runs on this node."""
    return (kubelet_root / FOLDER / KUBELET).exists()


class DevicePlugins:
    """Keeps the kubelet aware of what this node has."""

    def __init__(self, kubelet_root: Path, *, kvm: bool) -> None:
        self._folder = kubelet_root / FOLDER
        self._kvm = kvm
        self._plugins: dict[str, _Plugin] = {}

    @property
    def name(self) -> str:
        """How queues and logs call it."""
        return NAME

    @property
    def keys(self) -> tuple[Key, ...]:
        """Return what to look at: one key for each resource."""
        return tuple(Key("", resource) for resource in DEVICES)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for plugin in self._plugins.values():
            plugin.stop()

    def observe(self, key: Key) -> Observed:
        """Return how it is with a resource."""
        plugin = self._plugins.get(key.name)
        there = Path(DEVICES[key.name]).exists()
        return Observed(
            resource=key.name,
            wanted=there and (self._kvm or key.name != well_known.KVM),
            known=plugin is not None and plugin.alive,
        )

    def decide(self, observed: Observed, now: datetime) -> Decision[Offer, None]:
        """Decide."""
        return decide(observed, now)

    def perform(self, observed: Observed, action: Offer) -> None:
        """Serve the plugin and register it. Raises TargetUnavailable."""
        resource = observed.resource
        old = self._plugins.pop(resource, None)
        if old is not None:
            old.stop()
        name = f"mtv-{resource.rpartition('/')[2]}.sock"
        plugin = _Plugin(self._folder / name, DEVICES[resource])
        try:
            plugin.start()
            _register(self._folder / KUBELET, name, resource)
        except (grpc.RpcError, RuntimeError, OSError) as fault:
            plugin.stop()
            raise errors.TargetUnavailable(
                f"the kubelet does not take {resource}: {fault}"
            ) from fault
        self._plugins[resource] = plugin
        log.info("the kubelet offers %s", resource)

    def write_status(self, observed: Observed, status: None) -> None:
        """Do nothing: the kubelet keeps what it was told."""


class _Plugin:
    """One resource's server on a socket beside the kubelet's."""

    def __init__(self, path: Path, device: str) -> None:
        self.path = path
        self._device = device
        self._ended = threading.Event()
        self._server = grpc.server(futures.ThreadPoolExecutor(THREADS, path.name))
        # Messages are bytes here: without serializers gRPC hands them on as they are.
        calls = {
            "GetDevicePluginOptions": grpc.unary_unary_rpc_method_handler(_nothing),
            "ListAndWatch": grpc.unary_stream_rpc_method_handler(self._list),
            "GetPreferredAllocation": grpc.unary_unary_rpc_method_handler(_nothing),
            "Allocate": grpc.unary_unary_rpc_method_handler(self._allocate),
            "PreStartContainer": grpc.unary_unary_rpc_method_handler(_nothing),
        }
        handler = grpc.method_handlers_generic_handler(device_messages.PLUGIN, calls)
        self._server.add_generic_rpc_handlers((handler,))

    @property
    def alive(self) -> bool:
        """Tell whether the kubelet follows us, or may still come to."""
        return self.path.exists() and not self._ended.is_set()

    def start(self) -> None:
        """Listen. Raises RuntimeError or OSError."""
        self.path.unlink(missing_ok=True)
        self._server.add_insecure_port(f"unix://{self.path}")
        self._server.start()

    def stop(self) -> None:
        """End; the kubelet counts no devices any more."""
        self._ended.set()
        self._server.stop(grace=None).wait(CALL_TIMEOUT_S)
        self.path.unlink(missing_ok=True)

    def _list(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        name = self._device.rpartition("/")[2]
        context.add_callback(self._ended.set)
        yield device_messages.devices(f"{name}{number}" for number in range(OFFERED))
        self._ended.wait()

    def _allocate(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        return device_messages.allocation([self._device], device_messages.containers(request))


def _nothing(request: bytes, context: grpc.ServicerContext) -> bytes:
    return device_messages.EMPTY


def _register(kubelet: Path, endpoint: str, resource: str) -> None:
    with grpc.insecure_channel(f"unix://{kubelet}") as channel:
        call = channel.unary_unary(device_messages.REGISTER)
        call(device_messages.register_request(endpoint, resource), timeout=CALL_TIMEOUT_S)
