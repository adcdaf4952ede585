"""Splits an archive into several that make the same folder, unpacked one over the other.

Headers and contents are passed on byte for byte. Each part is a whole archive: it begins with the
folders above what it holds, as the archive has them, and hard links are in the part of their file.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

from compiler.archive import Kind
from compiler.archive.chunks import LARGEST, layer_numbers
from compiler.archive.compress import decompressed
from compiler.archive.members import Member, members_of, naming
from compiler.archive.pieces import END
from compiler.archive.tar import CHUNK, Sink
from compiler.archive.unpack import entry_of
from compiler.errors import ArchiveError

_MARK = ".wh."
_MOST_MEMBERS = 300_000
"""Archives with more members stay whole: their lists would take more memory than is thought of."""
_MOST_KEPT = 64 << 20
"""Archives stay whole whose lists would hold more bytes of names, and of headers of folders and
hard links: pax records may make each of them some megabytes long. So do those with more bytes of
paths of folders: a path of four kilobytes names a megabyte of them."""

_MOST_LEVELS = 200
"""Archives with deeper paths stay whole: all of a path's folders are looked at for each."""

Result = TypeVar("Result")


class Listed(NamedTuple):
    """A member of an archive: where it stands, and the bytes of its header if it has no content."""

    path: str
    kind: Kind
    target: str
    start: int
    end: int
    header: bytes


Piece = bytes | tuple[int, int]
"""Bytes, or a range of the unpacked archive."""


@dataclass(slots=True)
class _Part:
    """One part while it is put together; `has` are the folders that are in it."""

    pieces: list[Piece] = field(default_factory=list)
    has: set[str] = field(default_factory=set)

    def add(self, member: Listed, folders: dict[str, bytes]) -> None:
        """Add a member, and before it the folders above it that are not there yet."""
        for folder in _ways(member.path):
            self._add_folder(folder, folders)
        if member.kind is Kind.FOLDER:
            self._add_folder(member.path, folders)
        elif member.kind is Kind.HARDLINK:
            self.pieces.append(member.header)
        else:
            self._extend(member.start, member.end)

    def _add_folder(self, path: str, folders: dict[str, bytes]) -> None:
        """Add a folder once; one that the archive does not have stays as unpacking makes it."""
        if path not in self.has and path in folders:
            self.has.add(path)
            self.pieces.append(folders[path])

    def _extend(self, start: int, end: int) -> None:
        last = self.pieces[-1] if self.pieces else b""
        if isinstance(last, tuple) and last[1] == start:
            self.pieces[-1] = (last[0], end)
        else:
            self.pieces.append((start, end))


def parts_of(archive: Path) -> tuple[tuple[Piece, ...], ...]:
    """Decide on the parts of an archive; none if it stays whole.

    Small ones do, and such that would not come out the same: with deletions of container layers, a
    header for all members, paths that are there twice or lead through something else than folders.
    Raises `ArchiveError` for an archive that is damaged.
    """
    listed = _list(archive)
    if listed is None or listed[-1].end <= LARGEST or not _is_plain(listed):
        return ()
    parts = _parts(listed)
    return parts if len(parts) > 1 else ()


def write_parts(
    archive: Path,
    parts: Sequence[Sequence[Piece]],
    write: Callable[[Callable[[Sink], None]], Result],
) -> tuple[Result, ...]:
    """Hand each part to `write`, as a function that fills a sink; returns what that returned."""
    with archive.open("rb") as packed, naming(str(archive)), decompressed(packed) as stream:
        reader = _Reader(stream)
        return tuple(write(partial(reader.fill, part)) for part in parts)


def _list(archive: Path) -> list[Listed] | None:
    """List an archive; None for one that stays whole since its list is empty, or too large."""
    found: list[Listed] = []
    start = kept = 0
    with members_of(archive) as members:
        for member in members:
            if len(found) == _MOST_MEMBERS or not member.header:
                return None
            found.append(_listed(member, start))
            if found[-1].path.count("/") > _MOST_LEVELS:
                return None
            kept += sum(map(len, (found[-1].header, found[-1].path, found[-1].target)))
            if kept > _MOST_KEPT:
                return None
            start = member.end
    return found or None


def _listed(member: Member, start: int) -> Listed:
    entry = entry_of(member)
    header = member.header if entry.kind in (Kind.FOLDER, Kind.HARDLINK) else b""
    target = _clean(entry.target) if entry.kind is Kind.HARDLINK else ""
    return Listed(_clean(entry.path), entry.kind, target, start, member.end, header)


def _clean(path: str) -> str:
    return "/".join(part for part in path.split("/") if part not in {"", "."})


def _ways(path: str) -> Iterator[str]:
    """Name the folders above a path, from the root on, which is ""."""
    if not path:
        return
    yield ""
    at = path.find("/")
    while at >= 0:
        yield path[:at]
        at = path.find("/", at + 1)


def _above(path: str) -> str:
    """Return the path of the folder that holds a path; the root is "", also above itself."""
    return path.rpartition("/")[0]


def _is_plain(listed: Sequence[Listed]) -> bool:
    """Whether parts of an archive make what the whole of it makes, whoever unpacks them."""
    others: set[str] = set()
    for each in listed:
        parts = each.path.split("/")
        if ".." in parts or any(part.startswith(_MARK) for part in parts):
            return False
        if each.kind is Kind.HARDLINK and each.target not in others:
            return False
        if each.kind is not Kind.FOLDER:
            if each.path in others or not each.path:
                return False
            others.add(each.path)
    folders = _folders(listed)
    return folders is not None and not folders & others


def _folders(listed: Sequence[Listed]) -> set[str] | None:
    """Return all folders, with those above members; None if their paths are too long together."""
    found: set[str] = set()
    kept = 0
    for each in listed:
        path = each.path if each.kind is Kind.FOLDER else _above(each.path)
        while path not in found:
            found.add(path)
            kept += len(path)
            if kept > _MOST_KEPT:
                return None
            path = _above(path)
    return found


def _parts(listed: Sequence[Listed]) -> tuple[tuple[Piece, ...], ...]:
    """Put the parts of a plain archive together."""
    numbers = layer_numbers([(each.path, each.end - each.start) for each in listed])
    folders = {each.path: each.header for each in listed if each.kind is Kind.FOLDER}
    parts = [_Part() for _ in range(numbers[-1] + 1)]
    files: dict[str, int] = {}
    for each, number in zip(listed, numbers, strict=True):
        place = files[each.target] if each.kind is Kind.HARDLINK else number
        if each.kind is not Kind.FOLDER:
            files[each.path] = place
        parts[place].add(each, folders)
    return tuple(tuple(part.pieces) for part in parts if part.pieces)


class _Reader:
    """Reads an unpacked archive once, forward only."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._position = 0

    def fill(self, part: Sequence[Piece], sink: Sink) -> None:
        """Write a part, with the end of an archive."""
        for piece in part:
            if isinstance(piece, bytes):
                sink.write(piece)
            else:
                self._skip(piece[0])
                self._copy(piece[1], sink)
        sink.write(END)

    def _skip(self, position: int) -> None:
        while self._position < position:
            self._read(position)

    def _copy(self, end: int, sink: Sink) -> None:
        while self._position < end:
            sink.write(self._read(end))

    def _read(self, end: int) -> bytes:
        data = self._stream.read(min(CHUNK, end - self._position))
        if not data:
            raise ArchiveError("the archive ends too early")
        self._position += len(data)
        return data
