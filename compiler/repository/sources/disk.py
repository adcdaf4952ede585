"""A repository in a folder of this machine."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from compiler.artifact.metadata import ArtifactMetadata
from compiler.errors import NotFoundError, OutsideError, TooLongError
from compiler.repository.cache import Cache
from compiler.repository.sources import LARGEST_ARCHIVE
from compiler.repository.sources.checks import Checked, archive_of, check_name, saving

_PIECE = 1 << 20


class DiskSource:
    """Reads a folder; archives are copied, so that they cannot change once they were checked."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def address(self) -> str:
        """The folder."""
        return str(self._folder)

    def bring(self, name: str, target: Path, limit: int) -> None:
        """Copy a file of the repository."""
        self._copy(name, target, limit)

    def fetch(
        self, artifact: ArtifactMetadata, cache: Cache, limit: int = LARGEST_ARCHIVE
    ) -> tuple[Path, ...]:
        """Copy an archive into the cache."""
        wanted = archive_of(artifact, self.address, limit)
        cache.expect([(wanted.sha256, self._size(wanted.name))])
        known = cache.find(wanted.sha256)
        return (known or self._add(wanted, cache),)

    def _size(self, name: str) -> int:
        """Return how many bytes a file has; 0 for one that is not there, which copying tells."""
        try:
            return (self._folder / name).stat().st_size
        except OSError:
            return 0

    def _add(self, wanted: Checked, cache: Cache) -> Path:
        with cache.adding(wanted.sha256) as part:
            found = self._copy(wanted.name, part, wanted.limit)
            wanted.check(found, self.address, part)
            return cache.keep(part, wanted.sha256)

    def _copy(self, name: str, target: Path, limit: int) -> str:
        """Copy a file; returns its SHA-256."""
        digest = hashlib.sha256()
        with saving(target) as copy:
            for data in self._pieces(self._folder / check_name(name, self.address), limit):
                digest.update(data)
                copy.write(data)
        return digest.hexdigest()

    def _pieces(self, source: Path, limit: int) -> Iterator[bytes]:
        """Read a file; raises `OutsideError`."""
        left = limit
        try:
            with source.open("rb") as file:
                while data := file.read(_PIECE):
                    left -= len(data)
                    if left < 0:
                        raise TooLongError(f"{source}: is larger than {limit} bytes")
                    yield data
        except FileNotFoundError as error:
            if self._folder.is_dir():
                raise NotFoundError(f"{source}: there is no such file") from error
            hint = "is the disk that has it mounted?"
            raise OutsideError(f"{self._folder}: there is no such folder", hint=hint) from error
        except OSError as error:
            reason = error.strerror or str(error)
            raise OutsideError(f"{error.filename or source}: {reason.lower()}") from error
