"""Squashed root file systems, made straight out of a tree: nothing is unpacked for it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from compiler.archive import Entry
from compiler.archive.tar import Content, write_tar
from compiler.errors import ImageError, OutsideError
from compiler.image.tree import Tree
from compiler.process import Command, Running, feed

DEFAULT_OPTIONS = ("-b", "1024k", "-comp", "xz", "-Xbcj", "x86")
"""As cOS-toolkit 0.5 makes them; GRUB reads this form (gzip and lzo besides, never zstd)."""

NO_COMPRESSION = ("-b", "1024k", "-noI", "-noD", "-noF", "-noX")

_ROOT = ("-root-mode", "0755", "-root-uid", "0", "-root-gid", "0")
_QUIET = ("-tar", "-noappend", "-no-progress", "-quiet", "-no-exports")


def make_squashfs(
    tree: Tree, target: Path, options: Sequence[str], running: Running, *, epoch: int
) -> None:
    """Squash a tree into a new file, which is the same whenever and wherever that is done.

    Raises `ImageError` for what mksquashfs does not take, `OutsideError` for what else fails.
    """
    times = ("-mkfs-time", str(epoch), "-root-time", str(epoch))
    argv = ("mksquashfs", "-", str(target), *_QUIET, *_ROOT, *times, *options)

    def write(pipe: IO[bytes]) -> None:
        def archive(entries: Iterator[Entry], content: Content) -> None:
            write_tar(entries, content, pipe)

        tree.write(archive)

    finished = feed(Command(argv=argv), write, running)
    if finished.code and any("nvalid" in line for line in finished.tail):
        said = "; ".join(finished.tail[:2])
        raise ImageError(f"mksquashfs does not take {' '.join(options)}: {said}")
    try:
        finished.check()
    except OutsideError:
        target.unlink(missing_ok=True)
        raise
