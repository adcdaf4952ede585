"""What a signature of an image says: the simple signing format, with cosign's type.

The format is that of containers/image (`containers-signature(5)`): `critical` names the image,
`optional` holds annotations.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from compiler.errors import ImageError, TrustError
from compiler.oci import Digest, Reference, parse_reference

TYPE = "cosign container image signature"

_HUB = "index.docker.io"
"""What cosign calls the registry `docker.io`."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a signer says: the manifest with this digest is mine, under this name.

    `identity` is the repository, as `docker-reference` holds it; `annotations` are sorted.
    """

    identity: str
    digest: Digest
    annotations: tuple[tuple[str, str], ...] = ()


class _Model(BaseModel):
    """A part of the payload; what other programs add to it means nothing to us."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Identity(_Model):
    reference: str = Field(alias="docker-reference", max_length=1024)


class _Image(_Model):
    digest: str = Field(alias="docker-manifest-digest", pattern=r"^sha256:[0-9a-f]{64}$")


class _Critical(_Model):
    identity: _Identity
    image: _Image
    type: Literal["cosign container image signature"]


class _Payload(_Model):
    critical: _Critical
    optional: dict[str, JsonValue] | None = None


def identity_of(reference: Reference) -> str:
    """Name the repository of an image as cosign does."""
    registry = _HUB if reference.registry == "docker.io" else reference.registry
    return f"{registry}/{reference.repository}"


def claim_of(
    reference: Reference, digest: Digest, annotations: Mapping[str, str] | None = None
) -> Claim:
    """Say that the image with `digest` belongs into the repository of `reference`."""
    return Claim(identity_of(reference), digest, tuple(sorted((annotations or {}).items())))


def write_payload(claim: Claim) -> bytes:
    """Write the bytes that are signed; the same claim gives the same bytes, cosign's own."""
    critical = {
        "identity": {"docker-reference": claim.identity},
        "image": {"docker-manifest-digest": claim.digest},
        "type": TYPE,
    }
    value = {"critical": critical, "optional": dict(claim.annotations) or None}
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def read_payload(data: bytes) -> Claim:
    """Read the bytes that were signed; raises `TrustError`.

    Annotations that are no texts are left out: they equal nothing that can be asked for.
    """
    try:
        value = _Payload.model_validate_json(data)
    except ValidationError as error:
        raise TrustError("is no signature of an image") from error
    texts = ((key, text) for key, text in (value.optional or {}).items() if isinstance(text, str))
    critical = value.critical
    return Claim(critical.identity.reference, Digest(critical.image.digest), tuple(sorted(texts)))


def names(claim: Claim, asked: Reference) -> bool:
    """Tell whether the claim is about the repository of `asked`, and about its tag if it names one.

    A tag counts only where a tag was asked for; cosign itself signs without one.
    """
    try:
        said = parse_reference(claim.identity)
    except ImageError:
        return False
    registry = "docker.io" if said.registry == _HUB else said.registry
    if (registry, said.repository) != (asked.registry, asked.repository):
        return False
    named = claim.identity.rpartition("/")[2].partition("@")[0].partition(":")[2]
    return not (named and asked.tag) or named == asked.tag
