"""`cos iso`: an ISO image that starts on BIOS and UEFI machines, from CDs and USB sticks."""

from dataclasses import replace
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
    config_layer,
    file_name,
    root_of,
    spec_of,
    tree_of,
)
from compiler.cli.report import reporter
from compiler.cli.settings import Settings
from compiler.cli.shop import open_shop
from compiler.events import Noted
from compiler.image.boot import title_of
from compiler.image.iso import Firmware, Iso, firmware_of, make_iso
from compiler.image.menu import CONFIGURATION
from compiler.image.output import refuse_existing
from compiler.image.rootfs import Shop
from compiler.image.systems import RECOVERY_FILE
from compiler.layout import Label
from compiler.spec.image import ImageSpec
from compiler.spec.source import ImageSource, SourceKind

RECOVERY_PACKAGE = "recovery/cos-img"
"""The package that holds `recovery.squashfs`."""

_TIMEOUT = 10

app = typer.Typer(add_completion=False, help="ISO images.")


@app.command("iso")
def iso(  # noqa: PLR0913  (one parameter for each option)
    context: typer.Context,
    argument: Argument = None,
    *,
    local: Local = None,
    output: Output = Path(),
    platform: PlatformOption = "",
    name: Name = "",
    date: Date = None,
    label: Annotated[str, typer.Option("--label", help="The volume label. [COS_LIVE]")] = "",
    overlay_rootfs: OverlayRoot = [],  # noqa: B006  (read only, as all lists here)
    overlay_uefi: Annotated[
        list[Path], typer.Option("--overlay-uefi", help="A folder over the EFI partition.")
    ] = [],  # noqa: B006
    overlay_iso: Annotated[
        list[Path], typer.Option("--overlay-iso", help="A folder over the files of the ISO.")
    ] = [],  # noqa: B006
    extra_cmdline: Annotated[
        list[str], typer.Option("--extra-cmdline", help="More arguments of the kernel.")
    ] = [],  # noqa: B006
    timeout: Annotated[
        int | None, typer.Option("--timeout", min=0, help="Seconds that the menu waits. [10]")
    ] = None,
    cloud_init: CloudInit = [],  # noqa: B006
    firmware: Annotated[
        list[Firmware], typer.Option("--firmware", help="What it starts on; repeatable. [all]")
    ] = [],  # noqa: B006
    recovery: Annotated[
        bool | None,
        typer.Option("--recovery/--no-recovery", help="Have the recovery system on it, or not."),
    ] = None,
    squash_compression: Squash = [],  # noqa: B006
    squash_no_compression: NoSquash = False,
    force: Force = False,
) -> None:
    """Make an ISO image of a manifest, or of a root tree; its SHA-256 is written beside it.

    It starts on BIOS and UEFI machines, from a CD or written to a USB stick; one for arm64 on UEFI
    machines.
    """
    settings: Settings = context.obj or Settings()
    given = Given(
        argument=argument, platform=platform, name=name, date=date, overlays=overlay_rootfs,
        cloud_init=cloud_init, squash=squash_compression, uncompressed=squash_no_compression,
    )  # fmt: skip
    spec = spec_of(settings, given)
    spec = replace(
        spec,
        label=label or spec.label or Label.LIVE,
        timeout=spec.timeout if timeout is None else timeout,
        overlay_uefi=spec.overlay_uefi + _folders(overlay_uefi),
        overlay_image=spec.overlay_image + _folders(overlay_iso),
        extra_arguments=(*spec.extra_arguments, *extra_cmdline),
        firmware=tuple(each.value for each in firmware) or spec.firmware,
        image=_with_recovery(spec) if recovery else spec.image,
    )
    target = output / f"{file_name(spec, settings.source_date_epoch)}.iso"
    refuse_existing(target, force=force)
    with open_shop(context, local, spec) as shop:
        wanted = _iso_of(spec, settings, shop, keeps_recovery=recovery is not False)
        made = make_iso(wanted, target, reporter(settings))
    reporter(settings)(Noted(f"{made.checksum} has its SHA-256"))
    typer.echo(made.path)


def _iso_of(spec: ImageSpec, settings: Settings, shop: Shop, *, keeps_recovery: bool) -> Iso:
    """Open everything that the ISO is made of."""
    clamp = clamp_of(settings)
    found = root_of(spec, shop, clamp)
    root = found.tree
    firmware = firmware_of(found.processors, [Firmware(each) for each in spec.firmware])
    configs = config_layer(CONFIGURATION, cloud_files(spec, reporter(settings)), clamp.epoch)
    files = tree_of((*spec.image, *spec.overlay_image), shop, clamp, configs)
    if files is not None and not keeps_recovery:
        files = files.without(RECOVERY_FILE)
    return Iso(
        root=root,
        processors=found.processors,
        uefi=tree_of((*spec.uefi, *spec.overlay_uefi), shop, clamp),
        files=files,
        label=spec.label,
        title=spec.title or title_of(root),
        extra_arguments=spec.extra_arguments,
        configured=bool(configs),
        timeout=_TIMEOUT if spec.timeout is None else spec.timeout,
        kernel=spec.kernel,
        initrd=spec.initrd,
        firmware=firmware,
        squashfs=spec.squashfs_options,
        epoch=clamp.epoch,
    )


def _folders(paths: list[Path]) -> tuple[ImageSource, ...]:
    return tuple(ImageSource(kind=SourceKind.FOLDER, value=str(each)) for each in paths)


def _with_recovery(spec: ImageSpec) -> tuple[ImageSource, ...]:
    """Add the recovery system, unless it is there already."""
    package = ImageSource(kind=SourceKind.CHANNEL, value=RECOVERY_PACKAGE)
    there = any(each.value.partition("@")[0] == RECOVERY_PACKAGE for each in spec.image)
    return spec.image if there else (*spec.image, package)
