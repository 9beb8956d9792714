"""`mtv delete`: takes away what YAML files hold, for machines without kubectl."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from mtv import errors
from mtv.cli import options
from mtv.cli.apply import Files, Namespace, sender

app = typer.Typer()

POLL_S = 0.2


@app.command(epilog="Example: `mtv delete -f plan.yaml`")
def delete(
    filename: Files,
    namespace: Namespace = "default",
    ignore_not_found: Annotated[
        bool, typer.Option("--ignore-not-found", help="Missing objects are no error.")
    ] = False,
    wait: Annotated[bool, typer.Option(help="Wait until the objects are gone.")] = True,
    timeout_s: Annotated[
        float, typer.Option("--timeout", help="Seconds to wait for all of them.")
    ] = 120.0,
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Delete the objects of YAML files, the last one first."""
    from mtv.cli import manifests

    documents = manifests.read(filename)
    server = manifests.Server(sender(kubeconfig), namespace)
    missing, told = [], []
    for document in reversed(documents):
        if server.delete(document):
            print(f"{document.shown} deleted", flush=True)
            told.append(document)
        else:
            missing.append(document)
    deadline = time.monotonic() + timeout_s
    while wait and (left := [one for one in told if server.exists(one)]):
        if time.monotonic() > deadline:
            raise errors.Retryable(
                f"still there after {timeout_s:.0f} s: {', '.join(one.shown for one in left)}",
                hint="a finalizer holds it: `mtv why KIND NAME` says which",
            )
        time.sleep(POLL_S)
    if missing and not ignore_not_found:
        raise errors.NotFound(
            f"not there: {', '.join(one.shown for one in missing)}",
            hint="--namespace says where to look; --ignore-not-found passes it over",
        )
