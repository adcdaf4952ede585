"""Names the trees that specs come from by what they hold, for provenance."""

import hashlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from compiler.errors import OutsideError
from compiler.sbom import Resource

_NAME = "tree"
"""What every tree is called: where it lies on a machine says nothing to others."""
_NOT_OF_A_TREE = frozenset({".git", ".cos"})


def tree_resource(root: Path, *, without: Collection[Path] = ()) -> Resource:
    """Name a tree by the SHA-256 of a list of all that it holds, but for the paths `without`.

    The list has a line for each file and link, sorted by path: `x` for what may be run, `l` for a
    link and `-` for the rest, the SHA-256 of its content or target, its path, and a zero byte. So
    it does not matter where a tree lies, nor who tracks it. Raises `OutsideError`.
    """
    found = hashlib.sha256()
    left_out = {each.absolute() for each in without}
    try:
        for path in sorted(_files(root.absolute(), left_out)):
            kind, digest = _content(path)
            name = os.fsencode(path.relative_to(root.absolute()))
            found.update(b"%s %s %s\0" % (kind, digest.encode(), name))
    except OSError as error:
        raise OutsideError(f"{error.filename}: cannot be read: {error.strerror}") from error
    return Resource(name=_NAME, digests={"sha256": found.hexdigest()})


def _files(folder: Path, left_out: Collection[Path]) -> Iterator[Path]:
    """Go through the plain files and links below a folder."""
    for path in folder.iterdir():
        if path.name in _NOT_OF_A_TREE or path in left_out:
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _files(path, left_out)
        elif path.is_file() or path.is_symlink():
            yield path


def _content(path: Path) -> tuple[bytes, str]:
    """Say what kind of file lies at a path, and hash what it holds."""
    if path.is_symlink():
        return b"l", hashlib.sha256(os.fsencode(path.readlink())).hexdigest()
    with path.open("rb") as file:
        kind = b"x" if os.fstat(file.fileno()).st_mode & 0o100 else b"-"
        return kind, hashlib.file_digest(file, "sha256").hexdigest()
