"""A system: a root directory, its database, and the lock that lets one process change it."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from compiler.errors import ArchiveError, OutsideError, UsageError
from compiler.links import follow
from compiler.store.files import Lock
from compiler.system.database import FILE_NAME, Database
from compiler.system.disk import STAGING
from compiler.system.kernel import sync_path
from compiler.system.lookup import Lookup

DATABASE_PATH = "/var/cache/luet"
"""Where luet keeps its database, below the root; ours lies beside it."""

_LOCK = "cos.lock"
_OWN = (FILE_NAME, f".{FILE_NAME}", _LOCK, "repos/")
"""What is ours where the database is at the top of the root, and not all beside it can be."""


class System:
    """A root directory with packages in it. Close it, or use it as a context.

    `database_path` is looked up inside the root. Nothing is made before something is installed.
    """

    def __init__(self, root: Path, database_path: str = DATABASE_PATH) -> None:
        if not root.is_dir():
            raise UsageError(f"{root}: is not a folder", hint="make the folder of the system first")
        self.root = root.absolute()
        self._place, self._way = _settle(self.root, database_path)
        self.folder = self.root / self._place
        self._own = f"{self._place}/" if self._place else _OWN
        self._depth = 0
        self._held: Lock | None = None
        self.database = Database(self.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database."""
        self.database.close()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only process that changes the system; raises `OutsideError` if another one is.

        It can be taken again by the same `System`. The kernel ends it with the process.
        """
        if not self._depth:
            self._held = self._take()
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if not self._depth and self._held is not None:
                self._held.close()
                self._held = None

    def _take(self) -> Lock:
        try:
            make_folders(self.root, self._place)
            self._refuse_unwritable()
            lock = Lock(self.folder / _LOCK)
        except OSError as error:
            reason = error.strerror or str(error)
            raise OutsideError(f"{self.folder}: cannot be written: {reason}") from error
        if not lock.try_take():
            lock.close()
            hint = "try again when it has ended"
            raise OutsideError(f"{self.root}: another cos is changing this system", hint=hint)
        return lock

    def _refuse_unwritable(self) -> None:
        """Say at once what would fail in the middle: the lock can be had where others may read."""
        if not os.access(self.folder, os.W_OK, effective_ids=True):
            hint = "change it as root, or another root directory with --system-target"
            raise OutsideError(f"{self.root}: this system cannot be written here", hint=hint)

    def is_ours(self, place: str) -> bool:
        """Whether a place belongs to us, so that no package may bring it.

        All below the database's folder does: also what was seen of repositories, and is trusted.
        """
        if STAGING in place and STAGING in place.split("/"):
            return True
        return place.startswith(self._own) or (not self._place and place == "repos")

    def is_on_our_way(self, place: str, target: str | None) -> bool:
        """Whether we would no longer find our folder if this came there: a link, or another one.

        `target` is the text of a link; the one that is there already leads to the same folder.
        """
        return place in self._way and (target is None or target != self._way[place])


def _settle(root: Path, path: str) -> tuple[str, Mapping[str, str | None]]:
    """Return the place of a path, and what is on the way to it: places, and the texts of links."""
    way: dict[str, str | None] = {}
    lookup = Lookup(root)

    def link_at(place: str) -> str | None:
        way[place] = lookup.link(place)
        return way[place]

    try:
        return follow(path, link_at, ring=ArchiveError), way
    finally:
        lookup.close()


def make_folders(root: Path, place: str, sync: Callable[[Path], None] = sync_path) -> None:
    """Make a folder of a root, and those above it, open to all readers.

    Each is synced with its name: else what is committed in them could be lost together with them.
    """
    folder = root
    for part in Path(place).parts:
        above, folder = folder, folder / part
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        os.chmod(folder, 0o755)  # noqa: PTH101, S103  (whatever the umask is)
        sync(above)


def is_writable(folder: Path) -> bool:
    """Whether a folder can be written, or made."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return os.access(folder, os.W_OK)
