"""`mtv image`: the container images of this machine, for container disks."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mtv import errors
from mtv.cli import options
from mtv.cli.options import Format
from mtv.cli.up import DATA_DIR, DataDir

if TYPE_CHECKING:
    from mtv_operator.embedded.images.store import Store

app = typer.Typer(no_args_is_help=True)

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="As in containerDisk.image: registry/repository:tag.")
]


@app.callback()
def _image() -> None:
    """Keep container images on this machine, for container disks."""


@app.command()
def load(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE|FOLDER", help="A disk (raw, qcow2), an OCI layout, or an archive of one."
        ),
    ],
    name: Name,
    tag: Annotated[str, typer.Option(help="Which image, where a layout holds several.")] = "",
    data_dir: DataDir = DATA_DIR,
    output: options.Output = Format.TABLE,
) -> None:
    """Load an image under a name; no registry is asked for that name any more."""
    if not file.exists():
        raise errors.BadInput(f"{file} does not exist", field="FILE")
    stored = _store(data_dir).load(file.absolute(), name, tag)
    if output in (Format.JSON, Format.YAML):
        import msgspec

        options.print_document(msgspec.to_builtins(stored), output)
    else:
        print(f"{stored.name} {stored.digest}")


@app.command("list")
def list_images(data_dir: DataDir = DATA_DIR, output: options.Output = Format.TABLE) -> None:
    """List the images that have a name here."""
    found = _store(data_dir).list()
    if output in (Format.JSON, Format.YAML):
        import msgspec

        options.print_document(msgspec.to_builtins(list(found)), output)
    elif output is Format.NAME:
        print("\n".join(one.name for one in found))
    else:
        rows: list[tuple[str, ...]] = [
            (
                one.name,
                one.digest.removeprefix("sha256:")[:12],
                "loaded" if one.loaded else "pulled",
                datetime.fromtimestamp(one.at, UTC).strftime("%Y-%m-%d %H:%M"),
            )
            for one in found
        ]
        options.print_table(("NAME", "DIGEST", "FROM", "TIME"), rows)


@app.command()
def remove(name: Name, data_dir: DataDir = DATA_DIR) -> None:
    """Forget a name; the image stays as long as a running VM uses it."""
    _store(data_dir).remove(name)


def _store(data_dir: Path) -> Store:
    from mtv_operator.embedded.images.store import Store
    from mtv_operator.embedded.up import settings

    folder = data_dir.absolute()
    if settings.load(folder) is None:
        raise errors.NotFound(f"no mtv is in {folder}", hint="`mtv up` starts one")
    return Store(folder)
