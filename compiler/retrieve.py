"""`retrieve`: files of the destination that steps find in their workspace, by name and content.

So a package may take in what another one was packed to; entries that are URLs are fetched when the
package is built.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from compiler.archive import Compression
from compiler.errors import SpecError
from compiler.marks import is_mark
from compiler.spec.package import PackageId

SCHEMES = ("http://", "https://")


def retrieved_files(patterns: Sequence[str], destination: Path) -> Mapping[str, str]:
    """List the files of `destination` that match, by name with the SHA-256 of their content.

    URLs count by their text alone. Raises `SpecError` for a pattern that leads elsewhere.
    """
    found: dict[str, str] = {}
    for path in matching_files(patterns, destination):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        found[str(path.relative_to(destination))] = digest
    return dict(sorted(found.items()))


def matching_files(patterns: Sequence[str], destination: Path) -> Iterator[Path]:
    """Go through the files of the destination that any pattern matches, sorted, each once."""
    found: set[Path] = set()
    for pattern in patterns:
        if pattern.startswith(SCHEMES):
            continue
        parts = PurePosixPath(pattern)
        if parts.is_absolute() or ".." in parts.parts or not parts.parts:
            raise SpecError(
                f"retrieve: {pattern!r} leads out of the destination",
                hint="name files of the destination folder, or a URL",
            )
        try:
            found.update(path for path in destination.glob(pattern) if _is_wanted(path))
        except ValueError as error:
            raise SpecError(f"retrieve: {pattern!r} is no pattern: {error}") from error
    yield from sorted(found)


def _is_wanted(path: Path) -> bool:
    """Tell a file from folders, from links, which could lead anywhere, and from marks."""
    return path.is_file() and not path.is_symlink() and not is_mark(path)


def names_archive_of(package: PackageId, pattern: str) -> bool:
    """Tell whether `pattern` matches the archive of a package, however it is compressed."""
    names = (f"{package.fingerprint}.package.tar{each.suffix}" for each in Compression)
    return not pattern.startswith(SCHEMES) and any(fnmatchcase(name, pattern) for name in names)
