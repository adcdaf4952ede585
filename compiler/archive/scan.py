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
# looking a name up in an enumeration takes as long as a system call
_FILE, _HARDLINK, _SYMLINK, _CHARACTER = Kind.FILE, Kind.HARDLINK, Kind.SYMLINK, Kind.CHARACTER
_OVERLAY = ("trusted.overlay.", "user.overlay.")
_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")
_LOSSY = tuple(prefix + name for prefix in _OVERLAY for name in ("redirect", "metacopy"))
_NO_XATTRS: Mapping[str, bytes] = {}
_NO_DEVICE = (0, 0)
_FORMAT = 0o170000
"""The bits of a mode that say what a file is (inode(7), S_IFMT)."""


_Found = tuple[str, str, os.stat_result | None]
"""Sort key, path, and what `lstat` says about it; nothing for what is below a folder."""


def entries_of(folder: Path, clamp: Clamp) -> list[Entry]:
    """List what `stream_entries` gives, at once."""
    with collector_paused():
        return list(stream_entries(folder, clamp))


def stream_entries(folder: Path, clamp: Clamp) -> Iterator[Entry]:
    """Go through `folder` (overlay form), sorted by the bytes of the path, without the root.

    Of several links to one file, the first is the file and the others are hard links to it. Times
    are whole seconds, clamped, and none is before 1970. Sockets are left out, as by every tar.
    Raises `ArchiveError` for what cannot be packed, and `OSError` when the folder cannot be read.
    """
    first: dict[tuple[int, int], str] = {}
    root = f"{os.fspath(folder)}/"
    for path, status in _walk(root):
        try:
            entry = _entry(root, path, status, clamp, first)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise ArchiveError(f"{path[:60]}…: the path is longer than 4096 bytes") from error
            raise
        yield entry


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


def _walk(root: str) -> Iterator[tuple[str, os.stat_result]]:
    """Find every path below `root`, sorted by its bytes, following nothing."""
    stack = [iter(_children(root, ""))]
    while stack:
        for _, path, status in stack[-1]:
            if status is None:
                stack.append(iter(_children(root, path)))
                break
            yield path, status
        else:
            stack.pop()


def _children(root: str, parent: str) -> list[_Found]:
    """List a folder in the order of whole paths: `a`, `a-b`, and only then what is below `a`."""
    found: list[_Found] = []
    keep = found.append
    handle = os.open(f"{root}{parent}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with os.scandir(handle) as children:  # by a handle, `stat` needs not walk the whole path
            for child in children:
                name = child.name
                path = parent + name
                status = child.stat(follow_symlinks=False)
                kind = status.st_mode & _FORMAT
                if kind == stat.S_IFDIR:
                    keep((f"{name}/", f"{path}/", None))
                if kind != stat.S_IFSOCK:
                    keep((name, path, status))
    finally:
        os.close(handle)
    if all(name.isascii() for name, _, _ in found):
        found.sort()  # no two keys are equal: nothing else is ever compared
    else:
        found.sort(key=_bytes_order)
    return found


def _bytes_order(found: _Found) -> bytes:
    """Sort by the bytes of the name."""
    return os.fsencode(found[0])


def _entry(
    root: str,
    path: str,
    status: os.stat_result,
    clamp: Clamp,
    first: dict[tuple[int, int], str],
) -> Entry:
    """Make the entry of a found path; `first` remembers the first path of each linked file."""
    mode = status.st_mode
    kind = _KINDS[mode & _FORMAT]
    if kind is _CHARACTER and status.st_rdev == 0:
        return Entry(path=path, kind=Kind.WHITEOUT)
    full = root + path
    target = ""
    if kind is _SYMLINK:
        target = os.readlink(full)  # noqa: PTH115  (speed)
    elif kind is _FILE and status.st_nlink > 1:
        target = first.setdefault((status.st_dev, status.st_ino), path)
        kind, target = (_FILE, "") if target == path else (_HARDLINK, target)
    names = os.listxattr(full, follow_symlinks=False)
    opaque, xattrs = _xattrs(full, path, names) if names else (False, _NO_XATTRS)
    return Entry(
        path=path,
        kind=kind,
        mode=mode & 0o7777,
        uid=status.st_uid,
        gid=status.st_gid,
        size=status.st_size if kind is _FILE else 0,
        mtime=max(0, clamp.apply(int(status.st_mtime))),
        target=target,
        device=_device(status.st_rdev) if kind in _DEVICES else _NO_DEVICE,
        xattrs=xattrs if kind is not _HARDLINK else _NO_XATTRS,
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
