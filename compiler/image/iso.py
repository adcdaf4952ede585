"""ISO images that start from a CD and from a USB stick, on BIOS and on UEFI machines."""

import hashlib
import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, unique
from functools import partial
from pathlib import Path

from compiler.errors import UsageError
from compiler.events import Noted, Reporter, silent
from compiler.image import menu
from compiler.image.boot import boot_files
from compiler.image.efi import Fat, make_fat
from compiler.image.grub import CD_BIOS, Modules, efi_platform, find_modules, make_core
from compiler.image.output import Result, result_of, scratch_beside, write_result
from compiler.image.parallel import beside
from compiler.image.place import place_files, place_tree
from compiler.image.signed import signed_files, write_files
from compiler.image.squashfs import DEFAULT_OPTIONS, lost_attributes, make_squashfs
from compiler.image.tools import ISO as ISO_TOOLS
from compiler.image.tools import run_tool
from compiler.image.tree import Tree
from compiler.layout import Label
from compiler.process import Command
from compiler.processors import AMD64, Processors
from compiler.programs import need_programs

_CATALOG = "boot/boot.catalog"
_EL_TORITO = "boot/grub2/eltorito.img"
_UEFI = "boot/uefi.img"
_EFI_TYPE = "0xef"
_EFI_LABEL = "COS_EFI"


@unique
class Firmware(Enum):
    """What an image starts on."""

    BIOS = "bios"
    EFI = "efi"


def firmware_of(processors: Processors, wanted: Collection[Firmware]) -> frozenset[Firmware]:
    """Decide what an image starts on: all that there is, unless something is wanted.

    Raises `UsageError` for a BIOS where there is none.
    """
    if Firmware.BIOS in wanted and not processors.bios:
        raise UsageError(
            f"machines with {processors.architecture} processors have no BIOS to start from",
            hint="leave the firmware out, or say efi alone",
        )
    return frozenset(wanted or (Firmware if processors.bios else {Firmware.EFI}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Iso:
    """An ISO image to be made: of what, and with which properties.

    `files` are what is on it besides, `configured` says whether there is cloud-config among them;
    `timeout` is in seconds; `kernel` and `initrd` are names in /boot, if they are not the usual;
    without `firmware` it is for all that machines with such processors have.
    """

    root: Tree
    processors: Processors = AMD64
    uefi: Tree | None = None
    files: Tree | None = None
    label: str = Label.LIVE
    title: str = "cOS"
    extra_arguments: tuple[str, ...] = ()
    configured: bool = False
    timeout: int = 10
    kernel: str = ""
    initrd: str = ""
    firmware: frozenset[Firmware] = frozenset()
    squashfs: tuple[str, ...] = DEFAULT_OPTIONS
    epoch: int


def make_iso(iso: Iso, target: Path, report: Reporter = silent) -> Result:
    """Write an ISO image and its checksum; raises `CompilerError`, and then leaves nothing.

    Warns of attributes of the root that a squashfs cannot hold.
    """
    check_label(iso.label)
    need_programs(ISO_TOOLS)
    firmware = firmware_of(iso.processors, iso.firmware)
    boot = boot_files(iso.root, iso.kernel, iso.initrd)
    if lost := lost_attributes(iso.root.entries):
        report(Noted(lost, warning=True))
    with scratch_beside(target) as scratch:
        loaders = _loaders(iso, firmware, scratch / "modules")
        staged = scratch / "iso"
        (staged / menu.FOLDER[1:]).mkdir(parents=True)
        if iso.files is not None:
            place_tree(iso.files, staged)
        squash = partial(make_squashfs, iso.root, staged / menu.SQUASHFS[1:], iso.squashfs)
        with beside(partial(squash, epoch=iso.epoch)):
            kernel = {boot.kernel: menu.KERNEL, boot.initrd: menu.INITRD}
            place_files(iso.root, {path: staged / to[1:] for path, to in kernel.items()})
            _write_loaders(iso, loaders, staged, scratch)
        _settle(staged, iso.epoch)
        with write_result(target) as new:
            _run_xorriso(iso, loaders, staged, new)
    return result_of(target)


def check_label(label: str) -> None:
    """Raise `UsageError` for what cannot be a volume label (ISO 9660, 7.5 and 8.4.6).

    Small letters and hyphens are no d-characters, but everybody takes them; blanks would need
    quotes on the kernel's command line.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", label):
        raise UsageError(
            f"{label!r} cannot be the label of an ISO",
            hint="it has 1 to 32 letters, digits, _ and -",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaders:
    """GRUB for each firmware; None for one that the image is not for."""

    bios: Modules | None
    efi: Modules | None


def _loaders(iso: Iso, firmware: Collection[Firmware], scratch: Path) -> _Loaders:
    """Find GRUB; raises `OutsideError` if it is not there."""
    efi = efi_platform(iso.processors)
    return _Loaders(
        bios=find_modules(CD_BIOS, iso.root, scratch) if Firmware.BIOS in firmware else None,
        efi=find_modules(efi, iso.root, scratch) if Firmware.EFI in firmware else None,
    )


def _write_loaders(iso: Iso, loaders: _Loaders, staged: Path, scratch: Path) -> None:
    """Write the menu, and GRUB for each firmware."""
    arguments = menu.live_arguments(
        iso.label, iso.extra_arguments, iso.processors.serial, configured=iso.configured
    )
    text = menu.live_menu(iso.title, arguments, timeout=iso.timeout)
    (staged / menu.FOLDER[1:] / "grub.cfg").write_text(text)
    if loaders.bios is not None:
        core = staged / _EL_TORITO
        make_core(loaders.bios, core, prefix=menu.FOLDER, early=menu.EARLY)
    if loaders.efi is not None:
        _write_efi(iso, loaders.efi, staged, scratch / "uefi")


def _write_efi(iso: Iso, modules: Modules, staged: Path, folder: Path) -> None:
    """Write the EFI file system: what the specification has for it, and GRUB if that has none.

    That is the signed one of the root, if there is one. Its menu is on the ISO as well: started
    from a CD, GRUB looks there for what it was started beside.
    """
    folder.mkdir()
    if iso.uefi is not None:
        place_tree(iso.uefi, folder)
    loader = folder / iso.processors.loader
    if not loader.exists():
        scratch = folder.with_name("signed")
        signed = signed_files(iso.root, iso.processors, menu.SIGNED, scratch)
        write_files(signed, folder)
        menus = {path: data for path, data in signed.items() if path.endswith(".cfg")}
        write_files(menus, staged)
    if not loader.exists():
        loader.parent.mkdir(parents=True, exist_ok=True)
        make_core(modules, loader, prefix=menu.FOLDER, early=menu.EARLY)
    number = int.from_bytes(hashlib.sha256(loader.read_bytes()).digest()[:4])
    fat = Fat(label=_EFI_LABEL, volume_id=number)
    make_fat(fat, folder, staged / _UEFI, epoch=iso.epoch)


def _settle(staged: Path, epoch: int) -> None:
    """Give everything one time."""
    for path in (staged, *staged.rglob("*")):
        os.utime(path, (epoch, epoch), follow_symlinks=False)


def _run_xorriso(iso: Iso, loaders: _Loaders, staged: Path, target: Path) -> None:
    """Put the ISO together: hybrid, with the EFI file system as a partition of its own."""
    argv = [
        "xorriso", "-no_rc", "-as", "mkisofs", "-quiet", "-volid", iso.label,
        "-rational-rock", "-joliet", "-no-pad", "-iso-level", "3",
    ]  # fmt: skip
    if loaders.bios is not None:
        hybrid = loaders.bios.folder / "boot_hybrid.img"
        argv += [
            "-eltorito-boot", _EL_TORITO, "-no-emul-boot", "-boot-load-size", "4",
            "-boot-info-table", "--grub2-boot-info", "--grub2-mbr", str(hybrid),
            "-partition_offset", "16", "--mbr-force-bootable",
        ]  # fmt: skip
    if loaders.efi is not None:
        argv += ["-append_partition", "2", _EFI_TYPE, str(staged / _UEFI)]
        if loaders.bios is not None:
            argv += ["-eltorito-alt-boot"]
        argv += ["-e", "--interval:appended_partition_2:all::", "-no-emul-boot"]
    argv += ["-c", _CATALOG, "-o", str(target), str(staged)]
    env = {**os.environ, "SOURCE_DATE_EPOCH": str(iso.epoch), "TZ": "UTC"}
    run_tool(Command(argv=tuple(argv), env=env))
