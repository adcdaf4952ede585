"""GRUB's programs: cores that hold every module they need, so that nothing else has to be there.

Which forms a core has, and which module is for what: GRUB manual 2.06, "Images" and "Modules".
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from compiler.archive import Entry, Kind
from compiler.archive.tar import Content, write_tar
from compiler.errors import OutsideError
from compiler.image.layers import MemoryLayer
from compiler.image.place import place_files
from compiler.image.tools import run_tool
from compiler.image.tree import Tree
from compiler.process import Command
from compiler.processors import Processors
from compiler.programs import which

MODULE_FOLDERS = ("/usr/lib/grub", "/usr/share/grub2", "/usr/share/grub", "/usr/lib/grub2")
"""Where Debian, openSUSE, Fedora and others have GRUB's modules, a folder for each platform."""

_A_MODULE = "normal.mod"
"""One that every platform has."""

_PROGRAMS = ("grub-mkimage", "grub2-mkimage")

_COMMON = (
    "all_video", "boot", "cat", "configfile", "echo", "ext2", "fat", "font", "gfxterm", "gzio",
    "halt", "help", "iso9660", "linux", "loadenv", "loopback", "ls", "minicmd", "normal",
    "part_gpt", "part_msdos", "probe", "reboot", "regexp", "search", "search_fs_file",
    "search_fs_uuid", "search_label", "serial", "sleep", "squash4", "terminal", "test", "true",
    "xzio",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Platform:
    """What starts a core: GRUB's name of its form, and the modules that only it has."""

    form: str
    """The argument of `grub-mkimage --format`."""
    own: tuple[str, ...]

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that a core has."""
        return (*_COMMON, *self.own)

    @property
    def folder(self) -> str:
        """The folder of its modules."""
        return self.form.removesuffix("-eltorito")


CD_BIOS = Platform("i386-pc-eltorito", ("biosdisk", "vbe", "vga"))
DISK_BIOS = Platform("i386-pc", ("biosdisk", "vbe", "vga"))
_EFI = {
    each.form: each
    for each in (
        Platform("x86_64-efi", ("efi_gop", "efi_uga")),
        Platform("arm64-efi", ("efi_gop",)),
    )
}
_PACKAGES = {
    "i386-pc": ("grub-pc-bin", "grub2-pc-modules", "grub2-i386-pc"),
    "x86_64-efi": ("grub-efi-amd64-bin", "grub2-efi-x64-modules", "grub2-x86_64-efi"),
    "arm64-efi": ("grub-efi-arm64-bin", "grub2-efi-aa64-modules", "grub2-arm64-efi"),
}
"""What has the modules, for apt, dnf and zypper."""


def efi_platform(processors: Processors) -> Platform:
    """Return what starts on EFI."""
    return _EFI[processors.efi]


@dataclass(frozen=True, slots=True)
class Modules:
    """The modules of a platform, in a folder of this machine."""

    platform: Platform
    folder: Path

    @property
    def files(self) -> list[Path]:
        """The modules, and the lists that say which module has a command."""
        return sorted(each for each in self.folder.iterdir() if each.suffix in {".mod", ".lst"})


def find_modules(
    platform: Platform, root: Tree, scratch: Path, here: Sequence[str] = MODULE_FOLDERS
) -> Modules:
    """Find the modules of a platform on this machine, or else in the root tree of the image.

    `here` are folders of this machine. What comes out of the root is placed into a folder of
    `scratch`. Raises `OutsideError` that says which package has modules.
    """
    for folder in here:
        found = Path(folder, platform.folder)
        if (found / _A_MODULE).is_file():
            return Modules(platform, found)
    for folder in MODULE_FOLDERS:
        inside = root.resolve(f"{folder}/{platform.folder}/{_A_MODULE}")
        if inside is not None:
            return Modules(platform, _placed(root, inside.path, scratch / platform.folder))
    packages = _PACKAGES[platform.folder]
    raise OutsideError(
        f"GRUB's modules for {platform.folder} are missing",
        hint="apt install {}, dnf install {} or zypper install {}, here or in the root of"
        " the image".format(*packages),
    )


def _placed(root: Tree, one: str, target: Path) -> Path:
    """Place the files of the folder that a module of a tree is in; done once only."""
    if not target.is_dir():
        folder = one.rpartition("/")[0]
        files = [
            each.path
            for each in root.entries
            if each.kind is Kind.FILE and each.path.rpartition("/")[0] == folder
        ]
        place_files(root, {path: target / path.rpartition("/")[2] for path in files})
    return target


def make_core(modules: Modules, target: Path, *, prefix: str, early: str) -> None:
    """Write a core that runs the commands `early`, then the menu `grub.cfg` of the folder `prefix`.

    The commands may be no more than simple ones. Raises `OutsideError` if a program or a module is
    missing.
    """
    script = target.with_name(f"{target.name}.cfg")
    script.write_text(early)
    try:
        _make(modules, target, ("--prefix", prefix, "--config", str(script)), ())
    finally:
        script.unlink()


def make_scripted_core(modules: Modules, target: Path, *, script: str, epoch: int) -> None:
    """Write a core that runs a whole script, which it carries as its menu in a disk of memory.

    Raises as `make_core`.
    """
    disk = target.with_name(f"{target.name}.tar")
    files = MemoryLayer("memdisk", {"boot/grub/grub.cfg": script.encode()}, epoch)
    with disk.open("wb") as file:
        Tree.of([files], epoch=epoch).write(partial(_write_archive, file))
    try:
        options = ("--memdisk", str(disk), "--prefix", "(memdisk)/boot/grub")
        _make(modules, target, options, ("memdisk", "tar"))
    finally:
        disk.unlink()


def _make(modules: Modules, target: Path, options: tuple[str, ...], more: tuple[str, ...]) -> None:
    argv = (
        _program(), "--directory", str(modules.folder), "--format", modules.platform.form,
        "--output", str(target), *options, *modules.platform.modules, *more,
    )  # fmt: skip
    run_tool(Command(argv=argv))


def _write_archive(file: BinaryIO, entries: Iterator[Entry], content: Content) -> None:
    write_tar(entries, content, file)


def _program() -> str:
    """Find grub-mkimage under the names that it has."""
    found: Sequence[OutsideError] = ()
    for name in _PROGRAMS:
        try:
            return which(name)
        except OutsideError as error:
            found = (*found, error)
    raise found[0]
