"""`mtv apply`: objects of YAML files, for machines without kubectl."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from mtv.cli import options

app = typer.Typer()

Files = Annotated[
    list[str],
    typer.Option("--filename", "-f", help="File, folder, or - for stdin.", show_default=False),
]
Namespace = Annotated[
    str, typer.Option("--namespace", "-n", help="For objects that name no namespace.")
]


@app.command(epilog="Examples: `mtv apply -f plan.yaml` · `mtv apply -f - < all.yaml`")
def apply(
    filename: Files,
    namespace: Namespace = "default",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Have the server check it, and change nothing.")
    ] = False,
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Create or change the objects of YAML files (server-side apply)."""
    from mtv.cli import manifests

    documents = manifests.read(filename)
    server = manifests.Server(sender(kubeconfig), namespace)
    for document in documents:
        server.path(document)  # an unknown kind is found before anything is changed
    suffix = " (dry run)" if dry_run else ""
    for document in documents:
        print(f"{document.shown} {server.apply(document, dry_run=dry_run)}{suffix}", flush=True)


def sender(kubeconfig: str) -> Any:  # noqa: ANN401 - manifests.Send, which is loaded later
    """Return how requests are sent; warnings of the server go to stderr."""
    client = options.connect(kubeconfig)
    client.warn_with(lambda text: print(f"Warning: {text}", file=sys.stderr))

    def send(
        method: str, path: str, body: object, content_type: str, query: list[tuple[str, str]]
    ) -> Any:  # noqa: ANN401
        return client.raw(method, path, body, content_type=content_type, query=query)

    return send
