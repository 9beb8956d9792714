"""`mtv why`: walk from an object to the first cause, and say what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from mtv import errors
from mtv.cli import options
from mtv.cli.options import Format

if TYPE_CHECKING:
    from mtv.api.cdi import DataVolume
    from mtv.api.core import Node, Pod
    from mtv.api.kubevirt import VirtualMachine
    from mtv.api.meta import Object
    from mtv.cli.causes import Link
    from mtv_operator.objects import Client

app = typer.Typer(add_completion=False)

KINDS = ("vm", "plan", "disktransfer")


@app.command(
    epilog="Examples: `mtv why vm web1 -n prod` · `mtv why plan web1 -n mtv` · "
    "`mtv why disktransfer web1-disk-0 -n prod -o json`"
)
def why(
    kind: Annotated[str, typer.Argument(help=f"One of {', '.join(KINDS)}.", show_default=False)],
    name: Annotated[str, typer.Argument(help="Name of the object.", show_default=False)],
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Its namespace.")] = "default",
    output: options.Output = Format.TABLE,
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Say why an object is as it is: each link of its chain, and the first cause."""
    import msgspec

    from mtv.cli import causes

    walk = {"vm": _vm, "plan": _plan, "disktransfer": _transfer}.get(kind.lower())
    if walk is None:
        raise errors.BadInput(f"seen {kind!r}, expected one of {', '.join(KINDS)}", field="KIND")
    links = walk(options.connect(kubeconfig), name, namespace)
    if output in (Format.JSON, Format.YAML):
        options.print_document(msgspec.to_builtins(links), output)
        return
    options.print_table(
        ("OBJECT", "STATE", "CAUSE"), [(one.object, one.state, one.cause or "-") for one in links]
    )
    cause = causes.first_cause(links)
    if cause is None:
        print("\nNothing is wrong that these objects know of.")
        return
    print(f"\ncause: {cause.object}: {cause.cause}")
    for line in cause.evidence:
        print(f"  seen: {line}")
    if cause.remedy:
        print(f"remedy: {cause.remedy}")


def _vm(client: Client, name: str, namespace: str) -> list[Link]:
    from datetime import UTC, datetime

    from mtv.api import core
    from mtv.cli import vm, vm_causes

    machine = vm.read(client, name, namespace)
    instance = vm.read_instance(client, name, namespace)
    pod = vm.launcher_pod(client, instance) if instance is not None else None
    claims = _claims(machine)
    return vm_causes.links(
        vm_causes.Seen(
            vm=machine,
            instance=instance,
            pod=pod,
            nodes=_nodes(client, pod),
            claims={one: client.find(core.PersistentVolumeClaim, one, namespace) for one in claims},
            data_volumes=_data_volumes(client, claims, namespace),
            classes={one.metadata.name: one for one in client.list(core.StorageClass)},
            events=client.list(core.Event, namespace),
            now=datetime.now(UTC),
        )
    )


def _nodes(client: Client, pod: Pod | None) -> list[Node]:
    """Return the node that a pod is on; all of them while none has taken it."""
    from mtv.api.core import Node

    if pod is None:
        return []
    name = pod.spec.node_name if pod.spec is not None else None
    if not name:
        return client.list(Node)
    found = client.find(Node, name)
    return [found] if found is not None else []


def _claims(machine: VirtualMachine) -> list[str]:
    """Return the claims of a VM's disks; a DataVolume's has its name."""
    spec = machine.spec.template.spec
    found = []
    for one in spec.volumes if spec else ():
        ephemeral = one.ephemeral.persistent_volume_claim if one.ephemeral else None
        claim = one.persistent_volume_claim or ephemeral
        if claim is not None:
            found.append(claim.claim_name)
        elif one.data_volume is not None:
            found.append(one.data_volume.name)
    return found


def _data_volumes(client: Client, names: list[str], namespace: str) -> dict[str, DataVolume]:
    from mtv.api.cdi import DataVolume

    found = {name: client.find(DataVolume, name, namespace) for name in names}
    return {name: one for name, one in found.items() if one is not None}


def _plan(client: Client, name: str, namespace: str) -> list[Link]:
    from mtv.api.mtv import DiskTransfer
    from mtv.cli import causes
    from mtv.cli.plan import read_plan

    plan = read_plan(client, name, namespace)
    links = causes.of_plan(plan)
    for transfer in client.list(DiskTransfer, plan.spec.target_namespace):
        if transfer.metadata.labels.get("plan") == plan.metadata.uid:
            links.append(_with_events(client, transfer, causes.of_transfer(transfer)))
    return links


def _transfer(client: Client, name: str, namespace: str) -> list[Link]:
    from mtv.api.core import Pod
    from mtv.api.mtv import DiskTransfer
    from mtv.cli import causes

    transfer = client.get(DiskTransfer, name, namespace)
    links = [_with_events(client, transfer, causes.of_transfer(transfer))]
    pod = client.find(Pod, (transfer.status and transfer.status.pod) or "-", namespace)
    if pod is not None:
        links.append(_with_events(client, pod, causes.of_pod(pod)))
    return links


def _with_events(client: Client, target: Object, link: Link) -> Link:
    """Add what Warning events say of the object as evidence, where something is wrong."""
    from mtv.api.core import Event
    from mtv.cli import causes

    fields = f"involvedObject.name={target.metadata.name}"
    said = causes.warnings(client.list(Event, target.metadata.namespace, fields=fields), target)
    return replace(link, evidence=(*link.evidence, *said)) if link.cause else link
