"""`mtv up`: mtv on this machine, without a cluster."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mtv_operator.embedded.up.settings import Settings

app = typer.Typer()

DATA_DIR = Path("/var/lib/mtv")


class Emulation(StrEnum):
    """Whether VMs may run without KVM."""

    AUTO = "auto"
    ALLOW = "allow"
    NEVER = "never"


DataDir = Annotated[
    Path, typer.Option("--data-dir", envvar="MTV_DATA_DIR", help="Where everything is kept.")
]


@app.command(
    epilog="Examples: `mtv up` · `mtv up --nodes 2` · `mtv up --listen 0.0.0.0:6443`. "
    "A second `mtv up` changes the options that are given and adopts what runs."
)
def up(
    data_dir: DataDir = DATA_DIR,
    nodes: Annotated[
        int | None, typer.Option(help="Nodes on this machine; 1 at first.", show_default=False)
    ] = None,
    emulation: Annotated[
        Emulation | None,
        typer.Option(
            help="VMs without KVM: auto tries KVM first and says what it found.",
            show_default=False,
        ),
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(
            help="Where the API server listens; 127.0.0.1:6443 at first.", show_default=False
        ),
    ] = None,
    pod_cidr: Annotated[
        str | None,
        typer.Option(
            help="Network of the pods; 10.244.0.0/16, or one that is free, at first.",
            show_default=False,
        ),
    ] = None,
    bridge: Annotated[
        str | None,
        typer.Option(help="Name of the pods' bridge; mtv0 at first.", show_default=False),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(help="Leave a component out, to run it by hand.", show_default=False),
    ] = None,
) -> None:
    """Start mtv on this machine, and wait until it is ready."""
    from mtv_operator.embedded.up import starting

    asked = {
        "nodes": nodes,
        "emulation": emulation.value if emulation else None,
        "listen": listen,
        "pod_cidr": pod_cidr,
        "bridge": bridge,
        "without": tuple(without) if without is not None else None,
    }
    settings = starting.start(data_dir.absolute(), asked, say)
    print(next_steps(settings))


def say(text: str) -> None:
    """Print progress on stderr, at once."""
    print(text, file=sys.stderr, flush=True)


def next_steps(settings: Settings) -> str:
    """Return what to type next."""
    return f"""export KUBECONFIG={settings.kubeconfig}
export MTV_INVENTORY_URL={settings.inventory_url}

next:
  mtv status
  mtv provider add vcenter --type vsphere --url https://VCENTER/sdk --user USER
  kubectl get nodes,storageclasses"""
