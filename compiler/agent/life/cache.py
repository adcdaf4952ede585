"""What was fetched is kept for the next upgrade: what the new image and the last one are made of.

It lies on the persistent partition. Where that has no room for an image, what is missing of it goes
to a spare folder that is gone after the upgrade.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from pathlib import Path

from compiler.agent.life.host import free_bytes, need_room, write_whole
from compiler.agent.life.phases import Phase, during
from compiler.agent.log import Log
from compiler.repository.cache import Cache

_SHARE = 4
"""At most this part of the file system, however large it may be: the rest is the owner's."""

_ROOM = 16 << 20
"""Bytes that stay free beside what is fetched."""

_GENERATIONS = 2
_RECORD = "kept.json"

Generations = Mapping[str, Sequence[Sequence[str]]]
"""What images are made of, the newest first, for each place that images are put into."""


class Larder(Cache):
    """The contents that a machine keeps, with a spare folder for what has no room among them."""

    def __init__(self, folder: Path, spare: Path | None, log: Log) -> None:
        super().__init__(folder)
        self._spare = None if spare is None else Cache(spare)
        self._log = log
        self._wanted: set[str] = set()
        self._is_full = False

    def expect(self, contents: Sequence[tuple[str, int]]) -> None:
        """Make room for contents that are not here: older ones go, or the spare folder is used.

        Raises `LifeError` with numbers if there is no room anywhere.
        """
        self._wanted.update(name for name, _ in contents)
        size = sum(size for name, size in contents if not self.holds(name))
        if size:
            with during(Phase.COPY):
                self.folder.mkdir(parents=True, exist_ok=True)
                self._find_room(size + _ROOM)

    def find(self, sha256: str) -> Path | None:
        """Return the file of a content, wherever it is."""
        found = super().find(sha256)
        return self._spare.find(sha256) if found is None and self._spare is not None else found

    def holds(self, sha256: str) -> bool:
        """Whether a content is here."""
        spare = self._spare is not None and self._spare.holds(sha256)
        return spare or super().holds(sha256)

    @contextmanager
    def adding(self, sha256: str) -> Iterator[Path]:
        """Lend the path of an unfinished file, where there is room for it."""
        place = self._spare if self._is_full and self._spare is not None else Cache(self.folder)
        with place.adding(sha256) as part:
            yield part

    def keep(self, part: Path, sha256: str) -> Path:
        """Give a file of `adding` its name."""
        if self._spare is not None and part.is_relative_to(self._spare.folder):
            return self._spare.keep(part, sha256)
        return super().keep(part, sha256)

    def _find_room(self, size: int) -> None:
        """Decide where the next contents go, given how many bytes they have."""
        self._is_full = False
        if free_bytes(self.folder) >= size:
            return
        self.retain(self._wanted)
        if free_bytes(self.folder) >= size:
            return
        if self._spare is None:
            need_room(self.folder, size, "what is fetched")
            return
        self._spare.folder.mkdir(parents=True, exist_ok=True)
        if free_bytes(self._spare.folder) < size:
            need_room(self.folder, size, "what is fetched")
        self._is_full = True
        self._log.warning(
            f"{self.folder} has no room for {size >> 20} MiB: what is fetched now is not kept, and"
            " the next upgrade fetches it again"
        )


def settle(folder: Path, place: str, contents: Sequence[str], most: int) -> None:
    """Keep what the image that is now at `place` is made of, and the one before it; no more.

    So it is of other places. Of that at most `most` bytes stay: those of this image go last.
    Raises `OSError` if that cannot be written down; the next image then starts anew.
    """
    if not folder.is_dir():
        return
    known = _with(_read(folder / _RECORD), place, contents)
    kept = {name for images in known.values() for image in images for name in image}
    Cache(folder).retain(kept)
    _trim(folder, most, frozenset(contents))
    write_whole(folder / _RECORD, json.dumps(known).encode())


def _with(known: Generations, place: str, contents: Sequence[str]) -> Generations:
    """Put an image first in its place, unless it is that already."""
    before = [list(each) for each in known.get(place, ()) if set(each) != set(contents)]
    return {**known, place: [list(contents), *before][:_GENERATIONS]}


def _read(path: Path) -> Generations:
    """Read the record; what is damaged says nothing."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(value, dict):
        return {}
    return {str(place): list(_images(images)) for place, images in value.items()}


def _images(value: object) -> Iterator[list[str]]:
    for each in value if isinstance(value, list) else []:
        if isinstance(each, list):
            yield [name for name in each if isinstance(name, str)]


def _trim(folder: Path, most: int, last: Set[str]) -> None:
    """Remove contents until at most `most` bytes are left, those of `last` at the end."""
    status = os.statvfs(folder)
    most = min(most, status.f_blocks * status.f_frsize // _SHARE)
    found = []
    for path in (folder / "sha256").glob("*/*"):
        with suppress(OSError):
            about = path.stat()
            used = max(about.st_atime, about.st_mtime)
            found.append((path.name in last, used, about.st_size, path))
    size = sum(each[2] for each in found)
    for _, _, bytes_, path in sorted(found):
        if size <= most:
            break
        with suppress(OSError):
            path.unlink()
            size -= bytes_
