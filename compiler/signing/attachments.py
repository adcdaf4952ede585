"""Where signatures and attestations of an image are kept in its repository, in both of two ways.

- Under a tag, `sha256-HEX.sig` or `.att`, as every version of cosign reads them: one manifest whose
  layers are all signatures of that image (cosign's SIGNATURE_SPEC.md, "Storage").
- As a referrer of the image (OCI Distribution Specification 1.1), one manifest for each.

Registries cannot compare before they replace, so two who sign at once could lose an entry of the
tag. A referrer is nobody else's to replace, therefore each signer stores that first, then adds to
the tag whatever the tag or a referrer has, and looks again after it has written: whoever writes the
tag last finds the referrers of all who wrote before.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from compiler.errors import NotFoundError, RegistryError, TrustError
from compiler.oci import CONFIG, MANIFEST, Descriptor, Digest, Reference, digest_of, hex_of
from compiler.registry import Registry

SIGNATURE_ANNOTATION = "dev.cosignproject.cosign/signature"

MOST_LAYERS = 128
"""How many entries of one manifest are looked at, and are written at most."""
MOST_REFERRERS = 64
"""How many referrers of one kind are looked at."""
LARGEST_LIST = 1 << 20
"""How many bytes the manifest of a referrer may have."""
_ROUNDS = 16
"""How often a tag is written anew because others write it at the same time."""
_UNKNOWN = "blob unknown"
"""What registries say of a manifest while somebody else uploads a content that it names."""
_NEVER = "0001-01-01T00:00:00Z"
"""The time in the config, which cosign writes so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What is attached: the end of its tag, its media types, the most bytes that one may have."""

    suffix: str
    artifact_type: str
    layer_type: str
    largest: int


SIGNATURE = Kind(
    suffix="sig",
    artifact_type="application/vnd.dev.cosign.artifact.sig.v1+json",
    layer_type="application/vnd.dev.cosign.simplesigning.v1+json",
    largest=1 << 16,
)
ATTESTATION = Kind(
    suffix="att",
    artifact_type="application/vnd.in-toto+json",
    layer_type="application/vnd.dsse.envelope.v1+json",
    largest=48 << 20,
)


class Entry(BaseModel):
    """One signature or attestation, as the manifest lists it; the words of others are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    media_type: str = Field(alias="mediaType", max_length=255)
    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    size: int = Field(ge=0, le=1 << 40)
    annotations: dict[str, str] = Field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        """What makes two entries the same."""
        return self.digest, self.annotations.get(SIGNATURE_ANNOTATION, "")

    @property
    def descriptor(self) -> Descriptor:
        """The content that the entry names."""
        return Descriptor(self.media_type, Digest(self.digest), self.size)


class _List(BaseModel):
    """A manifest whose layers are entries."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    layers: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True)
class Attachment:
    """A content to attach, and what its entry says of it."""

    kind: Kind
    content: bytes
    annotations: Mapping[str, str]

    @property
    def entry(self) -> Entry:
        """The line of the list."""
        return Entry(
            mediaType=self.kind.layer_type,
            digest=digest_of(self.content),
            size=len(self.content),
            annotations=dict(self.annotations),
        )


def attach(
    registry: Registry, image: Reference, subject: Descriptor, attachment: Attachment
) -> bool:
    """Attach a content to the image `subject` in both ways; False if it was there already.

    `image` names the image by its digest. Raises `RegistryError` when others write without end.
    """
    added = False
    for number in range(_ROUNDS):
        try:
            if not _add(registry, image, subject, attachment):
                return added
        except RegistryError as error:
            if _UNKNOWN not in error.message or number + 1 == _ROUNDS:
                raise
        added = True
    tag = attached_tag(image, attachment.kind)
    raise RegistryError(
        f"{image}: what is written under the tag {tag} does not stay",
        hint="others sign the same image at the same time; try again later",
    )


def _add(registry: Registry, image: Reference, subject: Descriptor, attachment: Attachment) -> bool:
    """Add what is missing in either place; False if nothing is."""
    kind, entry = attachment.kind, attachment.entry
    tagged, referred = _tagged(registry, image, kind), _referred(registry, image, kind)
    missing = _missing(tagged, (*referred, entry))
    is_referred = entry.key in {each.key for each in referred}
    if is_referred and not missing:
        return False
    registry.put_blob(image, attachment.content, entry.descriptor)
    if not is_referred:
        _refer(registry, image, subject, attachment)
    if missing:
        _tag(registry, image, kind, (*tagged, *missing))
    return True


def attached(registry: Registry, image: Reference, kind: Kind) -> Iterator[Sequence[Entry]]:
    """Give the entries of an image that have the right type and size: the tag's, the referrers'.

    Only who is not content with the former asks for the latter. A registry may be hostile, so both
    lists end somewhere.
    """
    seen: dict[tuple[str, str], Entry] = {}
    for read in (_tagged, _referred):
        found = {
            each.key: each
            for each in read(registry, image, kind)[:MOST_LAYERS]
            if each.media_type == kind.layer_type and each.size <= kind.largest
        }
        yield tuple(entry for key, entry in found.items() if key not in seen)
        seen |= found


def _missing(tagged: Sequence[Entry], wanted: Sequence[Entry]) -> tuple[Entry, ...]:
    """List what the tag lacks; raises `TrustError` when it would have too many entries."""
    present = {each.key for each in tagged}
    missing = {each.key: each for each in wanted if each.key not in present}
    if missing and len(tagged) + len(missing) > MOST_LAYERS:
        raise TrustError(
            f"an image can have {MOST_LAYERS} signatures, and this one would have more",
            hint="remove the tag that holds them, and the referrers, then sign again",
        )
    return tuple(missing.values())


def _tagged(registry: Registry, image: Reference, kind: Kind) -> tuple[Entry, ...]:
    """Read the entries under the tag."""
    place = Reference(image.registry, image.repository, attached_tag(image, kind))
    try:
        return _read(registry, place)
    except NotFoundError:
        return ()


def _referred(registry: Registry, image: Reference, kind: Kind) -> tuple[Entry, ...]:
    """Read the entries of all referrers that hold some."""
    listed = registry.referrers(image, kind.artifact_type)
    small = (each for each in listed if each.size <= LARGEST_LIST)
    found: list[Entry] = []
    for each in islice(small, MOST_REFERRERS):
        place = Reference(image.registry, image.repository, digest=each.digest)
        try:
            entries = _read(registry, place)
        except NotFoundError:
            continue
        found += (entry for entry in entries if entry.media_type == kind.layer_type)
    return tuple(found)


def _read(registry: Registry, place: Reference) -> tuple[Entry, ...]:
    """Read the entries of one manifest; raises `TrustError` if it is something else."""
    data = registry.manifest(place).data
    try:
        return _List.model_validate_json(data).layers
    except ValidationError as error:
        raise TrustError(
            f"{place} is no list of signatures", hint="is the tag used twice?"
        ) from error


def _refer(
    registry: Registry, image: Reference, subject: Descriptor, attachment: Attachment
) -> None:
    """Store a referrer with one entry."""
    kind = attachment.kind
    about = {"mediaType": subject.media_type, "digest": subject.digest, "size": subject.size}
    data = _manifest(registry, image, (attachment.entry,), config_type=kind.artifact_type)
    written = json.dumps({**data, "artifactType": kind.artifact_type, "subject": about})
    registry.put_referrer(image, written.encode(), MANIFEST)


def _tag(registry: Registry, image: Reference, kind: Kind, entries: Sequence[Entry]) -> None:
    """Write all entries under the tag."""
    data = json.dumps(_manifest(registry, image, entries, config_type=CONFIG)).encode()
    place = Reference(image.registry, image.repository, attached_tag(image, kind))
    registry.put_manifest(place, data, MANIFEST)


def _manifest(
    registry: Registry, image: Reference, entries: Sequence[Entry], *, config_type: str
) -> dict[str, object]:
    """Make the manifest of some entries, whose config it uploads."""
    config = _config(entries)
    descriptor = Descriptor(config_type, digest_of(config), len(config))
    registry.put_blob(image, config, descriptor)
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": config_type, "digest": descriptor.digest, "size": descriptor.size},
        "layers": [each.model_dump(by_alias=True) for each in entries],
    }


def _config(entries: Sequence[Entry]) -> bytes:
    """Write the config that programs which take the manifest for an image want to see."""
    layers = {"type": "layers", "diff_ids": [each.digest for each in entries]}
    value = {
        "architecture": "",
        "created": _NEVER,
        "history": [{"created": _NEVER} for _ in entries],
        "os": "",
        "rootfs": layers,
        "config": {},
    }
    return json.dumps(value, separators=(",", ":")).encode()


def attached_tag(image: Reference, kind: Kind) -> str:
    """Name the tag of what is attached to an image, which is named by its digest."""
    return f"sha256-{hex_of(Digest(image.digest))}.{kind.suffix}"
