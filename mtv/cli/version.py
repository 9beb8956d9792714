"""`mtv version`: which mtv this is."""

from __future__ import annotations

from importlib import metadata

import typer

app = typer.Typer()


@app.command()
def version() -> None:
    """Print the version of mtv."""
    print(f"mtv {metadata.version('mtv')}")
