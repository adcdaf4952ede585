"""`cos disk`: disk images for hypervisors and clouds, with an installed or a recovery system."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from compiler.cli.imaging import (
    Argument,
    CloudInit,
    Date,
    Force,
    Given,
    Local,
    Name,
    NoSquash,
    Output,
    OverlayRoot,
    PlatformOption,
    Squash,
    clamp_of,
    cloud_files,
    file_name,
    root_of,
    spec_of,
)
from compiler.cli.report import reporter
from compiler.cli.settings import Settings
from compiler.cli.shop import open_shop
from compiler.errors import UsageError
from compiler.events import Noted
from compiler.image.boot import title_of
from compiler.image.boxes import feature_of
from compiler.image.disk import write_disk
from compiler.image.disk_plan import SIZES, Disk, Layout
from compiler.image.formats import Format
from compiler.image.output import refuse_existing
from compiler.image.rootfs import Shop, open_sources
from compiler.image.systems import RECOVERY_FILE
from compiler.spec.image import ImageSpec

_UNITS = {"": 1, "M": 1, "G": 1024, "T": 1024 * 1024}
_DEPLOY = "cos-reset"

app = typer.Typer(add_completion=False, help="Disk images.")


@app.command("disk")
def disk(  # noqa: PLR0913  (one parameter for each option)
    context: typer.Context,
    argument: Argument = None,
    *,
    local: Local = None,
    output: Output = Path(),
    platform: PlatformOption = "",
    name: Name = "",
    date: Date = None,
    form: Annotated[
        Format, typer.Option("--format", "-t", "--type", help="How it is written.")
    ] = Format.RAW,
    layout: Annotated[
        Layout, typer.Option("--layout", help="A whole system, or one that installs itself.")
    ] = Layout.FULL,
    size: Annotated[
        str, typer.Option("--size", help="Of the disk: MiB, or with G. [as needed]")
    ] = "",
    partition: Annotated[
        list[str], typer.Option("--partition", help="NAME=SIZE, as oem=128 or state=8G.")
    ] = [],  # noqa: B006  (read only, as all lists here)
    overlay_rootfs: OverlayRoot = [],  # noqa: B006
    cloud_init: CloudInit = [],  # noqa: B006
    deploy_command: Annotated[
        str, typer.Option("--deploy-command", help="What installs the rest. [cos-reset]")
    ] = "",
    squash_compression: Squash = [],  # noqa: B006
    squash_no_compression: NoSquash = False,
    force: Force = False,
) -> None:
    """Make a disk image of a manifest, or of a root tree; its SHA-256 is written beside it.

    It starts on BIOS and UEFI machines, one for arm64 on UEFI machines. What it has to spare grows
    with the disk at the first boot.
    """
    settings: Settings = context.obj or Settings()
    given = Given(
        argument=argument, platform=platform, name=name, date=date, overlays=overlay_rootfs,
        cloud_init=cloud_init, squash=squash_compression, uncompressed=squash_no_compression,
    )  # fmt: skip
    spec = spec_of(settings, given)
    sizes = {**spec.disk.sizes, **_sizes(partition)}
    if size:
        sizes["size"] = _mib(size, "--size")
    target = output / f"{file_name(spec, settings.source_date_epoch)}{form.suffix}"
    refuse_existing(target, force=force)
    with open_shop(context, local, spec) as shop:
        wanted = _disk_of(spec, settings, shop, (sizes, layout, form, deploy_command))
        made = write_disk(wanted, target, form, reporter(settings))
    reporter(settings)(Noted(f"{made.checksum} has its SHA-256"))
    typer.echo(made.path)


_Options = tuple[Mapping[str, int], Layout, Format, str]


def _disk_of(spec: ImageSpec, settings: Settings, shop: Shop, options: _Options) -> Disk:
    """Open everything that the disk is made of."""
    sizes, layout, form, command = options
    clamp = clamp_of(settings)
    root = root_of(spec, shop, clamp)
    named = spec.disk.recovery.get(root.processors.architecture, ())
    recovery = open_sources(named or spec.image, shop, clamp)
    feature = feature_of(root.tree) if form is Format.VAGRANT else {}
    return Disk(
        root=root.tree,
        processors=root.processors,
        layout=layout,
        recovery=recovery.tree,
        sizes=sizes,
        cloud_init=feature | cloud_files(spec, reporter(settings)),
        deploy_command=command or spec.disk.deploy_command or _DEPLOY,
        squashfs=spec.squashfs_options,
        title=spec.title or title_of(root.tree),
        origin=root.opened.origin(),
        recovery_origin=recovery.origin_of(RECOVERY_FILE),
        step=form.step,
        epoch=clamp.epoch,
    )


def _sizes(given: Sequence[str]) -> dict[str, int]:
    """Read sizes of partitions; raises `UsageError`."""
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or name not in SIZES[1:]:
            names = ", ".join(SIZES[1:])
            raise UsageError(f"--partition is NAME=SIZE with one of {names}, not {text[:40]!r}")
        found[name] = _mib(value, "--partition")
    return found


def _mib(text: str, option: str) -> int:
    """Read a size in MiB, or with a unit; raises `UsageError`."""
    number, unit = (text[:-1], text[-1:].upper()) if text[-1:].isalpha() else (text, "")
    if not re.fullmatch(r"[0-9]{1,9}", number) or unit not in _UNITS:
        raise UsageError(f"{option}: {text[:40]!r} is no size: write MiB, or a number with G")
    return int(number) * _UNITS[unit]
