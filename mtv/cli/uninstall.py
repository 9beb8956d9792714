"""`mtv uninstall`: takes mtv away from a Kubernetes cluster."""

from __future__ import annotations

from typing import Annotated

import typer

from mtv.cli import options
from mtv.cli.up import say

app = typer.Typer(add_completion=False)


@app.command(
    epilog="Everything is deleted that `mtv install` made, the kinds and all plans with them. "
    "Volumes are kept, whatever is on them."
)
def uninstall(
    delete_vms: Annotated[
        bool, typer.Option("--delete-vms", help="Stop and delete all virtual machines first.")
    ] = False,
    migration_only: Annotated[
        bool,
        typer.Option("--migration-only", help="As it was installed beside another KubeVirt."),
    ] = False,
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Take mtv away from a Kubernetes cluster."""
    from mtv_operator.installation import applying, preflight
    from mtv_operator.installation.settings import Settings

    with options.connect(kubeconfig) as client:
        runtime = not migration_only and not preflight.foreign_runtime(client)
        data_volumes = runtime and not preflight.foreign_data_volumes(client)
        settings = Settings(image="", runtime=runtime, data_volumes=data_volumes)
        applying.remove(client, settings, say, delete_vms=delete_vms)
    say("mtv is gone")
