"""What a system holds, listed before it is written anywhere: its size, and whether it can boot."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from compiler.agent.life.phases import LifeError, Phase
from compiler.archive import Entry, Kind
from compiler.archive.members import Limits, members_of
from compiler.archive.safety import safe_parts
from compiler.archive.unpack import entry_of
from compiler.elf import ELF_HEAD, PROGRAMS, architecture_of
from compiler.errors import ArchiveError
from compiler.layout import BOOT_ARGUMENTS, INITRD, KERNEL

EXCLUDED = ("proc", "sys", "dev", "tmp", "run", "mnt", "host", "lost+found", ".snapshots")
"""Folders of a system whose content is never part of it."""

LEFT_OUT = ("etc/resolv.conf",)
"""Files that a container engine has put there: they are of the machine that built the system.

A link of such a name is the system's own.
"""

_BLOCK = 4096
_INODE = 256
_MOST_LINKS = 40
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"
Head = Callable[[], bytes]
"""Gives the first bytes of a file."""


@dataclass(slots=True)
class Inventory:
    """The paths of a system, each with the bytes that it takes and where it points to, if it does.

    `architecture` is that of its programs, "" if none was seen.
    """

    architecture: str = ""
    _paths: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, entry: Entry, head: Head) -> None:
        """Note an entry; what was at its path before is gone."""
        path = "/".join(safe_parts(entry.path))
        if not path:
            return
        size = -(-entry.size // _BLOCK) * _BLOCK if entry.kind is Kind.FILE else 0
        folder = _BLOCK if entry.kind is Kind.FOLDER else 0
        link = ""
        if entry.kind is Kind.SYMLINK:
            link = entry.target
        elif entry.kind is Kind.HARDLINK:
            link = f"/{entry.target.lstrip('/')}"
        self._paths[path] = (size + folder + _INODE, link)
        if not self.architecture and path in PROGRAMS and entry.kind is Kind.FILE:
            self.architecture = architecture_of(head())

    def remove(self, path: str, *, itself: bool = True) -> None:
        """Forget a path and all below it, or only what is below it."""
        if itself:
            self._paths.pop(path, None)
        below = f"{path}/" if path else ""
        for each in [each for each in self._paths if each.startswith(below)]:
            del self._paths[each]

    @property
    def size(self) -> int:
        """How many bytes it takes on a file system with blocks of 4 KiB, about."""
        return sum(size for size, _ in self._paths.values())

    @property
    def entries(self) -> int:
        """How many files and folders there are."""
        return len(self._paths)

    def has(self, path: str) -> bool:
        """Whether something is at a path, links followed inside of the system."""
        return self._settled(path) is not None

    def _settled(self, path: str) -> str | None:
        """Follow links, also those on the way."""
        waiting = [part for part in reversed(path.split("/")) if part not in {"", "."}]
        done: list[str] = []
        for _ in range(_MOST_LINKS * 10):
            if not waiting:
                return "/".join(done)
            part = waiting.pop()
            if part == "..":
                done = done[:-1]
                continue
            here = "/".join([*done, part])
            found = self._paths.get(here)
            if found is None and not waiting:
                return None
            if found is None or not found[1]:
                done.append(part)
                continue
            done = [] if found[1].startswith("/") else done
            waiting += [each for each in reversed(found[1].split("/")) if each not in {"", "."}]
        return None


def check_system(inventory: Inventory, name: str, architecture: str) -> None:
    """Raise `LifeError` for a system that cannot run or boot on this machine."""
    if inventory.architecture and inventory.architecture != architecture:
        message = f"{name} is for {inventory.architecture}, and this machine is {architecture}"
        raise LifeError(message, Phase.ARCHITECTURE, hint="choose the image for this machine")
    needed = {KERNEL: "kernel", INITRD: "initrd", BOOT_ARGUMENTS: "boot arguments"}
    missing = [f"{what} ({path})" for path, what in needed.items() if not inventory.has(path)]
    if missing:
        message = f"{name} cannot boot: it has no {', no '.join(missing)}"
        raise LifeError(message, Phase.UNBOOTABLE, hint="is it a whole system?")


def of_folder(folder: Path) -> Inventory:
    """List a folder, but not what is mounted in it; raises `OSError`."""
    found = Inventory()
    for path, entry in _walk(folder):
        found.add(entry, partial(_head, path))
    return found


def _walk(root: Path) -> Iterator[tuple[Path, Entry]]:
    device = root.stat().st_dev
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        with os.scandir(waiting.pop()) as children:
            for child in children:
                status = child.stat(follow_symlinks=False)
                name = child.path[len(str(root)) :].lstrip("/")
                # Only folders tell what is mounted: overlays give files the devices of layers.
                is_folder = stat.S_ISDIR(status.st_mode)
                if (is_folder and status.st_dev != device) or name in LEFT_OUT:
                    continue
                yield Path(child.path), _entry(child, name, status, seen)
                if is_folder and name not in EXCLUDED:
                    waiting.append(Path(child.path))


def _entry(child: os.DirEntry[str], name: str, status: os.stat_result, seen: set[int]) -> Entry:
    """Make an entry; a file with several names counts once."""
    if stat.S_ISDIR(status.st_mode):
        return Entry(path=name, kind=Kind.FOLDER)
    if stat.S_ISLNK(status.st_mode):
        return Entry(path=name, kind=Kind.SYMLINK, target=str(Path(child.path).readlink()))
    known = status.st_ino in seen
    if status.st_nlink > 1:
        seen.add(status.st_ino)
    return Entry(path=name, kind=Kind.FILE, size=0 if known else status.st_size)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(ELF_HEAD)


def of_archives(archives: Iterable[Path], *, layers: bool) -> Inventory:
    """List archives that lie over each other; with `layers` names of deletions are such.

    Raises `ArchiveError` for what is damaged.
    """
    found = Inventory()
    for archive in archives:
        added: list[tuple[Entry, bytes]] = []
        with members_of(archive, Limits()) as members:
            for member in members:
                entry = entry_of(member)
                path = "/".join(safe_parts(entry.path))
                folder, _, name = path.rpartition("/")
                if layers and name.startswith(_WHITEOUT):
                    _delete(found, folder, name)
                    continue
                content = member.content
                wanted = path in PROGRAMS and content is not None
                added.append(
                    (entry, (content.read(ELF_HEAD) or b"") if wanted and content else b"")
                )
        for entry, head in added:
            found.add(entry, partial(bytes, head))
    return found


def _delete(found: Inventory, folder: str, name: str) -> None:
    if name == _OPAQUE:
        found.remove(folder, itself=False)
        return
    hidden = name.removeprefix(_WHITEOUT)
    if hidden in {"", ".", ".."}:
        raise ArchiveError("a deletion of nothing")
    found.remove(f"{folder}/{hidden}" if folder else hidden)
