"""Brings what `retrieve` names into the workspace, as `ADD` of a Dockerfile does."""

import os
import shutil
import tarfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from compiler.archive.unpack import unpack_tar
from compiler.errors import OutsideError
from compiler.retrieve import SCHEMES, matching_files

_TIMEOUT = 360
_PIECE = 1 << 20


def retrieve_into(
    workspace: Path, patterns: Sequence[str], *, destination: Path, epoch: int
) -> None:
    """Bring everything that `patterns` name into `workspace`, all with the time `epoch`.

    Archives from the destination are unpacked there too, downloads are not. Raises `OutsideError`
    for a download that fails, `ArchiveError` for a hostile archive.
    """
    for path in matching_files(patterns, destination):
        target = workspace / path.name
        shutil.copyfile(path, target, follow_symlinks=False)
        os.utime(target, (epoch, epoch))
        if _is_archive(path):
            unpack_tar(path, workspace)
    for url in patterns:
        if url.startswith(SCHEMES):
            target = workspace / (PurePosixPath(urlsplit(url).path).name or "index")
            _download(url, target)
            os.utime(target, (epoch, epoch))


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
