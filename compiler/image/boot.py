"""What makes a root tree one that boots: its kernel, its initial root and its boot arguments."""

from dataclasses import dataclass

from compiler.archive import Entry, Kind
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


@dataclass(frozen=True, slots=True, kw_only=True)
class BootFiles:
    """Paths in a tree, links followed."""

    kernel: str
    initrd: str


def boot_files(tree: Tree) -> BootFiles:
    """Find kernel and initial root; raises `ImageError` if the tree cannot boot."""
    return BootFiles(kernel=need(tree, KERNEL).path, initrd=need(tree, INITRD).path)


def need(tree: Tree, path: str) -> Entry:
    """Find a file of the tree through its links; raises `ImageError` that says what it is for."""
    found = tree.resolve(path)
    if found is None or found.kind not in {Kind.FILE, Kind.HARDLINK}:
        there = tree.get(path)
        state = "is not there" if there is None else f"leads to {there.target or 'no file'}"
        raise ImageError(f"{tree.name}: {path} {state}", hint=f"it has to be {_MISSING[path]}")
    return tree.get(found.target) or found if found.kind is Kind.HARDLINK else found
