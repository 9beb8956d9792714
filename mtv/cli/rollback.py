"""`mtv rollback`: migrated VMs go back to their source; `mtv accept` rules that out."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from mtv import errors
from mtv.cli import options
from mtv.cli import plan as plans

if TYPE_CHECKING:
    from mtv.api.forklift import Migration, Plan, VMStatus
    from mtv_operator.objects import Client

app = typer.Typer()

TIMEOUT_S = 900.0
LOOK_S = 0.5

Name = Annotated[str, typer.Argument(help="Name of the Plan.", show_default=False)]
Vms = Annotated[
    list[str] | None, typer.Argument(help="Names or ids; default: all that were migrated.")
]


@app.command(
    epilog="Examples: `mtv rollback web` · `mtv rollback web db1 -n mtv`. "
    "Nothing is deleted: the target stays, stopped, with its disks."
)
def rollback(
    name: Name,
    vms: Vms = None,
    wait: Annotated[bool, typer.Option(help="Wait until the sources are back.")] = True,
    namespace: options.Namespace = "mtv",
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Stop migrated VMs, and switch on their sources again if they were on."""
    client = options.connect(kubeconfig)
    plan = plans.read_plan(client, name, namespace)
    if plan.spec.archived:
        raise errors.NeedsOperator(
            f"plan {name} is archived: its migration is final",
            hint="stop the target by `mtv vm stop`, and switch the source on in vCenter",
        )
    chosen = _migrated(plan, vms or [])
    accepted = [str(vm.name or vm.id) for vm in chosen if _has(vm, "Accepted")]
    if accepted:
        raise errors.NeedsOperator(
            f"accepted, and so not rolled back: {', '.join(accepted)}",
            hint="stop the target by `mtv vm stop`, and switch the source on in vCenter",
        )
    _ask(client, plan, chosen, "rollback")
    names = ", ".join(str(vm.name or vm.id) for vm in chosen)
    print(f"rolling back {names}")
    if wait:
        _wait(client, name, namespace, {vm.id or "" for vm in chosen})
        print(f"rolled back {names}", file=sys.stderr)


def accept(client: Client, name: str, vms: list[str], namespace: str) -> None:
    """Rule out that VMs of a plan are rolled back. Raises NotFound, NeedsOperator."""
    plan = plans.read_plan(client, name, namespace)
    chosen = _migrated(plan, vms)
    _ask(client, plan, chosen, "accept")
    print(f"accepted {', '.join(str(vm.name or vm.id) for vm in chosen)}")


def _has(vm: VMStatus, kind: str) -> bool:
    return any(one.type == kind and one.status == "True" for one in vm.conditions)


def _migrated(plan: Plan, names: list[str]) -> list[VMStatus]:
    """Return the VMs of a plan that were migrated, or those of them that are named."""
    run = plan.status.migration if plan.status else None
    found = [vm for vm in (run.vms if run else ()) if _has(vm, "Succeeded")]
    there = [str(vm.name or vm.id) for vm in found]
    hint = f"migrated: {', '.join(there)}" if there else ""
    if not found:
        raise errors.NotFound(f"plan {plan.metadata.name} has no VM that was migrated")
    missing = [name for name in names if not any(name in (vm.id, vm.name) for vm in found)]
    if missing:
        raise errors.NotFound(
            f"plan {plan.metadata.name} has not migrated {', '.join(missing)}", hint=hint
        )
    return [vm for vm in found if not names or vm.id in names or vm.name in names]


def _ask(client: Client, plan: Plan, chosen: list[VMStatus], verb: str) -> None:
    """Write the wish into the Migration of the plan's newest run."""
    from mtv.api import forklift

    migration = _newest(client, plan)
    asked = [{"id": one.id, "name": one.name} for one in getattr(migration.spec, verb)]
    asked += [ref for vm in chosen if (ref := {"id": vm.id, "name": vm.name}) not in asked]
    client.patch(
        forklift.Migration,
        migration.metadata.name,
        migration.metadata.namespace,
        {"spec": {verb: asked}},
    )


def _newest(client: Client, plan: Plan) -> Migration:
    from mtv.api.forklift import Migration

    run = plan.status.migration if plan.status else None
    last = run.history[-1].migration if run and run.history else None
    found = client.find(Migration, last.name, last.namespace) if last else None
    if found is None or last is None or found.metadata.uid != last.uid:
        raise errors.NotFound(
            f"the Migration of the newest run of plan {plan.metadata.name} was deleted",
            hint="stop the target by `mtv vm stop`, and switch the source on in vCenter",
        )
    return found


def _wait(client: Client, name: str, namespace: str, ids: set[str]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        plan = plans.read_plan(client, name, namespace)
        run = plan.status.migration if plan.status else None
        vms = [vm for vm in (run.vms if run else ()) if vm.id in ids]
        refused = [
            str(one.message)
            for vm in vms
            for one in vm.conditions
            if one.type == "RollbackRefused" and not _has(vm, "RollingBack")
        ]
        if refused:
            raise errors.NeedsOperator("; ".join(refused))
        if all(_has(vm, "RolledBack") for vm in vms):
            return
        if time.monotonic() > deadline:
            raise errors.Retryable(
                f"plan {name}: not back after {TIMEOUT_S:.0f} s; it goes on",
                hint=f"mtv plan list, kubectl describe plan {name}",
            )
        time.sleep(LOOK_S)
