"""Writes tar archives in one canonical form.

Headers are ustar (POSIX.1-1988), pax records (POSIX.1-2001) stand only where a value does not fit,
and nothing tells who packed, where or when.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from compiler.archive import Entry, Kind
from compiler.errors import ArchiveError

BLOCK = 512
CHUNK = 1 << 20
"""Bytes that are read or written at once."""

_SMALL = 1 << 16
_TOGETHER = 1 << 17
"""Bytes of small files that are written at once: as many as stay in the cache of a core."""
_END = bytes(2 * BLOCK)
_NAME, _PREFIX = 100, 155
_OCTAL7, _OCTAL11 = 8**7 - 1, 8**11 - 1
_MAGIC = b"ustar\x0000" + bytes(64)
_ZEROS = [bytes(length) for length in range(BLOCK)]
_WHITEOUT_MODE = 0o600
# looking a name up in an enumeration takes a part of the time that a header takes
_FILE, _FOLDER, _WHITEOUT = Kind.FILE, Kind.FOLDER, Kind.WHITEOUT


class Source(Protocol):
    """The content of a large file, read in pieces."""

    def read(self, size: int, /) -> bytes | None:
        """Return at most `size` bytes, none at the end."""

    def close(self) -> None:
        """Let go of the file."""


class Sink(Protocol):
    """What takes an archive's bytes."""

    def write(self, data: bytes | bytearray, /) -> object:
        """Take `data`, all of it; the caller may reuse the memory afterwards."""


Content = Callable[[Entry], bytes | Source]
"""Gives the content of a file: whole if it is small, to be read in pieces else."""


def folder_content(folder: Path) -> Content:
    """Read the contents of entries that `entries_of(folder)` found."""
    root = os.fspath(folder)

    def read(entry: Entry) -> bytes | Source:
        handle = os.open(f"{root}/{entry.path}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        if entry.size > _SMALL:
            return open(handle, "rb", buffering=0)  # noqa: PTH123  (closed by the writer)
        try:
            return os.read(handle, entry.size + 1)
        finally:
            os.close(handle)

    return read


def write_layer(entries: Iterable[Entry], content: Content, sink: Sink) -> None:
    """Write a layer's archive: deletions as the OCI Image Specification's whiteouts."""
    write_tar(_with_whiteouts(entries), content, sink)


def write_tar(entries: Iterable[Entry], content: Content, sink: Sink) -> None:
    """Write the archive of `entries` in the given order, with memory that no file's size changes.

    Raises `ArchiveError` for a whiteout, and for a content that has not the size of its entry.
    """
    pending: list[bytes] = []
    size = 0
    for entry in entries:
        if entry.kind is _WHITEOUT:
            raise ArchiveError(f"{entry.path}: a deletion cannot stand in a plain archive")
        pending.append(header_of(entry))
        size += BLOCK
        if entry.size and entry.kind is _FILE:
            data = content(entry)
            if isinstance(data, bytes):
                _check_size(entry, len(data))
                pending.append(data)
                size += len(data)
            else:
                _copy(entry, data, pending, sink)
            pending.append(_ZEROS[-entry.size % BLOCK])
        if size >= _TOGETHER:
            _write(pending, sink)
            size = 0
    pending.append(_END)
    _write(pending, sink)


def _write(pending: list[bytes], sink: Sink) -> None:
    """Write what is pending at once."""
    sink.write(b"".join(pending))
    pending.clear()


def _copy(entry: Entry, source: Source, pending: list[bytes], sink: Sink) -> None:
    """Write what is pending and then the content of `source`."""
    left = entry.size
    try:
        _write(pending, sink)
        while left and (data := source.read(min(left, CHUNK))):
            sink.write(data)
            left -= len(data)
        _check_size(entry, entry.size - left + len(source.read(1) or b""))
    finally:
        source.close()


def _check_size(entry: Entry, size: int) -> None:
    """Make sure that a file still has the size that its header says."""
    if size != entry.size:
        raise ArchiveError(f"{entry.path}: the file changed while it was being packed")


def _with_whiteouts(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Turn deletions into the marker files of the OCI Image Layer specification."""
    for entry in entries:
        if entry.kind is Kind.WHITEOUT:
            folder, _, name = entry.path.rpartition("/")
            path = f"{folder}/.wh.{name}" if folder else f".wh.{name}"
            yield Entry(path=path, kind=Kind.FILE, mode=_WHITEOUT_MODE)
            continue
        yield entry
        if entry.opaque:
            yield Entry(path=f"{entry.path}/.wh..wh..opq", kind=Kind.FILE, mode=_WHITEOUT_MODE)


def header_of(entry: Entry) -> bytes:
    """Return the header blocks of an entry, pax records included."""
    name = entry.path.encode("utf-8", "surrogateescape")
    if entry.kind is _FOLDER:
        name += b"/"
    records = {}
    if entry.xattrs:
        records = {b"SCHILY.xattr." + os.fsencode(key): text for key, text in entry.xattrs.items()}
    prefix = b""
    if len(name) > _NAME or not name.isascii():
        prefix, name = _split(name, records)
    size, mtime = entry.size, entry.mtime
    if size > _OCTAL11 or not 0 <= mtime <= _OCTAL11:
        size, mtime = _number(b"size", size, records), _number(b"mtime", mtime, records)
    owner, owner_sum = _owner(entry.mode, entry.uid, entry.gid)
    if entry.uid > _OCTAL7 or entry.gid > _OCTAL7:
        _number(b"uid", entry.uid, records, _OCTAL7)
        _number(b"gid", entry.gid, records, _OCTAL7)
    target = _target(entry, records) if entry.target else b""
    tail, tail_sum = _tail(entry.kind, target, entry.device, prefix)
    numbers = b"%011o\0%011o\0" % (size, mtime)
    total = sum(name) + owner_sum + sum(numbers) + tail_sum
    header = b"%b%b%b%06o\0 %b" % (name.ljust(_NAME, b"\0"), owner, numbers, total, tail)
    return _pax(name, records) + header if records else header


def _target(entry: Entry, records: dict[bytes, bytes]) -> bytes:
    """Return a link's target as it stands in the header."""
    target = os.fsencode(entry.target)
    if len(target) > _NAME or not target.isascii():
        records[b"linkpath"] = target
        return _plain(target)
    return target


def _split(name: bytes, records: dict[bytes, bytes]) -> tuple[bytes, bytes]:
    """Split a name into ustar's prefix and name; what does not fit becomes a pax record."""
    if name.isascii():
        cut = name.find(b"/", len(name) - _NAME - 1, len(name) - 1)
        if 0 < cut <= _PREFIX:
            return name[:cut], name[cut + 1 :]
    records[b"path"] = name
    return b"", _plain(name)


def _plain(name: bytes) -> bytes:
    """Cut a name down to what every reader takes, for those that do not know pax records."""
    ending = b"/" if name.endswith(b"/") else b""
    plain = name.decode("ascii", "replace").replace("\N{REPLACEMENT CHARACTER}", "_")
    return plain.encode()[: _NAME - 1].rstrip(b"/") + ending


def _number(key: bytes, value: int, records: dict[bytes, bytes], largest: int = _OCTAL11) -> int:
    """Return a number as it stands in the header: 0 if only a pax record can hold it."""
    if 0 <= value <= largest:
        return value
    records[key] = b"%d" % value
    return 0


@lru_cache(maxsize=256)
def _owner(mode: int, uid: int, gid: int) -> tuple[bytes, int]:
    """Format mode and owner, with the sum of their bytes."""
    uid, gid = (0 if number > _OCTAL7 else number for number in (uid, gid))
    data = b"%07o\0%07o\0%07o\0" % (mode, uid, gid)
    return data, sum(data)


@lru_cache(maxsize=256)
def _tail(kind: Kind, target: bytes, device: tuple[int, int], prefix: bytes) -> tuple[bytes, int]:
    """Format what follows the checksum, with the sum of its bytes and of the checksum's blanks."""
    data = b"%b%b%b%07o\0%07o\0%b" % (
        kind.value.encode(),
        target.ljust(_NAME, b"\0"),
        _MAGIC,
        *device,
        prefix.ljust(_PREFIX + 12, b"\0"),
    )
    return data, sum(data) + 8 * 0x20


def _pax(name: bytes, records: dict[bytes, bytes]) -> bytes:
    """Make the extended header that goes before a header, its records sorted by key."""
    body = b"".join(_record(key, records[key]) for key in sorted(records))
    label = (b"PaxHeaders.0/" + name.rstrip(b"/").rpartition(b"/")[2])[:_NAME]
    parts = (
        label.ljust(_NAME, b"\0"),
        b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (0o644, 0, 0, len(body), 0),
        b"x" + bytes(_NAME) + _MAGIC + b"%07o\0%07o\0" % (0, 0) + bytes(_PREFIX + 12),
    )
    total = sum(sum(part) for part in parts) + 8 * 0x20
    header = b"%b%b%06o\0 %b" % (parts[0], parts[1], total, parts[2])
    return header + body + _ZEROS[-len(body) % BLOCK]


def _record(key: bytes, value: bytes) -> bytes:
    """Format one pax record; its length counts its own digits."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest)
    while len(b"%d" % length) + len(rest) != length:
        length = len(b"%d" % length) + len(rest)
    return b"%d" % length + rest
