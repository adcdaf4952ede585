"""Carries over what a file is besides its content: owner, mode, extended attributes, times."""

import errno
import os
import stat
from pathlib import Path

_NOT_CARRIED = ("trusted.overlay.", "user.overlay.", "security.selinux")
"""The overlay's own notes, and labels that belong to the machine."""


def copy_metadata(source: Path, target: Path) -> None:
    """Give `target`, of the same kind as `source`, its owner, mode, attributes and times."""
    status = source.lstat()
    os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        target.chmod(stat.S_IMODE(status.st_mode))
    for name, value in attributes(source).items():
        os.setxattr(target, name, value, follow_symlinks=False)
    times = status.st_atime_ns, status.st_mtime_ns
    os.utime(target, ns=times, follow_symlinks=False)


def attributes(path: Path) -> dict[str, bytes]:
    """Read the extended attributes that belong to the file itself."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return {}
        raise
    kept = (name for name in names if not name.startswith(_NOT_CARRIED))
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in kept}


def same_folder(one: Path, other: Path) -> bool:
    """Tell whether two folders agree in owner, mode and attributes; their times do not count."""
    first, second = one.lstat(), other.lstat()
    return (
        stat.S_ISDIR(second.st_mode)
        and (first.st_mode, first.st_uid, first.st_gid)
        == (second.st_mode, second.st_uid, second.st_gid)
        and attributes(one) == attributes(other)
    )
