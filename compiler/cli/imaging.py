"""What `cos iso` and `cos disk` share: what is asked for, and the trees that it is made of."""

import importlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from compiler.archive import DEFAULT_EPOCH, Clamp
from compiler.cli.images import platform_of
from compiler.cli.report import reporter
from compiler.cli.settings import Settings
from compiler.errors import Faults, ImageError, InputError, Location, SpecError, UsageError
from compiler.events import Noted, Reporter
from compiler.image.boot import boot_files, processors_of
from compiler.image.layers import MemoryLayer
from compiler.image.rootfs import Opened, Shop, open_root, open_sources
from compiler.image.squashfs import DEFAULT_OPTIONS, NO_COMPRESSION
from compiler.image.tree import Layer, Tree
from compiler.processors import NAMES, Processors, processors_named
from compiler.spec.image import ImageSpec
from compiler.spec.manifest import read_manifest
from compiler.spec.source import ImageSource, SourceKind, parse_source

MANIFEST = "manifest.yaml"
"""The manifest that is read when nothing is named, as cOS-toolkit has it."""

_CONFIG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.ya?ml")

Argument = Annotated[
    str | None,
    typer.Argument(
        metavar="[SOURCE|MANIFEST]",
        help="A manifest, or what the root is: dir:, file:, channel: or oci:. [manifest.yaml]",
    ),
]
Local = Annotated[
    Path | None,
    typer.Option("--local", help="A folder of build results; its packages win over all others."),
]
Output = Annotated[Path, typer.Option("-o", "--output", help="The folder of the result.")]
Name = Annotated[str, typer.Option("-n", "--name", help="The name of the result. [cOS]")]
Date = Annotated[
    bool | None, typer.Option("--date/--no-date", help="Put the date behind the name.")
]
OverlayRoot = Annotated[
    list[Path], typer.Option("--overlay-rootfs", help="A folder over the root; repeatable.")
]
CloudInit = Annotated[
    list[Path], typer.Option("-c", "--cloud-init", help="A cloud-config file; repeatable.")
]
Squash = Annotated[
    list[str],
    typer.Option("-x", "--squash-compression", help="Options of mksquashfs. [-comp xz …]"),
]
NoSquash = Annotated[
    bool, typer.Option("--squash-no-compression", help="Squash without compression: fast.")
]
PlatformOption = Annotated[
    str,
    typer.Option("--platform", help="OS/ARCHITECTURE that it is for. [as its sources are]"),
]
Force = Annotated[bool, typer.Option("--force", help="Replace a result that is there.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """The options that both commands have, as they were given."""

    argument: str | None
    platform: str
    name: str
    date: bool | None
    overlays: Sequence[Path]
    cloud_init: Sequence[Path]
    squash: Sequence[str]
    uncompressed: bool


def spec_of(settings: Settings, given: Given) -> ImageSpec:
    """Read what is asked for, options winning over the manifest; tells its doubts.

    Raises `UsageError` if nothing is asked for, or a platform that no image can be made for, and
    `Faults` for what is wrong in the manifest.
    """
    spec = _named(given.argument)
    platform = given.platform or spec.platform
    _wanted(platform)
    report = reporter(settings)
    for warning in spec.warnings:
        report(Noted(str(warning), warning=True))
    overlays = tuple(
        ImageSource(kind=SourceKind.FOLDER, value=str(each)) for each in given.overlays
    )
    squash = tuple(word for text in given.squash for word in text.split())
    if given.uncompressed:
        squash = NO_COMPRESSION
    return replace(
        spec,
        platform=platform,
        name=given.name or spec.name,
        date=spec.date if given.date is None else given.date,
        overlay_rootfs=spec.overlay_rootfs + overlays,
        cloud_init=spec.cloud_init + tuple(map(str, given.cloud_init)),
        squashfs_options=squash or spec.squashfs_options or DEFAULT_OPTIONS,
    )


def _wanted(platform: str) -> Processors | None:
    """Return the processors of a platform, None for none; raises `UsageError`."""
    if not platform:
        return None
    wanted = platform_of(platform)
    found = processors_named(wanted.architecture)
    if found is None or wanted.os != "linux":
        raise UsageError(f"images are made for linux on {NAMES} only, not for {wanted}")
    return found


def file_name(spec: ImageSpec, epoch: int | None) -> str:
    """Return the name of the result without its ending; the date is that of `epoch`, or today.

    Raises `UsageError` for a name that leads elsewhere.
    """
    name = spec.name or "cOS"
    if "/" in name or name.startswith("."):
        raise UsageError(f"{name!r} cannot be the name of an image")
    if spec.date:
        when = datetime.now(UTC) if epoch is None else datetime.fromtimestamp(epoch, UTC)
        name += when.strftime("%Y%m%d")
    return name


def epoch_of(settings: Settings) -> int:
    """Return the time that everything in an image gets which is made now."""
    stamp = settings.source_date_epoch
    return DEFAULT_EPOCH if stamp is None else stamp


def clamp_of(settings: Settings) -> Clamp:
    """Return what is done with times."""
    epoch = epoch_of(settings)
    return Clamp(epoch=epoch, after=epoch if settings.source_date_epoch is not None else 2**62)


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """The root of an image, and the processors that its programs are for."""

    opened: Opened
    processors: Processors

    @property
    def tree(self) -> Tree:
        """What is in it."""
        return self.opened.tree


def root_of(spec: ImageSpec, shop: Shop, clamp: Clamp) -> Root:
    """Open the root of an image.

    Raises what is wrong with its sources, and `ImageError` if it cannot boot or is for other
    processors than the image, at the place of the last of them.
    """
    opened = open_root(spec.rootfs, spec.overlay_rootfs, shop, clamp)
    try:
        boot_files(opened.tree, spec.kernel, spec.initrd)
        processors = processors_of(opened.tree, _wanted(spec.platform))
    except ImageError as error:
        error.location = error.location or spec.rootfs[-1].location
        raise
    return Root(opened=opened, processors=processors)


def tree_of(
    sources: Sequence[ImageSource], shop: Shop, clamp: Clamp, first: Sequence[Layer] = ()
) -> Tree | None:
    """Open what is beside the root; None if there is nothing."""
    return open_sources(sources, shop, clamp, first).tree if sources or first else None


def cloud_files(spec: ImageSpec, report: Reporter) -> dict[str, bytes]:
    """Read cloud-config files, by the names that they get; tells what they say in vain.

    Raises `UsageError` for names that cannot be, and `Faults` for what no machine could read.
    """
    found: dict[str, bytes] = {}
    for text in spec.cloud_init:
        path = Path(text)
        if not path.is_file():
            raise InputError(f"{path}: there is no such file")
        if not _CONFIG.fullmatch(path.name):
            hint = "machines read files whose names end in .yaml or .yml"
            raise UsageError(f"{path}: its name is none of a cloud-config file", hint=hint)
        if path.name in found:
            raise UsageError(f"{path}: another cloud-config file has the same name")
        found[path.name] = path.read_bytes()
    _check_configs(spec.cloud_init, found, report)
    return found


def _check_configs(paths: Sequence[str], data: Mapping[str, bytes], report: Reporter) -> None:
    """Read cloud-config files as machines do; raises `Faults` with all that is wrong in them."""
    if not paths:
        return
    reading = importlib.import_module("compiler.agent.cloudconfig.load")  # start-up time
    lint = importlib.import_module("compiler.agent.cloudconfig.lint").lint
    source = importlib.import_module("compiler.agent.cloudconfig.source").Source
    loaded, faults = [], []
    for path in paths:
        try:
            text = data[Path(path).name].decode("utf-8-sig")
            loaded.append(reading.load(source(path, text)))
        except UnicodeDecodeError:
            faults.append(SpecError("is not UTF-8", location=Location(path)))
        except reading.LoadFaults as error:
            faults += error.errors
    if faults:
        raise Faults.of(faults)
    notes = [note for each in loaded for note in (*each.unknown, *each.warnings)]
    for note in (*notes, *lint(loaded)):
        report(Noted(str(note), warning=True))


def config_layer(folder: str, files: Mapping[str, bytes], epoch: int) -> list[Layer]:
    """Make cloud-config files a layer of a tree; nothing if there are none."""
    placed = {f"{folder}/{name}": data for name, data in files.items()}
    return [MemoryLayer("cloud-config", placed, epoch)] if placed else []


def _named(argument: str | None) -> ImageSpec:
    """Read the manifest that is named, or make one of a source."""
    if argument is None:
        if not Path(MANIFEST).is_file():
            hint = f"name a source, such as dir:FOLDER, or a manifest; {MANIFEST} is not here"
            raise UsageError("what is the image to be made of?", hint=hint)
        argument = MANIFEST
    spec = ImageSpec(rootfs=())
    if Path(argument).is_file():
        spec = read_manifest(Path(argument))
        if not spec.rootfs:
            hint = "name them in packages.rootfs"
            raise UsageError(f"{argument}: says of no packages that make the root", hint=hint)
        return spec
    if argument.endswith((".yaml", ".yml")) and not argument.startswith(("dir:", "file:")):
        raise InputError(f"{argument}: there is no such manifest")
    return replace(spec, rootfs=(parse_source(os.fspath(argument), plain=SourceKind.IMAGE),))
