"""Puts entries into a folder, whatever they claim: no step ever leaves that folder."""

import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import NoReturn

from compiler.archive import Entry, Kind
from compiler.archive.folders import Folders
from compiler.archive.safety import OVERLAY, Devices, is_settable, safe_parts
from compiler.archive.tar import CHUNK, Source
from compiler.errors import ArchiveError

_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PRIVATE, _PLAIN = 0o600, 0o777
_FICLONE = 0x40049409
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
        self._open = Folders(target)
        self._linked = Folders(target)
        self._parent: tuple[tuple[str, ...], int] | None = None
        self._folders: dict[tuple[str, ...], Entry] = {}
        self._births: dict[int, tuple[int, int, int]] = {}

    def close(self) -> None:
        """Let go of the folder."""
        self._open.close()
        self._linked.close()

    def place(self, entry: Entry, content: Source | None = None) -> None:
        """Make one entry; a file's bytes come from `content`.

        Raises `ArchiveError` for what cannot be, and `OSError` for what is the disk's fault.
        """
        parts = safe_parts(entry.path)
        if not parts and entry.kind is not Kind.FOLDER:
            raise ArchiveError("the root can be nothing but a folder")
        try:  # entering a context manager would take as long as a system call
            if parts:
                self._make(self._enter(parts[:-1]), parts, entry, content)
        except OSError as error:
            _tell_apart(error)
        if parts and self._placed is not None:
            self._placed.add(parts)

    def finish(self) -> None:
        """Give folders their modes and times, which making things in them would have changed."""
        with _disk_apart():
            for parts, entry in sorted(self._folders.items(), reverse=True):
                handle = self._enter(parts, make=False)
                self._describe(handle, entry)
                if entry.opaque:
                    _hide_below(handle)

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
                parent = self._enter(parts[:-1], make=False)
            except (ArchiveError, FileNotFoundError):
                return
            _empty(parent, parts[-1:], itself=itself)
            self._forget(parts, itself=itself)

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
        mode = self._birth_mode(entry)
        try:
            handle = os.open(parts[-1], _FILE_FLAGS, mode, dir_fd=parent)
        except FileExistsError:
            self._clear(parent, parts)
            handle = os.open(parts[-1], _FILE_FLAGS, mode, dir_fd=parent)
        try:
            if content is not None and entry.size:
                _fill(handle, content, entry.size)
            if self._is_born_right(handle, mode, entry):
                self._finish(handle, entry)
            else:
                self._describe(handle, entry)
        finally:
            os.close(handle)

    def _birth_mode(self, entry: Entry) -> int:
        """Return the mode to make a file with: its own where its owner is right from the start."""
        born = self._births.get(_PRIVATE)
        if born is None or entry.mode & ~_PLAIN:
            return _PRIVATE
        return entry.mode if self._is_owned(born, entry) else _PRIVATE

    def _is_born_right(self, handle: int, mode: int, entry: Entry) -> bool:
        """Tell whether a file has its owner and mode already; each folder is asked once a mode.

        Umask, set-group-id folders, default ACLs and mount options decide what files are born with.
        """
        born = self._births.get(mode)
        if born is None:
            status = os.fstat(handle)
            born = self._births[mode] = (
                stat.S_IMODE(status.st_mode),
                status.st_uid,
                status.st_gid,
            )
        return born[0] == entry.mode and self._is_owned(born, entry)

    def _is_owned(self, born: tuple[int, int, int], entry: Entry) -> bool:
        """Whether what is born like that has the owner of an entry; without root none is set."""
        return not self._as_root or (born[1] == entry.uid and born[2] == entry.gid)

    def _make_link(self, parent: int, name: str, entry: Entry) -> None:
        """Make a hard link to a file that is already below the root."""
        target = safe_parts(entry.target)
        if not target:
            raise ArchiveError("a hard link to nothing")
        try:
            with _no_way_around():
                folder = self._linked.open("/".join(target[:-1]))
            os.link(target[-1], name, src_dir_fd=folder, dst_dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError as error:
            raise ArchiveError(
                f"a hard link to {entry.target[:100]!r}, which is not there"
            ) from error

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
        self._finish(handle, entry)

    def _finish(self, handle: int, entry: Entry) -> None:
        """Set what no file is born with."""
        if entry.xattrs:
            self._set_xattrs(handle, entry.xattrs)
        mtime = entry.mtime * 10**9
        os.utime(handle, ns=(mtime, mtime))

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
        self._linked.forget()
        self._forget_folders(parts, itself=True)

    def _forget(self, parts: tuple[str, ...], *, itself: bool) -> None:
        """Look at every folder anew after some went; what is no more needs no mode."""
        self._parent = None
        self._open.forget()
        self._linked.forget()
        self._forget_folders(parts, itself=itself)

    def _forget_folders(self, parts: tuple[str, ...], *, itself: bool) -> None:
        gone = [each for each in self._folders if each[: len(parts)] == parts]
        for each in gone:
            if itself or each != parts:
                del self._folders[each]

    def _enter(self, parts: tuple[str, ...], *, make: bool = True) -> int:
        """Open the folder `parts`, making what is missing; it stays open for the next entry."""
        if self._parent is None or self._parent[0] != parts:
            self._births.clear()
            self._parent = None
            with _no_way_around():
                self._parent = (parts, self._open.open("/".join(parts), make=make))
        return self._parent[1]


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
        folder = os.open(name[0], _FOLDER, dir_fd=parent) if name else os.dup(parent)
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
        os.setxattr(folder, f"{OVERLAY[0]}opaque", b"y")
    except PermissionError:
        os.setxattr(folder, f"{OVERLAY[1]}opaque", b"y")


def _status(parent: int, name: str) -> os.stat_result | None:
    """Return what has this name in an open folder."""
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _fill(handle: int, content: Source, size: int) -> None:
    """Write a file's content, shared with its source where the file system can do that.

    What a source has beyond `size` bytes came there after it was looked at.
    """
    if isinstance(content, FileIO):
        try:
            fcntl.ioctl(handle, _FICLONE, content.fileno())
        except OSError:
            pass
        else:
            return
    while size > 0 and (data := content.read(min(size, CHUNK))):
        size -= len(data)
        written = os.write(handle, data)
        while written < len(data):
            written += os.write(handle, memoryview(data)[written:])


@contextmanager
def _no_way_around() -> Iterator[None]:
    """Say of something on the way to an entry that it is no folder."""
    try:
        yield
    except NotADirectoryError as error:
        raise ArchiveError(
            f"{str(error.filename)[:100]!r} on the way to it is not a folder"
        ) from error


@contextmanager
def _disk_apart() -> Iterator[None]:
    """Tell the disk's faults, which stay `OSError`, from an entry's."""
    try:
        yield
    except OSError as error:
        _tell_apart(error)


def _tell_apart(error: OSError) -> NoReturn:
    """Raise an `ArchiveError` for what is an entry's fault, and the very error else."""
    if error.errno in _OURS or error.errno is None:
        raise error
    raise ArchiveError((error.strerror or str(error)).lower()) from error
