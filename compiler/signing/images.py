"""Signs images and verifies their signatures, in cosign's formats, without a transparency log."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

from compiler.errors import NotFoundError, TrustError
from compiler.oci import Digest, Reference, parse_digest
from compiler.registry import Registry
from compiler.registry.failure import ABSENT
from compiler.signing.attachments import (
    SIGNATURE,
    SIGNATURE_ANNOTATION,
    Attachment,
    Entry,
    attach,
    attached,
)
from compiler.signing.files import decode_signature, sign_bytes
from compiler.signing.keys import PrivateKey, PublicKey
from compiler.signing.payload import Claim, claim_of, names, read_payload, write_payload

_MOST_REASONS = 4
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Signed:
    """An image by its digest, and whether it got something that it did not have."""

    image: Reference
    added: bool


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature that counts: what it says, and which key made it."""

    claim: Claim
    key: PublicKey


@dataclass(frozen=True, slots=True)
class Verified:
    """An image by the digest that was signed, and the signatures of it that count.

    Use `image`, not the tag that was asked for: the tag may be moved at any time.
    """

    image: Reference
    signatures: tuple[Signature, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Demands:
    """What a signature must say to count; the keys are any that are trusted, one is enough."""

    keys: tuple[PublicKey, ...]
    annotations: Mapping[str, str]
    signed_as: Reference


def sign_image(
    registry: Registry,
    reference: Reference,
    key: PrivateKey,
    annotations: Mapping[str, str] | None = None,
) -> Signed:
    """Sign the manifest or index that `reference` names now; signing it again adds nothing.

    It is fetched, so that what is signed is the digest of bytes, not what a registry says of them.
    """
    manifest = registry.manifest(reference)
    digest = manifest.descriptor.digest
    image = pinned(reference, digest)
    payload = write_payload(claim_of(image, digest, annotations))
    attachment = Attachment(SIGNATURE, payload, {SIGNATURE_ANNOTATION: sign_bytes(payload, key)})
    return Signed(image, added=attach(registry, image, manifest.descriptor, attachment))


def verify_image(
    registry: Registry,
    reference: Reference,
    public_keys: Iterable[PublicKey],
    *,
    annotations: Mapping[str, str] | None = None,
    signed_as: Reference | None = None,
) -> Verified:
    """Find the signatures of `reference` by one of the keys; raises `TrustError` if none counts.

    `signed_as` names the repository that the image was signed in, where it is not the one that it
    is fetched from, because it was copied. A tag is resolved once; use the digest that comes back.
    """
    demands = _Demands(
        keys=tuple(public_keys), annotations=annotations or {}, signed_as=signed_as or reference
    )
    image = resolved(registry, reference)
    reasons: Counter[str] = Counter()
    for entries in attached(registry, image, SIGNATURE):
        found = []
        for entry in entries:
            try:
                found.append(_check(registry, image, entry, demands))
            except TrustError as error:
                reasons[error.message] += 1
        if found:
            return Verified(image, tuple(found))
    raise nothing_counts(f"{reference}: no signature counts", image, reasons)


def pinned(reference: Reference, digest: Digest) -> Reference:
    """Name an image by its digest alone."""
    return Reference(reference.registry, reference.repository, digest=digest)


def resolved(registry: Registry, reference: Reference) -> Reference:
    """Ask which digest a tag has now; a reference with a digest is not asked for."""
    if reference.digest:
        return pinned(reference, parse_digest(reference.digest))
    found = registry.head(reference)
    if found is None:
        raise NotFoundError(f"{reference}: the registry has no such image", hint=ABSENT)
    return pinned(reference, found.digest)


def nothing_counts(
    message: str,
    image: Reference,
    reasons: Mapping[str, int],
    hint: str = "`cos sign --key KEY` signs it; is it the right image?",
) -> TrustError:
    """Tell what was wrong with those that were looked at, the most frequent reason first.

    `hint` is for an image that has none.
    """
    if not reasons:
        return TrustError(f"{message}: {image.digest} has none", hint=hint)
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    times = (f"{reason} ({count} times)" if count > 1 else reason for reason, count in ordered)
    said = "; ".join(islice(times, _MOST_REASONS))
    return TrustError(f"{message} for {image.digest}: {said}", hint="is it the right key?")


def read_attached(registry: Registry, image: Reference, entry: Entry) -> bytes:
    """Fetch a content that is attached; raises `TrustError` if it is not there."""
    try:
        return registry.read_blob(image, entry.descriptor)
    except NotFoundError as error:
        raise TrustError("its content is missing") from error


def _check(registry: Registry, image: Reference, entry: Entry, demands: _Demands) -> Signature:
    """Check one signature; raises `TrustError` with the reason why it does not count.

    What is signed is read only after its signature was found to be right.
    """
    signature = decode_signature(entry.annotations.get(SIGNATURE_ANNOTATION, ""))
    payload = read_attached(registry, image, entry)
    key = next((each for each in demands.keys if each.verifies(signature, payload)), None)
    if key is None:
        raise TrustError("is not by a key that is trusted")
    claim = read_payload(payload)
    if claim.digest != image.digest:
        raise TrustError("is of another image")
    if not names(claim, demands.signed_as):
        raise TrustError(f"is for the repository {claim.identity[:_LONGEST_NAME]!r}")
    for name, wanted in demands.annotations.items():
        if dict(claim.annotations).get(name) != wanted:
            raise TrustError(f"does not say {name}={wanted}")
    return Signature(claim, key)
