"""Everything that a transaction does to the disk goes through one small protocol.

So a test can stop a transaction after each effect, or forget what was not yet synced, as a power
failure does. Paths are relative to the root, hold no links, and "" is the root itself.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from compiler.archive import Entry
from compiler.archive.folders import Folders
from compiler.archive.place import Placer
from compiler.archive.safety import Devices
from compiler.archive.tar import Source
from compiler.store.files import remove_tree
from compiler.system.folders import split
from compiler.system.kernel import rename_to_free_name, sync_file_system

STAGING = ".cos-staging"
"""The folder, at the top of every file system that a transaction works on, for what is not yet or
no longer in its place."""

_PRIVATE = 0o700
_HALF_MADE = f"{STAGING}-folder"


@dataclass(frozen=True, slots=True)
class Look:
    """Mode and owner of a folder."""

    mode: int
    uid: int
    gid: int


class Disk(Protocol):
    """The effects of a transaction, each of them whole or not at all."""

    def make_staging(self, top: str) -> None:
        """Make an empty staging folder at the top of a file system, with `new` and `old` in it."""

    def stage(self, top: str, entry: Entry, content: Source | None) -> None:
        """Make an entry below `new` of a staging folder."""

    def finish_staging(self, top: str) -> None:
        """Give the staged folders their modes, owners and times."""

    def link(self, source: str, target: str) -> None:
        """Give what is at `source` a second name."""

    def rename(self, source: str, target: str, *, replace: bool) -> None:
        """Move something on one file system; in place of another file only with `replace`."""

    def describe(self, path: str, look: Look) -> None:
        """Set mode and owner of a folder."""

    def make_folder(self, path: str, look: Look) -> None:
        """Make a folder, with its mode and owner, where nothing is."""

    def remove(self, path: str) -> None:
        """Remove what is no folder; what is missing, or is a folder, stays as it is."""

    def remove_folder(self, path: str) -> None:
        """Remove a folder if it is empty, and no mount point."""

    def remove_staging(self, top: str) -> None:
        """Remove a staging folder with all in it."""

    def sync(self, top: str) -> None:
        """Bring a whole file system to the disk."""

    def forget(self) -> None:
        """Look at every folder anew: somebody else may have changed them."""

    def commit(self, write: Callable[[], None]) -> None:
        """Make a change of the database that is on the disk when this returns."""


class RootDisk:
    """The `Disk` of a real root."""

    def __init__(self, root: Path, devices: Devices = Devices.REFUSE) -> None:
        self._root = root
        self._devices = devices
        self._sources = Folders(root)
        self._targets = Folders(root)
        self._placers: dict[str, Placer] = {}

    def close(self) -> None:
        """Let go of the root."""
        self._close_placers()
        self._sources.close()
        self._targets.close()

    def make_staging(self, top: str) -> None:
        """Make the folders, open to nobody else: set-uid files lie in them for a while.

        A staging folder that is there belongs to no journal: a copy of a system may have one.
        """
        handle = self._targets.open(top)
        remove_tree(Path(f"/proc/self/fd/{handle}/{STAGING}"))
        os.mkdir(STAGING, _PRIVATE, dir_fd=handle)
        handle = self._targets.open(_below(top, STAGING))
        os.mkdir("new", _PRIVATE, dir_fd=handle)
        os.mkdir("old", _PRIVATE, dir_fd=handle)

    def stage(self, top: str, entry: Entry, content: Source | None) -> None:
        """Place an entry by open folders, as every archive is unpacked."""
        if top not in self._placers:
            handle = self._targets.open(_below(top, f"{STAGING}/new"))
            folder = Path(f"/proc/self/fd/{handle}")
            self._placers[top] = Placer(folder, self._devices, exclusive=True)
        self._placers[top].place(entry, content)

    def finish_staging(self, top: str) -> None:
        """Set what making files in the folders would have changed."""
        if top in self._placers:
            self._placers[top].finish()
            self._placers.pop(top).close()

    def link(self, source: str, target: str) -> None:
        """Make a hard link, to a link itself if `source` is one."""
        (above, name), (folder, new) = split(source), split(target)
        handles = self._sources.open(above), self._targets.open(folder)
        os.link(name, new, src_dir_fd=handles[0], dst_dir_fd=handles[1], follow_symlinks=False)

    def rename(self, source: str, target: str, *, replace: bool) -> None:
        """Rename by open folders."""
        (above, name), (folder, new) = split(source), split(target)
        try:
            handles = self._sources.open(above), self._targets.open(folder)
            if replace:
                os.rename(name, new, src_dir_fd=handles[0], dst_dir_fd=handles[1])
            else:
                rename_to_free_name(name, new, source_folder=handles[0], folder=handles[1])
        except OSError as error:  # it knows but the names, of which some are our own
            place = source if STAGING in target.split("/") else target
            error.filename, error.filename2 = f"/{place}", None
            raise

    def describe(self, path: str, look: Look) -> None:
        """Set the owner first: that takes set-id bits away."""
        handle = self._targets.open(path)
        if os.geteuid() == 0:
            os.fchown(handle, look.uid, look.gid)
        os.fchmod(handle, look.mode)

    def make_folder(self, path: str, look: Look) -> None:
        """Make it beside its place, under a name that a stopped transaction makes anew."""
        folder, name = split(path)
        beside = _below(folder, _HALF_MADE)
        with _may_be(errno.EEXIST):
            os.mkdir(_HALF_MADE, _PRIVATE, dir_fd=self._targets.open(folder))
        self.describe(beside, look)
        handle = self._targets.open(folder)
        rename_to_free_name(_HALF_MADE, name, source_folder=handle, folder=handle)
        self.forget()

    def remove(self, path: str) -> None:
        """Remove a name."""
        folder, name = split(path)
        with _may_be(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP):
            os.unlink(name, dir_fd=self._targets.open(folder))

    def remove_folder(self, path: str) -> None:
        """Let the kernel decide whether it is empty."""
        folder, name = split(path)
        with _may_be(
            errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY
        ):
            os.rmdir(name, dir_fd=self._targets.open(folder))

    def remove_staging(self, top: str) -> None:
        """Remove the folder, if it is there."""
        self._close_placers()
        self.forget()
        handle = self._targets.open(top)
        remove_tree(Path(f"/proc/self/fd/{handle}/{STAGING}"))

    def sync(self, top: str) -> None:
        """Sync the file system that the folder is on."""
        sync_file_system(self._targets.open(top))

    def forget(self) -> None:
        """Let go of the folders that are open."""
        self._sources.forget()
        self._targets.forget()

    def commit(self, write: Callable[[], None]) -> None:
        """Let SQLite do it."""
        write()

    def _close_placers(self) -> None:
        while self._placers:
            self._placers.popitem()[1].close()


@contextmanager
def _may_be(*numbers: int) -> Iterator[None]:
    """Pass over an error that only says that there is nothing to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in numbers:
            raise


def _below(top: str, path: str) -> str:
    """Join a path to a top, which may be the root."""
    return f"{top}/{path}" if top else path
