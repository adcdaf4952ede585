"""Parses a header of rpm as its databases hold it: an index of tags, and the store behind it.

The format: rpm's documentation, "RPM v4 header structure". All numbers are big-endian. Nobody
vouches for the bytes: every place is checked before it is read.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from compiler.errors import CompilerError

_MOST_ENTRIES = 1 << 16
_LARGEST_STORE = 1 << 28
_MOST_VALUES = 4_000_000
_PREFIX = struct.Struct(">II")
_ENTRY = struct.Struct(">IIII")
_INT32, _STRING, _STRINGS, _TRANSLATED = 4, 6, 8, 9


class Tag(IntEnum):
    """The tags that are read here, by their numbers in rpm's `rpmtag.h`."""

    NAME = 1000
    VERSION = 1001
    RELEASE = 1002
    EPOCH = 1003
    VENDOR = 1011
    LICENSE = 1014
    ARCHITECTURE = 1022
    SOURCE_PACKAGE = 1044
    FOLDER_NUMBERS = 1116
    BASE_NAMES = 1117
    FOLDERS = 1118


_WANTED = frozenset(Tag)


@dataclass(frozen=True, slots=True)
class RpmHeader:
    """The tags of one package; those that are absent read as empty."""

    values: Mapping[int, tuple[str, ...] | tuple[int, ...]]

    def text(self, tag: Tag) -> str:
        """Return a text."""
        values = self.values.get(tag, ())
        return str(values[0]) if values else ""

    def files(self) -> tuple[str, ...]:
        """Put the paths together that the package owns, without a leading slash."""
        folders = self.values.get(Tag.FOLDERS, ())
        numbers = self.values.get(Tag.FOLDER_NUMBERS, ())
        names = self.values.get(Tag.BASE_NAMES, ())
        if len(numbers) != len(names):
            raise _damaged("files without folders")
        try:
            return tuple(
                f"{folders[int(number)]}{name}".lstrip("/")
                for number, name in zip(numbers, names, strict=True)
            )
        except IndexError as error:
            raise _damaged("a file in no folder") from error


def parse_header(blob: bytes) -> RpmHeader:
    """Parse a header; raises `CompilerError` for one that is damaged."""
    if len(blob) < _PREFIX.size:
        raise _damaged("too short")
    entries, size = _PREFIX.unpack_from(blob)
    start = _PREFIX.size + entries * _ENTRY.size
    if entries > _MOST_ENTRIES or size > _LARGEST_STORE or start + size > len(blob):
        raise _damaged("too short for its index")
    store = memoryview(blob)[start : start + size]
    values: dict[int, tuple[str, ...] | tuple[int, ...]] = {}
    for number in range(entries):
        tag, kind, offset, count = _ENTRY.unpack_from(blob, _PREFIX.size + number * _ENTRY.size)
        if tag in _WANTED:
            values[tag] = _values(store, kind, offset, count)
    return RpmHeader(values)


def _values(
    store: memoryview, kind: int, offset: int, count: int
) -> tuple[str, ...] | tuple[int, ...]:
    """Read the values of one tag."""
    if count > _MOST_VALUES:
        raise _damaged("too many values")
    if kind == _INT32:
        if offset + 4 * count > len(store):
            raise _damaged("numbers outside of the store")
        return struct.unpack_from(f">{count}i", store, offset)
    if kind in {_STRING, _STRINGS, _TRANSLATED}:
        return _texts(store, offset, 1 if kind == _STRING else count)
    raise _damaged(f"a value of type {kind}")


def _texts(store: memoryview, offset: int, count: int) -> tuple[str, ...]:
    """Read texts, each of which ends with a NUL."""
    # the texts of one tag lie one behind the other: one search for the end of all of them
    parts = bytes(store[offset:]).split(b"\0", count)
    if len(parts) <= count:
        raise _damaged("a text outside of the store")
    return tuple(each.decode("utf-8", "surrogateescape") for each in parts[:count])


def _damaged(what: str) -> CompilerError:
    """Say that a header cannot be read."""
    return CompilerError(f"a package's header in the rpm database is damaged: {what}")
