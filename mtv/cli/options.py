"""Options that several commands share, and what they turn into."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from mtv_operator.objects import Client

Kubeconfig = Annotated[
    str,
    typer.Option(
        "--kubeconfig", envvar="KUBECONFIG", help="Where the API server is.", show_default=False
    ),
]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Namespace of the object.")]
AllNamespaces = Annotated[bool, typer.Option("--all-namespaces", "-A", help="All namespaces.")]


class Format(StrEnum):
    """How a result is printed on stdout."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


Output = Annotated[Format, typer.Option("--output", "-o", help="How the result is printed.")]


def connect(kubeconfig: str) -> Client:
    """Return a client of the API server that the options name."""
    from mtv_operator.objects import Client  # the kubernetes library costs 0.3 s

    return Client.connect(kubeconfig or None)


def print_document(value: Any, output: Format) -> None:  # noqa: ANN401 - any JSON value
    """Print a JSON value as plain JSON or YAML on stdout, without colours."""
    if output is Format.YAML:
        import yaml

        yaml.safe_dump(value, sys.stdout, sort_keys=False, allow_unicode=True)
    else:
        json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
        print()


def print_table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print rows as kubectl does: upper-case header, columns padded, three spaces apart."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, *rows):
        print(
            "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
