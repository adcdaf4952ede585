"""System calls of Linux that Python does not offer (see their man pages)."""

import ctypes
import errno
import os
from pathlib import Path

_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2
_HERE = -100  # AT_FDCWD of linux/fcntl.h
_UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}

_libc = ctypes.CDLL(None, use_errno=True)


def sync_file_system(handle: int) -> None:
    """Bring everything of the file system that an open file is on to the disk (syncfs(2))."""
    if _libc.syncfs(handle) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def sync_path(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk (fsync(2))."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def exchange_names(one: Path, other: Path) -> bool:
    """Let two files have each other's name (renameat2(2)); False where that cannot be done."""
    names = os.fsencode(one), os.fsencode(other)
    if _libc.renameat2(_HERE, names[0], _HERE, names[1], _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number not in _UNSUPPORTED:
        raise OSError(number, os.strerror(number), str(one), None, str(other))
    return False


def rename_to_free_name(source: str, target: str, *, source_folder: int, folder: int) -> None:
    """Rename unless the new name is taken, which is a `FileExistsError` (renameat2(2)).

    A file system that cannot do that in one step is asked first.
    """
    names = os.fsencode(source), os.fsencode(target)
    arguments = (source_folder, names[0], folder, names[1], _RENAME_NOREPLACE)
    if _libc.renameat2(*arguments) == 0:
        return
    number = ctypes.get_errno()
    if number not in _UNSUPPORTED:
        raise OSError(number, os.strerror(number), source, None, target)
    try:
        os.lstat(target, dir_fd=folder)
    except FileNotFoundError:
        os.rename(source, target, src_dir_fd=source_folder, dst_dir_fd=folder)
    else:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
