"""A system: a root directory, its database, and the lock that lets one process change it."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from compiler.errors import OutsideError, UsageError
from compiler.store.files import Lock
from compiler.system.database import FILE_NAME, Database
from compiler.system.disk import STAGING
from compiler.system.kernel import sync_path
from compiler.system.lookup import Lookup

DATABASE_PATH = "/var/cache/luet"
"""Where luet keeps its database, below the root; ours lies beside it."""

_LOCK = "cos.lock"


class System:
    """A root directory with packages in it. Close it, or use it as a context.

    `database_path` is looked up inside the root. Nothing is made before something is installed.
    """

    def __init__(self, root: Path, database_path: str = DATABASE_PATH) -> None:
        if not root.is_dir():
            raise UsageError(f"{root}: is not a folder", hint="make the folder of the system first")
        self.root = root.absolute()
        lookup = Lookup(self.root)
        try:
            self._place = lookup.settle(database_path)
        finally:
            lookup.close()
        self.folder = self.root / self._place
        own = f"{self._place}/" if self._place else ""
        self._own = (f"{own}{FILE_NAME}", f"{own}.{FILE_NAME}", f"{own}{_LOCK}")
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
            lock = Lock(self.folder / _LOCK)
        except OSError as error:
            reason = error.strerror or str(error)
            raise OutsideError(f"{self.folder}: cannot be written: {reason}") from error
        if not lock.try_take():
            lock.close()
            hint = "try again when it has ended"
            raise OutsideError(f"{self.root}: another cos is changing this system", hint=hint)
        return lock

    def is_ours(self, place: str) -> bool:
        """Whether a place belongs to us, so that no package may bring it."""
        return place.startswith(self._own) or (STAGING in place and STAGING in place.split("/"))


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
