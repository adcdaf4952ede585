"""Path → text; the only module that opens a spec file, and never more of it than a spec can be."""

import os
import stat
from pathlib import Path

from compiler.errors import Location, SpecError

MAX_BYTES = 16 * 1024 * 1024
"""The largest file that is read; a spec of this size is a mistake, such as a disk image's name."""


def read_text(path: str | Path) -> str:
    """Read a UTF-8 text file; raises `SpecError` for what is no such file, or too large."""
    data = _read_bytes(str(path))
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode()) + 1
        message = f"is not UTF-8 text: byte 0x{data[error.start]:02x}"
        raise SpecError(message, location=Location(str(path), line, column)) from None
    return text.removeprefix("\ufeff")


def _read_bytes(path: str) -> bytes:
    try:
        # O_NONBLOCK: a named pipe in a tree must not stop the run
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(handle)
            _check(path, status)
            return _read_all(handle, status.st_size)
        finally:
            os.close(handle)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SpecError(f"cannot be read: {reason}", location=Location(path)) from None


def _read_all(handle: int, size: int) -> bytes:
    """Read a file of `size` bytes; one that says 0 may be larger, as those of /proc are."""
    parts = []
    left = size or MAX_BYTES
    while left > 0 and (part := os.read(handle, min(left, 1 << 20))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _check(path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise SpecError("is not a regular file", location=Location(path))
    if status.st_size > MAX_BYTES:
        size, limit = status.st_size // 2**20, MAX_BYTES // 2**20
        message = f"is too large: {size} MiB, a spec may have {limit} MiB"
        raise SpecError(message, location=Location(path))
