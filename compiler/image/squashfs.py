"""Squashed root file systems, made straight out of a tree: nothing is unpacked for it."""

import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from compiler.archive import Entry, Kind
from compiler.archive.members import short
from compiler.archive.tar import Content, write_tar
from compiler.errors import ImageError, OutsideError
from compiler.image.tools import told
from compiler.image.tree import Tree
from compiler.process import Command, Running, feed

DEFAULT_OPTIONS = ("-b", "1024k", "-comp", "xz", "-Xbcj", "x86")
"""As cOS-toolkit 0.5 makes them; GRUB reads this form (gzip and lzo besides, never zstd)."""

NO_COMPRESSION = ("-b", "1024k", "-noI", "-noD", "-noF", "-noX")

GRUB_READS = frozenset({"gzip", "lzo", "xz"})
"""Compressions that GRUB's module squash4 knows (GRUB 2.06 and 2.12)."""

MAGIC = b"hsqs"
_SUPERBLOCK = 96
_UNCOMPRESSED = 0x8000
_FOLDERS = frozenset({1, 8})
_COMPRESSIONS = {1: "gzip", 2: "lzma", 3: "lzo", 4: "xz", 5: "lz4", 6: "zstd"}
"""As squashfs_fs.h of Linux numbers them."""

_HELD = ("user.", "trusted.", "security.")
"""Prefixes of the extended attributes that a squashfs can hold (squashfs_fs.h of Linux); mksquashfs
leaves out all others, POSIX ACLs among them, and succeeds."""

_NAMED = 5
"""How many paths a warning names."""

_PATCHABLE = ("-noI",)
"""Inodes stay uncompressed, so that the time of the root can be set afterwards: mksquashfs gives
it the time of now when it reads an archive (seen with 4.5.1, in which -root-time does nothing)."""

_ROOT = ("-root-mode", "0755", "-root-uid", "0", "-root-gid", "0")
_QUIET = ("-tar", "-noappend", "-no-progress", "-quiet", "-no-exports")


def make_squashfs(
    tree: Tree, target: Path, options: Sequence[str], running: Running, *, epoch: int
) -> None:
    """Squash a tree into a new file, which is the same whenever and wherever that is done.

    Raises `ImageError` for what mksquashfs does not take, `OutsideError` for what else fails.
    """
    times = ("-mkfs-time", str(epoch), "-root-time", str(epoch))
    argv = (
        *_as_root(),
        "mksquashfs",
        "-",
        str(target),
        *_QUIET,
        *_ROOT,
        *times,
        *options,
        *_PATCHABLE,
    )

    def write(pipe: IO[bytes]) -> None:
        def archive(entries: Iterator[Entry], content: Content) -> None:
            write_tar(entries, content, pipe)

        tree.write(archive)

    finished = feed(Command(argv=argv, env=_without_epoch()), write, running)
    if finished.code and any("nvalid" in line for line in finished.tail):
        said = "; ".join(finished.tail[:2])
        raise ImageError(f"mksquashfs does not take {' '.join(options)}: {said}")
    try:
        finished.check()
    except OutsideError as error:
        target.unlink(missing_ok=True)
        raise told(error) from None
    _set_root_time(target, epoch)


def lost_attributes(entries: Iterable[Entry]) -> str:
    """Say in a warning which attributes a squashfs of these entries is without; "" if of none."""
    lost: dict[str, list[str]] = {}
    for entry in entries:
        names = [name for name in entry.xattrs if not name.startswith(_HELD)]
        if names and entry.kind is not Kind.HARDLINK:
            lost[entry.path] = names
    if not lost:
        return ""
    paths = sorted(lost, key=os.fsencode)
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    kinds = sorted({short(name) for names in lost.values() for name in names})
    return (
        f"the squashed system loses {', '.join(kinds[:_NAMED])} of"
        f" {', '.join(map(short, paths[:_NAMED]))}{more}, which a squashfs cannot hold"
        " (give these rights by owner and mode, or set them in a stage of the boot)"
    )


def _as_root() -> tuple[str, ...]:
    """Return what goes before mksquashfs for those who are not root: the root would be theirs.

    When it reads an archive it gives the root to who runs it, whatever -root-uid says (4.5.1).
    """
    return () if os.geteuid() == 0 else ("unshare", "--map-root-user", "--")


def _without_epoch() -> Mapping[str, str]:
    """Return our environment without what mksquashfs does not take besides its options."""
    return {name: text for name, text in os.environ.items() if name != "SOURCE_DATE_EPOCH"}


def _set_root_time(image: Path, epoch: int) -> None:
    """Set the time of the root folder, in seconds.

    Format: Linux, Documentation/filesystems/squashfs.rst and fs/squashfs/squashfs_fs.h: bytes 32 to
    39 of the superblock say where the root's inode is (block of the inode table, offset in it), 64
    to 71 where that table begins; a block has a length of two bytes before it, whose highest bit
    says that it is not compressed; an inode begins with type, mode, owner and group of two bytes
    each, and then its time in four. Raises `OutsideError` if mksquashfs wrote something else.
    """
    with image.open("r+b") as file:
        superblock = file.read(_SUPERBLOCK)
        (root,) = struct.unpack_from("<Q", superblock, 32)
        (table,) = struct.unpack_from("<Q", superblock, 64)
        block, offset = table + (root >> 16), root & 0xFFFF
        file.seek(block)
        (length,) = struct.unpack("<H", file.read(2))
        file.seek(block + 2 + offset)
        (kind,) = struct.unpack("<H", file.read(2))
        if not length & _UNCOMPRESSED or kind not in _FOLDERS:
            raise OutsideError(f"{image}: mksquashfs wrote no root that is known")
        file.seek(block + 2 + offset + 8)
        file.write(struct.pack("<I", epoch))


def compression_of(image: Path) -> str:
    """Tell how a squashfs is compressed; raises `ImageError` for a file that is none."""
    with image.open("rb") as file:
        superblock = file.read(_SUPERBLOCK)
    if len(superblock) < _SUPERBLOCK or superblock[:4] != MAGIC:
        raise ImageError(f"{image}: is no squashfs")
    (number,) = struct.unpack_from("<H", superblock, 20)
    return _COMPRESSIONS.get(number, f"unknown ({number})")
