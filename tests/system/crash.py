"""A disk that stops, fills up, or forgets what was not synced.

`RecordingDisk` does everything for real and writes it down. From that record `after_power_failure`
makes the root as a disk may show it after a power failure: what was synced is there, and of the
rest any part.
"""

import errno
import io
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from compiler.archive import Entry, Kind
from compiler.archive.safety import Devices
from compiler.archive.tar import Source
from compiler.errors import ArchiveError
from compiler.system.disk import Look, RootDisk
from tests.system.lab import DATABASE

GROWING = {"make_staging", "stage", "link", "rename", "commit"}
"""Effects that need room on the disk."""


class Stopped(BaseException):
    """The process is no more."""


@dataclass(frozen=True)
class Effect:
    """Something that was done: `again` does it once more, and with `torn` without its content."""

    name: str
    again: Callable[[RootDisk], None]
    torn: Callable[[RootDisk], None] | None = None
    database: Path | None = None
    """A copy of the database's files, of a commit."""
    top: str | None = None
    """Which file system a sync was for."""


class Full:
    """A disk that has no room from the effect number `first` on, for `many` effects.

    There is room again when a staging folder was removed.
    """

    def __init__(self, first: int, many: int) -> None:
        self.first, self.many = first, many

    def hits(self, name: str, number: int) -> bool:
        """Whether an effect fails."""
        if name == "remove_staging" and number >= self.first:
            self.many = 0
        return name in GROWING and self.first <= number < self.first + self.many


@dataclass
class RecordingDisk:
    """A disk that stops before the effect number `stop`, or is `full`."""

    root: Path
    copies: Path
    stop: int | None = None
    full: Full | None = None
    log: list[Effect] = field(default_factory=list)
    count: int = 0
    _disk: RootDisk = field(init=False)

    def __post_init__(self) -> None:
        self._disk = RootDisk(self.root, Devices.MAKE)

    def close(self) -> None:
        """Let go."""
        self._disk.close()

    def make_staging(self, top: str) -> None:
        self._do("make_staging", lambda disk: disk.make_staging(top))

    def stage(self, top: str, entry: Entry, content: Source | None) -> None:
        data = b"" if content is None else _all(content)
        torn = entry._replace(size=0)
        self._do(
            "stage",
            lambda disk: disk.stage(top, entry, io.BytesIO(data)),
            (lambda disk: disk.stage(top, torn, None)) if entry.kind is Kind.FILE else None,
        )

    def finish_staging(self, top: str) -> None:
        self._do("finish_staging", lambda disk: disk.finish_staging(top))

    def link(self, source: str, target: str) -> None:
        self._do("link", lambda disk: disk.link(source, target))

    def rename(self, source: str, target: str, *, replace: bool) -> None:
        self._do("rename", lambda disk: disk.rename(source, target, replace=replace))

    def describe(self, path: str, look: Look) -> None:
        self._do("describe", lambda disk: disk.describe(path, look))

    def make_folder(self, path: str, look: Look) -> None:
        self._do("make_folder", lambda disk: disk.make_folder(path, look))

    def remove(self, path: str) -> None:
        self._do("remove", lambda disk: disk.remove(path))

    def remove_folder(self, path: str) -> None:
        self._do("remove_folder", lambda disk: disk.remove_folder(path))

    def remove_staging(self, top: str) -> None:
        self._do("remove_staging", lambda disk: disk.remove_staging(top))

    def forget(self) -> None:
        self._disk.forget()

    def sync(self, top: str) -> None:
        self._begin("sync")  # what it does is shown by what is forgotten without
        self.log.append(Effect("sync", lambda _disk: None, top=top))

    def commit(self, write: Callable[[], None]) -> None:
        self._begin("commit")
        write()
        copy = self.copies / str(self.count)
        copy.mkdir(parents=True)
        for file in (self.root / DATABASE).glob("cos.db*"):
            shutil.copy(file, copy)
        self.log.append(Effect("commit", lambda _: None, database=copy))

    def _do(
        self,
        name: str,
        again: Callable[[RootDisk], None],
        torn: Callable[[RootDisk], None] | None = None,
    ) -> None:
        self._begin(name)
        again(self._disk)
        self.log.append(Effect(name, again, torn))

    def _begin(self, name: str) -> None:
        if self.stop is not None and self.count >= self.stop:
            raise Stopped
        self.count += 1
        if self.full is not None and self.full.hits(name, self.count - 1):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class HastyDisk(RootDisk):
    """A disk that syncs nothing, for what ends before the machine does."""

    def sync(self, top: str) -> None:
        """Do nothing."""


Choice = dict[int, str]
"""What became of each effect that was not synced: `kept`, `torn` or `lost`."""


def unsynced(log: list[Effect], end: int) -> list[int]:
    """Which of the first `end` effects no later sync has made safe."""
    last = max((i for i in range(end) if log[i].name == "sync"), default=-1)
    return [i for i in range(last + 1, end) if log[i].name not in {"sync", "commit"}]


def choices(log: list[Effect], end: int, chance: random.Random) -> Iterator[Choice]:
    """Ways in which a power failure may leave what was not synced."""
    open_ = unsynced(log, end)
    yield dict.fromkeys(open_, "kept")
    if not open_:
        return
    yield dict.fromkeys(open_, "lost")
    yield dict.fromkeys(open_, "torn")
    for _ in range(2):
        yield {i: chance.choice(["kept", "kept", "lost", "torn"]) for i in open_}


def after_power_failure(
    log: list[Effect], end: int, choice: Choice, *, before: Path, root: Path
) -> None:
    """Make `root` out of `before` as it is after the first `end` effects and a power failure."""
    shutil.copytree(before, root, symlinks=True)
    disk = RootDisk(root, Devices.MAKE)
    try:
        for number, effect in enumerate(log[:end]):
            if effect.name in {"sync", "commit"} or choice.get(number) == "lost":
                continue
            how = effect.torn if choice.get(number) == "torn" else None
            try:
                (how or effect.again)(disk)
            except (OSError, ArchiveError):
                continue  # what it needs was lost as well
    finally:
        disk.close()
    commits = [each.database for each in log[:end] if each.database is not None]
    if commits:
        for file in (root / DATABASE).glob("cos.db*"):
            file.unlink()
        for file in commits[-1].iterdir():
            shutil.copy(file, root / DATABASE)


def without(log: list[Effect], number: int) -> list[Effect]:
    """Return the record with one sync, or one commit's own sync, that does nothing."""
    idle = Effect("idle", lambda _: None)
    return [*log[:number], idle, *log[number + 1 :]]


def _all(content: Source) -> bytes:
    parts = []
    while data := content.read(1 << 20):
        parts.append(data)
    return b"".join(parts)
