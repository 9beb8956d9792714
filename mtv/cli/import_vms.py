"""`mtv import`: bring VMs over in one command.

Sugar: it writes the same maps, Plan and Migration that YAML would, under the plan's name, and
follows them. What was written can be seen, changed and started again with `kubectl` and `mtv plan`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from mtv import errors
from mtv.cli import cutover as cutovers
from mtv.cli import options, package_import, sources
from mtv.cli.options import Format

if TYPE_CHECKING:
    from mtv.api.forklift import (
        NetworkMap,
        NetworkPair,
        Plan,
        PlanVM,
        Provider,
        StorageMap,
        StoragePair,
    )
    from mtv.api.meta import Object
    from mtv.inventory.model import Inventory
    from mtv_operator.objects import Client

app = typer.Typer(add_completion=False)

EXAMPLES = (
    'Examples: `mtv import web1 --from vc --network "VM Network=pod" --storage LocalDS_0=local '
    "--dry-run` · the same with --start · `mtv import db1 db2 --from vc "
    "--network prod=nets/vlan100 --storage ds1=shared --target-namespace prod --plan databases` · "
    "`mtv import app --from /srv/app.ova`"
)
POD, IGNORED = "pod", "ignored"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What was asked for on the command line."""

    vms: tuple[str, ...]
    provider: str
    networks: tuple[str, ...]
    storage: tuple[str, ...]
    namespace: str
    target_namespace: str
    plan: str
    name: str
    power: str  # on, off, auto
    power_off: str
    verify: str = "none"
    virtio: bool
    warm: bool = False
    max_downtime: str = ""


@app.command("import", epilog=EXAMPLES)
def import_vms(
    vms: Annotated[list[str], typer.Argument(help="Names, paths or ids of VMs.")],
    provider: Annotated[
        str, typer.Option("--from", help="The Provider they are at, or an OVA: a path or URL.")
    ],
    network: Annotated[
        list[str],
        typer.Option(
            help="SOURCE=pod, SOURCE=[NAMESPACE/]NAME of a network attachment, or SOURCE=ignored."
        ),
    ] = [],  # noqa: B006 - Typer's way
    storage: Annotated[
        list[str], typer.Option(help="DATASTORE=CLASS, or DATASTORE=CLASS:Block.")
    ] = [],  # noqa: B006
    target_namespace: Annotated[str, typer.Option(help="Where the new VMs will be.")] = "default",
    name: Annotated[str, typer.Option(help="Name of the new VM, if it is one.")] = "",
    plan: Annotated[str, typer.Option(help="Name of the plan; else that of the first VM.")] = "",
    start: Annotated[
        bool | None,
        typer.Option("--start/--no-start", help="Start them; else only what ran at the source."),
    ] = None,
    power_off: Annotated[
        str,
        typer.Option(
            help="How a running source is stopped: graceful, 'graceful; timeout=30m', "
            "force-after=5m, force."
        ),
    ] = "graceful",
    verify: Annotated[
        str,
        typer.Option(help="Read the copies again and compare checksums: none, sample, full."),
    ] = "none",
    virtio: Annotated[
        bool,
        typer.Option("--virtio", help="The guests have virtio drivers: give them virtio devices."),
    ] = False,
    warm: Annotated[
        bool, typer.Option("--warm", help="Copy while they run, and switch them off at --cutover.")
    ] = False,
    cutover: Annotated[
        str, typer.Option(help="With --warm: now (after the first copy), 30m, a time, never.")
    ] = "now",
    max_downtime: Annotated[
        str, typer.Option(help="With --warm: cut over when it takes no longer, as 90s.")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would happen.")
    ] = False,
    wait: Annotated[bool, typer.Option(help="Follow it to the end.")] = True,
    output: options.Output = Format.TABLE,
    namespace: options.Namespace = "mtv",
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Bring VMs over: make the maps and the plan, go, follow."""
    wish = Wish(
        vms=tuple(vms),
        provider=provider,
        networks=tuple(network),
        storage=tuple(storage),
        namespace=namespace,
        target_namespace=target_namespace,
        plan=plan,
        name=name,
        power={True: "on", False: "off", None: "auto"}[start],
        power_off=power_off,
        verify=verify,
        virtio=virtio,
        warm=warm,
        max_downtime=max_downtime,
    )
    when = cutovers.parse(cutover, datetime.now(UTC)) if warm else None
    if wish.name and len(wish.vms) != 1:
        raise errors.BadInput(
            f"one name for {len(wish.vms)} VMs", field="--name", hint="import them one by one"
        )
    client = options.connect(kubeconfig)
    if package_import.is_package(provider):
        source = package_import.provider_of(client, provider, namespace)
        wish = replace(wish, provider=source.metadata.name)
    else:
        source = sources.find(client, provider, namespace)
    _run(client, source, wish, when, dry_run=dry_run, wait=wait, output=output)


def _run(
    client: Client,
    source: Provider,
    wish: Wish,
    cutover: str | None,
    *,
    dry_run: bool,
    wait: bool,
    output: Format,
) -> None:
    from mtv.cli import dry_run as checking
    from mtv.planning import plan as planning

    inventory = sources.inventory(client, source)
    target = checking.target(client)
    if source.spec.type == package_import.TYPE:
        wish = package_import.with_defaults(wish, inventory, target)
    network_map, storage_map, plan = build(wish, inventory)
    planned = planning.build(
        inventory, plan, network_map, storage_map, provider=source, target=target
    )
    if dry_run:
        checking.print_planned(planned, output)
    if planned.blocked:
        missing = checking.missing_maps(planned, inventory, sorted(target.storage_classes or ()))
        blockers = [str(one) for one in planned.problems if one.blocks]
        raise errors.NeedsOperator(
            f"{', '.join(wish.vms)} cannot be imported:" + "".join(f"\n  {b}" for b in blockers),
            hint=f"add {' '.join(missing)}" if missing else _first_suggestion(planned.problems),
        )
    if dry_run:
        return
    package_import.store(client, source)
    _go(client, [network_map, storage_map, plan], cutover, wait=wait)


def _first_suggestion(problems: tuple[object, ...]) -> str:
    return next(
        (
            str(text)
            for one in problems
            if getattr(one, "blocks", False) and (text := getattr(one, "suggestion", ""))
        ),
        "",
    )


def build(wish: Wish, inventory: Inventory) -> tuple[NetworkMap, StorageMap, Plan]:
    """Return the objects to be stored. Raises BadInput, NotFound."""
    from mtv.api import forklift, meta
    from mtv.planning import names, power_off, verify

    entries = [_entry(name, wish, inventory) for name in wish.vms]
    plan_name = wish.plan or names.label(
        wish.name or entries[0].name or "", otherwise="import", limit=50
    )
    if not names.is_dns_label(plan_name):
        raise errors.BadInput(f"{plan_name!r} is no DNS label", field="--plan")
    power_off.parse({power_off.ANNOTATION: wish.power_off})
    metadata = meta.ObjectMeta(name=plan_name, namespace=wish.namespace)
    here = meta.ObjectReference(name=plan_name, namespace=wish.namespace)
    pair = forklift.ProviderPair(
        source=meta.ObjectReference(name=wish.provider, namespace=wish.namespace),
        destination=meta.ObjectReference(name="host", namespace=wish.namespace),
    )
    network_map = forklift.NetworkMap(
        metadata=metadata,
        spec=forklift.NetworkMapSpec(
            provider=pair, map=tuple(network_pair(text, inventory) for text in wish.networks)
        ),
    )
    storage_map = forklift.StorageMap(
        metadata=metadata,
        spec=forklift.StorageMapSpec(
            provider=pair, map=tuple(storage_pair(text, inventory) for text in wish.storage)
        ),
    )
    annotations = {} if wish.power_off == "graceful" else {power_off.ANNOTATION: wish.power_off}
    if verify.parse({verify.ANNOTATION: wish.verify}):
        annotations[verify.ANNOTATION] = wish.verify
    plan = forklift.Plan(
        metadata=meta.ObjectMeta(name=plan_name, namespace=wish.namespace, annotations=annotations),
        spec=forklift.PlanSpec(
            target_namespace=wish.target_namespace,
            provider=pair,
            map=forklift.PlanMap(network=here, storage=here),
            vms=tuple(entries),
            target_power_state=wish.power,
            type="warm" if wish.warm else None,
            max_downtime_seconds=cutovers.span(wish.max_downtime, "--max-downtime"),
            skip_guest_conversion=wish.virtio,
            use_compatibility_mode=not wish.virtio,
        ),
    )
    return network_map, storage_map, plan


def _entry(name: str, wish: Wish, inventory: Inventory) -> PlanVM:
    """Return the plan's entry for a VM that is named by id, name or path."""
    from mtv.api import forklift
    from mtv.inventory.model import Moref
    from mtv.planning import mappings

    by_id = inventory.vms.get(Moref(name))
    reference = forklift.Ref(id=name) if by_id else forklift.Ref(name=name)
    found = mappings.find(reference, inventory.vms, field="VM", kind="VM")
    if isinstance(found, mappings.Unresolved):
        raise _unresolved(found, name, [vm.name for vm in inventory.vms.values()], wish.provider)
    return forklift.PlanVM(id=found.id, name=found.name, target_name=wish.name or None)


def _unresolved(found: object, name: str, known: list[str], provider: str) -> errors.MigrationError:
    from mtv.planning.mappings import Reason

    message = getattr(found, "message", "")
    if getattr(found, "reason", None) is Reason.AMBIGUOUS:
        return errors.BadInput(message, field=name, hint="give the id, or the whole path")
    close = sources.similar(name, known)
    return errors.NotFound(
        f"provider {provider} has no VM {name!r}",
        hint=f"did you mean {' or '.join(close)}?"
        if close
        else f"mtv inventory vms {provider} lists them",
    )


def _halves(text: str, option: str, hint: str) -> tuple[str, str]:
    source, separator, destination = text.rpartition("=")
    if not separator or not source or not destination:
        raise errors.BadInput(f"{text!r} is not SOURCE=TARGET", field=option, hint=hint)
    return source, destination


def network_pair(text: str, inventory: Inventory) -> NetworkPair:
    """Return what `VM Network=pod` or `prod=nets/vlan100` maps. Raises BadInput, NotFound."""
    from mtv.api import forklift
    from mtv.inventory.model import Moref
    from mtv.planning import mappings, names

    source, target = _halves(text, "--network", 'for instance --network "VM Network=pod"')
    by_id = Moref(source) in inventory.networks
    reference = forklift.NetworkSource(id=source) if by_id else forklift.NetworkSource(name=source)
    found = mappings.find(reference, inventory.networks, field="--network", kind="network")
    if isinstance(found, mappings.Unresolved):
        known = [one.name for one in inventory.networks.values()]
        raise _unknown_source(found, "--network", source, known)
    if target in (POD, IGNORED):
        destination = forklift.NetworkDestination(type=target)
    else:
        space, _, name = target.rpartition("/")
        if not names.is_dns_subdomain(name) or (space and not names.is_dns_label(space)):
            raise errors.BadInput(
                f"{target!r} is neither pod, ignored, NAME nor NAMESPACE/NAME", field="--network"
            )
        destination = forklift.NetworkDestination(type="multus", name=name, namespace=space or None)
    return forklift.NetworkPair(
        source=forklift.NetworkSource(id=found.id, name=found.name), destination=destination
    )


def storage_pair(text: str, inventory: Inventory) -> StoragePair:
    """Return what `ds1=local` or `ds1=fast:Block` maps. Raises BadInput, NotFound."""
    from mtv.api import forklift
    from mtv.inventory.model import Moref
    from mtv.planning import mappings

    source, target = _halves(text, "--storage", "for instance --storage LocalDS_0=local")
    storage_class, _, mode = target.partition(":")
    if mode not in ("", "Filesystem", "Block"):
        raise errors.BadInput(f"{mode!r} is neither Filesystem nor Block", field="--storage")
    by_id = Moref(source) in inventory.datastores
    reference = forklift.Ref(id=source) if by_id else forklift.Ref(name=source)
    found = mappings.find(reference, inventory.datastores, field="--storage", kind="datastore")
    if isinstance(found, mappings.Unresolved):
        known = [one.name for one in inventory.datastores.values()]
        raise _unknown_source(found, "--storage", source, known)
    return forklift.StoragePair(
        source=forklift.Ref(id=found.id, name=found.name),
        destination=forklift.StorageDestination(
            storage_class=storage_class, volume_mode=mode or None
        ),
    )


def _unknown_source(
    found: object, option: str, name: str, known: list[str]
) -> errors.MigrationError:
    from mtv.planning.mappings import Reason

    message = getattr(found, "message", "")
    if getattr(found, "reason", None) is Reason.AMBIGUOUS:
        return errors.BadInput(message, field=option)
    there = sources.similar(name, known) or sorted(known)[:10]
    return errors.NotFound(f"{option}: {message}", hint=f"there are: {', '.join(there)}")


def _go(client: Client, wanted: list[Object], cutover: str | None, *, wait: bool) -> None:
    """Store the objects (all or none), start, follow."""
    import msgspec

    from mtv.api import meta
    from mtv.api.forklift import Plan
    from mtv.cli import plan as plans
    from mtv.cli.provider_objects import ensure_host

    metadata = wanted[-1].metadata
    if client.find(Plan, metadata.name, metadata.namespace) is not None:
        raise errors.AlreadyExists(
            f"plan {metadata.name} already exists in namespace {metadata.namespace}",
            hint=f"mtv plan start {metadata.name} goes on with it; --plan NAME makes another",
        )
    ensure_host(client, metadata.namespace)
    made: list[Object] = []
    try:
        for one in wanted:
            made.append(client.create(one))
            print(f"{one.kind.lower()}.forklift.konveyor.io/{one.metadata.name} created")
        plan = made[-1]
        assert isinstance(plan, Plan)
        for one in made[:-1]:  # they go when the plan goes
            owner = msgspec.to_builtins(meta.owner_of(plan, controller=False))
            client.patch(
                type(one),
                one.metadata.name,
                one.metadata.namespace,
                {"metadata": {"ownerReferences": [owner]}},
            )
        migration = plans.create_migration(client, plan, cutover=cutover)
    except errors.MigrationError:
        for one in reversed(made):
            client.delete(type(one), one.metadata.name, one.metadata.namespace)
        raise
    print(f"migration.forklift.konveyor.io/{migration.metadata.name} created", flush=True)
    if wait:
        plans.watch_to_the_end(
            client, metadata.name, metadata.namespace, since=migration.metadata.uid
        )
