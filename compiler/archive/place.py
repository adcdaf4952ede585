"""Puts entries into a folder, whatever they claim: no step ever leaves that folder."""

import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from io import FileIO
from pathlib import Path

from compiler.archive import Entry, Kind
from compiler.archive.tar import CHUNK, Source
from compiler.errors import ArchiveError

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LONGEST = 4095
_FICLONE = 0x40049409
_OVERLAY = ("trusted.overlay.", "user.overlay.")
_PRIVILEGED = ("security.", "trusted.")
_TYPES = {Kind.CHARACTER: stat.S_IFCHR, Kind.BLOCK: stat.S_IFBLK, Kind.FIFO: stat.S_IFIFO}
_OURS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
}


class Devices(Enum):
    """What is done with device nodes: made, left out, or refused with an `ArchiveError`."""

    MAKE = "make"
    SKIP = "skip"
    REFUSE = "refuse"

    @classmethod
    def allowed(cls) -> "Devices":
        """Make them where that is allowed, as root; without it, a root comes without them."""
        return cls.MAKE if os.geteuid() == 0 else cls.SKIP


def safe_parts(path: str) -> tuple[str, ...]:
    """Split a path into names below the root; raises `ArchiveError` if it leads out of it.

    A leading slash means the root. More than 4095 bytes are more than the kernel takes.
    """
    parts = path.split("/")
    if "" in parts or "." in parts:
        parts = [part for part in parts if part not in {"", "."}]
    if ".." in parts:
        raise ArchiveError("the path leads out with '..'")
    if "\0" in path:
        raise ArchiveError("the path has a NUL byte")
    if len(path) > _LONGEST // 4 and len(os.fsencode(path)) > _LONGEST:
        raise ArchiveError(f"the path is longer than {_LONGEST} bytes")
    return tuple(parts)


def is_settable(name: str) -> bool:
    """Whether an archive may set an extended attribute: none of overlayfs's own."""
    return not name.startswith(_OVERLAY)


class Placer:
    """Makes files below a folder, by open folders and never through a link; close it to finish.

    Of two entries with one path, the later stands, except that a folder keeps its content. Without
    root, owners and privileged xattrs are those of the user, as with every unpacking tool.

    An `exclusive` one refuses names that are taken, but not by an entry with the very same path:
    so it finds out which names the file system takes for one, by whatever rules.
    """

    def __init__(self, target: Path, devices: Devices, *, exclusive: bool = False) -> None:
        self._devices = devices
        self._placed: set[tuple[str, ...]] | None = set() if exclusive else None
        self._as_root = os.geteuid() == 0
        self._root = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._parent: tuple[tuple[str, ...], int] = ((), self._root)
        self._folders: dict[tuple[str, ...], Entry] = {}

    def close(self) -> None:
        """Let go of the folder."""
        self._leave()
        os.close(self._root)

    def place(self, entry: Entry, content: Source | None = None) -> None:
        """Make one entry; a file's bytes come from `content`.

        Raises `ArchiveError` for what cannot be, and `OSError` for what is the disk's fault.
        """
        with _disk_apart():
            parts = safe_parts(entry.path)
            if not parts and entry.kind is not Kind.FOLDER:
                raise ArchiveError("the root can be nothing but a folder")
            if parts:
                parent = self._enter(parts[:-1])
                self._make(parent, parts, entry, content)
                if self._placed is not None:
                    self._placed.add(parts)

    def finish(self) -> None:
        """Give folders their modes and times, which making things in them would have changed."""
        with _disk_apart():
            for parts, entry in sorted(self._folders.items(), reverse=True):
                handle = self._walk(parts)
                try:
                    self._describe(handle, entry)
                    if entry.opaque:
                        _hide_below(handle)
                finally:
                    os.close(handle)

    def hide(self, path: str) -> None:
        """Mark a folder as one that hides what layers below have in it."""
        with _disk_apart():
            handle = self._enter(safe_parts(path))
            _hide_below(handle)

    def remove(self, path: str, *, itself: bool = True) -> None:
        """Remove what is at a path, or only what is in it; nothing if it is not there."""
        with _disk_apart():
            parts = safe_parts(path)
            try:
                parent = self._walk(parts[:-1])
            except (ArchiveError, FileNotFoundError):
                return
            try:
                _empty(parent, parts[-1:], itself=itself)
            finally:
                os.close(parent)

    def _make(
        self, parent: int, parts: tuple[str, ...], entry: Entry, content: Source | None
    ) -> None:
        """Make an entry in an open folder, in place of what has its name."""
        if entry.kind in (Kind.CHARACTER, Kind.BLOCK) and not self._wants_device():
            return
        if entry.kind is Kind.FOLDER:
            self._make_folder(parent, parts, entry)
            return
        if entry.kind is Kind.WHITEOUT and _status(parent, parts[-1]) is not None:
            self._hide_below(parent, parts[-1])
            return
        name = parts[-1]
        if entry.kind is Kind.FILE:
            self._make_file(parent, parts, entry, content)
            return
        self._clear(parent, parts)
        if entry.kind is Kind.HARDLINK:
            self._make_link(parent, name, entry)
        else:
            self._make_special(parent, name, entry)

    def _wants_device(self) -> bool:
        """Whether a device node is made; raises if it is refused."""
        if self._devices is Devices.REFUSE:
            raise ArchiveError("a device node is not allowed here")
        return self._devices is Devices.MAKE

    def _make_folder(self, parent: int, parts: tuple[str, ...], entry: Entry) -> None:
        """Make a folder, or keep the one that is there; in place of a deletion it hides as well."""
        status = _status(parent, parts[-1])
        if status is None or not stat.S_ISDIR(status.st_mode):
            deleted = status is not None and stat.S_ISCHR(status.st_mode) and not status.st_rdev
            entry = entry._replace(opaque=entry.opaque or deleted)
            self._clear(parent, parts)
            os.mkdir(parts[-1], 0o700, dir_fd=parent)
        else:
            self._refuse_taken(parts)
        self._folders[parts] = entry

    def _refuse_taken(self, parts: tuple[str, ...]) -> None:
        """Raise if a name is taken by another entry than the one before it with this path."""
        if self._placed is not None and parts not in self._placed:
            raise ArchiveError("its name and another one are the same on this file system")

    def _hide_below(self, parent: int, name: str) -> None:
        """Delete what layers below have under a name that this layer has as well."""
        status = _status(parent, name)
        if status is not None and stat.S_ISDIR(status.st_mode):
            path = f"/proc/self/fd/{parent}/{name}"
            _hide_below(path)

    def _make_file(
        self, parent: int, parts: tuple[str, ...], entry: Entry, content: Source | None
    ) -> None:
        """Make a regular file; only if its name is taken, it is looked what has it."""
        try:
            handle = os.open(parts[-1], _FILE_FLAGS, 0o600, dir_fd=parent)
        except FileExistsError:
            self._clear(parent, parts)
            handle = os.open(parts[-1], _FILE_FLAGS, 0o600, dir_fd=parent)
        try:
            if content is not None and entry.size:
                _fill(handle, content)
            self._describe(handle, entry)
        finally:
            os.close(handle)

    def _make_link(self, parent: int, name: str, entry: Entry) -> None:
        """Make a hard link to a file that is already below the root."""
        target = safe_parts(entry.target)
        if not target:
            raise ArchiveError("a hard link to nothing")
        try:
            folder = self._walk(target[:-1])
        except FileNotFoundError as error:
            raise ArchiveError(
                f"a hard link to {entry.target[:100]!r}, which is not there"
            ) from error
        try:
            os.link(target[-1], name, src_dir_fd=folder, dst_dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError as error:
            raise ArchiveError(
                f"a hard link to {entry.target[:100]!r}, which is not there"
            ) from error
        finally:
            os.close(folder)

    def _make_special(self, parent: int, name: str, entry: Entry) -> None:
        """Make what cannot be opened: a symbolic link, a device, a pipe, or a deletion."""
        if entry.kind is Kind.WHITEOUT:
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=parent)
            return
        if entry.kind is Kind.SYMLINK:
            os.symlink(entry.target, name, dir_fd=parent)
        else:
            device = os.makedev(*entry.device)
            os.mknod(name, _TYPES[entry.kind] | 0o600, device, dir_fd=parent)
        if self._as_root:
            os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        if entry.kind is not Kind.SYMLINK:
            os.chmod(name, entry.mode, dir_fd=parent)
        self._set_xattrs(f"/proc/self/fd/{parent}/{name}", entry.xattrs)
        times = (entry.mtime * 10**9, entry.mtime * 10**9)
        os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False)

    def _describe(self, handle: int, entry: Entry) -> None:
        """Set owner, mode, xattrs and times, in the order in which one does not undo another."""
        if self._as_root:
            os.fchown(handle, entry.uid, entry.gid)
        os.fchmod(handle, entry.mode)
        self._set_xattrs(handle, entry.xattrs)
        os.utime(handle, ns=(entry.mtime * 10**9, entry.mtime * 10**9))

    def _set_xattrs(self, file: int | str, xattrs: Mapping[str, bytes]) -> None:
        """Set extended attributes; overlayfs's own would let an archive reach other folders."""
        for name, value in xattrs.items():
            if not is_settable(name):
                continue
            try:
                if isinstance(file, int):
                    os.setxattr(file, name, value)
                else:
                    os.setxattr(file, name, value, follow_symlinks=False)
            except PermissionError as error:
                if self._as_root or not name.startswith(_PRIVILEGED):
                    raise ArchiveError(f"the xattr {name} cannot be set") from error

    def _clear(self, parent: int, parts: tuple[str, ...]) -> None:
        """Remove what stands where an entry goes."""
        status = _status(parent, parts[-1])
        if status is None:
            return
        self._refuse_taken(parts)
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(parts[-1], dir_fd=parent)
            return
        shutil.rmtree(parts[-1], dir_fd=parent)
        gone = [each for each in self._folders if each[: len(parts)] == parts]
        for each in gone:
            del self._folders[each]

    def _enter(self, parts: tuple[str, ...]) -> int:
        """Open the folder `parts`, making what is missing; the last one stays open for the next."""
        if self._parent[0] != parts:
            self._leave()
            self._parent = (parts, self._walk(parts, make=True))
        return self._parent[1]

    def _leave(self) -> None:
        """Close the folder that was open."""
        if self._parent[1] != self._root:
            os.close(self._parent[1])
        self._parent = ((), self._root)

    def _walk(self, parts: tuple[str, ...], *, make: bool = False) -> int:
        """Open a folder step by step, so that no link is followed; returns a new handle."""
        handle = os.dup(self._root)
        for depth, part in enumerate(parts, 1):
            try:
                below = _open_folder(handle, part, make=make)
            except NotADirectoryError as error:
                shown = "/".join(parts[:depth])[:100]
                raise ArchiveError(f"{shown!r} on the way to it is not a folder") from error
            finally:
                os.close(handle)
            handle = below
        return handle


def _empty(parent: int, name: tuple[str, ...], *, itself: bool) -> None:
    """Remove a name of an open folder with all below it, or only the latter; no link is followed.

    Without a name it is what the folder itself holds.
    """
    if name and itself:
        status = _status(parent, name[0])
        if status is not None and stat.S_ISDIR(status.st_mode):
            shutil.rmtree(name[0], dir_fd=parent)
        elif status is not None:
            os.unlink(name[0], dir_fd=parent)
        return
    try:
        folder = os.open(name[0], _FOLDER_FLAGS, dir_fd=parent) if name else os.dup(parent)
    except OSError:  # no folder: there is nothing in it
        return
    try:
        with os.scandir(folder) as children:
            names = [child.name for child in children]
        for each in names:
            _empty(folder, (each,), itself=True)
    finally:
        os.close(folder)


def _hide_below(folder: int | str) -> None:
    """Make a folder opaque: by the machine's root for its overlayfs, else for that of users."""
    try:
        os.setxattr(folder, f"{_OVERLAY[0]}opaque", b"y")
    except PermissionError:
        os.setxattr(folder, f"{_OVERLAY[1]}opaque", b"y")


def _open_folder(parent: int, name: str, *, make: bool) -> int:
    """Open one folder in another; `make` says whether to make it if it is missing."""
    try:
        return os.open(name, _FOLDER_FLAGS, dir_fd=parent)
    except FileNotFoundError:
        if not make:
            raise
    os.mkdir(name, 0o755, dir_fd=parent)
    return os.open(name, _FOLDER_FLAGS, dir_fd=parent)


def _status(parent: int, name: str) -> os.stat_result | None:
    """Return what has this name in an open folder."""
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _fill(handle: int, content: Source) -> None:
    """Write a file's content, shared with its source where the file system can do that."""
    if isinstance(content, FileIO):
        try:
            fcntl.ioctl(handle, _FICLONE, content.fileno())
        except OSError:
            pass
        else:
            return
    while data := content.read(CHUNK):
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]


@contextmanager
def _disk_apart() -> Iterator[None]:
    """Tell the disk's faults, which stay `OSError`, from an entry's."""
    try:
        yield
    except OSError as error:
        if error.errno in _OURS or error.errno is None:
            raise
        words = (error.strerror or str(error)).lower()
        raise ArchiveError(words) from error
