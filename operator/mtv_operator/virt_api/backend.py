"""What calls need of the API server: objects read fresh, patches tested and sent. Blocking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec
import yaml

from mtv import errors
from mtv.api import core, json_patch, kubevirt, meta
from mtv_operator.objects import Client
from mtv_operator.virt_api import statuses
from mtv_operator.virt_api.handler_link import HandlerLink
from mtv_operator.virt_api.lifecycle import Orders
from mtv_operator.virt_api.statuses import Refusal

JSON_PATCH = "application/json-patch+json"
TRIES = 5  # an object that its controller writes just now is read again
MOST_BODY = 1 << 20

Vm = kubevirt.VirtualMachine
Vmi = kubevirt.VirtualMachineInstance
T = TypeVar("T", bound=meta.Object)
P = TypeVar("P", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """The API server, and the handlers of the nodes."""

    client: Client
    handlers: HandlerLink

    def vm(self, namespace: str, name: str) -> Vm:
        """Return a VM. Raises Refusal (404)."""
        return self._get(Vm, "virtualmachines", namespace, name)

    def vmi(self, namespace: str, name: str) -> Vmi:
        """Return an instance. Raises Refusal (404)."""
        return self._get(Vmi, "virtualmachineinstances", namespace, name)

    def find_vmi(self, namespace: str, name: str) -> Vmi | None:
        """Return an instance, or None."""
        try:
            return self.client.find(Vmi, name, namespace)
        except errors.MigrationError as fault:
            raise statuses.of_error(fault) from fault

    def _get(self, kind: type[T], resource: str, namespace: str, name: str) -> T:
        try:
            return self.client.get(kind, name, namespace)
        except errors.NotFound:
            raise statuses.not_found(resource, name) from None
        except errors.MigrationError as fault:
            raise statuses.of_error(fault) from fault

    def node_of(self, vmi: Vmi) -> core.Node:
        """Return the node that an instance runs on. Raises Refusal."""
        name = (vmi.status.node_name if vmi.status else None) or ""
        if not name:
            raise statuses.conflict(
                "virtualmachineinstances", vmi.metadata.name, "VMI is not running"
            )
        try:
            return self.client.get(core.Node, name)
        except errors.MigrationError as fault:
            raise statuses.of_error(fault) from fault

    def order(self, vm: Vm, vmi: Vmi | None, orders: Orders, dry_run: Sequence[str]) -> None:
        """Send the patches of a call: the instance's first. Raises Conflict, MigrationError."""
        if orders.instance and vmi is not None:
            self.send(vmi, orders.instance, dry_run)
        if orders.status:
            self.send(vm, orders.status, dry_run, subresource="status")
        if orders.vm:
            self.send(vm, orders.vm, dry_run)

    def send(
        self,
        target: meta.Object,
        operations: Sequence[json_patch.Operation],
        dry_run: Sequence[str],
        *,
        subresource: str = "",
    ) -> None:
        """Send one patch. Raises Conflict when a test does not hold."""
        metadata = target.metadata
        if not dry_run:
            self.client.json_patch(
                type(target),
                metadata.name,
                metadata.namespace,
                operations,
                subresource=subresource,
            )
            return
        path = target.resource.path(metadata.namespace, metadata.name, subresource)
        query = [("dryRun", one) for one in dry_run]
        self.client.raw("PATCH", path, operations, content_type=JSON_PATCH, query=query)


def again_on_conflict(attempt: Callable[[], None]) -> None:
    """Run `attempt`, which reads and then patches, until nobody else wrote between the two.

    Raises the Refusal that the last error means.
    """
    for left in reversed(range(TRIES)):
        try:
            attempt()
            return
        except errors.Conflict as fault:
            if not left:
                raise statuses.of_error(fault) from fault
        except errors.MigrationError as fault:
            raise statuses.of_error(fault) from fault


def options(body: bytes, kind: type[P]) -> P | None:
    """Return a call's options from JSON or YAML; None for an empty body. Raises Refusal (400)."""
    if not body.strip():
        return None
    try:
        return msgspec.convert(yaml.safe_load(body), kind)
    except (yaml.YAMLError, msgspec.ValidationError, UnicodeDecodeError) as fault:
        raise Refusal(400, f"Can not unmarshal Request body to struct, error: {fault}") from fault
