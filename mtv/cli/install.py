"""`mtv install`: mtv on a Kubernetes cluster."""

from __future__ import annotations

import sys
from importlib import metadata
from typing import Annotated

import typer

from mtv.cli import doctor, options
from mtv.cli.options import Format
from mtv.cli.up import Emulation, say

app = typer.Typer(add_completion=False)

IMAGE = "ghcr.io/mtv/mtv"


@app.command(
    epilog="The same as `kubectl apply -f operator/manifests/mtv.yaml`, with a look at the "
    "cluster first; again after an upgrade. Examples: `mtv install` · "
    "`mtv install --image registry.example/mtv:1 --emulation allow` · `mtv install --dry-run`"
)
def install(
    image: Annotated[str, typer.Option(help="Image of all components.", show_default=False)] = "",
    replicas: Annotated[int, typer.Option(min=1, help="Of each Deployment; one leads.")] = 2,
    emulation: Annotated[
        Emulation | None,
        typer.Option(help="VMs on nodes without KVM; never at first.", show_default=False),
    ] = None,
    migration_only: Annotated[
        bool,
        typer.Option("--migration-only", help="Leave VMs to the KubeVirt that is there."),
    ] = False,
    timeout: Annotated[int, typer.Option(min=0, help="Seconds to wait; 0: do not.")] = 300,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the objects as YAML, and do nothing.")
    ] = False,
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Install mtv on a Kubernetes cluster, or upgrade it."""
    from mtv_operator.installation import applying, chart, manifest, preflight
    from mtv_operator.installation.settings import Settings

    allowed = emulation is not None and emulation is not Emulation.NEVER
    named = image or f"{IMAGE}:{metadata.version('mtv')}"
    if dry_run:
        settings = Settings(
            image=named, replicas=replicas, use_emulation=allowed, runtime=not migration_only
        )
        sys.stdout.write(chart.documents(manifest.objects(settings)))
        return
    with options.connect(kubeconfig) as client:
        doctor.conclude(doctor.show(preflight.look_at(client), Format.TABLE))
        runtime = not migration_only and not preflight.foreign_runtime(client)
        settings = Settings(
            image=named,
            replicas=replicas,
            use_emulation=allowed,
            runtime=runtime,
            data_volumes=runtime and not preflight.foreign_data_volumes(client),
        )
        wanted = manifest.objects(settings)
        say(f"applying {len(wanted)} objects")
        applying.apply(client, wanted)
        if timeout:
            applying.wait_until_deployed(client, settings, timeout, say)
            if emulation is not None and runtime:
                applying.allow_emulation(client, allowed)
            say("mtv is ready")
