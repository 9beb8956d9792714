"""`mtv why`: walk from an object to the first cause, and say what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from mtv import errors
from mtv.cli import options
from mtv.cli.options import Format

if TYPE_CHECKING:
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
    from mtv.api.core import PersistentVolumeClaim
    from mtv.cli import causes, vm

    machine = vm.read(client, name, namespace)
    links = [_with_events(client, machine, causes.of_vm(machine))]
    for claim in _claims(machine):
        found = client.find(PersistentVolumeClaim, claim, namespace)
        link = causes.of_claim(claim, found)
        links.append(_with_events(client, found, link) if found else link)
    instance = vm.read_instance(client, name, namespace)
    if instance is not None:
        links.append(_with_events(client, instance, causes.of_instance(instance)))
        pod = vm.launcher_pod(client, instance)
        if pod is not None:
            links.append(_with_events(client, pod, causes.of_pod(pod)))
    return links


def _claims(machine: VirtualMachine) -> list[str]:
    spec = machine.spec.template.spec
    volumes = spec.volumes if spec else ()
    return [
        one.persistent_volume_claim.claim_name for one in volumes if one.persistent_volume_claim
    ]


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
