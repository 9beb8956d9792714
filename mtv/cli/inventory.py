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
Watch = Annotated[
    bool, typer.Option("--watch", "-w", help="Go on and print what changes, until Ctrl-C.")
]


@app.command(
    epilog="Examples: `mtv inventory vms vc` · `mtv inventory vms vc -o wide` · "
    "`mtv inventory vms vc -o json --watch`"
)
def vms(
    provider: Provider,
    output: options.Output = Format.TABLE,
    watch: Watch = False,
    namespace: options.Namespace = "mtv",
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """List virtual machines; `-o wide` adds firmware, tools, host and concerns."""
    _show("vms", provider, output, watch, namespace, kubeconfig)


@app.command(epilog="Examples: `mtv inventory networks vc` · `mtv inventory networks vc -o yaml`")
def networks(
    provider: Provider,
    output: options.Output = Format.TABLE,
    watch: Watch = False,
    namespace: options.Namespace = "mtv",
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """List networks: port groups, distributed ones, opaque ones."""
    _show("networks", provider, output, watch, namespace, kubeconfig)


@app.command(epilog="Examples: `mtv inventory datastores vc -o wide`")
def datastores(
    provider: Provider,
    output: options.Output = Format.TABLE,
    watch: Watch = False,
    namespace: options.Namespace = "mtv",
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """List datastores."""
    _show("datastores", provider, output, watch, namespace, kubeconfig)


@app.command(epilog="Examples: `mtv inventory hosts vc -o wide`")
def hosts(
    provider: Provider,
    output: options.Output = Format.TABLE,
    watch: Watch = False,
    namespace: options.Namespace = "mtv",
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """List ESXi hosts."""
    _show("hosts", provider, output, watch, namespace, kubeconfig)


@app.command(epilog="Examples: `mtv inventory clusters vc`")
def clusters(
    provider: Provider,
    output: options.Output = Format.TABLE,
    watch: Watch = False,
    namespace: options.Namespace = "mtv",
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """List clusters."""
    _show("clusters", provider, output, watch, namespace, kubeconfig)


def _show(
    kind: str, provider: str, output: Format, watch: bool, namespace: str, kubeconfig: str
) -> None:
    client = options.connect(kubeconfig)
    found = sources.find(client, provider, namespace)
    with sources.session(client, found) as session:
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
