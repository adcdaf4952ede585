"""Results of image building: whole or not there, each with its checksum; and room to work in."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from compiler.archive.compress import atomic_file, remove_stale
from compiler.errors import Location, OutsideError, UsageError, room_hint

_SCRATCH = ".cos-image."


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A finished image, its SHA-256 in hexadecimal, and the file that says so."""

    path: Path
    sha256: str
    checksum: Path


def refuse_existing(target: Path, *, force: bool) -> None:
    """Raise `UsageError` if a result is there already, unless it may be replaced."""
    if target.exists() and not force:
        raise UsageError(f"{target} exists", hint="--force replaces it")


@contextmanager
def write_result(target: Path) -> Iterator[Path]:
    """Give the path of a new, empty file beside `target`, which gets that name at the end.

    The checksum goes beside it, as "sum  name". After an error nothing is left. Raises
    `OutsideError` if the disk refuses.
    """
    checksum = checksum_path(target)
    with _telling(target), atomic_file(target) as file:
        yield Path(file.name)
        with Path(file.name).open("rb") as written:
            digest = hashlib.file_digest(written, "sha256").hexdigest()
    with _telling(checksum), atomic_file(checksum) as file:
        file.write(f"{digest}  {target.name}\n".encode())


def checksum_path(target: Path) -> Path:
    """Return where the checksum of an image is."""
    return target.with_name(f"{target.name}.sha256")


def result_of(target: Path) -> Result:
    """Describe a result by its checksum."""
    checksum = checksum_path(target)
    return Result(path=target, sha256=checksum.read_text().split()[0], checksum=checksum)


@contextmanager
def scratch_beside(target: Path) -> Iterator[Path]:
    """Make a folder to work in: below TMPDIR if that is set, else beside the result.

    It goes at the end; what killed runs left there goes first.
    """
    place = Path(os.environ.get("TMPDIR") or target.parent)
    with _telling(target):
        place.mkdir(parents=True, exist_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_stale(target.parent)
        for old in place.glob(f"{_SCRATCH}*"):
            _remove_if_left(old)
        folder = place / f"{_SCRATCH}{uuid4().hex}"
        folder.mkdir()
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with _telling(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def _remove_if_left(folder: Path) -> None:
    """Remove a folder that no running process has locked."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(handle)


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Put what the disk refuses into words."""
    try:
        yield
    except OSError as error:
        place = Location(str(error.filename or path))
        hint = room_hint(error, "make room there, or set TMPDIR to a folder with more")
        raise OutsideError(f"{error.strerror}", location=place, hint=hint) from error
