"""Attestations of images: in-toto statements, signed in DSSE envelopes, where cosign has them.

The formats: in-toto Attestation Framework (statements of v0.1 and v1), and DSSE 1.0.
"""

import base64
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from compiler.errors import TrustError
from compiler.oci import INDEXES, Digest, Reference, hex_of, platforms_of
from compiler.registry import Registry
from compiler.signing.attachments import (
    ATTESTATION,
    SIGNATURE_ANNOTATION,
    Attachment,
    Entry,
    attach,
    attached,
)
from compiler.signing.files import decode_signature, sign_bytes
from compiler.signing.images import Signed, nothing_counts, pinned, read_attached, resolved
from compiler.signing.keys import PrivateKey, PublicKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"
_TYPES = ("https://in-toto.io/Statement/v0.1", "https://in-toto.io/Statement/v1")
_MOST_SUBJECTS = 10_000
_MOST_SIGNATURES = 16
_HINT = (
    "`cos create-repo --sign` attests what is in packages and how they were made, if "
    "`cos build --sbom` wrote it down"
)


class _Model(BaseModel):
    """A part of what others write; unknown fields mean nothing to us."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Subject(_Model):
    digest: dict[str, str] = Field(default_factory=dict)


class _Statement(_Model):
    type: str = Field(alias="_type")
    predicate_type: str = Field(alias="predicateType", max_length=1024)
    subject: tuple[_Subject, ...] = Field(default=(), max_length=_MOST_SUBJECTS)


class _DsseSignature(_Model):
    sig: str


class _Envelope(_Model):
    payload_type: str = Field(alias="payloadType", max_length=255)
    payload: str
    signatures: tuple[_DsseSignature, ...] = Field(max_length=_MOST_SIGNATURES)


@dataclass(frozen=True, slots=True)
class Attestation:
    """A statement about an image that a trusted key signed."""

    predicate_type: str
    statement: bytes
    key: PublicKey


def attest_image(
    registry: Registry, reference: Reference, statement: bytes, key: PrivateKey
) -> Signed:
    """Sign an in-toto statement about the image that `reference` names now, and attach it.

    The image must be among the statement's subjects. The same statement is attached once.
    """
    manifest = registry.manifest(reference)
    digest = manifest.descriptor.digest
    image = pinned(reference, digest)
    try:
        predicate_type = _read_statement(statement, digest)
    except TrustError as error:
        raise TrustError(f"{image}: what is to be attested {error.message}") from error
    annotations = {SIGNATURE_ANNOTATION: "", "predicateType": predicate_type}
    attachment = Attachment(ATTESTATION, seal(statement, key), annotations)
    return Signed(image, added=attach(registry, image, manifest.descriptor, attachment))


def verify_attestations(
    registry: Registry,
    reference: Reference,
    public_keys: Iterable[PublicKey],
    *,
    predicate_type: str,
) -> Sequence[Attestation]:
    """Find the statements of one type about an image by one of the keys; raises `TrustError`."""
    keys = tuple(public_keys)
    image = resolved(registry, reference)
    reasons: Counter[str] = Counter()
    for entries in attached(registry, image, ATTESTATION):
        found = []
        for entry in entries:
            if entry.annotations.get("predicateType", predicate_type) != predicate_type:
                continue  # saves fetching what would not count; what is signed decides
            try:
                attestation = _check(registry, image, entry, keys)
            except TrustError as error:
                reasons[error.message] += 1
                continue
            if attestation.predicate_type == predicate_type:
                found.append(attestation)
        if found:
            return found
    message = f"{reference}: no attestation {predicate_type} counts"
    raise nothing_counts(message, image, reasons, _HINT)


def verify_described(
    registry: Registry,
    reference: Reference,
    public_keys: Iterable[PublicKey],
    *,
    predicate_type: str,
) -> Sequence[Attestation]:
    """Find the statements of one type about an image, or about each image of an index.

    What is said of the image for one platform is not said of the others, so each of them needs a
    statement where there is none about the index. Raises `TrustError`.
    """
    keys = tuple(public_keys)
    try:
        return verify_attestations(registry, reference, keys, predicate_type=predicate_type)
    except TrustError:
        manifest = registry.manifest(reference)
        if manifest.descriptor.media_type not in INDEXES:
            raise
        images = platforms_of(manifest.data, str(reference)).values()
        if len(images) <= 1:  # what is said of the only one is said of the index
            raise
    return [
        each
        for image in images
        for each in verify_attestations(
            registry, pinned(reference, image.digest), keys, predicate_type=predicate_type
        )
    ]


def seal(statement: bytes, key: PrivateKey) -> bytes:
    """Sign an in-toto statement: returns its DSSE envelope."""
    signature = sign_bytes(_to_sign(PAYLOAD_TYPE, statement), key)
    value = {
        "payloadType": PAYLOAD_TYPE,
        "payload": base64.b64encode(statement).decode(),
        "signatures": [{"keyid": "", "sig": signature}],
    }
    return json.dumps(value, separators=(",", ":")).encode()


def unseal(envelope: bytes, public_keys: Iterable[PublicKey]) -> tuple[bytes, PublicKey]:
    """Return the statement in a DSSE envelope, and which key signed it; raises `TrustError`."""
    try:
        value = _Envelope.model_validate_json(envelope)
        statement = base64.b64decode(value.payload, validate=True)
    except ValueError as error:
        raise TrustError("is no signed statement") from error
    if value.payload_type != PAYLOAD_TYPE:
        raise TrustError("is no in-toto statement")
    signed = _to_sign(value.payload_type, statement)
    signatures = [decode_signature(each.sig) for each in value.signatures]
    for key in public_keys:
        if any(key.verifies(signature, signed) for signature in signatures):
            return statement, key
    raise TrustError("is not by a key that is trusted")


def _check(
    registry: Registry, image: Reference, entry: Entry, keys: Sequence[PublicKey]
) -> Attestation:
    """Check one attestation; raises `TrustError` with the reason why it does not count."""
    statement, key = unseal(read_attached(registry, image, entry), keys)
    return Attestation(_read_statement(statement, Digest(image.digest)), statement, key)


def _read_statement(data: bytes, digest: Digest) -> str:
    """Return the predicate type of a statement about the image; raises `TrustError`."""
    try:
        value = _Statement.model_validate_json(data)
    except ValidationError as error:
        raise TrustError("is no in-toto statement") from error
    if value.type not in _TYPES:
        raise TrustError("is an in-toto statement of a version that is not known here")
    if hex_of(digest) not in {each.digest.get("sha256") for each in value.subject}:
        raise TrustError("is about another image")
    return value.predicate_type


def _to_sign(payload_type: str, payload: bytes) -> bytes:
    """Join type and payload unambiguously (DSSE, Pre-Authentication Encoding)."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
