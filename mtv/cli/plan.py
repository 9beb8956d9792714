"""`mtv plan`: check, start, follow and cancel migrations."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from mtv import errors
from mtv.cli import cutover as cutovers
from mtv.cli import follow, options
from mtv.cli.options import Format

if TYPE_CHECKING:
    from mtv.api.forklift import Migration, Plan, VMStatus
    from mtv.api.mtv import DiskTransfer
    from mtv_operator.objects import Client

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Check, start, follow and cancel plans.",
    epilog="Examples: `mtv plan check web -n mtv` · `mtv plan start web --watch` · "
    "`mtv plan cancel web --vm db1`",
)

Name = Annotated[str, typer.Argument(help="Name of the Plan.", show_default=False)]


@app.command("list", epilog="Example: `mtv plan list -A`")
def list_plans(
    namespace: options.Namespace = "mtv",
    all_namespaces: options.AllNamespaces = False,
    output: options.Output = Format.TABLE,
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """List plans and how far they are."""
    import msgspec

    from mtv.api.forklift import Plan

    plans = options.connect(kubeconfig).list(Plan, "" if all_namespaces else namespace)
    if output in (Format.JSON, Format.YAML):
        options.print_document(msgspec.to_builtins(plans), output)
        return
    if output is Format.NAME:
        for plan in plans:
            print(f"plan/{plan.metadata.name}")
        return
    options.print_table(
        ("NAMESPACE", "NAME", "READY", "STATE", "VMS", "DONE"), [_row(plan) for plan in plans]
    )


def _row(plan: Plan) -> tuple[str, ...]:
    conditions = {c.type: c.status for c in plan.status.conditions} if plan.status else {}
    state = next((t for t in (*follow.FINAL, "Executing") if conditions.get(t) == "True"), "-")
    moved = plan.status.migration.vms if plan.status and plan.status.migration else ()
    return (
        plan.metadata.namespace or "",
        plan.metadata.name or "",
        conditions.get("Ready", "Unknown"),
        state,
        str(len(plan.spec.vms)),
        str(sum(1 for vm in moved if vm.completed and not vm.error)),
    )


@app.command(epilog="Examples: `mtv plan check web -n mtv` · `mtv plan check web --measure`")
def check(
    name: Name,
    measure: Annotated[
        bool, typer.Option("--measure", help="Sample the ways and the target: times, downtime.")
    ] = False,
    namespace: options.Namespace = "mtv",
    output: options.Output = Format.TABLE,
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Show what would be made, what would go wrong, and how many bytes would be copied."""
    from mtv.cli import dry_run

    client = options.connect(kubeconfig)
    looked = dry_run.look(client, name, namespace)
    if measure:
        from mtv.cli import measure as measuring

        measuring.show(client, looked, output)
    else:
        dry_run.print_planned(looked.planned, output)
    if looked.planned.blocked:
        raise typer.Exit(errors.NeedsOperator.exit_code)


@app.command(epilog="Examples: `mtv plan start web --watch`")
def start(
    name: Name,
    namespace: options.Namespace = "mtv",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow it to the end.")] = False,
    at: Annotated[
        str,
        typer.Option(
            "--cutover", help="Of a warm plan: now, 30m, or a time; else by `mtv plan cutover`."
        ),
    ] = cutovers.NEVER,
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Start a plan: make a Migration for it."""
    when = cutovers.parse(at, datetime.now(UTC))
    client = options.connect(kubeconfig)
    plan = read_plan(client, name, namespace)
    _refuse_start(plan)
    migration = create_migration(client, plan, cutover=when)
    print(f"migration.forklift.konveyor.io/{migration.metadata.name} created")
    if watch:
        watch_to_the_end(client, name, namespace, since=migration.metadata.uid or "")


@app.command(
    epilog="Examples: `mtv plan cutover web` · `mtv plan cutover web --at 22:00 --vm db1` · "
    "`mtv plan cutover web --at never`"
)
def cutover(
    name: Name,
    vm: Annotated[list[str], typer.Option("--vm", help="Only these VMs: names or ids.")] = [],  # noqa: B006 - Typer's way
    at: Annotated[str, typer.Option(help="now, never, 30m (from now), or a time.")] = "now",
    namespace: options.Namespace = "mtv",
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Say when a warm migration moves its VMs; a precopy that runs is finished first."""
    from mtv.planning import plan_checks

    when = cutovers.parse(at, datetime.now(UTC))
    client = options.connect(kubeconfig)
    plan = read_plan(client, name, namespace)
    if not plan_checks.is_warm(plan.spec):
        raise errors.NeedsOperator(
            f"plan {name} is cold: its VMs are switched off first", hint="set spec.type to warm"
        )
    running = [m for m in migrations_of(client, name, namespace) if not _ended(m)]
    if not running:
        raise errors.NotFound(
            f"plan {name} has no running migration", hint=f"mtv plan start {name} --cutover {at}"
        )
    chosen = _chosen(plan, vm) if vm else []
    cutovers.ask(client, running[-1], when, [str(ref["id"]) for ref in chosen] if vm else None)
    who = ", ".join(str(ref["name"]) for ref in chosen) or f"all VMs of plan {name}"
    print(f"{who}: cut over at {when}" if when else f"{who}: no cutover is planned")


def _refuse_start(plan: Plan) -> None:
    """Raise what keeps a plan from being started, as far as its conditions tell."""
    name, run = plan.metadata.name, plan.status.migration if plan.status else None
    if _executing(plan):
        raise errors.NeedsOperator(f"plan {name} runs already", hint=f"mtv plan watch {name}")
    blockers = follow.blockers(plan)
    if blockers:
        raise errors.NeedsOperator(
            f"plan {name} cannot run: {'; '.join(blockers)}", hint=f"mtv plan check {name}"
        )
    moved = [vm for vm in run.vms if _is_moved(vm)] if run else []
    ended = follow.outcome(plan).state
    if ended == "Succeeded" and len(moved) == len(plan.spec.vms):
        raise errors.NeedsOperator(
            f"plan {name} has succeeded: all of its VMs are migrated",
            hint="add VMs to it, or make another plan",
        )


def _is_moved(vm: VMStatus) -> bool:
    return bool(vm.completed) and any(one.type == "Succeeded" for one in vm.conditions)


@app.command("watch", epilog="Example: `mtv plan watch web -n mtv --timeout 3600`")
def watch_plan(
    name: Name,
    namespace: options.Namespace = "mtv",
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds; 0: no limit.")] = 0.0,
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Follow a plan's newest migration until it ends; Ctrl-C ends the following only."""
    client = options.connect(kubeconfig)
    read_plan(client, name, namespace)
    migrations = migrations_of(client, name, namespace)
    since = migrations[-1].metadata.uid if migrations else ""
    watch_to_the_end(client, name, namespace, since=since or "", timeout_s=timeout_s)


@app.command(epilog="Examples: `mtv plan cancel web` · `mtv plan cancel web --vm db1 --vm db2`")
def cancel(
    name: Name,
    vm: Annotated[list[str], typer.Option("--vm", help="Only these VMs: names or ids.")] = [],  # noqa: B006 - Typer's way
    namespace: options.Namespace = "mtv",
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Cancel a running migration; a source that was powered off for it is powered on again."""
    from mtv.api.forklift import Migration

    client = options.connect(kubeconfig)
    plan = read_plan(client, name, namespace)
    running = [m for m in migrations_of(client, name, namespace) if not _ended(m)]
    if not running:
        raise errors.NotFound(f"plan {name} has no running migration", hint="mtv plan list")
    chosen = _chosen(plan, vm)
    already = [{"id": ref.id, "name": ref.name} for ref in running[-1].spec.cancel]
    cancel_list = already + [ref for ref in chosen if ref not in already]
    client.patch(
        Migration, running[-1].metadata.name or "", namespace, {"spec": {"cancel": cancel_list}}
    )
    print(f"canceling {', '.join(str(ref['name']) for ref in chosen)}")


@app.command(epilog="Examples: `mtv plan accept web` · `mtv plan accept web --vm db1`")
def accept(
    name: Name,
    vm: Annotated[list[str], typer.Option("--vm", help="Only these VMs: names or ids.")] = [],  # noqa: B006 - Typer's way
    namespace: options.Namespace = "mtv",
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Accept migrated VMs: from then on `mtv rollback` refuses them."""
    from mtv.cli import rollback

    rollback.accept(options.connect(kubeconfig), name, vm, namespace)


@app.command(epilog="Examples: `mtv plan archive web`")
def archive(
    name: Name, namespace: options.Namespace = "mtv", kubeconfig: options.Kubeconfig = ""
) -> None:
    """Archive a plan: keep its record, let go of what it used."""
    from mtv.api.forklift import Plan

    client = options.connect(kubeconfig)
    read_plan(client, name, namespace)
    client.patch(Plan, name, namespace, {"spec": {"archived": True}})
    print(f"plan.forklift.konveyor.io/{name} archived")


@app.command(
    epilog="Examples: `mtv plan create web --from vc --vm web1 --vm web2 --network-map nets "
    "--storage-map disks --target-namespace prod` · then `mtv plan check web`, `mtv plan start web`"
)
def create(
    name: Name,
    source: Annotated[str, typer.Option("--from", help="The Provider the VMs are at.")],
    vm: Annotated[list[str], typer.Option("--vm", help="Names, paths or ids of VMs.")],
    network_map: Annotated[str, typer.Option(help="Name of the NetworkMap.")],
    storage_map: Annotated[str, typer.Option(help="Name of the StorageMap.")],
    target_namespace: Annotated[str, typer.Option(help="Where the new VMs will be.")],
    virtio: Annotated[
        bool,
        typer.Option("--virtio", help="The guests have virtio drivers: give them virtio devices."),
    ] = False,
    warm: Annotated[bool, typer.Option("--warm", help="Copy while the VMs run.")] = False,
    precopy_interval: Annotated[
        str, typer.Option(help="Of a warm plan: between precopies, as 15m; default 1h.")
    ] = "",
    max_downtime: Annotated[
        str, typer.Option(help="Of a warm plan: cut over when it takes no longer, as 90s.")
    ] = "",
    namespace: options.Namespace = "mtv",
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Make a plan of maps that are there; `mtv import` makes maps and plan in one go."""
    from mtv.api import meta
    from mtv.cli import plan_create

    plan_create.create(
        options.connect(kubeconfig),
        meta.ObjectMeta(name=name, namespace=namespace),
        source,
        vm,
        network_map=network_map,
        storage_map=storage_map,
        target_namespace=target_namespace,
        skip_guest_conversion=virtio,
        use_compatibility_mode=not virtio,
        type="warm" if warm else None,
        precopy_interval_seconds=cutovers.span(precopy_interval, "--precopy-interval"),
        max_downtime_seconds=cutovers.span(max_downtime, "--max-downtime"),
    )
    print(f"plan.forklift.konveyor.io/{name} created")


@app.command(epilog="Examples: `mtv plan delete web` · `mtv plan delete web --yes`")
def delete(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    namespace: options.Namespace = "mtv",
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Delete a plan, and copies of disks that led to no VM. Migrated VMs stay."""
    from mtv.api import core, forklift
    from mtv.planning import labels

    client = options.connect(kubeconfig)
    plan = read_plan(client, name, namespace)
    made = client.list(
        core.PersistentVolumeClaim,
        plan.spec.target_namespace,
        labels=f"{labels.PLAN}={plan.metadata.uid}",
    )
    unused = [claim.metadata.name for claim in made if not claim.metadata.owner_references]
    if unused and not yes:
        print(f"copies that no VM has go too: {', '.join(unused)}", file=sys.stderr)
        if not sys.stdin.isatty():
            raise errors.NeedsOperator(
                f"plan {name} has copied disks that no VM has", hint="use --yes to delete them too"
            )
        typer.confirm("Delete them?", abort=True, err=True)
    client.delete(forklift.Plan, name, namespace)
    print(f"plan.forklift.konveyor.io/{name} deleted")


def read_plan(client: Client, name: str, namespace: str) -> Plan:
    """Return a Plan. Raises NotFound with a hint that names the plans that are there."""
    from mtv.api.forklift import Plan

    plan = client.find(Plan, name, namespace)
    if plan is None:
        there = ", ".join(f"{p.metadata.namespace}/{p.metadata.name}" for p in client.list(Plan))
        raise errors.NotFound(
            f"there is no plan {name} in namespace {namespace}",
            hint=f"plans: {there}" if there else "make one with `kubectl apply` or `mtv import`",
        )
    return plan


def migrations_of(client: Client, plan: str, namespace: str) -> list[Migration]:
    """Return a plan's Migrations, oldest first."""
    from mtv.api.forklift import Migration

    return sorted(
        (m for m in client.list(Migration, namespace) if m.spec.plan.name == plan),
        key=lambda m: (m.metadata.creation_timestamp or "", m.metadata.name or ""),
    )


def create_migration(client: Client, plan: Plan, *, cutover: str | None = None) -> Migration:
    """Create a Migration for a plan, as kubectl-mtv does."""
    from mtv.api import forklift, meta

    owner = meta.OwnerReference(
        api_version=plan.api_version,
        kind=plan.kind,
        name=plan.metadata.name or "",
        uid=plan.metadata.uid or "",
    )
    return client.create(
        forklift.Migration(
            metadata=meta.ObjectMeta(
                generate_name=f"{plan.metadata.name}-",
                namespace=plan.metadata.namespace,
                owner_references=(owner,),
            ),
            spec=forklift.MigrationSpec(
                plan=meta.ObjectReference(
                    name=plan.metadata.name,
                    namespace=plan.metadata.namespace,
                    uid=plan.metadata.uid,
                ),
                cutover=cutover,
            ),
        )
    )


def watch_to_the_end(
    client: Client, name: str, namespace: str, *, since: str, timeout_s: float = 0.0
) -> None:
    """Follow a plan on stderr; end with 0 if it succeeded, else raise what says why not."""

    patience = _Patience()

    def read() -> tuple[Plan, list[DiskTransfer]]:
        from mtv.api.mtv import DiskTransfer

        plan = read_plan(client, name, namespace)
        stuck = () if _executing(plan) else follow.blockers(plan)
        if patience.is_over(bool(stuck)):
            raise errors.NeedsOperator(
                f"plan {name} cannot run: {'; '.join(stuck)}", hint=f"mtv plan check {name}"
            )
        return plan, client.list(DiskTransfer, plan.spec.target_namespace)

    try:
        ended = follow.follow(read, since=since, timeout_s=timeout_s)
    except KeyboardInterrupt:
        print(
            f"\nthe migration goes on; `mtv plan watch {name}` follows it again, "
            f"`mtv plan cancel {name}` ends it",
            file=sys.stderr,
        )
        raise typer.Exit(130) from None
    if ended.state == "Succeeded":
        print(f"plan {name} succeeded", file=sys.stderr)
        return
    if not ended.state:
        raise errors.Retryable(f"plan {name} still runs after {timeout_s:.0f} s")
    raise errors.NeedsOperator(
        f"plan {name}: {ended.state}" + "".join(f"\n  {reason}" for reason in ended.reasons),
        hint=f"mend the cause, then `mtv plan start {name}`: what is copied is not copied again",
    )


class _Patience:
    """What blocks a plan may pass by itself: a VM that is new at the source is seen soon."""

    def __init__(self, limit_s: float = 5.0) -> None:
        self._limit_s = limit_s
        self._since: float | None = None

    def is_over(self, blocked: bool) -> bool:
        """Tell whether the plan has been blocked for too long without a break."""
        if not blocked:
            self._since = None
            return False
        now = time.monotonic()
        self._since = self._since or now
        return now - self._since > self._limit_s


def _executing(plan: Plan) -> bool:
    conditions = plan.status.conditions if plan.status else ()
    return any(c.type == "Executing" and c.status == "True" for c in conditions)


def _ended(migration: Migration) -> bool:
    conditions = migration.status.conditions if migration.status else ()
    return any(c.type in follow.FINAL and c.status == "True" for c in conditions)


def _chosen(plan: Plan, names: list[str]) -> list[dict[str, str | None]]:
    """Return references (with ids, which cancel needs) of the named VMs, or of all."""
    moved = plan.status.migration.vms if plan.status and plan.status.migration else ()
    refs = [(vm.id or "", vm.name or "") for vm in moved]
    unknown = [name for name in names if not any(name in ref for ref in refs)]
    if unknown:
        raise errors.NotFound(
            f"plan {plan.metadata.name} does not migrate {', '.join(unknown)}",
            hint=f"it has {', '.join(name or vm_id for vm_id, name in refs)}",
        )
    return [
        {"id": vm_id, "name": name}
        for vm_id, name in refs
        if not names or vm_id in names or name in names
    ]
