"""Decompresses small archives before they are read, in a second thread."""

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from compiler.archive.compress import decompressed

_SMALL = 8 << 20
"""Bytes, packed or not, up to which an archive is small."""
_AHEAD = 3
"""How many archives are decompressed at most before the first of them is read."""

Unpacked = Generator[bytes | None, None, None]
"""The tars of archives, one after the other."""


def unpacked_ahead(archives: Iterable[Path | None]) -> Unpacked:
    """Give the tar of each archive; None for one that is large, damaged, or not given.

    Close it when not all are taken.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="unpack")
    running: deque[Future[bytes | None]] = deque()
    try:
        for archive in archives:
            running.append(pool.submit(_unpacked, archive))
            if len(running) > _AHEAD:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _unpacked(archive: Path | None) -> bytes | None:
    """Decompress a small archive; whoever reads a damaged one piece by piece says what is wrong."""
    if archive is None:
        return None
    try:
        if archive.stat().st_size > _SMALL:
            return None
        with archive.open("rb") as packed, decompressed(packed) as stream:
            data = stream.read(_SMALL + 1)
            while len(data) <= _SMALL and (more := stream.read(_SMALL + 1 - len(data))):
                data += more
    except Exception:
        return None
    return data if len(data) <= _SMALL else None
