"""File systems of the EFI system partition, filled without a mount."""

import os
from pathlib import Path

from compiler.layout import MIB
from compiler.process import Command, run

_STEP = 4 * MIB
"""Sizes are whole multiples of this, as those that cOS-toolkit makes."""

_REST = MIB
"""Room for the file allocation tables and folders."""


def fat_size(folder: Path) -> int:
    """Return how many bytes a file system for the content of a folder has."""
    files = (path.stat().st_size for path in folder.rglob("*") if path.is_file())
    needed = sum(-(-size // 4096) * 4096 for size in files) + _REST
    return -(-needed // _STEP) * _STEP


def make_fat(folder: Path, target: Path, *, label: str, volume_id: int, epoch: int) -> None:
    """Write a FAT file system with the content of a folder, of the same bytes every time.

    Raises `OutsideError` if a program is missing or fails.
    """
    with target.open("xb") as file:
        file.truncate(fat_size(folder))
    env = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "TZ": "UTC", "MTOOLS_SKIP_CHECK": "1"}
    make = ("mkfs.fat", "--invariant", "-i", f"{volume_id:08x}", "-n", label, str(target))
    run(Command(argv=make, env=env)).check()
    for path in sorted(folder.rglob("*")):
        os.utime(path, (epoch, epoch))
    content = [str(path) for path in sorted(folder.iterdir())]
    if content:
        copy = ("mcopy", "-s", "-m", "-Q", "-i", str(target), *content, "::")
        run(Command(argv=copy, env=env)).check()
