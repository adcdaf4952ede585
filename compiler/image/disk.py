"""Disk images with an installed system, or with a recovery system that installs the rest itself.

Everything is made as files of this machine and nothing is mounted: file systems are filled where
they lie in the disk, and GRUB's first sector and core are written by `bios`.
"""

from pathlib import Path

from compiler import layout
from compiler.events import Reporter, silent
from compiler.image.bios import write_boot_code
from compiler.image.boot import boot_files, need
from compiler.image.disk_plan import Disk, divide
from compiler.image.formats import About, Format, convert
from compiler.image.gpt import identity, write_table
from compiler.image.grub import DISK_BIOS, efi_platform, find_modules, make_scripted_core
from compiler.image.output import Result, result_of, scratch_beside, write_result
from compiler.image.partitions import SCRIPT, Filler, Loader
from compiler.image.place import place_files
from compiler.image.systems import make_images
from compiler.image.tools import DISK as DISK_TOOLS
from compiler.programs import need_programs


def write_disk(disk: Disk, target: Path, form: Format, report: Reporter = silent) -> Result:
    """Write a disk image in some form, and its checksum.

    Raises as `make_disk`, and then leaves nothing.
    """
    with scratch_beside(target) as scratch, write_result(target) as new:
        if form is Format.RAW:
            make_disk(disk, new, scratch, report)
        else:
            raw = scratch / "raw"
            raw.touch()
            make_disk(disk, raw, scratch, report)
            convert(raw, new, form, About(disk.title, identity(disk.seed, form.value), disk.epoch))
    return result_of(target)


def make_disk(disk: Disk, target: Path, scratch: Path, report: Reporter = silent) -> None:
    """Write a raw disk into an empty file; `scratch` is a folder to work in.

    Raises `CompilerError` for a root that cannot boot, a size that is too small, or what fails.
    """
    need_programs(DISK_TOOLS)
    boot_files(disk.root)
    need(disk.root, layout.BOOT_ARGUMENTS)
    loader = _loader(disk, scratch)
    images = make_images(disk, scratch, report)
    slices, size = divide(disk, images)
    with target.open("r+b") as file:
        file.truncate(size)
    write_table(target, list(slices.values()), disk.seed)
    Filler(disk, target, loader, scratch).fill(images, slices)
    if loader.bios is None:
        return
    core = scratch / "core.img"
    make_scripted_core(loader.bios, core, script=SCRIPT, epoch=disk.epoch)
    write_boot_code(target, core, slices["bios"], loader.bios)


def _loader(disk: Disk, scratch: Path) -> Loader:
    """Find GRUB and its menu; raises `CompilerError` for what is not there."""
    menu, modules = scratch / "grub.cfg", scratch / "modules"
    efi = find_modules(efi_platform(disk.processors), disk.root, modules)
    bios = find_modules(DISK_BIOS, disk.root, modules) if disk.processors.bios else None
    place_files(disk.root, {need(disk.root, layout.GRUB_MENU).path: menu})
    return Loader(menu=menu.read_bytes(), bios=bios, efi=efi)
