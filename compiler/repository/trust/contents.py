"""What a repository in a folder holds, as names with lengths and hashes.

The index is signed in copies that no later publication replaces, so that clients with the root see
the state that was signed last until the next one is signed, whatever happens in between.
"""

import hashlib
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from compiler.archive.compress import atomic_file
from compiler.errors import CompilerError, OutsideError
from compiler.repository.content import Verified, load_cache, refuse_unverified, save_cache
from compiler.repository.disk import read_repository
from compiler.repository.index import (
    REPOSITORY,
    content_named,
    parse_repository,
    repository_text,
)
from compiler.repository.trust import Target, target_of_file
from compiler.repository.trust.publisher import HISTORY, Contents

_PREFIX = "signed-"
"""What the names of copies begin with."""


def freeze(folder: Path, *, unverified: bool = False) -> Contents:
    """Copy the index of a repository for those who have its root, and describe everything.

    Raises what `of_folder` does, `TrustError` for artifacts that nobody vouches for unless
    `unverified`, and `OutsideError` where nothing can be written.
    """
    repository = read_repository(folder)
    if not unverified:
        listed = repository.index.artifacts
        refuse_unverified(folder, (folder / artifact.file_name for artifact in listed))
    try:
        info = parse_repository((folder / REPOSITORY).read_text(encoding="utf-8"), str(folder))
        named = content_named(info, _PREFIX)
        for key, file in info.repo_files.items():
            _copy(folder / file.filename, folder / named.repo_files[key].filename)
        text = repository_text(named).encode()
        page = f"{_PREFIX}{hashlib.sha256(text).hexdigest()[:12]}-{REPOSITORY}"
        with atomic_file(folder / page) as output:
            output.write(text)
    except OSError as error:
        where = error.filename or folder
        raise OutsideError(f"{where}: {(error.strerror or str(error)).lower()}") from error
    found = of_folder(folder)
    names = [page, *(each.filename for each in named.repo_files.values())]
    own = {name: target_of_file(folder / name) for name in names}
    return replace(found, index={**found.index, **own}, page=page)


def thaw(folder: Path, signed: Iterable[str]) -> None:
    """Remove the copies that are signed no longer."""
    keep = set(signed)
    for path in folder.glob(f"{_PREFIX}*"):
        if path.name not in keep:
            path.unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    """Copy a file; a link would not do, since luet writes into the file that is there."""
    with source.open("rb") as file, atomic_file(target) as copy:
        shutil.copyfileobj(file, copy)


def of_folder(folder: Path) -> Contents:
    """Describe the repository in a folder: its index, its last snapshots, and all its artifacts.

    Raises `CompilerError` for what the index lists and the folder does not hold as it should.
    """
    repository = read_repository(folder)
    verified = load_cache(folder)
    index = {name: _target(folder / name, verified) for name in _index_names(folder)}
    artifacts: dict[str, Target] = {}
    for artifact in repository.index.artifacts:
        for name in (artifact.archive, artifact.file_name):
            path = folder / name
            if name and (path.exists() or name == artifact.archive):
                artifacts[name] = _target(path, verified)
        if artifact.archive and artifacts[artifact.archive].sha256 != artifact.sha256:
            message = f"{folder / artifact.archive}: has another checksum than the index says"
            raise CompilerError(message, hint="make the repository anew before it is signed")
    verified.fresh = {**verified.known, **verified.fresh}
    save_cache(folder, verified)
    return Contents(index=index, artifacts=artifacts)


def _index_names(folder: Path) -> list[str]:
    """Name the files of the index, and those of the last snapshots."""
    found = sorted(path.name for path in folder.glob(f"*-{REPOSITORY}"))
    pages = [name for name in found if not name.startswith(_PREFIX)][-HISTORY:]
    names = []
    for page in (REPOSITORY, *pages):
        path = folder / page
        try:
            info = parse_repository(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise OutsideError(f"{path}: cannot be read: {error}") from error
        names += [page, *(file.filename for file in info.repo_files.values())]
    return names


def _target(path: Path, verified: Verified) -> Target:
    """Describe a file; its hash comes from memory if the file is unchanged."""
    try:
        sha256 = verified.sha256(path)
        return Target(path.stat().st_size, sha256)
    except FileNotFoundError as error:
        hint = "`cos create-repo` lists what there is"
        raise CompilerError(f"{path}: is listed, and is not there", hint=hint) from error
    except OSError as error:
        raise OutsideError(f"{path}: cannot be read: {error.strerror}") from error
