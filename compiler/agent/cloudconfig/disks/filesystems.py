"""File systems: how they are made with a label, and how they grow."""

from collections.abc import Mapping
from dataclasses import dataclass

from compiler.errors import CompilerError

DEFAULT = "ext2"
NONE = frozenset(("-", "none", "noformat"))
"""The words for a partition that is not formatted."""


@dataclass(frozen=True)
class Kind:
    """A file system: its program, the flag of the label, and how long a label may be."""

    program: str
    label: str
    longest: int
    offset: str = ""
    """How the program is told that it begins in the middle of a file, if it can be told."""


_EXT = ("ext2", "ext3", "ext4")
_FAT = ("vfat", "fat", "fat16", "fat32")
_KINDS: Mapping[str, Kind] = {
    **{each: Kind(f"mkfs.{each}", "-L", 16, "ext") for each in _EXT},
    **dict.fromkeys(_FAT, Kind("mkfs.vfat", "-n", 11)),
    "xfs": Kind("mkfs.xfs", "-L", 12),
    "btrfs": Kind("mkfs.btrfs", "-L", 255),
    "swap": Kind("mkswap", "-L", 15),
}


def kind_of(name: str, label: str) -> Kind | None:
    """Find a file system, None for no formatting; raises `CompilerError` if it takes no such label.

    A label that is too long is found before anything is changed.
    """
    if name in NONE:
        return None
    kind = _KINDS.get(name or DEFAULT)
    if kind is None:
        raise CompilerError(f"unknown file system {name!r}", hint=f"one of {', '.join(_KINDS)}")
    if len(label) > kind.longest:
        message = (
            f"the {name or DEFAULT} label {label!r} cannot be longer than {kind.longest} chars"
        )
        raise CompilerError(message)
    return kind


def made(kind: Kind, label: str, node: str) -> tuple[str, ...]:
    """Write the call that makes a file system."""
    return (kind.program, *((kind.label, label) if label else ()), node)


def grown(kind: str, node: str, mounted_at: str) -> tuple[tuple[str, ...], ...]:
    """Write the calls that let a file system fill its partition; raises `CompilerError`."""
    if kind in _EXT:
        check = () if mounted_at else (("e2fsck", "-fy", node),)
        return (*check, ("resize2fs", node))
    if kind in {"xfs", "btrfs"} and not mounted_at:
        raise CompilerError(f"{node}: {kind} grows only while it is mounted")
    if kind == "xfs":
        return (("xfs_growfs", mounted_at),)
    if kind == "btrfs":
        return (("btrfs", "filesystem", "resize", "max", mounted_at),)
    raise CompilerError(f"{node}: a file system of type {kind!r} cannot grow")
