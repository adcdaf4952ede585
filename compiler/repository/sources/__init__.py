"""Where the files of a repository come from: a folder, a web server, a registry."""

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Protocol, TypeVar

from compiler.artifact.metadata import ArtifactMetadata
from compiler.errors import (
    CompilerError,
    ContentError,
    NotFoundError,
    OutsideError,
    SilentError,
    TooLongError,
)
from compiler.events import Noted, Reporter, silent
from compiler.repository.cache import Cache

LARGEST_ARCHIVE = 64 << 30
"""How many bytes of an archive are taken where nobody has said how large it is."""

_Result = TypeVar("_Result")


class Source(Protocol):
    """One address of a repository. All methods raise `OutsideError` when it does not answer.

    `NotFoundError` is raised where it does answer, and has no such file.

    What `fetch` returns has been compared with what names it. Whether that was signed is the
    business of `trust.sources`.
    """

    @property
    def address(self) -> str:
        """The address, as it may be shown: without passwords."""

    def bring(self, name: str, target: Path, limit: int) -> None:
        """Write the file `name` of the repository, of at most `limit` bytes, to `target`."""

    def fetch(
        self, artifact: ArtifactMetadata, cache: Cache, limit: int = LARGEST_ARCHIVE
    ) -> tuple[Path, ...]:
        """Return the archive of a package, or the layers of its image, bottom first.

        All together have at most `limit` bytes.
        """


class Mirrors:
    """Several addresses of one repository, asked in order until one of them answers.

    `preferred` gives the number of the one that is asked first, before the others.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        report: Reporter = silent,
        preferred: Callable[[], int] = int,
    ) -> None:
        self._sources = tuple(sources)
        self._report = report
        self._preferred = preferred
        self._lock = Lock()
        self._silent: set[str] = set()

    @property
    def address(self) -> str:
        """The first address."""
        return self._sources[0].address

    def bring(self, name: str, target: Path, limit: int) -> None:
        """Write a file of the repository to `target`."""
        self._first(lambda source: source.bring(name, target, limit))

    def fetch(
        self, artifact: ArtifactMetadata, cache: Cache, limit: int = LARGEST_ARCHIVE
    ) -> tuple[Path, ...]:
        """Return what a package is made of."""
        return self._first(lambda source: source.fetch(artifact, cache, limit))

    def _first(self, ask: Callable[[Source], _Result]) -> _Result:
        """Ask one after the other; raises the error of the first if none answers."""
        errors: list[CompilerError] = []
        warnings: list[str] = []
        preferred = self._sources[self._preferred()]
        for source in (preferred, *(each for each in self._sources if each is not preferred)):
            try:
                answer = ask(source)
            except (OutsideError, ContentError) as error:
                errors.append(error)
                if not (isinstance(error, SilentError) and self._is_known(source)):
                    warnings.append(str(error))
                continue
            for missed in warnings:
                self._report(Noted(f"{missed}; {source.address} has it", warning=True))
            return answer
        different = {each.message: each for each in errors}.values()  # a full disk is told once
        first, *others = sorted(different, key=lambda each: not isinstance(each, ContentError))
        if not others or isinstance(first, ContentError):
            raise first
        tried = "; ".join(each.message for each in others)
        hints = "; ".join(dict.fromkeys(each.hint for each in errors if each.hint))
        kinds = {type(each) for each in errors}
        kind = kinds.pop() if kinds in ({NotFoundError}, {TooLongError}) else OutsideError
        raise kind(f"{first.message}; then: {tried}", hint=hints or None) from first

    def _is_known(self, source: Source) -> bool:
        """Tell whether a source was silent before: who can be replaced is then not asked again."""
        with self._lock:
            is_known = source.address in self._silent
            self._silent.add(source.address)
        return is_known
