"""Stands between a repository and those who use it: what was signed passes, nothing else."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from compiler.errors import TrustError
from compiler.repository.trust import ROLES, Target, limit_of


class Guard:
    """Lets everything pass: the guard of a repository whose root nobody has told us.

    Its checksums still bind what `repository.yaml` names, and what the index lists.
    """

    seal = ""
    """Names the root; what was accepted under another one is not believed."""

    def refresh(self) -> None:
        """Bring what was signed up to date; raises `TrustError`, `OutsideError`."""

    def holds(self, now: datetime) -> bool:  # noqa: ARG002  (of signed ones)
        """Whether what was signed is still good, as far as that is known without asking."""
        return True

    def limit(self, name: str, most: int) -> int:  # noqa: ARG002  (of signed ones)
        """Return how many bytes of a file are taken; raises `TrustError` if it is not signed."""
        return most

    def check(self, name: str, path: Path) -> None:
        """Compare a file with what was signed; raises `TrustError`."""

    def compare(self, name: str, found: Target) -> None:
        """Compare the length and hash of an image with what was signed; raises `TrustError`."""


OPEN = Guard()
"""The guard that lets everything pass."""


class Signed(Protocol):
    """What is known of a signed repository: `trust.client.TrustedRepository`."""

    def refresh(self, now: datetime | None = None) -> None:
        """Bring what was signed up to date."""

    def require(self, name: str) -> Target:
        """Return what was signed of a name."""

    def check(self, name: str, content: Path | bytes) -> None:
        """Compare a content with what was signed."""

    def compare(self, name: str, found: Target) -> None:
        """Compare a length and hash with what was signed."""


class SignedGuard(Guard):
    """Lets only what was signed pass; `folder` holds what was seen of the signatures."""

    def __init__(self, signed: Signed, folder: Path, seal: str) -> None:
        self._signed = signed
        self._folder = folder
        self.seal = seal

    def refresh(self) -> None:
        """Bring what was signed up to date."""
        self._signed.refresh()

    def holds(self, now: datetime) -> bool:
        """Whether all that was signed and seen is good beyond `now`."""
        return all((end := _end_of(self._folder, role)) is not None and end > now for role in ROLES)

    def limit(self, name: str, most: int) -> int:
        """Return the length that was signed."""
        length = self._signed.require(name).length
        if length > most:
            raise TrustError(f"{name}: was signed with {length} bytes, which is too large")
        return length

    def check(self, name: str, path: Path) -> None:
        """Compare a file with what was signed."""
        self._signed.check(name, path)

    def compare(self, name: str, found: Target) -> None:
        """Compare the length and hash of an image with what was signed."""
        self._signed.compare(name, found)


def _end_of(folder: Path, role: str) -> datetime | None:
    """Read until when the file of a role that was seen is good; None if there is none."""
    name = f"{role}.json"
    try:
        with (folder / name).open("rb") as file:
            signed = json.loads(file.read(limit_of(name)))["signed"]
        end = datetime.fromisoformat(signed["expires"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return end if end.tzinfo else end.replace(tzinfo=UTC)
