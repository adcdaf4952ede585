"""A root directory: every path and every link in it is followed as if it were `/`.

Nothing is read or written outside of it, whatever its links and `..` say: a path is walked by open
folders, one name at a time, and no link is ever followed by the kernel.
"""

import errno
import os
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from compiler.errors import OutsideError

LARGEST = 16 << 20
SMALLER = "what is large comes by `downloads`, or in files of its own"
"""Bytes of a file that is read whole."""

_MOST_LINKS = 40
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MADE = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BESIDE = {errno.EBUSY, errno.EXDEV, errno.EPERM, errno.EROFS, errno.ENOTSUP}
"""What keeps a file from being replaced although it can be written: it is mounted, say."""


_NOTHING = os.stat_result([0] * 10)


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a file is; -1 leaves that part as it is."""

    uid: int = -1
    gid: int = -1


KEEP = Owner()
"""What is there keeps its owner, what is new belongs to who runs us."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a path leads: an open folder and a name in it; no name means the folder itself."""

    folder: int
    name: str
    names: tuple[str, ...]
    """The names from the root down to the folder."""

    def status(self) -> os.stat_result | None:
        """Return what is there, None if nothing is."""
        try:
            return os.stat(self.name or ".", dir_fd=self.folder, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def open(self, flags: int, mode: int = 0o600) -> int:
        """Open what is there, never through a link."""
        flags |= os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(self.name or ".", flags, mode, dir_fd=self.folder)


class Root:
    """A directory that acts as `/`. Close it, or use it as a context."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        try:
            self._handle = os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise OutsideError(f"{path}: {_reason(error)}") from error

    def below(self, path: str) -> "Root":
        """Open a folder of this root as a root of its own."""
        with self.spot(path) as spot:
            folder = Root(self.path.joinpath(*spot.names, spot.name))
            if not os.path.samestat(os.fstat(folder._handle), spot.status() or _NOTHING):
                folder.close()
                raise ValueError("is being changed by somebody else")
        return folder

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self._handle)

    @property
    def is_machine(self) -> bool:
        """Whether this is the root of the running machine, not a directory beside it."""
        return os.path.samestat(os.fstat(self._handle), Path("/").stat())

    @contextmanager
    def spot(self, path: str, *, parents: int | None = None) -> Iterator[Spot]:
        """Follow `path`, the links at its end too; `parents` is the mode of folders to make.

        Raises `OutsideError`, which names the path, for whatever goes wrong in the block.
        """
        walk = _Walk(os.dup(self._handle))
        try:
            name = walk.follow(path, parents)
            yield Spot(walk.handles[-1], name, tuple(walk.names))
        except (OSError, ValueError, OverflowError) as error:
            raise OutsideError(f"{path}: {_reason(error)}") from error
        finally:
            walk.close()

    def settled(self, path: str) -> Path:
        """Return the path by which programs outside of the root find what is at `path`."""
        with self.spot(path) as spot:
            return self.path.joinpath(*spot.names, spot.name)

    def status(self, path: str) -> os.stat_result | None:
        """Return what a path leads to, None if to nothing."""
        walk = _Walk(os.dup(self._handle))
        try:
            name = walk.follow(path, None)
            return Spot(walk.handles[-1], name, ()).status()
        except (OSError, ValueError):
            return None
        finally:
            walk.close()

    def exists(self, path: str) -> bool:
        """Whether a path leads to anything."""
        return self.status(path) is not None

    def is_folder(self, path: str) -> bool:
        """Whether a path leads to a folder."""
        status = self.status(path)
        return status is not None and stat.S_ISDIR(status.st_mode)

    def is_file(self, path: str) -> bool:
        """Whether a path leads to a regular file."""
        status = self.status(path)
        return status is not None and stat.S_ISREG(status.st_mode)

    def read(self, path: str, limit: int = LARGEST) -> bytes:
        """Read a file; raises `OutsideError`, also if it has more than `limit` bytes."""
        with self.spot(path) as spot, _opened(spot.open(os.O_RDONLY | os.O_NONBLOCK)) as handle:
            data = bytearray()
            while len(data) <= limit and (piece := os.read(handle, limit + 1 - len(data))):
                data += piece
        if len(data) > limit:
            raise OutsideError(f"{path}: is larger than {limit} bytes", hint=SMALLER)
        return bytes(data)

    def text(self, path: str, default: str | None = None) -> str:
        """Read a text, or return `default` if there is one and no such file."""
        if default is not None and not self.exists(path):
            return default
        return self.read(path).decode("utf-8", "surrogateescape")

    def names(self, path: str) -> list[str]:
        """List what is in a folder, sorted."""
        flags = os.O_RDONLY | os.O_DIRECTORY
        with self.spot(path) as spot, _opened(spot.open(flags)) as handle:
            return sorted(os.listdir(handle))  # noqa: PTH208  (of the folder that is open)

    def is_link(self, folder: str, name: str) -> bool:
        """Whether a name in a folder is a link."""
        with self.spot(folder) as spot, _opened(spot.open(_FOLDER)) as handle:
            status = os.stat(name, dir_fd=handle, follow_symlinks=False)
            return stat.S_ISLNK(status.st_mode)

    def write(
        self,
        path: str,
        data: bytes,
        *,
        mode: int | None = None,
        owner: Owner = KEEP,
        parents: int | None = None,
    ) -> None:
        """Replace the content of a file at once, or make it; no mode keeps the old one, or 0644."""
        with (
            self.spot(path, parents=parents) as spot,
            self.replacing(spot, mode=mode, owner=owner) as handle,
        ):
            _write_all(handle, data)

    @contextmanager
    def replacing(
        self, spot: Spot, *, mode: int | None = None, owner: Owner = KEEP
    ) -> Iterator[int]:
        """Open a file that takes the place of what is at `spot` when the block ends well.

        A device, a file of the kernel, and what cannot be replaced, is written in place.
        """
        old = spot.status()
        if old is not None and not stat.S_ISREG(old.st_mode):
            with _opened(spot.open(os.O_WRONLY | os.O_TRUNC)) as handle:
                yield handle
            return
        beside = Spot(spot.folder, f".{spot.name[:200]}.cos-{os.getpid()}", spot.names)
        try:
            new = beside.open(os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        except OSError as error:
            if old is None or error.errno not in _BESIDE:
                raise
            with _opened(spot.open(os.O_RDWR | os.O_TRUNC)) as handle:
                yield handle
                _describe(handle, None, mode, owner)
            return
        try:
            with _opened(new) as handle:
                yield handle
                _inherit(handle, spot, old)
                _describe(handle, old, mode, owner)
                os.fsync(handle)
                _put(handle, beside, spot, in_place=old is not None)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(beside.name, dir_fd=beside.folder)

    def make_folder(self, path: str, mode: int, owner: Owner = KEEP, *, keep: bool = False) -> None:
        """Make a folder, and with the same mode those above it that are missing.

        One that is there gets mode and owner, unless `keep`. Raises `OutsideError`.
        """
        with self.spot(path, parents=mode) as spot:
            made = spot.status() is None
            if made:
                os.mkdir(spot.name, 0o700, dir_fd=spot.folder)
            with _opened(spot.open(os.O_RDONLY | os.O_DIRECTORY)) as handle:
                if made or not keep:
                    _own(handle, owner)
                    os.fchmod(handle, mode)

    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""
        with self.spot(path) as spot, suppress(FileNotFoundError):
            os.unlink(spot.name, dir_fd=spot.folder)

    def change(self, path: str, mode: int | None, owner: Owner) -> None:
        """Give a file or folder that is there another mode or owner."""
        with self.spot(path) as spot, _opened(spot.open(os.O_RDONLY | os.O_NONBLOCK)) as handle:
            _own(handle, owner)
            if mode is not None:
                os.fchmod(handle, mode)


class _Walk:
    """Open folders from the root down; `..` leads up, at most to the root."""

    def __init__(self, root: int) -> None:
        self.handles = [root]
        self.names: list[str] = []
        self._links = 0

    def close(self) -> None:
        for handle in self.handles:
            os.close(handle)

    def follow(self, path: str, parents: int | None) -> str:
        """Walk to the folder in which `path` ends; returns the last name."""
        if "\0" in path:
            raise ValueError("a path cannot hold a NUL character")
        todo = deque(_parts(path))
        while todo:
            part = todo.popleft()
            if part == "..":
                self._up()
                continue
            target = self._link(part)
            if target is not None:
                todo.extendleft(reversed(_parts(target)))
            elif not todo:
                return part
            else:
                self._enter(part, parents)
        return ""

    def _up(self) -> None:
        if len(self.handles) > 1:
            os.close(self.handles.pop())
            self.names.pop()

    def _link(self, name: str) -> str | None:
        """Return the text of a link, None for anything else; an absolute one leads to the top."""
        try:
            target = os.readlink(name, dir_fd=self.handles[-1])
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):
                return None
            raise
        self._links += 1
        if self._links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        while target.startswith("/") and len(self.handles) > 1:
            self._up()
        return target

    def _enter(self, name: str, parents: int | None) -> None:
        here = self.handles[-1]
        try:
            handle = os.open(name, _FOLDER, dir_fd=here)
        except FileNotFoundError:
            if parents is None:
                raise
            os.mkdir(name, 0o700, dir_fd=here)
            handle = os.open(name, _MADE, dir_fd=here)
            os.fchmod(handle, parents)
        self.handles.append(handle)
        self.names.append(name)


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in {"", "."}]


@contextmanager
def _opened(handle: int) -> Iterator[int]:
    try:
        yield handle
    finally:
        os.close(handle)


def _write_all(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def _inherit(handle: int, spot: Spot, old: os.stat_result | None) -> None:
    """Give a new file what the old one had beside its content: labels and access lists."""
    if old is None:
        return
    with suppress(OSError), _opened(spot.open(os.O_RDONLY | os.O_NONBLOCK)) as before:
        for name in os.listxattr(before):
            with suppress(OSError):
                os.setxattr(handle, name, os.getxattr(before, name))


def _describe(handle: int, old: os.stat_result | None, mode: int | None, owner: Owner) -> None:
    """Set owner and mode: those asked for, or else those of the old file."""
    if old is not None:
        _own(handle, Owner(old.st_uid, old.st_gid))
    _own(handle, owner)
    if mode is None:
        mode = 0o644 if old is None else stat.S_IMODE(old.st_mode)
    os.fchmod(handle, mode)


def _own(handle: int, owner: Owner) -> None:
    """Change the owner if it is another one: without root, only that fails."""
    now = os.fstat(handle)
    wanted = (
        now.st_uid if owner.uid < 0 else owner.uid,
        now.st_gid if owner.gid < 0 else owner.gid,
    )
    if wanted != (now.st_uid, now.st_gid):
        os.fchown(handle, *wanted)


def _put(handle: int, beside: Spot, spot: Spot, *, in_place: bool) -> None:
    """Give the new file its name; a file that is a mount of its own gets the content instead."""
    try:
        os.rename(beside.name, spot.name, src_dir_fd=beside.folder, dst_dir_fd=spot.folder)
    except OSError as error:
        if not in_place or error.errno not in _BESIDE:
            raise
        status = os.fstat(handle)
        with _opened(spot.open(os.O_WRONLY | os.O_TRUNC)) as target:
            os.sendfile(target, handle, 0, status.st_size)
            _describe(target, status, None, KEEP)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error)
