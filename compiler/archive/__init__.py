"""Canonical tar archives: the same files give the same bytes, wherever and whenever packed."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

DEFAULT_EPOCH = 1577836800
"""2020-01-01 00:00 UTC, in seconds: the time given to files that a build made, unless
SOURCE_DATE_EPOCH says another (reproducible-builds.org, SOURCE_DATE_EPOCH specification)."""


class Kind(Enum):
    """What an entry is; values are the type flags of POSIX.1-1988 ustar where there is one."""

    FILE = "0"
    HARDLINK = "1"
    SYMLINK = "2"
    CHARACTER = "3"
    BLOCK = "4"
    FOLDER = "5"
    FIFO = "6"
    WHITEOUT = "w"


class Compression(Enum):
    """How an archive is compressed; the values are the words of the command line."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"

    @property
    def suffix(self) -> str:
        """Return what file names of this kind end in, after `.tar`."""
        return {"none": "", "gzip": ".gz", "zstd": ".zst"}[self.value]


_NO_XATTRS: Mapping[str, bytes] = {}


class Entry(NamedTuple):
    """One path of a layer or an archive, relative to the root and without a leading slash.

    Bytes of a name that are not UTF-8 are kept as surrogate escapes. `digest` is the SHA-256 of a
    file's content in hexadecimal, `target` that of a symbolic or hard link, `mtime` in seconds.
    An `opaque` folder hides what layers below have in it.

    A tuple, since roots have tens of thousands: a frozen dataclass takes four times as long.
    """

    path: str
    kind: Kind
    mode: int = 0
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: int = 0
    target: str = ""
    device: tuple[int, int] = (0, 0)
    xattrs: Mapping[str, bytes] = _NO_XATTRS
    digest: str = ""
    opaque: bool = False


def renamed(entry: Entry, path: str) -> Entry:
    """Return the same at another path, in half the time that `_replace` takes."""
    return Entry(path, *entry[1:])


@dataclass(frozen=True, slots=True)
class Clamp:
    """Which times are made canonical: every mtime above `after` becomes `epoch` (both in seconds).

    Times that came out of a package or an archive are older than the run and stay; what the run
    itself wrote gets `epoch`. With SOURCE_DATE_EPOCH set, both are that value.
    """

    epoch: int = DEFAULT_EPOCH
    after: int = DEFAULT_EPOCH

    def apply(self, mtime: int) -> int:
        """Return the canonical form of `mtime`."""
        return self.epoch if mtime > self.after else mtime
