"""`mtv report`: what became of a plan, as a page with a timeline or as JSON."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mtv import errors
from mtv.cli import options

if TYPE_CHECKING:
    from mtv.cli.report_facts import Facts

app = typer.Typer(add_completion=False)


class Kind(StrEnum):
    """What is written."""

    HTML = "html"
    JSON = "json"


@app.command(
    epilog="Examples: `mtv report web` · `mtv report web -o json` · `mtv report web -f web.html`"
)
def report(
    name: Annotated[str, typer.Argument(help="Name of the Plan.", show_default=False)],
    output: Annotated[Kind, typer.Option("--output", "-o", help="What is written.")] = Kind.HTML,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Write there; else to stdout.")
    ] = None,
    namespace: options.Namespace = "mtv",
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Write a report of a plan: outcome, VMs, disks, times, checksums, a timeline."""
    import json

    from mtv.api.mtv import DiskTransfer
    from mtv.cli import report_facts, report_page
    from mtv.cli.plan import read_plan

    client = options.connect(kubeconfig)
    plan = read_plan(client, name, namespace)
    transfers = client.list(DiskTransfer, plan.spec.target_namespace)
    facts = report_facts.of(plan, transfers, datetime.now(UTC))
    if output is Kind.JSON:
        text = json.dumps(document(facts), indent=2, ensure_ascii=False) + "\n"
    else:
        text = report_page.page(facts)
    if file is None:
        print(text, end="")
        return
    try:
        file.write_text(text)
    except OSError as fault:
        raise errors.NeedsOperator(f"{file} cannot be written: {fault.strerror}") from fault
    print(f"{file} written")


def document(facts: Facts) -> dict[str, Any]:
    """Return the facts as JSON values, in camelCase; times as the API writes them."""
    found: dict[str, Any] = _plain(dataclasses.asdict(facts))
    found["problems"] = [
        {"type": kind, "message": message, "suggestion": suggestion}
        for kind, message, suggestion in facts.problems
    ]
    return found


def _plain(value: Any) -> Any:  # noqa: ANN401 - any field of the facts
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, dict):
        return {_camel(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


def _camel(name: str) -> str:
    first, *others = name.removesuffix("_s").split("_")
    units = "Seconds" if name.endswith("_s") else ""
    return first + "".join(word.capitalize() for word in others) + units
