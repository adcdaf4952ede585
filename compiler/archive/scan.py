"""Folders in overlay form as sorted entries."""

import errno
import gc
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from compiler.archive import Clamp, Entry, Kind
from compiler.errors import ArchiveError

_KINDS = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFCHR: Kind.CHARACTER,
    stat.S_IFBLK: Kind.BLOCK,
    stat.S_IFDIR: Kind.FOLDER,
    stat.S_IFIFO: Kind.FIFO,
}
_DEVICES = (Kind.CHARACTER, Kind.BLOCK)
_OVERLAY = ("trusted.overlay.", "user.overlay.")
_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")
_LOSSY = tuple(prefix + name for prefix in _OVERLAY for name in ("redirect", "metacopy"))
_NO_XATTRS: Mapping[str, bytes] = {}
_NO_DEVICE = (0, 0)
_FORMAT = 0o170000
"""The bits of a mode that say what a file is (inode(7), S_IFMT)."""


_Found = tuple[str, os.stat_result]
"""A path of the folder, and what `lstat` says about it."""


def entries_of(folder: Path, clamp: Clamp) -> list[Entry]:
    """List what is in `folder` (overlay form), sorted by the bytes of the path, without the root.

    Of several links to one file, the first is the file and the others are hard links to it. Times
    are whole seconds, clamped, and none is before 1970. Sockets are left out, as by every tar.
    Raises `ArchiveError` for what cannot be packed, and `OSError` when the folder cannot be read.
    """
    first: dict[tuple[int, int], str] = {}
    root = f"{os.fspath(folder)}/"
    found = list(_walk(root))
    found.sort(key=_order if all(path.isascii() for path, _ in found) else _bytes_order)
    with collector_paused():
        return [_entry(root, path, status, clamp, first) for path, status in found]  # fmt: skip


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keep Python from looking for garbage while many entries are made: half of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _order(found: _Found) -> str:
    """Sort by the path; its characters are its bytes."""
    return found[0]


def _bytes_order(found: _Found) -> bytes:
    """Sort by the bytes of the path."""
    return os.fsencode(found[0])


def _walk(root: str) -> Iterator[_Found]:
    """Find every path below `root`, in any order, following nothing."""
    pending = [""]
    while pending:
        parent = pending.pop()
        with os.scandir(f"{root}{parent}") as children:
            for child in children:
                path = parent + child.name
                status = _lstat(child, path)
                kind = status.st_mode & _FORMAT
                if kind == stat.S_IFDIR:
                    pending.append(f"{path}/")
                if kind != stat.S_IFSOCK:
                    yield path, status


def _lstat(child: "os.DirEntry[str]", path: str) -> os.stat_result:
    """Ask for the status of a found path; a path longer than the kernel takes is said so."""
    try:
        return child.stat(follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise ArchiveError(f"{path[:60]}…: the path is longer than 4096 bytes") from error
        raise


def _entry(
    root: str,
    path: str,
    status: os.stat_result,
    clamp: Clamp,
    first: dict[tuple[int, int], str],
) -> Entry:
    """Make the entry of a found path; `first` remembers the first path of each linked file."""
    kind = _KINDS[status.st_mode & _FORMAT]
    if kind is Kind.CHARACTER and status.st_rdev == 0:
        return Entry(path=path, kind=Kind.WHITEOUT)
    full = root + path
    target = os.readlink(full) if kind is Kind.SYMLINK else ""  # noqa: PTH115  (speed)
    if kind is Kind.FILE and status.st_nlink > 1:
        target = first.setdefault((status.st_dev, status.st_ino), path)
        kind, target = (Kind.FILE, "") if target == path else (Kind.HARDLINK, target)
    names = os.listxattr(full, follow_symlinks=False)
    opaque, xattrs = _xattrs(full, path, names) if names else (False, _NO_XATTRS)
    return Entry(
        path=path,
        kind=kind,
        mode=status.st_mode & 0o7777,
        uid=status.st_uid,
        gid=status.st_gid,
        size=status.st_size if kind is Kind.FILE else 0,
        mtime=max(0, clamp.apply(int(status.st_mtime))),
        target=target,
        device=_device(status.st_rdev) if kind in _DEVICES else _NO_DEVICE,
        xattrs=xattrs if kind is not Kind.HARDLINK else _NO_XATTRS,
        opaque=opaque,
    )


def _device(number: int) -> tuple[int, int]:
    """Split a device number into major and minor."""
    return os.major(number), os.minor(number)


def _xattrs(full: str, path: str, names: list[str]) -> tuple[bool, Mapping[str, bytes]]:
    """Return whether a folder is opaque, and the xattrs that are not overlayfs's own, by name."""
    opaque, kept = False, {}
    for name in sorted(names):
        if name in _LOSSY:
            hint = "mount overlayfs with redirect_dir=off and metacopy=off"
            raise ArchiveError(f"{path}: a part of it lies in another layer", hint=hint)
        if name in _OPAQUE:
            opaque = os.getxattr(full, name, follow_symlinks=False) == b"y"
        elif not name.startswith(_OVERLAY):
            kept[name] = os.getxattr(full, name, follow_symlinks=False)
    return opaque, kept or _NO_XATTRS
