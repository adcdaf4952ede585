"""File systems of the EFI system partition, filled without a mount."""

import os
from dataclasses import dataclass
from pathlib import Path

from compiler.errors import UsageError
from compiler.image.tools import run_tool
from compiler.layout import MIB
from compiler.process import Command

_STEP = 4 * MIB
"""Sizes are whole multiples of this, as those that cOS-toolkit makes."""

_REST = MIB
"""Room for the file allocation tables and folders."""


def fat_size(folder: Path) -> int:
    """Return how many bytes a file system for the content of a folder has."""
    files = (path.stat().st_size for path in folder.rglob("*") if path.is_file())
    needed = sum(-(-size // 4096) * 4096 for size in files) + _REST
    return -(-needed // _STEP) * _STEP


@dataclass(frozen=True, slots=True, kw_only=True)
class Fat:
    """A FAT file system to be made; `size` in bytes, 0 means as large as the content needs."""

    label: str
    volume_id: int
    size: int = 0


def make_fat(fat: Fat, folder: Path, target: Path, *, epoch: int) -> None:
    """Write a FAT file system with the content of a folder, of the same bytes every time.

    Raises `UsageError` if the content does not fit, `OutsideError` if a program fails.
    """
    needed = fat_size(folder)
    size = fat.size or needed
    if size < needed:
        raise UsageError(f"the EFI partition needs {needed // MIB} MiB, and has {size // MIB}")
    with target.open("xb") as file:
        file.truncate(size)
    env = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "TZ": "UTC", "MTOOLS_SKIP_CHECK": "1"}
    make = ("mkfs.fat", "--invariant", "-i", f"{fat.volume_id:08x}", "-n", fat.label, str(target))
    run_tool(Command(argv=make, env=env))
    for path in sorted(folder.rglob("*")):
        os.utime(path, (epoch, epoch))
    content = [str(path) for path in sorted(folder.iterdir())]
    if content:
        copy = ("mcopy", "-s", "-m", "-Q", "-i", str(target), *content, "::")
        run_tool(Command(argv=copy, env=env))
