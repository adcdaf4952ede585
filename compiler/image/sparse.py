"""Large files with holes: zeros are neither read nor written."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from compiler.layout import MIB


def copy_sparse(source: Path, target: Path, *, offset: int = 0) -> None:
    """Copy a file into another one, from `offset` (bytes) on; holes stay as they are there.

    A target that ends before is made as long as it has to be. Raises `OSError`.
    """
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    with source.open("rb") as file, os.fdopen(handle, "wb", buffering=0) as copy:
        size = os.fstat(file.fileno()).st_size
        for start, end in data_of(file.fileno(), size):
            _copy_range(file.fileno(), copy.fileno(), (start, end), offset)
        if os.fstat(copy.fileno()).st_size < offset + size:
            os.ftruncate(copy.fileno(), offset + size)


def data_of(file: int, size: int) -> Iterator[tuple[int, int]]:
    """Give the parts of an open file that are no holes, as (start, end)."""
    at = 0
    while at < size:
        try:
            start = os.lseek(file, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole is left
                return
            raise
        at = os.lseek(file, start, os.SEEK_HOLE)
        yield start, at


def _copy_range(source: int, target: int, span: tuple[int, int], offset: int) -> None:
    start, end = span
    while start < end:
        data = os.pread(source, min(end - start, MIB), start)
        if not data:
            return
        at = start + offset
        view = memoryview(data)
        while view:
            written = os.pwrite(target, view, at)
            view = view[written:]
            at += written
        start += len(data)
