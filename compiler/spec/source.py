"""Where the content of a system image comes from, as people write it: `SCHEME:WHAT`.

Schemes are those of cOS-toolkit 0.8 (`channel:`, `oci:`, `docker:`, `dir:`, `file:`).
"""

from dataclasses import dataclass, replace
from enum import Enum, unique

from compiler.errors import Location, UsageError


@unique
class SourceKind(Enum):
    """What a source is."""

    CHANNEL = "channel"
    IMAGE = "oci"
    FOLDER = "dir"
    FILE = "file"


_SCHEMES = {each.value: each for each in SourceKind} | {"docker": SourceKind.IMAGE}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSource:
    """A package of a repository, an image of a registry, a folder, or a file."""

    kind: SourceKind
    value: str
    location: Location | None = None

    def __str__(self) -> str:
        """Write it with its scheme."""
        return f"{self.kind.value}:{self.value}"

    def at(self, location: Location | None) -> "ImageSource":
        """Return the same with the place where it was written."""
        return replace(self, location=location)


def parse_source(text: str, *, plain: SourceKind) -> ImageSource:
    """Read a source; one without a scheme is of the kind `plain`. Raises `UsageError`."""
    scheme, colon, value = text.partition(":")
    kind = _SCHEMES.get(scheme) if colon else None
    if kind is None:
        kind, value = plain, text
    value = value.removeprefix("//") if kind is not SourceKind.IMAGE else value
    if not value.strip():
        raise UsageError(f"{text!r} names no source", hint="write dir:PATH, file:PATH, oci:IMAGE …")
    return ImageSource(kind=kind, value=value)
