"""`cos iso`: an ISO image out of a root tree, that starts on BIOS and UEFI, from CD and USB."""

from pathlib import Path
from typing import Annotated

import typer

from compiler.archive import DEFAULT_EPOCH, Clamp
from compiler.cli.settings import Settings
from compiler.cli.shop import open_shop
from compiler.image.iso import Iso, make_iso
from compiler.image.output import refuse_existing
from compiler.image.rootfs import open_tree
from compiler.image.squashfs import DEFAULT_OPTIONS
from compiler.spec.source import SourceKind, parse_source

app = typer.Typer(add_completion=False, help="ISO images.")


@app.command("iso")
def iso(  # noqa: PLR0913  (one parameter for each option)
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="dir:, file:, oci: or channel:")],
    *,
    local: Annotated[Path | None, typer.Option("--local")] = None,
    output: Annotated[Path, typer.Option("-o", "--output")] = Path(),
    name: Annotated[str, typer.Option("-n", "--name")] = "cOS",
    squashfs: Annotated[str, typer.Option("-x", "--squash-compression")] = "",
    force: Annotated[bool, typer.Option("--force")] = False,
) -> None:
    """Make an ISO image."""
    settings: Settings = context.obj or Settings()
    epoch = settings.source_date_epoch or DEFAULT_EPOCH
    target = output / f"{name}.iso"
    refuse_existing(target, force=force)
    with open_shop(context, local) as shop:
        tree = open_tree([parse_source(source, plain=SourceKind.IMAGE)], shop, Clamp(epoch, epoch))
        made = make_iso(
            Iso(root=tree, squashfs=tuple(squashfs.split()) or DEFAULT_OPTIONS, epoch=epoch), target
        )
    typer.echo(made.path)
