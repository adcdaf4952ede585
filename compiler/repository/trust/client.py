"""What clients believe of a repository whose root they know: TUF's client workflow, kept on disk.

`updater` goes through that workflow; this module asks several addresses, keeps other processes out
of its state, and says what is wrong in words.
"""

import fcntl
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from tuf.api.exceptions import DownloadError, RepositoryError
from tuf.api.metadata import TargetFile

from compiler.errors import CompilerError, ContentError, NotFoundError, OutsideError, TrustError
from compiler.events import Noted, Reporter, silent
from compiler.repository.trust import (
    AT,
    TIMESTAMP,
    Fetch,
    Target,
    role_of,
    target_of_bytes,
    target_of_file,
)
from compiler.repository.trust.kept import holds
from compiler.repository.trust.refusals import Received, refusal
from compiler.repository.trust.root import check_root
from compiler.repository.trust.updater import Fetcher, SafeUpdater, tidy

_UNSIGNED = (
    "only what its publishers have signed is used; `cos repo update` asks for the newest index"
)


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
        self._updater: SafeUpdater | None = None
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
            tidy(self._folder)
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

    def _refreshed(self, fetcher: Fetcher) -> SafeUpdater:
        """Bring the state that is kept up to date."""
        check_root(self._root)
        updater = SafeUpdater(self._folder, self._root, fetcher, self._now or datetime.now(UTC))
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
    def _asking(self, fetch: Fetch, whom: str) -> Iterator[Fetcher]:
        """Let one process at a time use the folder, and put what goes wrong into words."""
        received = Received()
        try:
            with _locked(self._folder):
                yield Fetcher(fetch, received)
        except (RepositoryError, DownloadError) as error:
            raise refusal(whom, error, received) from error
        except TrustError as error:
            if error.message.startswith(f"{whom}: "):
                raise
            raise TrustError(f"{whom}: {error.message}", hint=error.hint) from error
        except OSError as error:
            path = error.filename or self._folder
            raise OutsideError(f"{path}: {error.strerror or error}") from error


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
