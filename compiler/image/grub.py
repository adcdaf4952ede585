"""GRUB's programs: cores that hold every module they need, so that nothing else has to be there.

Which forms a core has, and which module is for what: GRUB manual 2.06, "Images" and "Modules".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compiler.errors import OutsideError
from compiler.process import Command, run, which

MODULE_FOLDERS = ("/usr/lib/grub", "/usr/share/grub2", "/usr/share/grub", "/usr/lib/grub2")
"""Where Debian, openSUSE, Fedora and others have GRUB's modules, a folder for each platform."""

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
EFI = Platform("x86_64-efi", ("efi_gop", "efi_uga"))


def module_folder(platform: Platform) -> Path:
    """Find the modules of a platform; raises `OutsideError` that says which package has them."""
    for folder in MODULE_FOLDERS:
        found = Path(folder, platform.folder)
        if (found / "normal.mod").is_file():
            return found
    packages = {
        "i386-pc": ("grub-pc-bin", "grub2-pc-modules", "grub2-i386-pc"),
        "x86_64-efi": ("grub-efi-amd64-bin", "grub2-efi-x64-modules", "grub2-x86_64-efi"),
    }[platform.folder]
    raise OutsideError(
        f"GRUB's modules for {platform.folder} are missing",
        hint="apt install {}, dnf install {} or zypper install {}".format(*packages),
    )


def make_core(platform: Platform, target: Path, *, prefix: str, early: str) -> None:
    """Write a core that runs the script `early`, then the menu `grub.cfg` of the folder `prefix`.

    Raises `OutsideError` if a program or a module is missing.
    """
    script = target.with_name(f"{target.name}.cfg")
    script.write_text(early)
    argv = (
        _program(), "--directory", str(module_folder(platform)), "--format", platform.form,
        "--prefix", prefix, "--config", str(script), "--output", str(target), *platform.modules,
    )  # fmt: skip
    try:
        run(Command(argv=argv)).check()
    finally:
        script.unlink()


def _program() -> str:
    """Find grub-mkimage under the names that it has."""
    found: Sequence[OutsideError] = ()
    for name in _PROGRAMS:
        try:
            return which(name)
        except OutsideError as error:
            found = (*found, error)
    raise found[0]
