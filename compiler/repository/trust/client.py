"""What clients believe of a repository whose root they know: TUF's client workflow, kept on disk.

`tuf.ngclient` does the work (TUF specification, section 5); this module brings it files from
wherever a repository is, keeps its state safe against power failures and other processes, and says
what is wrong in words.
"""

import fcntl
import os
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from inspect import signature
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.api.metadata import Root, Snapshot, TargetFile
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from compiler.archive.compress import atomic_file, remove_stale
from compiler.errors import CompilerError, ContentError, NotFoundError, OutsideError, TrustError
from compiler.events import Noted, Reporter, silent
from compiler.repository.trust import (
    AT,
    SCRATCH,
    TIMESTAMP,
    Fetch,
    Target,
    limit_of,
    role_of,
    target_of_bytes,
    target_of_file,
)
from compiler.repository.trust.kept import holds
from compiler.repository.trust.refusals import Received, refusal
from compiler.repository.trust.root import check_root

_NOT_FOUND = 404
_ABSENT = {403, 404}
_BOOTSTRAP: Mapping[str, Any] = (
    {"bootstrap": None} if "bootstrap" in signature(Updater.__init__).parameters else {}
)
"""python-tuf 6 wants to be told that the first root is read by `_load_local_metadata`."""

_UNSIGNED = (
    "only what its publishers have signed is used; `cos repo update` asks for the newest index"
)
_ROOT_FILE = "root.json"
_ROOTS = "root_history"


class TrustedRepository:
    """Tells what was signed of a repository; threads and processes may share its folder.

    `root` is the root file that was given when the repository was added; `folder` holds what was
    seen since, so that nothing older is believed later. `name` is for messages. `fetch` brings its
    files, or those of several addresses do: then the first counts whose state is as it has to be.
    """

    def __init__(
        self,
        root: bytes,
        folder: Path,
        fetch: Fetch | Sequence[tuple[str, Fetch]],
        *,
        name: str,
        report: Reporter = silent,
    ) -> None:
        self._root = root
        self._folder = folder
        self._fetches = fetch if isinstance(fetch, Sequence) else [(name, fetch)]
        self._report = report
        self.preferred = 0
        """The number of the address whose state counts."""
        self._name = name
        self._lock = threading.Lock()
        self._updater: _Updater | None = None
        self._now: datetime | None = None

    def refresh(self, now: datetime | None = None) -> None:
        """Bring what was signed up to date; `now` is the time that decides what has expired.

        Raises `TrustError` for anything that is not as it has to be, `OutsideError` if the
        repository does not answer. Then what was seen before counts, as far as it is good.
        """
        with self._lock:
            self._updater = None
            self._now = now or datetime.now(UTC)
            errors: list[CompilerError] = []
            for number, (address, fetch) in enumerate(self._fetches):
                try:
                    self._ask(address, fetch)
                except (OutsideError, TrustError) as error:
                    errors.append(error)
                    continue
                self.preferred = number
                for missed in errors:
                    self._report(Noted(f"{missed}; {address} is asked instead", warning=True))
                return
            failure = _of_all(errors)
            if isinstance(failure, OutsideError):
                self._recall()
            raise failure

    def _ask(self, address: str, fetch: Fetch) -> None:
        """Bring what was signed up to date from one address."""
        whom = self._name if len(self._fetches) == 1 else f"{self._name}: {address}"
        with self._asking(fetch, whom) as fetcher:
            _tidy(self._folder)
            self._updater = self._refreshed(fetcher)

    def _recall(self) -> None:
        """Go on with what was seen before, as far as it is good."""
        with suppress(CompilerError), self._asking(self._kept, self._name) as fetcher:
            self._updater = self._refreshed(fetcher)

    def holds(self, now: datetime) -> bool:
        """Whether what was seen is still good, as far as that is known without asking."""
        return holds(self._folder, now)

    def target(self, name: str) -> Target | None:
        """Return what was signed of a name; None if nothing was. Asks for a bin if need be.

        Raises `TrustError` and `OutsideError` as `refresh` does, which comes first if it was not
        called before.
        """
        if self._updater is None:
            self._begin()
        with self._lock, self._asking(self._any, self._name) as fetcher:
            updater = self._updater or self._refreshed(fetcher)
            updater.ask(fetcher)
            found = updater.get_targetinfo(name)
        return _target(found, name, self._name) if found else None

    def place_of(self, name: str) -> str:
        """Return the name of the file that holds a target: its own, unless another was signed.

        Raises what `target` does.
        """
        if self.target(name) is None or self._updater is None:
            return name
        found = self._updater.get_targetinfo(name)
        custom = found.custom if found else None
        place = custom.get(AT) if isinstance(custom, dict) else None
        return place if isinstance(place, str) and place else name

    def require(self, name: str) -> Target:
        """Return what was signed of a name; raises `TrustError` if nothing was."""
        found = self.target(name)
        if found is None:
            message = f"{self._name}: {name} is not signed"
            raise TrustError(message, hint=_UNSIGNED)
        return found

    def check(self, name: str, content: Path | bytes) -> None:
        """Compare a content with what was signed.

        Raises `ContentError` if it is another, `TrustError` if nothing was signed.
        """
        if isinstance(content, Path):
            self.compare(name, target_of_file(content))
        else:
            self.compare(name, target_of_bytes(content))

    def compare(self, name: str, found: Target) -> None:
        """Compare the length and hash of a content, or of an image, with what was signed."""
        wanted = self.require(name)
        if found == wanted:
            return
        what = "another checksum"
        if found.length != wanted.length:
            what = f"{found.length} bytes instead of {wanted.length}"
        raise self.unlike(name, what)

    def unlike(self, name: str, what: str) -> ContentError:
        """Say of a content that it is not what was signed."""
        hint = "the repository may be changing just now; if this stays, do not trust it"
        return ContentError(f"{self._name}: {name} is not what was signed: {what}", hint=hint)

    def _begin(self) -> None:
        """Bring everything up to date; what was seen before is enough without an answer."""
        try:
            self.refresh()
        except OutsideError:
            if self._updater is None:
                raise

    def _refreshed(self, fetcher: "_Fetcher") -> "_Updater":
        """Bring the state that is kept up to date."""
        check_root(self._root)
        updater = _Updater(self._folder, self._root, fetcher, self._now or datetime.now(UTC))
        updater.refresh()
        updater.check_root()
        return updater

    def _any(self, name: str, limit: int) -> Iterable[bytes]:
        """Ask the address whose state counts, then the others."""
        fetches = [fetch for _, fetch in self._fetches]
        first = fetches.pop(self.preferred)
        try:
            return first(name, limit)
        except OutsideError:
            for fetch in fetches:
                with suppress(OutsideError):
                    return fetch(name, limit)
            raise

    def _kept(self, name: str, _limit: int) -> Iterator[bytes]:
        """Answer in place of the repository: what was the newest is still the newest."""
        path = self._folder / name
        if role_of(name) != TIMESTAMP or not path.is_file():
            raise NotFoundError(f"{name} was not seen")
        yield path.read_bytes()

    @contextmanager
    def _asking(self, fetch: Fetch, whom: str) -> Iterator["_Fetcher"]:
        """Let one process at a time use the folder, and put what goes wrong into words."""
        received = Received()
        try:
            with _locked(self._folder):
                yield _Fetcher(fetch, received)
        except (RepositoryError, DownloadError) as error:
            raise refusal(whom, error, received) from error
        except TrustError as error:
            if error.message.startswith(f"{whom}: "):
                raise
            raise TrustError(f"{whom}: {error.message}", hint=error.hint) from error
        except OSError as error:
            path = error.filename or self._folder
            raise OutsideError(f"{path}: {error.strerror or error}") from error


class _Fetcher(FetcherInterface):
    """Brings files for `tuf.ngclient`, and remembers the last one for messages."""

    def __init__(self, source: Fetch, received: Received) -> None:
        self._source = source
        self._received = received

    def _fetch(self, url: str) -> Iterator[bytes]:
        """Yield a file; what is too long is stopped by whoever counts, which is the base class."""
        name = url.removeprefix("/")
        self._received.begin(name)
        try:
            for piece in self._source(name, limit_of(name)):
                self._received.add(piece)
                yield piece
        except NotFoundError as error:
            raise DownloadHTTPError(error.message, _NOT_FOUND) from error


class _Updater(Updater):
    """`tuf.ngclient.Updater` with a clock that is given, and writes that survive power failures."""

    def __init__(self, folder: Path, root: bytes, fetcher: _Fetcher, now: datetime) -> None:
        config = UpdaterConfig(prefix_targets_with_hash=False)
        self._first = root
        self._begun = False
        super().__init__(str(folder), "/", fetcher=fetcher, config=config, **_BOOTSTRAP)
        self._persist_root(self._trusted_set.root.version, root)
        self._trusted_set.reference_time = now
        self._begun = True

    def ask(self, fetcher: _Fetcher) -> None:
        """Ask another fetcher from now on."""
        self._fetcher = fetcher

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


def _of_all(errors: Sequence[CompilerError]) -> CompilerError:
    """Make one error of what all addresses said.

    First that which asking once more may help with, then that something is not as it was signed.
    """
    first, *others = sorted(errors, key=_rank)
    if not others:
        return first
    said = "; ".join(each.message for each in others)
    hints = "; ".join(dict.fromkeys(each.hint for each in (first, *others) if each.hint))
    kind = type(first) if isinstance(first, TrustError) else OutsideError
    return kind(f"{first.message}; then: {said}", hint=hints or None)


def _rank(error: CompilerError) -> int:
    return 0 if isinstance(error, ContentError) else 1 if isinstance(error, TrustError) else 2


def _target(found: TargetFile, name: str, repository: str) -> Target:
    """Return what was signed, which has to have a SHA-256."""
    sha256 = found.hashes.get("sha256")
    if not sha256:
        raise TrustError(f"{repository}: {name} is signed without a SHA-256")
    return Target(found.length, sha256)


def _tidy(folder: Path) -> None:
    """Remove what processes that were killed have left in a folder that nobody else uses now."""
    remove_stale(folder)
    remove_stale(folder / _ROOTS)
    for path in folder.glob(f"{SCRATCH}*"):
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder, which is made if it is not there."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
