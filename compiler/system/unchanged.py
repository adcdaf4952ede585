"""Finds out that what comes is in the root already, byte for byte, so that it can stay as it is.

An upgrade then writes what has changed, not what there is. Times and sizes alone prove nothing:
what is built reproducibly has the same time in all versions.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from compiler.archive import Entry, Kind
from compiler.archive.safety import is_settable
from compiler.archive.tar import Source
from compiler.system.lookup import Lookup

_PIECE = 1 << 18


class _Joined:
    """What was the same so far, out of the file that is there, and then the rest of what comes."""

    def __init__(self, there: BinaryIO, same: int, differing: bytes, rest: Source) -> None:
        self._there, self._same = there, same
        self._differing, self._rest = differing, rest
        there.seek(0)

    def read(self, size: int, /) -> bytes | None:
        """Read a piece."""
        if self._same:
            data = self._there.read(min(size, self._same))
            self._same -= len(data)
            return data
        data, self._differing = self._differing, b""
        return data or self._rest.read(size)

    def close(self) -> None:
        """Let go of what comes."""
        self._rest.close()


def difference(content: Source, there: BinaryIO) -> Source | None:
    """Read `content` beside a file; returns None if they are the same, else all of `content`."""
    same = 0
    while piece := content.read(_PIECE):
        if there.read(len(piece)) != piece:
            return _Joined(there, same, piece, content)
        same += len(piece)
    return None


@contextmanager
def standing_file(lookup: Lookup, place: str, entry: Entry) -> Iterator[BinaryIO | None]:
    """Open the file at a place if it is all that `entry` says but perhaps for its content."""
    status = lookup.status(place)
    if status is None or not stat.S_ISREG(status.st_mode) or not _is_described(status, entry):
        yield None
        return
    if status.st_size != entry.size or stat.S_IMODE(status.st_mode) != entry.mode:
        yield None
        return
    with lookup.open(place) as file:
        yield file if _xattrs(file.fileno()) == _wanted_xattrs(entry) else None


def is_standing_link(lookup: Lookup, place: str, entry: Entry) -> bool:
    """Whether a symbolic link is there as it comes."""
    status = lookup.status(place)
    if entry.kind is not Kind.SYMLINK or status is None or not stat.S_ISLNK(status.st_mode):
        return False
    return _is_described(status, entry) and lookup.link(place) == entry.target


def _is_described(status: os.stat_result, entry: Entry) -> bool:
    """Compare owner and time; a file with several names is none of ours to judge."""
    as_root = os.geteuid() == 0
    owner = (entry.uid, entry.gid) if as_root else (os.geteuid(), status.st_gid)
    is_owned = (status.st_uid, status.st_gid) == owner
    return is_owned and status.st_nlink == 1 and status.st_mtime_ns == entry.mtime * 10**9


def _xattrs(handle: int) -> dict[str, bytes]:
    return {name: os.getxattr(handle, name) for name in os.listxattr(handle)}


def _wanted_xattrs(entry: Entry) -> dict[str, bytes]:
    return {name: value for name, value in entry.xattrs.items() if is_settable(name)}
