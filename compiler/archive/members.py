"""Reads the members of tar archives that nobody vouches for, one after the other."""

import struct
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from lzma import LZMAError
from pathlib import Path
from typing import BinaryIO, cast

from isal.igzip_lib import IsalError
from zstandard import ZstdError

from compiler.archive.compress import decompressed
from compiler.archive.header import plain_header
from compiler.archive.tar import Source
from compiler.errors import ArchiveError

_LARGEST_HEADER = 8 << 20
_PIECE = 1 << 20
_XATTR = "SCHILY.xattr."
_SHORT = 100
_TOO_SHORT = "the archive ends too early"
_DAMAGE = (
    tarfile.TarError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    RecursionError,
    EOFError,
    struct.error,
    LZMAError,
    cast("type[Exception]", IsalError),
    ZstdError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much an archive may unpack to: bytes in all, members, and bytes for each packed byte.

    The ratio counts only beyond the first `ratio_after` bytes: zeros are small when packed.
    """

    size: int = 256 << 30
    members: int = 10_000_000
    ratio: int = 20_000
    ratio_after: int = 4 << 30


@dataclass(frozen=True, slots=True)
class Member:
    """A member: its header, and its content, which can be read once, before the next member.

    `header` are the bytes of all blocks before the content, as they stand in the archive; none
    after a header for all members. `end` is the place in the unpacked archive after its padding.
    """

    info: tarfile.TarInfo
    content: Source | None
    header: bytes = b""
    end: int = 0

    @property
    def xattrs(self) -> dict[str, bytes]:
        """The extended attributes, in the records that GNU tar, Go and we write."""
        return {
            key.removeprefix(_XATTR): value.encode("utf-8", "surrogateescape")
            for key, value in self.info.pax_headers.items()
            if key.startswith(_XATTR)
        }


class _Forward:
    """A stream that only goes forward, and gives no more than the limits allow."""

    def __init__(self, stream: BinaryIO, packed: BinaryIO, limits: Limits) -> None:
        self._stream, self._packed, self._limits = stream, packed, limits
        self._position = 0
        self._back = b""
        self._heard: list[bytes] | None = None
        self._harmless = min(limits.size, limits.ratio_after)

    def tell(self) -> int:
        """Return the place in the unpacked archive, in bytes."""
        return self._position

    def seek(self, position: int) -> None:
        """Skip to a place further on."""
        if position < self._position:
            raise ArchiveError("a member points backwards")
        while self._position < position and self.read(min(_PIECE, position - self._position)):
            pass

    def read(self, size: int) -> bytes:
        """Return `size` bytes, fewer only at the end."""
        if not 0 <= size <= _LARGEST_HEADER:
            raise ArchiveError("a header is larger than 8 MiB")
        data = b"" if self._back else self._stream.read(size)
        if len(data) < size:
            data = self._gather(data, size)
        self._position += len(data)
        if self._position > self._harmless:
            self._check()
        if self._heard is not None:
            self._heard.append(data)
        return data

    def listen(self) -> None:
        """Keep what is read from now on, for `heard`."""
        self._heard = []

    def heard(self) -> bytes:
        """Return what was read since `listen`."""
        data, self._heard = b"".join(self._heard or ()), None
        return data

    def give_back(self, data: bytes) -> None:
        """Let what was read last be read once more."""
        self._back = data
        self._position -= len(data)

    def _gather(self, data: bytes, size: int) -> bytes:
        """Read on until there are `size` bytes, or no more."""
        parts = [data, self._back[:size]]
        size -= len(data) + len(parts[1])
        self._back = self._back[len(parts[1]) :]
        while size and (more := self._stream.read(size)):
            parts.append(more)
            size -= len(more)
        return b"".join(parts)

    def _check(self) -> None:
        """Stop an archive that unpacks to more than it may."""
        limits = self._limits
        if self._position > limits.size:
            raise ArchiveError(f"unpacks to more than {limits.size} bytes")
        if self._position > limits.ratio_after:
            packed = max(1, self._packed.tell())
            if self._position > packed * limits.ratio:
                raise ArchiveError(f"unpacks to more than {limits.ratio} times its size")


class _StrictInfo(tarfile.TarInfo):
    """A header that says so when it is damaged; the library would take it for the end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_StrictInfo":
        """Parse a header; raises `ArchiveError` if it is cut off or damaged."""
        if len(buf) < tarfile.BLOCKSIZE:
            raise ArchiveError(_TOO_SHORT)
        try:
            info = super().frombuf(buf, encoding, errors)
        except tarfile.InvalidHeaderError as error:  # type: ignore[attr-defined]  # missing stub
            raise ArchiveError(f"a header is damaged: {error}") from error
        if info.isdir() and not info.name and buf[:1] == b"/":
            info.name = "."  # the library cuts off the slash, and with it the name of the root
        return info


@contextmanager
def members_of(
    path: Path, limits: Limits | None = None, *, unpacked: bytes | None = None
) -> Iterator[Iterator[Member]]:
    """Open an archive of any compression and give its members in order.

    `unpacked` is the tar itself if it is known already. Raises `ArchiveError`, which names the
    archive, for whatever is wrong with it.
    """
    limits = limits or Limits()
    if unpacked is not None:
        with naming(str(path)), BytesIO(unpacked) as stream:
            yield _members(_Forward(stream, stream, limits), limits.members)
        return
    with path.open("rb") as packed, naming(str(path)), decompressed(packed) as stream:
        yield _members(_Forward(stream, packed, limits), limits.members)


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Put the name of an archive or a member before what is found wrong with it."""
    try:
        yield
    except ArchiveError as error:
        raise ArchiveError(f"{name}: {error.message}", hint=error.hint) from error
    except _DAMAGE as error:
        cut = "unexpected end of data" in str(error)  # the library's words for it
        words = _TOO_SHORT if cut else f"damaged: {error}"
        raise ArchiveError(f"{name}: {words}") from error
    except OSError as error:
        if error.errno is None:  # gzip and bz2 say so that their data is damaged
            raise ArchiveError(f"{name}: damaged: {error}") from error
        raise


def _members(stream: _Forward, largest: int) -> Iterator[Member]:
    """Parse the headers; the library keeps no member that was given already."""
    stream.listen()
    archive = tarfile.TarFile(
        fileobj=cast("BinaryIO", stream),
        mode="r",
        tarinfo=_StrictInfo,
        encoding="utf-8",
        errors="surrogateescape",
    )
    count = 0
    info = archive.next()  # the library has parsed it when it was opened
    header = stream.heard()
    while info is not None:
        archive.members.clear()  # type: ignore[attr-defined]  # not in the stubs, see CPython's docs
        count += 1
        if count > largest:
            raise ArchiveError(f"has more than {largest} members")
        if not info.name or "\0" in info.name:
            raise ArchiveError(f"member {count}: its name is empty or has a NUL byte")
        if info.size < 0:
            raise ArchiveError(f"{short(info.name)}: its size is negative")
        header = b"" if archive.pax_headers else header
        yield Member(info, _content(archive, stream, info), header, archive.offset)
        info, header = _next(archive, stream, info)
    while stream.read(_PIECE):
        pass  # only at the end of its data does a decompressor compare the checksum


def _next(
    archive: tarfile.TarFile, stream: _Forward, last: tarfile.TarInfo
) -> tuple[tarfile.TarInfo | None, bytes]:
    """Parse the header after that of `last`, by ourselves if it is plain; also give its bytes.

    The library parses all others, and all once a header for all members was seen, as it applies.
    """
    gap = archive.offset - stream.tell()
    if not 0 <= gap < tarfile.BLOCKSIZE:
        stream.seek(archive.offset)
        gap = 0
    block = stream.read(gap + tarfile.BLOCKSIZE)[gap:]
    if not block and stream.tell() in {archive.offset, _end_of(last, archive.offset)}:
        return None, b""
    if len(block) < tarfile.BLOCKSIZE:
        raise ArchiveError(_TOO_SHORT)
    info = None if archive.pax_headers else plain_header(block)
    if info is None:
        stream.give_back(block)
        stream.listen()
        return archive.next(), stream.heard()
    archive.offset = info.offset_data = stream.tell()
    if info.type == tarfile.REGTYPE:
        archive.offset += -(-info.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    return info, block


def _end_of(info: tarfile.TarInfo, offset: int) -> int:
    """Return where an archive may end: where a member does, the next one being at `offset`.

    Its last block should be filled up, and two blocks of zeros should follow (POSIX.1-2001, pax).
    Some programs leave that out (`umoci insert`), and Go's library, which reads layers, takes it.
    """
    return info.offset_data + info.size if info.isreg() and not info.issparse() else offset


def _content(archive: tarfile.TarFile, stream: _Forward, info: tarfile.TarInfo) -> Source | None:
    """Open the content of a file; the library puts sparse ones together."""
    if not info.isreg():
        return None
    if info.issparse():
        return cast("Source", archive.extractfile(info))
    return _Part(stream, info.size)


class _Part:
    """The content of one member."""

    def __init__(self, stream: _Forward, size: int) -> None:
        self._stream, self._left = stream, size

    def read(self, size: int, /) -> bytes:
        """Return a piece; raises `ArchiveError` if the archive ends in it."""
        wanted = min(size, self._left)
        if not wanted:
            return b""
        data = self._stream.read(wanted)
        if len(data) < wanted:
            raise ArchiveError(_TOO_SHORT)
        self._left -= wanted
        return data

    def close(self) -> None:
        """Leave the rest to be skipped."""


def short(name: str) -> str:
    """Cut a name that is too long for a message."""
    return name if len(name) <= _SHORT else f"{name[:60]}…"
