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
_INT32 = 4
_TEXTS = frozenset((6, 8, 9))
"""The types of a text, a list of texts, and a text in several languages."""


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
    """The tags of one package by their kind; those that are absent read as empty."""

    texts: Mapping[int, tuple[str, ...]]
    numbers: Mapping[int, tuple[int, ...]]

    def text(self, tag: Tag) -> str:
        """Return a text, or a number as text."""
        values = self.texts.get(tag) or self.numbers.get(tag) or ("",)
        return str(values[0])

    def files(self) -> tuple[str, ...]:
        """Put the paths together that the package owns, without a leading slash."""
        folders = self.texts.get(Tag.FOLDERS, ())
        numbers = self.numbers.get(Tag.FOLDER_NUMBERS, ())
        names = self.texts.get(Tag.BASE_NAMES, ())
        if len(numbers) != len(names) or max(numbers, default=-1) >= len(folders):
            raise _damaged("a file in no folder")
        return tuple(
            f"{folders[number]}{name}".lstrip("/")
            for number, name in zip(numbers, names, strict=True)
        )


def parse_header(blob: bytes) -> RpmHeader:
    """Parse a header; raises `CompilerError` for one that is damaged."""
    if len(blob) < _PREFIX.size:
        raise _damaged("too short")
    entries, size = _PREFIX.unpack_from(blob)
    start = _PREFIX.size + entries * _ENTRY.size
    if entries > _MOST_ENTRIES or size > _LARGEST_STORE or start + size > len(blob):
        raise _damaged("too short for its index")
    store = memoryview(blob)[start : start + size]
    texts: dict[int, tuple[str, ...]] = {}
    numbers: dict[int, tuple[int, ...]] = {}
    for place in range(_PREFIX.size, start, _ENTRY.size):
        tag, kind, offset, count = _ENTRY.unpack_from(blob, place)
        if tag not in _WANTED:
            continue
        if count > _MOST_VALUES:
            raise _damaged("too many values")
        if kind == _INT32:
            numbers[tag] = _numbers(store, offset, count)
        elif kind in _TEXTS:
            texts[tag] = _texts(store, offset, count)
    return RpmHeader(texts, numbers)


def _numbers(store: memoryview, offset: int, count: int) -> tuple[int, ...]:
    """Read the numbers of one tag."""
    if offset + 4 * count > len(store):
        raise _damaged("numbers outside of the store")
    return struct.unpack_from(f">{count}I", store, offset)


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
