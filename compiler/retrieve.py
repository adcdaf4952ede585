"""`retrieve`: files of the destination, or from the web, that steps find in their workspace.

A package may so take in what another one was packed to (luet's `retrieve`, which copies what
matches a pattern and adds it to the workspace as `ADD` of a Dockerfile does: archives unpacked).
"""

import hashlib
import os
import shutil
import tarfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from compiler.archive.unpack import unpack_tar
from compiler.errors import OutsideError, SpecError

_SCHEMES = ("http://", "https://")
_TIMEOUT = 360
_PIECE = 1 << 20


def retrieved_files(patterns: Sequence[str], destination: Path) -> Mapping[str, str]:
    """List the files of `destination` that match, by name with the SHA-256 of their content.

    URLs count by their text alone. Raises `SpecError` for a pattern that leads elsewhere.
    """
    found: dict[str, str] = {}
    for path in _matches(patterns, destination):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        found[str(path.relative_to(destination))] = digest
    return dict(sorted(found.items()))


def retrieve_into(
    workspace: Path, patterns: Sequence[str], *, destination: Path, epoch: int
) -> None:
    """Bring everything that `patterns` name into `workspace`, all with the time `epoch`.

    Archives from the destination are unpacked there too, downloads are not. Raises `OutsideError`
    for a download that fails, `ArchiveError` for a hostile archive.
    """
    for path in _matches(patterns, destination):
        target = workspace / path.name
        shutil.copyfile(path, target, follow_symlinks=False)
        os.utime(target, (epoch, epoch))
        if _is_archive(path):
            unpack_tar(path, workspace)
    for url in patterns:
        if url.startswith(_SCHEMES):
            target = workspace / (PurePosixPath(urlsplit(url).path).name or "index")
            _download(url, target)
            os.utime(target, (epoch, epoch))


def _matches(patterns: Sequence[str], destination: Path) -> Iterator[Path]:
    """Go through the files of the destination that any pattern matches, sorted, each once."""
    found: set[Path] = set()
    for pattern in patterns:
        if pattern.startswith(_SCHEMES):
            continue
        parts = PurePosixPath(pattern)
        if parts.is_absolute() or ".." in parts.parts or not parts.parts:
            raise SpecError(
                f"retrieve: {pattern!r} leads out of the destination",
                hint="name files of the destination folder, or a URL",
            )
        found.update(path for path in destination.glob(pattern) if _is_plain(path))
    yield from sorted(found)


def _is_plain(path: Path) -> bool:
    """Tell a file from folders and from links, which could lead anywhere."""
    return path.is_file() and not path.is_symlink()


def _is_archive(path: Path) -> bool:
    """Tell whether a file is a tar that `ADD` would unpack."""
    try:
        return tarfile.is_tarfile(path)
    except OSError as error:
        raise OutsideError(f"{path}: cannot be read: {error.strerror}") from error


def _download(url: str, target: Path) -> None:
    """Fetch a file over HTTP into the workspace."""
    try:
        with (
            urllib.request.urlopen(url, timeout=_TIMEOUT) as answer,  # noqa: S310  (checked above)
            target.open("wb") as file,
        ):
            shutil.copyfileobj(answer, file, _PIECE)
    except (OSError, urllib.error.URLError, ValueError) as error:
        raise OutsideError(f"retrieve: {url} cannot be downloaded: {error}") from error
