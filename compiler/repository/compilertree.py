"""The trees that a repository was made of, brought here for those who build on its packages.

`create-repo` puts them into the repository as they are, and templates in them want the values that
the packages were built with: the index has these. What was brought once is kept beside what else
is known of the repository, under a name that is made of its checksums.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from compiler.archive.members import Limits
from compiler.archive.unpack import unpack_tar
from compiler.errors import OutsideError
from compiler.repository.archives import MOST_BYTES, read_texts
from compiler.repository.entries import values_in
from compiler.repository.fetching import Fetching, MixedError
from compiler.repository.index import COMPILER_TREE, INDEX, META
from compiler.repository.sources import Source
from compiler.repository.synced import Synced
from compiler.spec.package import PackageId

_FORMAT = 1
_PREFIX, _SCRATCH = "compilertree-", ".sync-"
_TREES, _VALUES = "trees", "values.json"
_UNUSED = 24 * 3600.0  # seconds; until then a build may be reading what a newer state replaces


@dataclass(frozen=True, slots=True)
class PublishedTree:
    """The trees of a repository, in one folder, and the values that packages were built with."""

    root: Path
    values: Mapping[PackageId, Mapping[str, object]]


def published_tree(synced: Synced, source: Source, folder: Path) -> PublishedTree | None:
    """Bring the trees of a repository into `folder` if they are not there; None if it has none.

    Raises `OutsideError` where they cannot be fetched or written, `ArchiveError` for damaged ones.
    """
    if COMPILER_TREE not in synced.info.repo_files:
        return None
    place = folder / _name(synced)
    try:
        if not place.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=folder, prefix=_SCRATCH) as scratch:
                _bring(synced, Fetching(source, Path(scratch)), place)
        os.utime(place)
        _remove_unused(folder)
        return PublishedTree(place / _TREES, _read_values(place / _VALUES))
    except MixedError as error:
        hint = "it has changed since it was asked: try again"
        raise OutsideError(f"{source.address}: {error}", hint=hint) from error
    except ValueError as error:
        raise OutsideError(f"{place}: is damaged", hint="remove it") from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OutsideError(f"{error.filename or folder}: {reason}") from error


def _name(synced: Synced) -> str:
    """Name what is kept of a state by all that it comes from."""
    files = synced.info.repo_files
    parts = [files[key].sha256 for key in (COMPILER_TREE, META) if key in files]
    return f"{_PREFIX}{hashlib.sha256(json.dumps([_FORMAT, *parts]).encode()).hexdigest()[:16]}"


def _bring(synced: Synced, fetching: Fetching, place: Path) -> None:
    """Fetch trees and index, and give them their place together."""
    index = read_texts(fetching.part(synced.info, META)).get(INDEX, "")
    values = values_in(index, f"{fetching.source.address}: {INDEX}")
    made = fetching.folder / place.name
    (made / _TREES).mkdir(parents=True)
    archive = fetching.part(synced.info, COMPILER_TREE)
    unpack_tar(archive, made / _TREES, limits=Limits(size=MOST_BYTES))
    _write_values(made / _VALUES, values)
    try:
        made.rename(place)
    except OSError:
        if not place.is_dir():  # else another process was first
            raise


def _write_values(path: Path, values: Mapping[PackageId, Mapping[str, object]]) -> None:
    path.write_text(json.dumps([[*id_, given] for id_, given in values.items()]), encoding="utf-8")


def _read_values(path: Path) -> Mapping[PackageId, Mapping[str, object]]:
    rows = json.loads(path.read_text(encoding="utf-8"))
    return {PackageId(*id_): given for *id_, given in rows}


def _remove_unused(folder: Path) -> None:
    """Remove the trees of states that nobody has used for a day."""
    for each in folder.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if time.time() - each.stat().st_mtime > _UNUSED:
                shutil.rmtree(each, ignore_errors=True)
