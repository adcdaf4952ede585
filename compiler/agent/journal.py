"""Journals of file systems: the boot menu reads none, so they are written out for it."""

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path

_CHECKPOINT = 0x4004662B  # EXT4_IOC_CHECKPOINT of linux/ext4.h, since Linux 5.14
_FREEZE, _THAW = 0xC0045877, 0xC0045878  # FIFREEZE, FITHAW of linux/fs.h


def checkpoint(folder: Path) -> None:
    """Write out the journal of a file system: the boot menu reads it without one.

    Raises `OSError`. Where the kernel cannot do that alone (before Linux 5.14, other file systems)
    the file system is frozen for a moment, which does it as well.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.sync()
        try:
            fcntl.ioctl(handle, _CHECKPOINT, (0).to_bytes(4, "little"))
        except OSError as error:
            if error.errno == errno.ENODEV:  # it has no journal
                return
            _freeze(handle)
    finally:
        os.close(handle)


def _freeze(handle: int) -> None:
    with suppress(OSError):
        fcntl.ioctl(handle, _FREEZE, 0)
    with suppress(OSError):
        fcntl.ioctl(handle, _THAW, 0)


def thaw(folder: Path) -> None:
    """Let a file system go on that was frozen by somebody who was killed just then."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            fcntl.ioctl(handle, _THAW, 0)
    finally:
        os.close(handle)
