"""Brings what `retrieve` names into the workspace, as `ADD` of a Dockerfile does."""

import http.client
import os
import shutil
import tarfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import urlsplit

from compiler.archive.safety import Devices
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
        with _fresh(workspace / path.name, epoch) as file, path.open("rb") as source:
            shutil.copyfileobj(source, file, _PIECE)
        if _is_archive(path):
            unpack_tar(path, workspace, devices=Devices.allowed())
    for url in patterns:
        if url.startswith(SCHEMES):
            _download(url, workspace, epoch)
    os.utime(workspace, (epoch, epoch))


@contextmanager
def _fresh(target: Path, epoch: int) -> Iterator[BinaryIO]:
    """Write a file in place of what has its name: a link of the workspace is never followed."""
    target.unlink(missing_ok=True)
    with target.open("xb") as file:
        yield file
    os.utime(target, (epoch, epoch))


def _is_archive(path: Path) -> bool:
    """Tell whether a file is a tar that `ADD` would unpack."""
    try:
        return tarfile.is_tarfile(path)
    except OSError as error:
        raise OutsideError(f"{path}: cannot be read: {error.strerror}") from error


def _download(url: str, workspace: Path, epoch: int) -> None:
    """Fetch a file over HTTP into the workspace, under the last name of its path."""
    try:
        name = PurePosixPath(urlsplit(url).path).name or "index"
        with (
            urllib.request.urlopen(url, timeout=_TIMEOUT) as answer,  # noqa: S310  (checked above)
            _fresh(workspace / name, epoch) as file,
        ):
            shutil.copyfileobj(answer, file, _PIECE)
            if answer.length:
                raise OutsideError(f"retrieve: {url} ended {answer.length} bytes early")
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise OutsideError(f"retrieve: {url} cannot be downloaded: {error}") from error
