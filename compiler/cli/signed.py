"""Where signed metadata of repositories lies and who signs it, as commands name both."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import typer

from compiler.cli.key import signing_key
from compiler.cli.registries import open_registry, repository_named, scratch_folder
from compiler.cli.rootfile import read_root_file
from compiler.cli.settings import Settings
from compiler.errors import (
    CompilerError,
    DeniedError,
    InputError,
    Interrupted,
    UnansweredError,
)
from compiler.repository.trust.keys import Signing
from compiler.repository.trust.places import FolderPlace, Place, RegistryPlace
from compiler.repository.trust.published import Published, read_published
from compiler.repository.trust.reading import named_versions
from compiler.repository.trust.writing import Writer
from compiler.signing.keys import PrivateKey
from compiler.store.images import host_platform


def signing_with(settings: Settings, keys: Sequence[str], repository: str) -> Signing:
    """Read keys, and say what time it is; in a registry, versions are times (`publish.trusted`)."""
    stamp = settings.source_date_epoch
    now = datetime.now(UTC) if stamp is None else datetime.fromtimestamp(stamp, UTC)
    secrets: tuple[PrivateKey, ...] = tuple(signing_key(each) for each in keys)
    return Signing(secrets, now, floor=_floor(repository))


def is_folder(repository: str) -> bool:
    """Tell a folder from the name of a docker repository."""
    return Path(repository).is_dir()


@contextmanager
def opened(settings: Settings, repository: str) -> Iterator[Place]:
    """Open the place where the TUF files of a repository lie."""
    if is_folder(repository):
        yield FolderPlace(Path(repository))
        return
    if repository.startswith(("/", ".")):
        raise InputError(f"{repository}: there is no such folder")
    target = repository_named(repository, "REPO")
    with open_registry(replace(settings, mirrors=())) as registry, scratch_folder() as folder:
        yield RegistryPlace(registry, target, host_platform(), folder)


def published(place: Place, root: Path, *, older: bool = True) -> Published:
    """Verify what a repository has, and say what is strange about it.

    Raises `TrustError` for a state that may not be the newest, unless `older`.
    """
    found = _verified(place, root, older=older)
    for words in found.warnings():
        typer.echo(f"warning: {words}", err=True)
    return found


def writer(
    place: Place, root: Path, signing: Signing, repository: str, *, older: bool = False
) -> Writer:
    """Write to a place where others may publish at the same time."""
    return Writer(
        place=place,
        read=lambda: _verified(place, root, older=older),
        signing=signing,
        floor=lambda: _floor(repository),
        name=repository,
    )


def _verified(place: Place, root: Path, *, older: bool) -> Published:
    """Verify what a repository has, which is to be the newest unless `older`."""
    found = read_published(place.read, read_root_file(root), place.names())
    if found is None:
        raise place.unsigned()
    if not older:
        found.check_newest()
    return found


def _floor(repository: str) -> int:
    """Tell the lowest version that is written now."""
    return 1 if is_folder(repository) else time.time_ns() // 1000


def is_signed(place: Place, root: bytes) -> bool:
    """Tell whether a repository is signed; whatever else lies there, somebody may have left."""
    try:
        if place.read("timestamp.json") is None:  # it may have been lost
            return _has_state(place, root)
        named_versions(place.read)
    except (Interrupted, DeniedError, UnansweredError):
        raise
    except CompilerError as error:
        typer.echo(f"warning: what lies there in place of signed metadata: {error}", err=True)
        return _has_state(place, root)
    return True


def _has_state(place: Place, root: bytes) -> bool:
    """Tell whether there is a state that is signed under a root."""
    try:
        return read_published(place.read, root, place.names()) is not None
    except (Interrupted, DeniedError, UnansweredError):
        raise
    except CompilerError:
        return False
