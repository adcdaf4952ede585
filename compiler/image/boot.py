"""What makes a root tree one that boots: its kernel, its initial root and its boot arguments."""

from dataclasses import dataclass

from compiler.archive import Entry, Kind
from compiler.archive.tar import Source
from compiler.elf import ELF_HEAD, PROGRAMS, architecture_of
from compiler.errors import ImageError
from compiler.image.tree import Tree
from compiler.layout import BOOT_ARGUMENTS, GRUB_MENU, INITRD, KERNEL
from compiler.processors import AMD64, NAMES, Processors, processors_named

_MISSING = {
    KERNEL: "a link to the kernel",
    INITRD: "a link to the initial root file system",
    BOOT_ARGUMENTS: "the kernel's arguments, from the package system/grub-config",
    GRUB_MENU: "the boot menu, from the package system/grub-config",
}
"""What is expected at a path, in words for who has to bring it."""

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


def processors_of(tree: Tree, wanted: Processors | None = None) -> Processors:
    """Say for which processors a system is, as its own programs tell.

    Where none is there to tell, it is taken for `wanted`, or else for amd64. Raises `ImageError` if
    it is for others than wanted, or for such as no image can be made for.
    """
    path, found = _told(tree)
    told = processors_named(found)
    if not found:
        return wanted or AMD64
    if told is not None and wanted in {None, told}:
        return told
    what = f"{tree.name}: /{path} is a program for {found}"
    if wanted is not None:
        hint = f"take the system for {wanted.architecture}"
        raise ImageError(f"{what}, and the image is to be for {wanted.architecture}", hint=hint)
    hint = "take the system for one of these"
    raise ImageError(f"{what}, and images are made for {NAMES} only", hint=hint)


def _told(tree: Tree) -> tuple[str, str]:
    """Find a program that tells for which processors it is: its path, and GOARCH."""
    programs = filter(None, (tree.resolve(f"/{each}") for each in sorted(PROGRAMS)))
    for one in {each.path: each for each in programs if each.kind is Kind.FILE}:
        for path, data in tree.files([one]):
            if found := architecture_of(_head(data)):
                return path, found
    return "", ""


def _head(data: bytes | Source) -> bytes:
    if isinstance(data, bytes):
        return data[:ELF_HEAD]
    try:
        return data.read(ELF_HEAD) or b""
    finally:
        data.close()


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
