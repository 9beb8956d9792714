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
from typing import Any, Self

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
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One resource: whether it is to be offered, and whether the kubelet knows of it."""

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
            wanted=there and (self._kvm or key.name != well_known.KVM),
            known=plugin is not None and plugin.path.exists(),
        )

    def decide(self, observed: _Keyed | Observed, now: datetime) -> Decision[Any, None]:
        """Decide."""
        return decide(observed, now)

    def perform(self, observed: Observed, action: Offer) -> None:
        """Serve the plugin and register it. Raises TargetUnavailable."""

    def write_status(self, observed: Observed, status: None) -> None:
        """Do nothing: the kubelet keeps what it was told."""
