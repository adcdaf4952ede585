"""What a client knows of a repository, and keeps on its disk: one state, whole or not at all.

A folder for each repository holds `repository.yaml` as it was fetched, and what the files that it
names say, in a form that is read fast. The name of the latter is made of the former's content, so
replacing `repository.yaml` replaces everything at once.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from compiler.archive.compress import atomic_file, remove_stale
from compiler.archive.scan import collector_paused
from compiler.artifact.metadata import ArtifactMetadata
from compiler.errors import OutsideError
from compiler.repository.configured import RepositoryConfig
from compiler.repository.index import REPOSITORY, RepositoryInfo
from compiler.spec.package import Definition, PackageId

_FORMAT = 1
_TIME = "SYNCTIME"
_PACKAGES, _FILES = ".packages", ".files"


class Available(BaseModel):
    """A package that a repository has: what it is, and which archive holds it.

    `listed` says where its list of files begins, and how many bytes it has.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    definition: Definition
    archive: str = ""
    sha256: str = ""
    compression: str = "none"
    timestamp: str = ""
    finalizer: str | None = None
    listed: tuple[int, int] = (0, 0)

    @property
    def id(self) -> PackageId:
        """The identity of the package."""
        return self.definition.id


class _Stored(BaseModel):
    """The packages of one state."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    info: RepositoryInfo
    packages: tuple[Available, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """A repository as a client knows it; the lists of files stay on the disk."""

    config: RepositoryConfig
    info: RepositoryInfo
    packages: Mapping[PackageId, Available]
    files_path: Path = field(repr=False)

    @property
    def name(self) -> str:
        """The name that the configuration gives it."""
        return self.config.name

    def files(self, package: PackageId) -> tuple[str, ...]:
        """List the files of a package, as the index has them."""
        start, length = self.packages[package].listed
        if not length:
            return ()
        try:
            with self.files_path.open("rb") as file:
                file.seek(start)
                return tuple(json.loads(file.read(length)))
        except (OSError, ValueError) as error:
            message = f"the list of files of {package} cannot be read"
            raise OutsideError(message, hint="`cos repo update -f` fetches it anew") from error

    def metadata(self, package: PackageId) -> ArtifactMetadata:
        """Describe the artifact of a package, as far as installing it takes."""
        found = self.packages[package]
        return ArtifactMetadata(
            runtime=found.definition,
            built=found.definition,
            archive=found.archive,
            sha256=found.sha256,
            compression=found.compression,
            files=self.files(package),
            timestamp=found.timestamp,
        )


def _unsealed(_config: RepositoryConfig) -> str:
    return ""


class Shelf:
    """The folder in which the states of all repositories are kept."""

    def __init__(
        self, folder: Path, seal_of: Callable[[RepositoryConfig], str] = _unsealed
    ) -> None:
        """Keep states in `folder`, under the root that is known of each repository."""
        self._folder = folder
        self._seal_of = seal_of
        self._last: dict[str, Synced] = {}

    def folder(self, config: RepositoryConfig) -> Path:
        """Return the folder of one repository; it need not be there."""
        return self._folder / config.name

    def load(self, config: RepositoryConfig) -> tuple[Synced, bytes] | None:
        """Return the last state that was kept, and its `repository.yaml`; None if there is none.

        A state of another address, or that another version of cos has kept, is none.
        """
        folder = self.folder(config)
        for _ in range(2):  # another process may replace it meanwhile
            try:
                page = (folder / REPOSITORY).read_bytes()
                return self._read(config, folder / self._stem(config, page)), page
            except (OSError, ValidationError):
                continue
        return None

    def _read(self, config: RepositoryConfig, stem: Path) -> Synced:
        """Read a state, once: its name says what is in it."""
        path = stem.with_suffix(_FILES)
        known = self._last.get(config.name)
        if known is None or known.config != config or known.files_path != path:
            text = stem.with_suffix(_PACKAGES).read_bytes()
            with collector_paused():
                stored = _Stored.model_validate_json(text)
                packages = {each.id: each for each in stored.packages}
            known = Synced(config=config, info=stored.info, packages=packages, files_path=path)
            self._last[config.name] = known
        return known

    def keep(
        self,
        config: RepositoryConfig,
        page: bytes,
        info: RepositoryInfo,
        packages: Iterable[tuple[Available, Sequence[str]]],
    ) -> Synced:
        """Keep a new state, given each package with its files; the one before is removed."""
        folder = self.folder(config)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            remove_stale(folder)
            stem = folder / self._stem(config, page)
            found = _write(stem, info, packages)
            with atomic_file(folder / REPOSITORY) as file:
                file.write(page)
            for path in folder.iterdir():
                if path.suffix in {_PACKAGES, _FILES} and path.stem != stem.name:
                    path.unlink(missing_ok=True)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise OutsideError(f"{error.filename or folder}: {reason}") from error
        return Synced(config=config, info=info, packages=found, files_path=stem.with_suffix(_FILES))

    def _stem(self, config: RepositoryConfig, page: bytes) -> str:
        """Name a state by all that it comes from."""
        origin = [_FORMAT, config.type, config.urls, config.reference, self._seal_of(config)]
        return hashlib.sha256(json.dumps(origin).encode() + b"\0" + page).hexdigest()

    def synced_at(self, config: RepositoryConfig) -> datetime | None:
        """Tell when a repository was last asked."""
        try:
            text = (self.folder(config) / _TIME).read_text(encoding="ascii").strip()
            moment = datetime.fromisoformat(text)
        except (OSError, ValueError):
            return None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    def note_time(self, config: RepositoryConfig, moment: datetime) -> None:
        """Remember when a repository was asked (RFC 3339, as luet keeps it)."""
        with suppress(OSError), atomic_file(self.folder(config) / _TIME, sync=False) as file:
            file.write(moment.isoformat(timespec="seconds").encode())


def _write(
    stem: Path, info: RepositoryInfo, packages: Iterable[tuple[Available, Sequence[str]]]
) -> dict[PackageId, Available]:
    """Write the two files of a state."""
    found = {}
    with atomic_file(stem.with_suffix(_FILES)) as lists:
        for package, line in _lines(packages):
            lists.write(line)
            found[package.id] = package
    stored = _Stored(info=info, packages=tuple(found.values()))
    with atomic_file(stem.with_suffix(_PACKAGES)) as file:
        file.write(stored.model_dump_json(exclude_defaults=True).encode())
    return found


def _lines(
    packages: Iterable[tuple[Available, Sequence[str]]],
) -> Iterator[tuple[Available, bytes]]:
    """Give each package, with the place of its files in the list, and the line that goes there."""
    start = 0
    for package, files in packages:
        line = f"{json.dumps(list(files))}\n".encode() if files else b""
        yield package.model_copy(update={"listed": (start, len(line))}), line
        start += len(line)
