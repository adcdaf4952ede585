"""Brings the files of a repository here, and compares those that its front page names."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from compiler.archive import Compression
from compiler.errors import OutsideError
from compiler.repository.archives import MOST_BYTES
from compiler.repository.index import REPOSITORY, RepositoryInfo
from compiler.repository.sources import Source

_WHOLE = "`cos create-repo` writes all of it: publish the repository again"
_COMPRESSIONS = frozenset(("", *(each.value for each in Compression)))


class MixedError(Exception):
    """Files are of two states of the repository, which is a reason to look again."""


@dataclass(frozen=True, slots=True)
class Fetching:
    """Brings files of a repository into a scratch folder."""

    source: Source
    folder: Path

    def file(self, name: str, limit: int) -> Path:
        """Fetch a file."""
        path = self.folder / name
        self.source.bring(name, path, limit)
        return path

    def part(self, info: RepositoryInfo, key: str) -> Path:
        """Fetch a file that `repository.yaml` names; raises `MixedError` for another state."""
        described = info.repo_files.get(key)
        if described is None:
            message = f"{self.source.address}: {REPOSITORY} names no {key!r}"
            raise OutsideError(message, hint=_WHOLE)
        if described.compressiontype not in _COMPRESSIONS:
            kind = described.compressiontype[:40]
            message = f"{self.source.address}: {described.filename} is compressed as {kind!r}"
            raise OutsideError(message, hint="that is newer than this version of cos: update it")
        if not described.sha256:
            message = f"{self.source.address}: {described.filename} has no checksum"
            raise OutsideError(message, hint=_WHOLE)
        path = self.file(described.filename, MOST_BYTES)
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != described.sha256:
            raise MixedError(f"{described.filename} has another checksum than {REPOSITORY} says")
        return path
