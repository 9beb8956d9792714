"""`mtv inventory`: what a source has, read from the source itself."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from mtv import errors
from mtv.cli import inventory_views, options, sources
from mtv.cli.options import Format

if TYPE_CHECKING:
    from mtv.inventory.model import Inventory

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Show what a source has.",
    epilog="Examples: `mtv inventory vms vc` · `mtv inventory vms vc -o wide` · "
    "`mtv inventory datastores vc -o json` · `mtv inventory vms vc --watch`",
)

Provider = Annotated[str, typer.Argument(help="Name of the Provider.", show_default=False)]
Named = Annotated[str, typer.Option("--provider", help="The same, as an option.")]
Watch = Annotated[
    bool, typer.Option("--watch", "-w", help="Go on and print what changes, until Ctrl-C.")
]

# Each command: what it lists, and examples.
LISTS = {
    "vms": (
        "List virtual machines; `-o wide` adds firmware, tools, host and concerns.",
        "`mtv inventory vms vc` · `mtv inventory vms vc -o wide` · "
        "`mtv inventory vms --provider ovas -o json --watch`",
    ),
    "networks": (
        "List networks: port groups, distributed ones, opaque ones.",
        "`mtv inventory networks vc` · `mtv inventory networks vc -o yaml`",
    ),
    "datastores": ("List datastores.", "`mtv inventory datastores vc -o wide`"),
    "hosts": ("List ESXi hosts.", "`mtv inventory hosts vc -o wide`"),
    "clusters": ("List clusters.", "`mtv inventory clusters vc`"),
}


def _listing(kind: str) -> Callable[..., None]:
    """Return the command that lists one kind."""

    def listing(
        provider: Provider = "",
        named: Named = "",
        output: options.Output = Format.TABLE,
        watch: Watch = False,
        namespace: options.Namespace = "mtv",
        kubeconfig: options.Kubeconfig = "",
    ) -> None:
        if bool(provider) == bool(named):
            raise errors.BadInput(
                "name the provider once", field="PROVIDER", hint=f"mtv inventory {kind} PROVIDER"
            )
        _show(kind, provider or named, output, watch, namespace, kubeconfig)

    return listing


for _kind, (_help, _examples) in LISTS.items():
    app.command(_kind, help=_help, epilog=f"Examples: {_examples}")(_listing(_kind))


def _show(
    kind: str, provider: str, output: Format, watch: bool, namespace: str, kubeconfig: str
) -> None:
    client = options.connect(kubeconfig)
    found = sources.find(client, provider, namespace)
    with sources.access_of(client, found).open() as session:
        if not watch:
            inventory = session.pull()
            for note in inventory.notes:
                print(f"note: {note}", file=sys.stderr)
            print_all(kind, inventory, output)
            return
        stop = threading.Event()
        session.watch(printer(kind, output), stop, on_lost=_lost)


def _lost(fault: errors.MigrationError) -> None:
    print(f"note: {fault}; connecting again", file=sys.stderr)


def print_all(kind: str, inventory: Inventory, output: Format) -> None:
    """Print all objects of a kind."""
    found = inventory_views.of_kind(kind, inventory)
    if output in (Format.JSON, Format.YAML):
        options.print_document([inventory_views.document(one) for one in found], output)
    elif output is Format.NAME:
        for one in found:
            print(one.name)
    else:
        wide = output is Format.WIDE
        rows = [inventory_views.row(kind, one, inventory, wide=wide) for one in found]
        options.print_table(inventory_views.header(kind, wide=wide), rows)


def printer(kind: str, output: Format) -> Callable[[Inventory], None]:
    """Return a function that prints an inventory the first time, and then what is other.

    As with `kubectl get -w` there is a row for each change; with `-o json` a document on a line.
    """
    shown: dict[str, object] = {}

    def show(inventory: Inventory) -> None:
        found = {str(one.id): one for one in inventory_views.of_kind(kind, inventory)}
        first = not shown
        for key, one in found.items():
            if shown.get(key) != one:
                _print_one(kind, one, inventory, output, header=first)
                first = False
        for key in [key for key in shown if key not in found]:
            print(f"note: {key} is gone", file=sys.stderr)
            del shown[key]
        shown.update(found)

    return show


def _print_one(
    kind: str,
    one: inventory_views.Object,
    inventory: Inventory,
    output: Format,
    *,
    header: bool,
) -> None:
    import json

    if output in (Format.JSON, Format.YAML):
        document = inventory_views.document(one)
        if output is Format.YAML:
            print("---")
            options.print_document(document, output)
        else:
            print(json.dumps(document, ensure_ascii=False))
    elif output is Format.NAME:
        print(one.name)
    else:
        wide = output is Format.WIDE
        titles = inventory_views.header(kind, wide=wide)
        cells = inventory_views.row(kind, one, inventory, wide=wide)
        widths = [max(len(title), MIN_WIDTHS.get(title, 8)) for title in titles]
        for line in (titles, cells) if header else (cells,):
            print(
                "   ".join(
                    cell.ljust(width) for cell, width in zip(line, widths, strict=True)
                ).rstrip()
            )
    sys.stdout.flush()


# Columns of a watch cannot be measured beforehand.
MIN_WIDTHS = {"ID": 16, "NAME": 24, "GUEST": 20, "NETWORKS": 16, "DATASTORES": 16}
