"""Rules for boot order, inputs, watchdog and probes. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mtv.api import kubevirt
from mtv_operator.virt_api.causes import NOT_SUPPORTED, REQUIRED, Cause

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def causes(spec: kubevirt.VirtualMachineInstanceSpec, field: str) -> list[Cause]:
    """Return what is wrong."""
    devices = f"{field}.domain.devices"
    return [
        *_boot_orders(spec, devices),
        *_inputs(spec, devices),
        *_watchdog(spec.domain.devices.watchdog, f"{devices}.watchdog"),
        *_probe(spec.liveness_probe, f"{field}.livenessProbe", on_pod=_has_pod_network(spec)),
        *_probe(spec.readiness_probe, f"{field}.readinessProbe", on_pod=_has_pod_network(spec)),
        *_identity(spec, f"{field}.domain.firmware"),
    ]


def _boot_orders(spec: kubevirt.VirtualMachineInstanceSpec, field: str) -> Iterator[Cause]:
    """Refuse orders below 1 and orders that two devices have."""
    taken: set[int] = set()
    devices = spec.domain.devices
    given = [(f"{field}.disks[{i}]", one.boot_order) for i, one in enumerate(devices.disks)]
    given += [
        (f"{field}.interfaces[{i}]", one.boot_order) for i, one in enumerate(devices.interfaces)
    ]
    for where, order in given:
        if order is None:
            continue
        if order < 1:
            message = f"{where} must have a boot order > 0, if supplied"
            yield Cause(field=f"{where}.bootOrder", message=message)
        elif order in taken:
            message = f"Boot order for {where}.bootOrder already set for a different device."
            yield Cause(field=f"{where}.bootOrder", message=message)
        taken.add(order)


def _inputs(spec: kubevirt.VirtualMachineInstanceSpec, field: str) -> Iterator[Cause]:
    for index, one in enumerate(spec.domain.devices.inputs):
        where = f"{field}.inputs[{index}]"
        if one.bus not in (None, "", "usb", "virtio"):
            message = "Input device can have only virtio or usb bus."
            yield Cause(field=f"{where}.bus", message=message)
        if one.type not in ("", "tablet", "keyboard"):
            message = "Input device can have only tablet type."
            yield Cause(field=f"{where}.type", message=message)


def _watchdog(watchdog: kubevirt.Watchdog | None, field: str) -> Iterator[Cause]:
    if watchdog is None:
        return
    if not watchdog.name:
        yield Cause(field=f"{field}.name", message=f"{field} requires a name", reason=REQUIRED)
    if watchdog.diag288 is not None:
        message = "amd64 only supports i6300esb watchdog device"
        yield Cause(field=f"{field}.diag288", message=message, reason=NOT_SUPPORTED)


def _has_pod_network(spec: kubevirt.VirtualMachineInstanceSpec) -> bool:
    """Tell whether the guest is, or will be by default, on the pod's network."""
    if not spec.networks and not spec.domain.devices.interfaces:
        return spec.domain.devices.autoattach_pod_interface is not False
    return any(one.pod is not None for one in spec.networks)


def _probe(probe: kubevirt.Probe | None, field: str, *, on_pod: bool) -> Iterator[Cause]:
    if probe is None:
        return
    for name, handler in (("httpGet", probe.http_get), ("tcpSocket", probe.tcp_socket)):
        if handler is not None and not on_pod:
            message = f"{field}.{name} is only allowed if the Pod Network is attached"
            yield Cause(field=f"{field}.{name}", message=message)
    handlers = (probe.exec, probe.guest_agent_ping, probe.http_get, probe.tcp_socket)
    count = sum(one is not None for one in handlers)
    if count == 0:
        message = (
            f"either {field}.tcpSocket, {field}.exec or {field}.httpGet must be set if a "
            f"{field} is specified"
        )
        yield Cause(field=field, message=message, reason=REQUIRED)
    elif count > 1:
        message = f"{field} must have exactly one probe type set"
        yield Cause(field=field, message=message)


def _identity(spec: kubevirt.VirtualMachineInstanceSpec, field: str) -> Iterator[Cause]:
    firmware = spec.domain.firmware
    if firmware is not None and firmware.uuid and not _UUID.fullmatch(firmware.uuid):
        message = f"{field}.uuid {firmware.uuid[:60]!r} is not a UUID"
        yield Cause(field=f"{field}.uuid", message=message)
