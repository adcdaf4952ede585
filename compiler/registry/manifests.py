"""What manifests and indexes say of other contents (OCI Image Specification 1.1)."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from compiler.errors import ImageError
from compiler.oci import INDEX, Descriptor, Digest, hex_of, parse_digest

_LARGEST_SIZE = 1 << 50
_INDEXES = frozenset({INDEX, "application/vnd.docker.distribution.manifest.list.v2+json"})


class _Entry(BaseModel):
    """A descriptor as it is written in a manifest."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    media_type: str = Field(alias="mediaType", max_length=255)
    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    size: int = Field(ge=0, le=_LARGEST_SIZE)
    artifact_type: str = Field(default="", alias="artifactType", max_length=255)
    annotations: dict[str, str] | None = None
    urls: tuple[str, ...] | None = None

    def descriptor(self) -> Descriptor:
        """Return the part that names a content."""
        return Descriptor(self.media_type, Digest(self.digest), self.size)


class _Written(BaseModel):
    """A manifest or an index, as it is written."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    media_type: str = Field(default="", alias="mediaType", max_length=255)
    artifact_type: str = Field(default="", alias="artifactType", max_length=255)
    config: _Entry | None = None
    layers: tuple[_Entry, ...] = ()
    manifests: tuple[_Entry, ...] = ()
    subject: _Entry | None = None
    annotations: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Links:
    """What a manifest or index needs in its repository, and the manifest that it is about."""

    blobs: tuple[Descriptor, ...]
    manifests: tuple[Descriptor, ...]
    subject: Digest | None
    media_type: str = ""
    """What it says of its own type; "" if nothing."""


@dataclass(frozen=True, slots=True)
class Referrer:
    """One line of the list of what refers to a manifest."""

    descriptor: Descriptor
    artifact_type: str = ""
    annotations: tuple[tuple[str, str], ...] = ()


def read_links(data: bytes) -> Links:
    """Find what a manifest or index refers to; raises `ImageError` if it is neither."""
    written = _parse(data)
    entries = (*((written.config,) if written.config else ()), *written.layers)
    return Links(
        blobs=tuple(entry.descriptor() for entry in entries if not entry.urls),
        manifests=tuple(entry.descriptor() for entry in written.manifests if not entry.urls),
        subject=parse_digest(written.subject.digest) if written.subject else None,
        media_type=written.media_type,
    )


def referrer_of(descriptor: Descriptor, data: bytes) -> Referrer:
    """Make the line that lists the manifest `data` among the referrers of its subject."""
    written = _parse(data)
    type_ = written.artifact_type
    if not type_ and written.config is not None and descriptor.media_type not in _INDEXES:
        type_ = written.config.media_type
    return Referrer(descriptor, type_, tuple(sorted((written.annotations or {}).items())))


def read_referrers(data: bytes) -> Sequence[Referrer]:
    """Read a list of referrers, which is written as an index; raises `ImageError` if it is none."""
    return [
        Referrer(
            entry.descriptor(),
            entry.artifact_type,
            tuple(sorted((entry.annotations or {}).items())),
        )
        for entry in _parse(data).manifests
    ]


def write_referrers(referrers: Iterable[Referrer]) -> bytes:
    """Write a list of referrers as an index."""
    lines = [_line(each) for each in referrers]
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": lines}
    return json.dumps(index, separators=(",", ":")).encode()


def referrers_tag(subject: Digest) -> str:
    """Name the tag of the list (OCI Distribution Specification, Referrers Tag Schema)."""
    return f"sha256-{hex_of(subject)}"


def _line(referrer: Referrer) -> dict[str, object]:
    """Return one descriptor of the list, without what is empty."""
    line: dict[str, object] = {
        "mediaType": referrer.descriptor.media_type,
        "digest": referrer.descriptor.digest,
        "size": referrer.descriptor.size,
    }
    if referrer.artifact_type:
        line["artifactType"] = referrer.artifact_type
    if referrer.annotations:
        line["annotations"] = dict(referrer.annotations)
    return line


def _parse(data: bytes) -> _Written:
    """Read JSON from outside."""
    try:
        return _Written.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        what = f"{place}: {first['msg']}" if place else first["msg"]
        raise ImageError(f"not a manifest or index: {what}") from error
