"""Files of the store: small records, locks, folders lent to one process, and how they go away."""

import errno
import fcntl
import json
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

from compiler.errors import StoreError, room_hint
from compiler.oci import digest_of, hex_of

_LONGEST_NAME = 200
_PRIVATE = 0o700
_DAY = 86400
_ESCAPED = re.compile(rb"\\([0-7]{3})")
"""How mountinfo writes blanks and the like: `\\040`."""


ROOM = "make room, `cos gc` removes what is unused"


@contextmanager
def outside(path: Path, room: str = ROOM) -> Iterator[None]:
    """Turn what the operating system refuses below `path` into a `StoreError`."""
    try:
        yield
    except OSError as error:
        raise store_error(error, path, room) from error


def store_error(error: OSError, path: Path, room: str = ROOM) -> StoreError:
    """Say what the operating system refused, and what to try; `room` where its disk is full."""
    place = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else str(path)
    if room_hint(error):
        return StoreError(f"{path}: no space left on the disk", hint=room)
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        hint = "choose a store of your own with --store or $COS_STORE"
        return StoreError(f"{place}: {_reason(error)}", hint=hint)
    return StoreError(f"{place}: {_reason(error)}")


def _reason(error: OSError) -> str:
    """Return the system's words, in the case of our own messages."""
    words = error.strerror or str(error)
    return words[:1].lower() + words[1:]


def file_name(text: str) -> str:
    """Turn any text into a file name, readable where that is possible and never two to the same."""
    if text.isascii() and text.isalnum() and len(text) <= _LONGEST_NAME:
        return text  # a key, as most of them are
    name = quote(text, safe="@+ ", errors="surrogateescape").replace(".", "%2E", 1)
    if name and len(name) <= _LONGEST_NAME:
        return name
    return "," + hex_of(digest_of(os.fsencode(text)))


def read_record(path: Path | str) -> dict[str, object] | None:
    """Read a record; None if it is not there or, after a power failure, not whole."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123  (a plan asks for thousands)
            value = json.loads(file.read())
    except FileNotFoundError:
        return None
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def keep_young(path: Path) -> None:
    """Note that a record was used today, by its time."""
    if path.stat().st_mtime < time.time() - _DAY:
        path.touch()


def write_record(path: Path, record: object, *, beside: Path, sync: bool = False) -> None:
    """Write a record whole or not at all; `beside` is a folder of this process on the same disk."""
    write_file(path, json.dumps(record, sort_keys=True).encode(), beside=beside, sync=sync)


def write_file(path: Path, data: bytes, *, beside: Path, sync: bool = False) -> None:
    """Write a small file whole or not at all."""
    temporary = beside / uuid4().hex
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def size_of(path: Path) -> int:
    """Count the bytes of the files in a folder, or of a file; a missing one has none."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return 0
    if not stat.S_ISDIR(status.st_mode):
        return status.st_size
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            total += os.lstat(f"{folder}/{name}").st_size
    return total


def mounts_below(path: Path) -> bool:
    """Whether something is mounted in a folder (`/proc/self/mountinfo`, proc(5))."""
    prefix = os.fsencode(path.resolve()) + b"/"
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        point = _ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), line.split(b" ")[4])
        if (point + b"/").startswith(prefix):
            return True
    return False


def remove_tree(path: Path) -> None:
    """Remove a folder and all in it, closed folders included; follows no link.

    A folder in which something is still mounted is left as it is: what is mounted may be the
    user's own files.
    """
    if not os.path.lexists(path) or mounts_below(path):
        return
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _remove(handle, path.name)
    finally:
        os.close(handle)


def _remove(parent: int, name: str) -> None:
    """Empty and remove the folder `name` of an open folder, without recursion in depth."""
    os.chmod(name, _PRIVATE, dir_fd=parent)
    stack = [(name, _open_folder(name, parent), parent)]
    while stack:
        name, handle, above = stack[-1]
        inner = _remove_files(handle)
        if inner is None:
            os.close(handle)
            os.rmdir(name, dir_fd=above)
            stack.pop()
        else:
            stack.append((inner, _open_folder(inner, handle), handle))


def _open_folder(name: str, parent: int) -> int:
    """Open a folder in an open folder, never through a link."""
    os.chmod(name, _PRIVATE, dir_fd=parent)
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, dir_fd=parent)


def _remove_files(handle: int) -> str | None:
    """Remove what is no folder from an open folder; returns the name of one folder in it."""
    inner = None
    with os.scandir(handle) as children:
        for child in children:
            if child.is_dir(follow_symlinks=False):
                inner = child.name
            else:
                os.unlink(child.name, dir_fd=handle)
    return inner


class Lock:
    """A lock file (flock(2)): held until closed, or until the process ends in whatever way."""

    def __init__(self, path: Path) -> None:
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            if error.errno not in {errno.EACCES, errno.EROFS} or not path.exists():
                raise
            self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def share(self) -> None:
        """Hold the lock together with others; waits while one process has it alone."""
        fcntl.flock(self._handle, fcntl.LOCK_SH)

    def take(self) -> None:
        """Hold the lock alone; waits for the others."""
        fcntl.flock(self._handle, fcntl.LOCK_EX)

    def try_take(self) -> bool:
        """Hold the lock alone if nobody else has it."""
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def is_at(self, path: Path) -> bool:
        """Whether `path` still names the file that is locked."""
        try:
            return os.path.samestat(path.lstat(), os.fstat(self._handle))
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Let go; once more does nothing."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


class Workspace:
    """A folder below `scratch/` of this process; others remove it when the process is gone."""

    def __init__(self, scratch: Path) -> None:
        self.path, self._lock = _claim(scratch)

    @contextmanager
    def lend(self) -> Iterator[Path]:
        """Lend an empty folder; what is left in it is removed."""
        folder = self.path / uuid4().hex
        folder.mkdir(mode=0o755)
        try:
            yield folder
        finally:
            remove_tree(folder)

    def close(self) -> None:
        """Remove the folder."""
        remove_tree(self.path)
        self.path.with_suffix(".lock").unlink(missing_ok=True)
        self._lock.close()


def _claim(scratch: Path) -> tuple[Path, Lock]:
    """Make a folder and its lock; the lock is there first, so that no folder is ever without."""
    while True:
        path = scratch / uuid4().hex
        marker = path.with_suffix(".lock")
        lock = Lock(marker)
        lock.take()
        if lock.is_at(marker):
            path.mkdir(mode=_PRIVATE)
            return path, lock
        lock.close()


def stale_workspaces(scratch: Path) -> Iterator[tuple[Path, Lock | None]]:
    """Find workspaces whose process is gone, each with its lock, which the caller closes."""
    tokens = {child.name.removesuffix(".lock") for child in scratch.iterdir()}
    for token in sorted(tokens):
        marker = scratch / f"{token}.lock"
        if not marker.exists():
            yield scratch / token, None
            continue
        lock = Lock(marker)
        if lock.try_take() and lock.is_at(marker):
            yield scratch / token, lock
        else:
            lock.close()


def remove_stale(scratch: Path) -> None:
    """Remove the workspaces whose process is gone."""
    for path, lock in stale_workspaces(scratch):
        remove_tree(path)
        if lock is not None:
            if not path.exists():
                path.with_suffix(".lock").unlink(missing_ok=True)
            lock.close()
