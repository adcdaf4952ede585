"""What is made sure of about files of repositories, whatever they come from."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from compiler.artifact.metadata import ArtifactMetadata
from compiler.errors import OutsideError, room_hint

_NAME = re.compile(r"(?:trust/)?[A-Za-z0-9_][A-Za-z0-9_.+~@:-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Checked:
    """A file that is to be fetched: its name, what its content must be, and how long it may be."""

    name: str
    sha256: str
    limit: int

    def check(self, found: str, address: str, part: Path) -> None:
        """Raise `OutsideError`, and remove what came, if it is something else."""
        if found != self.sha256:
            part.unlink(missing_ok=True)
            message = (
                f"{address}: {self.name} has another checksum than the repository's index says"
            )
            hint = "the repository may be changing just now, or is damaged"
            raise OutsideError(message, hint=hint)


@contextmanager
def saving(target: Path, mode: Literal["wb", "ab"] = "wb") -> Iterator[BinaryIO]:
    """Open a file for what comes.

    Raises `OutsideError` if it cannot be written, and removes it: what is there may be why the
    disk is full, and something smaller has room then.
    """
    try:
        with target.open(mode) as file:
            yield file
    except OSError as error:
        with suppress(OSError):
            target.unlink()
        reason = (error.strerror or str(error)).lower()
        message = f"{target}: cannot be written: {reason}"
        raise OutsideError(message, hint=room_hint(error)) from error


def archive_of(artifact: ArtifactMetadata, address: str, limit: int) -> Checked:
    """Say which file the archive of a package is; raises `OutsideError` if that is not safe."""
    if not _SHA256.fullmatch(artifact.sha256):
        message = f"{address}: the index has no checksum of {artifact.id}"
        raise OutsideError(message, hint="the repository has to be made anew")
    return Checked(check_name(artifact.archive, address), artifact.sha256, limit)


def check_name(name: str, address: str) -> str:
    """Return a file's name that is no path; raises `OutsideError`."""
    if not _NAME.fullmatch(name):
        message = f"{address}: {name[:80]!r} cannot be the name of a file of a repository"
        raise OutsideError(message, hint="the repository has to be made anew")
    return name
