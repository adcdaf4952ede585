"""Brings what a client knows of a repository up to date.

`repository.yaml` is asked for first; only if it has changed, the tree and the index that it names
are fetched, compared with their checksums, and taken over together.
"""

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from compiler.archive.compress import remove_stale
from compiler.artifact.metadata import ArtifactMetadata
from compiler.errors import (
    ArchiveError,
    CompilerError,
    ContentError,
    ExpiredError,
    NotFoundError,
    OutsideError,
    TrustError,
    unwritable,
)
from compiler.events import Noted, Reporter, silent
from compiler.repository.archives import read_texts
from compiler.repository.configured import RepositoryConfig
from compiler.repository.entries import artifacts_in
from compiler.repository.fetching import Fetching, MixedError
from compiler.repository.index import (
    INDEX,
    META,
    REPOSITORY,
    TREE,
    parse_repository,
    tree_folder,
)
from compiler.repository.sources import Source
from compiler.repository.synced import Available, Shelf, Synced
from compiler.spec.fields import Reader
from compiler.spec.package import Definition, PackageId
from compiler.spec.yaml import YamlFaults, parse

LARGEST_PAGE = 4 << 20
"""How many bytes of `repository.yaml` are read."""

_FRESH = timedelta(hours=24)
_AGAIN = "it is damaged, or newer than this version of cos: publish it again, or update cos"
_SCRATCH = ".sync-"
_ATTEMPTS = 3
_BETWEEN = 1.0  # seconds in which a publication that is under way may end


class Trust(Protocol):
    """The signed metadata of a repository, which is brought up to date before anything else.

    What comes out of its source has been compared with it.
    """

    def refresh(self, now: datetime | None = None) -> None:
        """Bring what was signed up to date; raises `TrustError`, `OutsideError`."""

    def holds(self, now: datetime) -> bool:
        """Whether what was seen of it is still good, without asking anybody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncTools:
    """What syncing needs: where states are kept, what time it is, and who hears of it.

    With `force` a repository is asked although what is there is fresh enough, and with `insist` it
    is an error if it does not answer.
    """

    shelf: Shelf
    report: Reporter = silent
    force: bool = False
    insist: bool = False
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    pause: Callable[[float], None] = time.sleep


def sync(
    config: RepositoryConfig, source: Source, tools: SyncTools, trust: Trust | None = None
) -> Synced:
    """Return the newest state of a repository.

    When it does not answer, the last one that was kept is taken, with a warning, for as long as
    its signatures are good. Raises `OutsideError` if there is none, `TrustError` for what is not
    signed as it has to be.
    """
    stored = tools.shelf.load(config)
    holds = trust is None or trust.holds(tools.now())
    if stored and holds and not tools.force and _is_fresh(config, tools):
        return stored[0]
    try:
        synced = _newest(config, source, tools, trust)
    except TrustError:
        raise
    except CompilerError as error:
        if stored is None or tools.insist:
            raise
        if not holds:
            message = f"{config.name}: {error}; the signatures of what is kept have expired"
            unanswered = isinstance(error, OutsideError) and not isinstance(error, NotFoundError)
            kind = ExpiredError if unanswered else TrustError
            raise kind(message, hint="it has to be asked before more is taken") from error
        message = f"{config.name}: {error}; what was fetched before is used"
        tools.report(Noted(message, warning=True))
        return stored[0]
    tools.shelf.note_time(config, tools.now())
    return synced


def _is_fresh(config: RepositoryConfig, tools: SyncTools) -> bool:
    """Whether what is here is good for now (luet's `cached`)."""
    asked = tools.shelf.synced_at(config)
    return config.cached and asked is not None and timedelta() <= tools.now() - asked < _FRESH


def _newest(
    config: RepositoryConfig, source: Source, tools: SyncTools, trust: Trust | None
) -> Synced:
    """Fetch what changed; again, if the repository changes at the same time."""
    folder = tools.shelf.folder(config)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_stale(folder)
        _remove_scratch(folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    for attempt in range(_ATTEMPTS):
        try:
            with TemporaryDirectory(dir=folder, prefix=_SCRATCH) as scratch:
                return _fetch(config, Fetching(source, Path(scratch)), tools, trust)
        except ContentError:
            if attempt == _ATTEMPTS - 1:
                raise
            tools.pause(_BETWEEN)
        except MixedError as error:
            if attempt == _ATTEMPTS - 1:
                hint = "it may be changing just now, or be damaged"
                raise OutsideError(f"{source.address}: {error}", hint=hint) from error
            tools.pause(_BETWEEN)
    raise AssertionError("the loop returns or raises")


def _remove_scratch(folder: Path) -> None:
    """Remove what processes that were killed long ago have left."""
    for path in folder.glob(f"{_SCRATCH}*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _FRESH.total_seconds():
                shutil.rmtree(path, ignore_errors=True)


def _fetch(
    config: RepositoryConfig, fetching: Fetching, tools: SyncTools, trust: Trust | None
) -> Synced:
    """Fetch `repository.yaml`, and the rest if that is not what is known already."""
    if trust is not None:
        trust.refresh(tools.now())
    name = config.reference or REPOSITORY
    page = _page(fetching, name)
    stored = tools.shelf.load(config)
    if stored and stored[1] == page:
        return stored[0]
    where = f"{fetching.source.address}: {name}"
    try:
        info = parse_repository(page.decode(), where)
    except UnicodeDecodeError as error:
        raise OutsideError(f"{where}: is not UTF-8 text", hint=_AGAIN) from error
    except CompilerError as error:
        raise OutsideError(error.message, hint=error.hint or _AGAIN) from error
    tools.report(Noted(f"fetching what {config.name} has, revision {info.revision}"))
    try:
        tree = read_texts(fetching.part(info, TREE))
        index = read_texts(fetching.part(info, META)).get(INDEX)
    except ArchiveError as error:
        message = f"{fetching.source.address}: {error.message}"
        raise OutsideError(message, hint=error.hint or _AGAIN) from error
    if index is None:
        raise OutsideError(f"{where}: its index holds no {INDEX}", hint=_AGAIN)
    artifacts = artifacts_in(index, f"{fetching.source.address}: {INDEX}")
    return tools.shelf.keep(config, page, info, _packages(artifacts, tree, config.name))


def _page(fetching: Fetching, name: str) -> bytes:
    """Fetch the file that everything begins with; without it there is no repository."""
    try:
        return fetching.file(name, LARGEST_PAGE).read_bytes()
    except NotFoundError as error:
        hint = "is this a repository? `cos create-repo` makes one"
        raise NotFoundError(error.message, hint=hint) from error


def _packages(
    artifacts: Iterable[ArtifactMetadata], tree: dict[str, str], name: str
) -> Iterator[tuple[Available, Sequence[str]]]:
    """Join what the index and the tree say of each package."""
    texts = {path.removeprefix("./"): text for path, text in tree.items()}
    found: set[PackageId] = set()
    for artifact in artifacts:
        if artifact.id in found:
            raise OutsideError(f"{name}: its index has {artifact.id} twice", hint=_AGAIN)
        found.add(artifact.id)
        folder = tree_folder(artifact.id)
        text = texts.get(f"{folder}/definition.yaml")
        definition = artifact.runtime
        if text is not None:
            definition = _definition(text, f"{name}: {folder}/definition.yaml", artifact)
        yield (
            Available(
                definition=definition,
                archive=artifact.archive,
                sha256=artifact.sha256,
                compression=artifact.compression,
                timestamp=artifact.timestamp,
                finalizer=texts.get(f"{folder}/finalize.yaml"),
            ),
            artifact.files,
        )


def _definition(text: str, source: str, artifact: ArtifactMetadata) -> Definition:
    """Read a definition of the runtime tree; raises `OutsideError` for one that is damaged."""
    reader = Reader()
    try:
        definition = reader.definition(parse(text))
    except YamlFaults as error:
        raise OutsideError(f"{source}: {error.faults[0].message}", hint=_AGAIN) from error
    if reader.faults:
        raise OutsideError(f"{source}: {reader.faults[0].message}", hint=_AGAIN)
    if definition.id != artifact.id:
        raise OutsideError(f"{source}: is about {definition.id}, not {artifact.id}", hint=_AGAIN)
    return definition
