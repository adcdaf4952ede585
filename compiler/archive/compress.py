"""Compressed files whose bytes depend on their content only, never on the number of threads."""

import fcntl
import hashlib
import lzma
import os
from bz2 import BZ2File
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Protocol, cast
from uuid import uuid4

import zstandard
from isal import igzip, isal_zlib

from compiler.archive import Compression
from compiler.archive.frames import check_frames

_LEVEL = 3
_JOB = 4 << 20
_PIECE = 1 << 18
"""Bytes that are hashed and written at once."""
_BEHIND = 16
"""How many such pieces may wait."""
_SYNCED = 64 << 20
"""Bytes after which what was written is brought to the disk."""
_MEMBER = 1 << 20
_GZIP_LEVEL = 2  # level 3 gives other bytes on processors with other instructions
_GZIP_WINDOW = 31
_ZSTD_WINDOW = 1 << 31
_MAGICS = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ\x00": "xz",
    b"BZh": "bzip2",
}

_PART = ".part"
"""What the names of unfinished files end with."""


class _Codec(Protocol):
    """Turns pieces of content into pieces of the compressed form."""

    def compress(self, data: bytes | bytearray, /) -> bytes:
        """Take a piece; returns what is ready."""

    def flush(self) -> bytes:
        """Finish; returns the rest."""


class _Plain:
    """No compression."""

    def compress(self, data: bytes | bytearray, /) -> bytes:
        return bytes(data)

    def flush(self) -> bytes:
        return b""


class _Gzip:
    """Gzip in members of 1 MiB, as pigz and Go's pgzip write it, so that threads share the work."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="gzip")
        self._limit = 2 * threads
        self._pending = bytearray()
        self._running: deque[Future[bytes]] = deque()

    def compress(self, data: bytes | bytearray, /) -> bytes:
        """Hand full members to the threads; returns what they have finished, in order."""
        self._pending += data
        ready = []
        while len(self._pending) >= _MEMBER:
            self._submit(bytes(self._pending[:_MEMBER]))
            del self._pending[:_MEMBER]
            while len(self._running) > self._limit:
                ready.append(self._running.popleft().result())
        return b"".join(ready)

    def flush(self) -> bytes:
        """Finish the last member; an empty content is one empty member."""
        if self._pending or not self._running:
            self._submit(bytes(self._pending))
        ready = b"".join(future.result() for future in self._running)
        self._pool.shutdown()
        return ready

    def _submit(self, data: bytes) -> None:
        self._running.append(self._pool.submit(_member, data))


def _member(data: bytes) -> bytes:
    """Compress one gzip member; neither name nor time is in its header."""
    codec = isal_zlib.compressobj(_GZIP_LEVEL, isal_zlib.DEFLATED, _GZIP_WINDOW)
    return codec.compress(data) + codec.flush()


def _codec(compression: Compression, threads: int) -> _Codec:
    """Choose the compressor.

    Zstandard always runs in its multi-threaded mode, with jobs of a fixed size: its output then
    does not depend on the number of threads, while that of the single-threaded mode differs.
    """
    if compression is Compression.NONE:
        return _Plain()
    if compression is Compression.GZIP:
        return _Gzip(threads)
    parameters = zstandard.ZstdCompressionParameters.from_level(
        _LEVEL, threads=threads, job_size=_JOB, write_checksum=1, write_content_size=0
    )
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    return cast("_Codec", compressor.compressobj())


class CompressedFile:
    """A sink that writes a compressed file; knows its SHA-256 and size in bytes once closed.

    A second thread hashes and writes, so that what feeds the compressor waits for no disk. With
    `sync` it brings what it wrote to the disk as it goes, and little is left to do at the end.
    """

    def __init__(
        self, file: BinaryIO, compression: Compression, threads: int, *, sync: bool = False
    ) -> None:
        self._file = file
        self._codec = _codec(compression, threads)
        self._hash = hashlib.sha256()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._pending = bytearray()
        self._running: deque[Future[None]] = deque()
        self._sync = sync
        self._synced = 0
        self.size = 0

    @property
    def sha256(self) -> str:
        """The hexadecimal SHA-256 of what was written so far."""
        return self._hash.hexdigest()

    def write(self, data: bytes | bytearray, /) -> None:
        """Compress `data` and write what is ready."""
        self._pending += self._codec.compress(data)
        if len(self._pending) >= _PIECE:
            self._put()

    def finish(self) -> None:
        """Write what is left."""
        self._pending += self._codec.flush()
        self._put()
        while self._running:
            self._running.popleft().result()

    def close(self) -> None:
        """Let the second thread end; whatever it has not begun is left out."""
        self._writer.shutdown(cancel_futures=True)

    def _put(self) -> None:
        """Hand what is pending to the second thread, which may be a few pieces behind."""
        self._running.append(self._writer.submit(self._write, self._pending))
        self._pending = bytearray()
        while len(self._running) > _BEHIND:
            self._running.popleft().result()

    def _write(self, data: bytearray) -> None:
        """Hash and write a piece, in the second thread."""
        self._hash.update(data)
        self._file.write(data)
        self.size += len(data)
        if self._sync and self.size - self._synced > _SYNCED:
            os.fdatasync(self._file.fileno())
            self._synced = self.size


@contextmanager
def compressed_file(
    path: Path, compression: Compression, *, threads: int = 0, sync: bool = True
) -> Iterator[CompressedFile]:
    """Write `path` compressed, whole or not at all; `threads` 0 means one for each core."""
    with atomic_file(path, sync=sync) as file:
        count = threads or os.cpu_count() or 1
        compressed = CompressedFile(file, compression, count, sync=sync)
        try:
            yield compressed
            compressed.finish()
        finally:
            compressed.close()


@contextmanager
def atomic_file(path: Path, *, sync: bool = True) -> Iterator[BinaryIO]:
    """Write a file beside `path` and rename it there at the end; after an error nothing is left.

    With `sync` the content is on the disk before it gets its name, and the name before this ends.
    While it is written the file is locked, so that `remove_stale` can tell what a killed process
    left behind.
    """
    with _part_of(path) as file:
        beside = Path(file.name)
        try:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    if sync:
        sync_folder(path.parent)


def _part_of(path: Path) -> BinaryIO:
    """Open a new file beside `path`, locked; once more if it was taken for stale before that."""
    while True:
        file = path.with_name(f".{path.name[:100]}.{uuid4().hex}{_PART}").open("xb")
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()


def remove_stale(folder: Path) -> None:
    """Remove the unfinished files that processes which are gone have left in `folder`."""
    for path in folder.glob(f".*{_PART}"):
        with suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder safe against a power failure."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def detect(start: bytes) -> str:
    """Tell the compression by the first bytes of a file: none, gzip, zstd, xz or bzip2."""
    return next((name for magic, name in _MAGICS.items() if start.startswith(magic)), "none")


@contextmanager
def decompressed(file: BinaryIO) -> Iterator[BinaryIO]:
    """Read a seekable file through the decompressor that its first bytes ask for.

    Whoever reads to the end learns whether the data was whole: `ArchiveError`, or what the
    libraries raise.
    """
    start = file.tell()
    kind = detect(file.read(8))
    file.seek(start)
    if kind == "none":
        yield file
    elif kind == "zstd":
        decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        with decompressor.stream_reader(file, read_across_frames=True, closefd=False) as reader:
            yield cast("BinaryIO", _WholeZstd(reader, file, start))
    else:
        with _reader(kind, file) as reader:
            yield reader


def _reader(kind: str, file: BinaryIO) -> BinaryIO:
    """Open the decompressor; several gzip members are one content."""
    if kind == "gzip":
        gunzip = cast("Callable[..., BinaryIO]", igzip.IGzipFile)
        return gunzip(fileobj=file, mode="rb")
    if kind == "xz":
        return cast("BinaryIO", lzma.LZMAFile(file))
    return cast("BinaryIO", BZ2File(file))


class _WholeZstd:
    """What zstd data unpacks to; at the end it is checked that none of the data is missing."""

    def __init__(
        self, reader: zstandard.ZstdDecompressionReader, file: BinaryIO, start: int
    ) -> None:
        self._read, self._file, self._start = reader.read, file, start

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` bytes; raises `ArchiveError` if the data ends too early."""
        data = self._read(size)
        if not data and size:
            self._file.seek(self._start)
            check_frames(self._file)
        return data
