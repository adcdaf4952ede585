"""TUF's client workflow (`tuf.ngclient`; TUF specification, section 5), as it is needed here.

Files come from wherever a repository is, and in registries out of the images that are named for
them; the clock is given; what is written survives power failures.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from inspect import signature
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tuf.api.exceptions import DownloadHTTPError, RepositoryError
from tuf.api.metadata import Root, Snapshot
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from compiler.archive.compress import atomic_file, remove_stale
from compiler.errors import NotFoundError, TrustError
from compiler.repository.trust import (
    ROOT,
    SCRATCH,
    SNAPSHOT,
    TIMESTAMP,
    Fetch,
    in_image,
    limit_of,
    role_of,
)
from compiler.repository.trust.refusals import Received

_NOT_FOUND = 404
_ABSENT = {403, 404}
_BOOTSTRAP: Mapping[str, Any] = (
    {"bootstrap": None} if "bootstrap" in signature(Updater.__init__).parameters else {}
)
"""python-tuf 6 wants to be told that the first root is read by `_load_local_metadata`."""

_ROOT_FILE = "root.json"
_ROOTS = "root_history"


class Fetcher(FetcherInterface):
    """Brings files for `tuf.ngclient`, and remembers the last one for messages."""

    def __init__(self, source: Fetch, received: Received) -> None:
        self._source = source
        self._received = received
        self.asked_as: Callable[[str], str] = str
        """What a file is asked for as, given its name (see `trust.in_image`)."""

    def _fetch(self, url: str) -> Iterator[bytes]:
        """Yield a file; what is too long is stopped by whoever counts, which is the base class."""
        name = url.removeprefix("/")
        self._received.begin(name)
        try:
            for piece in self._source(self.asked_as(name), limit_of(name)):
                self._received.add(piece)
                yield piece
        except NotFoundError as error:
            raise DownloadHTTPError(error.message, _NOT_FOUND) from error


class SafeUpdater(Updater):
    """`tuf.ngclient.Updater` with a clock that is given, and writes that survive power failures."""

    def __init__(self, folder: Path, root: bytes, fetcher: Fetcher, now: datetime) -> None:
        config = UpdaterConfig(prefix_targets_with_hash=False)
        self._first = root
        self._begun = False
        super().__init__(str(folder), "/", fetcher=fetcher, config=config, **_BOOTSTRAP)
        self._persist_root(self._trusted_set.root.version, root)
        self._trusted_set.reference_time = now
        self._begun = True
        self.ask(fetcher)

    def ask(self, fetcher: Fetcher) -> None:
        """Ask another fetcher from now on."""
        self._fetcher = fetcher
        fetcher.asked_as = self._asked_as

    def _asked_as(self, name: str) -> str:
        """Say what a file is asked for as: what names it may name the image that holds it."""
        role, trusted = role_of(name), self._trusted_set
        if role == SNAPSHOT:
            return in_image(name, trusted.timestamp.snapshot_meta.unrecognized_fields)
        meta = None if role in {ROOT, TIMESTAMP} else trusted.snapshot.meta.get(f"{role}.json")
        return in_image(name, meta.unrecognized_fields) if meta else name

    def check_root(self) -> None:
        """Raise `TrustError` if a root is held back that the snapshot knows of.

        The specification leaves this to the expiry of the root; our publishers name its version.
        """
        snapshot, root = self._trusted_set.snapshot, self._trusted_set.root
        named = snapshot.meta.get(_ROOT_FILE)
        if isinstance(snapshot, Snapshot) and isinstance(root, Root) and named:
            if named.version <= root.version:
                return
            message = f"{root.version + 1}.root.json is missing, root {named.version} is the newest"
            raise TrustError(message, hint="the repository, or somebody on the way, holds it back")

    def _load_local_metadata(self, rolename: str) -> bytes:
        """Read what was seen; the first root is the one that was given."""
        if rolename == Root.type and not self._begun:
            return self._first
        return Path(self._dir, f"{quote(rolename, '')}.json").read_bytes()

    def _load_root(self) -> None:
        """Follow the roots, those that were seen before first, as python-tuf 6 does.

        Version 5 keeps no roots; machines have it (Debian 13).
        """
        try:
            first = self._trusted_set.root.version + 1
            for version in range(first, first + self.config.max_root_rotations):
                if not self._knows_root(version) and not self._brings_root(version):
                    break
        finally:
            self._update_root_symlink()

    def _knows_root(self, version: int) -> bool:
        """Whether a root was seen before, and follows the one that is trusted."""
        try:
            self._trusted_set.update_root(self._root_place(version).read_bytes())
        except (OSError, RepositoryError):
            return False
        return True

    def _brings_root(self, version: int) -> bool:
        """Whether the repository has a root that follows the one that is trusted."""
        try:
            data = self._download_metadata(Root.type, self.config.root_max_length, version)
        except DownloadHTTPError as error:
            if error.status_code not in _ABSENT:
                raise
            return False
        self._trusted_set.update_root(data)
        self._persist_root(version, data)
        return True

    def _root_place(self, version: int) -> Path:
        return Path(self._dir, _ROOTS, f"{version}.{_ROOT_FILE}")

    def _persist_root(self, version: int, data: bytes) -> None:
        path = self._root_place(version)
        path.parent.mkdir(exist_ok=True)
        self._persist_file(str(path), data)

    def _persist_metadata(self, rolename: str, data: bytes) -> None:
        self._persist_file(str(Path(self._dir, f"{quote(rolename, '')}.json")), data)

    def _update_root_symlink(self) -> None:
        """Let `root.json` be the newest root, which others may be looking at (see `kept.holds`).

        It is left alone before the newest is known: the first one may have expired long ago.
        """
        if self._begun:
            folder, newest = Path(self._dir), self._trusted_set.root.version
            beside = folder / f".{_ROOT_FILE}.part"
            beside.unlink(missing_ok=True)
            beside.symlink_to(f"{_ROOTS}/{newest}.{_ROOT_FILE}")
            beside.replace(folder / _ROOT_FILE)

    def _persist_file(self, filename: str, data: bytes) -> None:
        """Write a file so that it is there whole, or not at all."""
        path = Path(filename)
        if path.is_file() and path.read_bytes() == data:
            return
        with atomic_file(path) as file:
            file.write(data)


def tidy(folder: Path) -> None:
    """Remove what processes that were killed have left in a folder that nobody else uses now."""
    remove_stale(folder)
    remove_stale(folder / _ROOTS)
    for path in folder.glob(f"{SCRATCH}*"):
        shutil.rmtree(path, ignore_errors=True)
