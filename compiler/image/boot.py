"""What makes a root tree one that boots: its kernel, its initial root and its boot arguments."""

from dataclasses import dataclass

from compiler.archive import Entry, Kind
from compiler.elf import ELF_HEAD, PROGRAMS, architecture_of
from compiler.errors import ImageError
from compiler.image.tree import Tree
from compiler.layout import BOOT_ARGUMENTS, GRUB_MENU, INITRD, KERNEL

_MISSING = {
    KERNEL: "a link to the kernel",
    INITRD: "a link to the initial root file system",
    BOOT_ARGUMENTS: "the kernel's arguments, from the package system/grub-config",
    GRUB_MENU: "the boot menu, from the package system/grub-config",
}
"""What is expected at a path, in words for who has to bring it."""


_ARCHITECTURE = "amd64"
"""The processors that images are made for, in the words of GOARCH."""

_TITLE = "cOS"
_OS_RELEASE = "/etc/os-release"
_LARGEST = 1 << 16
_USUAL = (KERNEL, INITRD)
_BOOT = KERNEL.rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class BootFiles:
    """Paths in a tree, links followed."""

    kernel: str
    initrd: str


def boot_files(tree: Tree, kernel: str = "", initrd: str = "") -> BootFiles:
    """Find kernel and initial root, by names in /boot if they have others than usual.

    Raises `ImageError` if the tree cannot boot.
    """
    paths = (f"{_BOOT}/{kernel}" if kernel else KERNEL, f"{_BOOT}/{initrd}" if initrd else INITRD)
    found = (need(tree, path, as_of=usual) for path, usual in zip(paths, _USUAL, strict=True))
    return BootFiles(*(each.path for each in found))


def check_architecture(tree: Tree) -> None:
    """Raise `ImageError` if a program of a system is for other processors than its image."""
    programs = filter(None, (tree.resolve(f"/{each}") for each in sorted(PROGRAMS)))
    one = next((each.path for each in programs if each.kind is Kind.FILE), None)
    for path, data in tree.files([one] if one else []):
        head = data[:ELF_HEAD] if isinstance(data, bytes) else data.read(ELF_HEAD) or b""
        found = architecture_of(head)
        if found and found != _ARCHITECTURE:
            raise ImageError(
                f"{tree.name}: /{path} is a program for {found}, and images are made for"
                f" {_ARCHITECTURE} only",
                hint=f"take the system for {_ARCHITECTURE}",
            )


def title_of(tree: Tree) -> str:
    """Return what the boot menu calls the system: GRUB_ENTRY_NAME of its os-release, or cOS."""
    found = tree.resolve(_OS_RELEASE)
    if found is None or found.kind is not Kind.FILE:
        return _TITLE
    for _, data in tree.files([found.path]):
        text = data if isinstance(data, bytes) else data.read(_LARGEST) or b""
        for line in text.decode(errors="replace").splitlines():
            name, _, value = line.partition("=")
            if name == "GRUB_ENTRY_NAME" and value.strip("\"' "):
                return value.strip("\"' ")
    return _TITLE


def need(tree: Tree, path: str, *, as_of: str = "") -> Entry:
    """Find a file of the tree through its links; raises `ImageError` that says what it is for.

    `as_of` is the usual path of what lies at another one.
    """
    found = tree.resolve(path)
    if found is None or found.kind not in {Kind.FILE, Kind.HARDLINK}:
        there = tree.get(path)
        state = "is not there" if there is None else f"leads to {there.target or 'no file'}"
        raise ImageError(
            f"{tree.name}: {path} {state}", hint=f"it has to be {_MISSING[as_of or path]}"
        )
    return tree.get(found.target) or found if found.kind is Kind.HARDLINK else found
