"""Looks at a root without ever leaving it: what is at a place, and where a path leads.

A *place* is a path relative to the root that holds no links; "" is the root.
"""

import errno
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path

from compiler.archive.folders import Folders
from compiler.errors import ArchiveError, OutsideError
from compiler.links import follow
from compiler.system.folders import split

_ESCAPED = re.compile(rb"\\([0-7]{3})")
"""How mountinfo writes blanks and the like: `\\040`."""


class Lookup:
    """Reads a root by open folders; close it when done."""

    def __init__(self, root: Path) -> None:
        self._folders = Folders(root)

    def close(self) -> None:
        """Let go of the root."""
        self._folders.close()

    def forget(self) -> None:
        """Look at everything anew."""
        self._folders.forget()

    def status(self, place: str) -> os.stat_result | None:
        """Return what is at a place itself, None for nothing."""
        folder, name = split(place)
        try:
            handle = self._folders.open(folder)
            return os.fstat(handle) if not place else os.lstat(name, dir_fd=handle)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:  # so it cannot be there
                return None
            raise

    def link(self, place: str) -> str | None:
        """Return the text of the link at a place, None for anything else."""
        status = self.status(place)
        if status is None or not stat.S_ISLNK(status.st_mode):
            return None
        folder, name = split(place)
        return os.readlink(name, dir_fd=self._folders.open(folder))

    def settle(self, path: str) -> str:
        """Return the place that a path leads to, links followed, also one at its end."""
        return follow(path, self.link, ring=ArchiveError)

    def settle_parent(self, path: str) -> str:
        """Return the place of a path whose last name may itself be a link."""
        folder, name = split(path.strip("/"))
        above = self.settle(folder)
        return f"{above}/{name}" if above else name

    def is_folder(self, place: str) -> bool:
        """Whether a folder itself is at a place."""
        status = self.status(place)
        return status is not None and stat.S_ISDIR(status.st_mode)

    def names(self, folder: str) -> list[str]:
        """List the names in a folder."""
        return os.listdir(self._folders.open(folder))  # noqa: PTH208  (a handle, not a path)

    def below(self, folder: str) -> Iterator[str]:
        """Go through everything below a folder, following nothing."""
        todo = [folder]
        while todo:
            folder = todo.pop()
            for name in self.names(folder):
                place = f"{folder}/{name}" if folder else name
                yield place
                if self.is_folder(place):
                    todo.append(place)

    def digest(self, place: str) -> bytes:
        """Return the SHA-256 of a regular file, b"" for anything else."""
        status = self.status(place)
        if status is None or not stat.S_ISREG(status.st_mode):
            return b""
        with self.open(place) as file:
            return hashlib.file_digest(file, "sha256").digest()

    def open(self, place: str) -> BufferedReader:
        """Open a file to read it, and never a link, nor wait for what is none."""
        folder, name = split(place)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        handle = os.open(name, flags, dir_fd=self._folders.open(folder))
        return open(handle, "rb")  # noqa: PTH123  (a handle, not a path)


def inside(root: Path, path: str) -> Path:
    """Find a path of a root, all links followed as in that root; it need not exist.

    Raises `ArchiveError` when links go round in a ring, `OutsideError` where nobody may look.
    """
    plain = root / path.lstrip("/")
    if root.absolute() == Path("/") or not root.is_dir():
        return plain
    lookup = Lookup(root)
    try:
        return root / lookup.settle(path)
    except OSError as error:
        raise OutsideError(f"{plain}: cannot be found: {error.strerror}") from error
    finally:
        lookup.close()


class Settled:
    """Finds the places of many paths, each folder once; `link` gives the text of a link."""

    def __init__(self, link: Callable[[str], str | None]) -> None:
        self._link = link
        self._folders: dict[str, str] = {}

    def place(self, path: str) -> str:
        """Return where a path is in the root, the last name itself not followed."""
        folder, name = split(path)
        missing = []
        while folder and folder not in self._folders:
            missing.append(folder)
            folder = split(folder)[0]
        place = self._folders[folder] if folder else ""
        for each in reversed(missing):
            last = split(each)[1]
            place = self._folders[each] = self._settle(f"{place}/{last}" if place else last)
        return f"{place}/{name}" if place else name

    def _settle(self, place: str) -> str:
        """Return where a name leads whose folder is settled."""
        if self._link(place) is None:
            return place
        try:
            return follow(place, self._link, ring=ArchiveError)
        except ArchiveError:
            return place  # where links go round in a ring, nothing is


def mount_points(root: Path) -> frozenset[str]:
    """List the places below `root` on which something is mounted (proc(5), mountinfo)."""
    top = os.path.realpath(os.fsencode(root)).rstrip(b"/") + b"/"
    found = set()
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        point = _ESCAPED.sub(lambda match: bytes([int(match[1], 8)]), line.split(b" ")[4])
        if point.startswith(top) and point != top:
            found.add(os.fsdecode(point[len(top) :]))
    return frozenset(found)


def top_of(place: str, mounts: frozenset[str]) -> str:
    """Return the top of the file system that a place is on: a mount point, or "" for the root's."""
    while mounts and place:
        if place in mounts:
            return place
        place = split(place)[0]
    return ""
