"""Archives and layers that were fetched, by the SHA-256 of their content.

So a package that was rebuilt under the same version is never taken for the one before. Beside them
are notes: which contents an image was made of, for times without a network.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager, suppress
from pathlib import Path

from compiler.archive.compress import atomic_file
from compiler.errors import OutsideError, room_hint
from compiler.store.files import Lock

_CONTENTS, _NOTES, _PARTS = "sha256", "notes", "parts"
_LOCK = ".lock"


class Cache:
    """A folder of contents; processes may share it, and a kill at any time damages nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def expect(self, contents: Sequence[tuple[str, int]]) -> None:
        """Hear what is about to be asked for, with sizes in bytes; 0 where nobody knows them.

        Caches that are to stay small make room.
        """

    def find(self, sha256: str) -> Path | None:
        """Return the file of a content; what was damaged on the disk is removed and not there."""
        path = self._path(sha256)
        try:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() == sha256:
                    return path
            path.unlink()
        except OSError:
            return None
        return None

    def holds(self, sha256: str) -> bool:
        """Whether a content was kept; it may have been damaged since, which `find` would notice."""
        return self._path(sha256).is_file()

    @contextmanager
    def adding(self, sha256: str) -> Iterator[Path]:
        """Lend the path of an unfinished file, which is kept for the next try if this one fails.

        Only one process has it at a time. `keep` gives it its name.
        """
        part = self.folder / _PARTS / sha256
        path = part.with_name(f"{sha256}{_LOCK}")
        with self._words():
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = _taken(path)
        try:
            yield part
        finally:
            if part.exists() and not part.stat().st_size:  # as a full disk leaves it
                _remove(part)
            _remove(path)  # from here on somebody else may have the part
            lock.close()

    def keep(self, part: Path, sha256: str) -> Path:
        """Give a file of `adding`, whose content was checked, its name for good.

        It is not synced: `find` would notice what a power failure has left of it.
        """
        path = self._path(sha256)
        with self._words():
            path.parent.mkdir(parents=True, exist_ok=True)
            part.replace(path)
        return path

    def note(self, key: str, contents: Sequence[str]) -> None:
        """Remember which contents something is made of."""
        path = self._note(key)
        with self._words():
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(path, sync=False) as file:
                file.write(json.dumps(list(contents)).encode())

    def noted(self, key: str) -> tuple[Path, ...] | None:
        """Return the files that something is made of, if it was noted and all of them are here."""
        contents = _noted_in(self._note(key))
        if contents is None:
            return None
        found = [self.find(each) for each in contents]
        return None if None in found else tuple(path for path in found if path is not None)

    def retain(self, names: Set[str]) -> None:
        """Remove all contents but these, unfinished files of others, and notes that name others.

        What cannot be removed stays.
        """
        for path in (self.folder / _CONTENTS).glob("*/*"):
            if path.name not in names:
                _remove(path)
        for path in (self.folder / _PARTS).glob("*"):
            if path.name.removesuffix(_LOCK) not in names:
                _remove(path)
        for path in (self.folder / _NOTES).glob("*.json"):
            if not set(_noted_in(path) or ()) <= names:
                _remove(path)

    def clear(self) -> tuple[int, int]:
        """Remove everything; returns how many files that were, and how many bytes."""
        sizes = [path.stat().st_size for path in (self.folder / _CONTENTS).glob("*/*")]
        for name in (_CONTENTS, _NOTES, _PARTS):
            try:
                shutil.rmtree(self.folder / name)
            except FileNotFoundError:
                continue
            except OSError as error:
                message = f"{error.filename}: cannot be removed: {error.strerror}"
                raise OutsideError(message) from error
        return len(sizes), sum(sizes)

    @contextmanager
    def _words(self) -> Iterator[None]:
        """Say in words what the operating system refused."""
        try:
            yield
        except OSError as error:
            message = f"{self.folder}: cannot be written: {error.strerror}"
            raise OutsideError(message, hint=room_hint(error)) from error

    def _path(self, sha256: str) -> Path:
        return self.folder / _CONTENTS / sha256[:2] / sha256

    def _note(self, key: str) -> Path:
        return self.folder / _NOTES / f"{hashlib.sha256(key.encode()).hexdigest()}.json"


def _taken(path: Path) -> Lock:
    """Make a lock file and hold it; once more if who had it before has removed it meanwhile."""
    while True:
        lock = Lock(path)
        try:
            lock.take()
            is_there = lock.is_at(path)
        except BaseException:
            lock.close()
            raise
        if is_there:
            return lock
        lock.close()


def _noted_in(path: Path) -> list[str] | None:
    """Read a note; None for one that is not there or says nothing."""
    try:
        contents = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return list(map(str, contents)) if isinstance(contents, list) else None


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
