"""Signatures of images: how they are stored, which of them count, and that none is lost."""

import base64
import json
from collections.abc import Mapping
from dataclasses import replace

import pytest

from compiler.errors import NotFoundError, RegistryError, TrustError
from compiler.oci import MANIFEST, Descriptor, Digest, Reference, digest_of
from compiler.registry.memory import MemoryRegistry
from compiler.signing.attachments import (
    LARGEST_LIST,
    MOST_LAYERS,
    MOST_REFERRERS,
    SIGNATURE,
    SIGNATURE_ANNOTATION,
    Attachment,
    attach,
)
from compiler.signing.files import sign_bytes
from compiler.signing.images import Verified, sign_image, verify_image
from compiler.signing.keys import PrivateKey
from compiler.signing.payload import claim_of, write_payload
from tests.signing.lab import PLACE, by_digest, image, key, signature_tag


def verified(
    registry: MemoryRegistry, place: Reference = PLACE, *, by: PrivateKey | None = None
) -> Verified:
    return verify_image(registry, place, [(by or key()).public])


def refusal(
    registry: MemoryRegistry,
    place: Reference = PLACE,
    *,
    by: PrivateKey | None = None,
    annotations: Mapping[str, str] | None = None,
) -> str:
    with pytest.raises(TrustError) as caught:
        verify_image(registry, place, [(by or key()).public], annotations=annotations)
    return str(caught.value)


def layers(registry: MemoryRegistry, place: Reference) -> list[dict[str, object]]:
    """Read the entries of a manifest."""
    found: list[dict[str, object]] = json.loads(registry.manifest(place).data)["layers"]
    return found


def put_signatures(
    registry: MemoryRegistry, digest: Digest, *signatures: tuple[bytes, str]
) -> None:
    """Put pairs of payload and signature under the tag, as whoever can push may do."""
    entries = []
    for payload, signature in signatures:
        descriptor = Descriptor(SIGNATURE.layer_type, digest_of(payload), len(payload))
        registry.put_blob(PLACE, payload, descriptor)
        entry = Attachment(SIGNATURE, payload, {SIGNATURE_ANNOTATION: signature}).entry
        entries.append(entry.model_dump(by_alias=True))
    data = json.dumps({"schemaVersion": 2, "layers": entries}).encode()
    registry.put_manifest(signature_tag(digest), data, MANIFEST)


def test_a_signed_image_is_verified_by_tag_and_by_digest() -> None:
    registry = MemoryRegistry()
    digest = image(registry)

    signed = sign_image(registry, PLACE, key(), {"built-by": "ci"})
    by_tag = verified(registry)

    assert signed.image == by_tag.image == by_digest(digest)
    assert by_tag == verified(registry, by_digest(digest))
    assert [each.claim for each in by_tag.signatures] == [
        claim_of(PLACE, digest, {"built-by": "ci"})
    ]
    assert by_tag.signatures[0].key == key().public


def test_one_of_several_trusted_keys_is_enough() -> None:
    registry = MemoryRegistry()
    image(registry)
    sign_image(registry, PLACE, key())

    found = verify_image(registry, PLACE, [key("another").public, key().public])

    assert [each.key for each in found.signatures] == [key().public]


def test_a_signature_is_stored_under_cosigns_tag_and_as_a_referrer() -> None:
    registry = MemoryRegistry()
    digest = image(registry)
    sign_image(registry, PLACE, key())

    tagged = json.loads(registry.manifest(signature_tag(digest)).data)
    referrers = registry.referrers(by_digest(digest), SIGNATURE.artifact_type)
    referrer = json.loads(registry.manifest(by_digest(referrers[0].digest)).data)

    payload = write_payload(claim_of(PLACE, digest))
    assert (
        tagged["layers"]
        == referrer["layers"]
        == [
            {
                "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
                "digest": digest_of(payload),
                "size": len(payload),
                "annotations": {"dev.cosignproject.cosign/signature": sign_bytes(payload, key())},
            }
        ]
    )
    assert len(referrers) == 1
    assert referrer["artifactType"] == "application/vnd.dev.cosign.artifact.sig.v1+json"
    assert referrer["subject"]["digest"] == digest


def test_signing_again_adds_and_sends_nothing() -> None:
    registry = MemoryRegistry()
    image(registry)
    assert sign_image(registry, PLACE, key()).added
    registry.forget_counts()

    assert not sign_image(registry, PLACE, key()).added

    assert registry.sent == 0
    assert set(registry.requests) <= {"manifest", "referrers"}


def test_several_keys_and_annotations_stand_side_by_side() -> None:
    registry = MemoryRegistry()
    digest = image(registry)

    for secret in (key(), key("another")):
        for annotations in ({}, {"stage": "tested"}):
            sign_image(registry, PLACE, secret, annotations)

    assert len(layers(registry, signature_tag(digest))) == 4
    assert len(registry.referrers(by_digest(digest))) == 4
    assert len(verified(registry).signatures) == 2
    assert len(verified(registry, by=key("another")).signatures) == 2


def test_what_others_wrote_under_the_tag_is_kept_word_for_word() -> None:
    registry = MemoryRegistry()
    digest = image(registry)
    put_signatures(registry, digest, (b"a payload", "AAAA"))
    first = layers(registry, signature_tag(digest))[0]
    first |= {"annotations": {"dev.sigstore.cosign/bundle": "{}"}, "urls": ["https://x.example"]}
    data = json.dumps({"schemaVersion": 2, "layers": [first]}).encode()
    registry.put_manifest(signature_tag(digest), data, MANIFEST)

    sign_image(registry, PLACE, key())

    assert layers(registry, signature_tag(digest))[0] == first


@pytest.mark.parametrize("kept", ["tag", "referrer"])
def test_one_of_the_two_places_is_enough(kept: str) -> None:
    registry = MemoryRegistry()
    digest = image(registry)
    sign_image(registry, PLACE, key())
    (referrer,) = registry.referrers(by_digest(digest))

    tag = registry.head(signature_tag(digest))
    assert tag is not None
    registry.delete(by_digest(referrer.digest if kept == "tag" else tag.digest))

    assert verified(registry).image == by_digest(digest)
    assert sign_image(registry, PLACE, key()).added  # which puts back what is missing
    assert len(layers(registry, signature_tag(digest))) == 1
    assert len(registry.referrers(by_digest(digest))) == 1


class HastyRegistry(MemoryRegistry):
    """A registry that does not know every content at once."""

    hastes = 2
    said = "refused: blob unknown to registry"

    def put_manifest(self, reference: Reference, data: bytes, media_type: str) -> Descriptor:
        if self.hastes and b"simplesigning" in data:
            self.hastes -= 1
            raise RegistryError(self.said)
        return MemoryRegistry.put_manifest(self, reference, data, media_type)


def test_a_content_that_the_registry_does_not_know_yet_is_not_the_end() -> None:
    registry = HastyRegistry()
    image(registry)

    assert sign_image(registry, PLACE, key()).added
    assert verified(registry).signatures


def test_a_registry_that_never_knows_the_content_is() -> None:
    registry = HastyRegistry()
    image(registry)
    registry.hastes = 1000

    with pytest.raises(RegistryError, match="refused: blob unknown to registry"):
        sign_image(registry, PLACE, key())

    registry.hastes, registry.said = 1, "the disk is full"
    with pytest.raises(RegistryError, match="the disk is full"):
        sign_image(registry, PLACE, key())


class StubbornRegistry(MemoryRegistry):
    """A registry in which a tag for signatures never stays what it was made."""

    def put_manifest(self, reference: Reference, data: bytes, media_type: str) -> Descriptor:
        kept = replace(reference, tag="") if reference.tag.endswith(".sig") else reference
        return MemoryRegistry.put_manifest(self, kept, data, media_type)


def test_a_tag_that_does_not_stay_is_an_error_in_the_end() -> None:
    registry = StubbornRegistry()
    image(registry)

    with pytest.raises(RegistryError, match=r"under the tag sha256-.*\.sig does not stay"):
        sign_image(registry, PLACE, key())


def test_an_index_is_signed_like_any_image() -> None:
    registry = MemoryRegistry()
    digest = image(registry)
    index = {
        "schemaVersion": 2,
        "manifests": [{"mediaType": MANIFEST, "digest": digest, "size": 1}],
    }
    place = replace(PLACE, tag="multi")
    media_type = "application/vnd.oci.image.index.v1+json"
    made = registry.put_manifest(place, json.dumps(index).encode(), media_type)

    sign_image(registry, place, key())

    assert verified(registry, place).image.digest == made.digest
    assert "has none" in refusal(registry, by_digest(digest))


def test_an_unsigned_image_is_refused() -> None:
    registry = MemoryRegistry()
    digest = image(registry)

    assert refusal(registry) == (
        f"registry.example/os/cos:1: no signature counts: {digest} has none"
        " (`cos sign --key KEY` signs it; is it the right image?)"
    )


def test_an_image_that_is_not_there_is_not_found() -> None:
    with pytest.raises(NotFoundError):
        verified(MemoryRegistry())
    with pytest.raises(NotFoundError):
        sign_image(MemoryRegistry(), PLACE, key())


def test_a_signature_by_another_key_does_not_count() -> None:
    registry = MemoryRegistry()
    digest = image(registry)
    sign_image(registry, PLACE, key("another"))
    sign_image(registry, PLACE, key("a third one"))

    assert refusal(registry) == (
        f"registry.example/os/cos:1: no signature counts for {digest}:"
        " is not by a key that is trusted (2 times) (is it the right key?)"
    )


def test_the_signature_of_another_image_does_not_count() -> None:
    registry = MemoryRegistry()
    good, bad = image(registry), image(registry, replace(PLACE, tag="2"), "a bad image")
    payload = write_payload(claim_of(PLACE, good))

    put_signatures(registry, bad, (payload, sign_bytes(payload, key())))

    assert "is of another image" in refusal(registry, replace(PLACE, tag="2"))


def test_a_moved_tag_is_not_verified_by_the_old_signature() -> None:
    registry = MemoryRegistry()
    image(registry)
    sign_image(registry, PLACE, key())

    image(registry, text="what the tag was moved to")

    assert "has none" in refusal(registry)


def test_a_changed_payload_does_not_count() -> None:
    registry = MemoryRegistry()
    digest = image(registry)
    payload = write_payload(claim_of(PLACE, digest))
    signature = sign_bytes(payload, key())

    put_signatures(registry, digest, (payload + b" ", signature))

    assert "not by a key that is trusted" in refusal(registry)


@pytest.mark.parametrize("cut", [-1, -4, -8, 4, 0])
def test_a_cut_signature_does_not_count(cut: int) -> None:
    registry = MemoryRegistry()
    digest = image(registry)
    payload = write_payload(claim_of(PLACE, digest))

    put_signatures(registry, digest, (payload, sign_bytes(payload, key())[:cut]))

    assert "no signature counts" in refusal(registry)


class ForgetfulRegistry(MemoryRegistry):
    """A registry that has lost all contents; manifests are still there."""

    def read_blob(self, repository: Reference, blob: Descriptor) -> bytes:
        raise NotFoundError(f"{repository}: the registry has no blob {blob.digest}")


def test_a_signature_whose_content_was_lost_does_not_count() -> None:
    registry = ForgetfulRegistry()
    image(registry)
    sign_image(registry, PLACE, key())

    assert "its content is missing" in refusal(registry)


def test_something_else_that_the_key_signed_does_not_count() -> None:
    registry = MemoryRegistry()
    digest = image(registry)
    text = json.dumps({"release": digest}).encode()

    put_signatures(registry, digest, (text, sign_bytes(text, key())))

    assert "is no signature of an image" in refusal(registry)


def test_a_good_signature_among_bad_ones_counts() -> None:
    registry = MemoryRegistry()
    digest = image(registry)
    payload = write_payload(claim_of(PLACE, digest))
    good = (payload, sign_bytes(payload, key()))

    put_signatures(registry, digest, (b"junk", "!"), (b"", ""), (payload, "AAAA"), good)

    assert len(verified(registry).signatures) == 1


def test_a_signature_from_another_repository_counts_only_where_that_is_named() -> None:
    registry = MemoryRegistry()
    copy = Reference("mirror.example", "copies/cos", "1")
    digest = image(registry, copy)
    payload = write_payload(claim_of(PLACE, digest))
    attachment = Attachment(SIGNATURE, payload, {SIGNATURE_ANNOTATION: sign_bytes(payload, key())})
    subject = registry.manifest(copy).descriptor
    attach(registry, by_digest(digest, copy), subject, attachment)

    found = verify_image(registry, copy, [key().public], signed_as=PLACE)

    assert found.image == by_digest(digest, copy)
    assert "is for the repository 'registry.example/os/cos'" in refusal(registry, copy)


def test_annotations_that_are_asked_for_must_be_signed() -> None:
    registry = MemoryRegistry()
    image(registry)
    sign_image(registry, PLACE, key(), {"stage": "tested", "by": "ci"})

    found = verify_image(registry, PLACE, [key().public], annotations={"stage": "tested"})

    assert len(found.signatures) == 1
    assert "does not say stage=released" in refusal(registry, annotations={"stage": "released"})
    assert "does not say more=yes" in refusal(registry, annotations={"more": "yes"})


def test_annotations_of_the_manifest_say_nothing() -> None:
    registry = MemoryRegistry()
    digest = image(registry)
    payload = write_payload(claim_of(PLACE, digest))
    annotations = {SIGNATURE_ANNOTATION: sign_bytes(payload, key()), "stage": "tested"}
    subject = registry.manifest(PLACE).descriptor

    attach(registry, by_digest(digest), subject, Attachment(SIGNATURE, payload, annotations))

    assert "does not say stage=tested" in refusal(registry, annotations={"stage": "tested"})


def test_a_flood_of_signatures_ends_the_search_and_not_the_machine() -> None:
    registry = MemoryRegistry()
    digest = image(registry)
    junk = [(b"junk", base64.b64encode(str(n).encode()).decode()) for n in range(1000)]
    put_signatures(registry, digest, *junk)
    registry.forget_counts()

    assert f"is not by a key that is trusted ({MOST_LAYERS} times)" in refusal(registry)
    assert registry.requests.total() < 300


def test_a_flood_of_referrers_ends_the_search_and_not_the_machine() -> None:
    registry = MemoryRegistry()
    digest = image(registry)
    for number in range(MOST_REFERRERS * 3):
        attach_referrer(registry, digest, f"junk {number}".encode())
    registry.forget_counts()

    assert f"is not by a key that is trusted ({MOST_REFERRERS} times)" in refusal(registry)
    assert registry.requests["manifest"] <= MOST_REFERRERS + 1


def attach_referrer(registry: MemoryRegistry, digest: Digest, content: bytes) -> None:
    """Store a referrer with a signature that nobody made."""
    entry = Attachment(SIGNATURE, content, {SIGNATURE_ANNOTATION: "AAAA"}).entry
    registry.put_blob(PLACE, content, entry.descriptor)
    subject = {"mediaType": MANIFEST, "digest": digest, "size": 1}
    value = {
        "schemaVersion": 2,
        "artifactType": SIGNATURE.artifact_type,
        "layers": [entry.model_dump(by_alias=True)],
        "subject": subject,
    }
    registry.put_referrer(by_digest(digest), json.dumps(value).encode(), MANIFEST)


def test_a_huge_referrer_is_not_fetched() -> None:
    registry = MemoryRegistry()
    digest = image(registry)
    value = {
        "schemaVersion": 2,
        "artifactType": SIGNATURE.artifact_type,
        "subject": {"mediaType": MANIFEST, "digest": digest, "size": 1},
        "annotations": {"padding": "x" * LARGEST_LIST},
    }
    registry.put_referrer(by_digest(digest), json.dumps(value).encode(), MANIFEST)
    registry.forget_counts()

    assert "has none" in refusal(registry)
    assert registry.received < LARGEST_LIST


def test_a_huge_payload_is_not_fetched() -> None:
    registry = MemoryRegistry()
    digest = image(registry)
    put_signatures(registry, digest, (b"x" * (SIGNATURE.largest + 1), "AAAA"))
    registry.forget_counts()

    assert "has none" in refusal(registry)
    assert registry.received < SIGNATURE.largest


def test_layers_of_other_types_are_not_looked_at() -> None:
    registry = MemoryRegistry()
    digest = image(registry)
    sign_image(registry, PLACE, key())
    data = registry.manifest(signature_tag(digest)).data.replace(b"simplesigning", b"something")
    registry.put_manifest(signature_tag(digest), data, MANIFEST)
    (referrer,) = registry.referrers(by_digest(digest))
    registry.delete(by_digest(referrer.digest))

    assert "has none" in refusal(registry)


def test_a_tag_that_holds_something_else_is_neither_trusted_nor_replaced() -> None:
    registry = MemoryRegistry()
    digest = image(registry)
    data = b'{"schemaVersion": 2, "layers": "my own"}'
    with pytest.raises(Exception, match="layers"):  # what the registry itself refuses
        registry.put_manifest(signature_tag(digest), data, MANIFEST)
    many = [(b"junk", base64.b64encode(str(n).encode()).decode()) for n in range(MOST_LAYERS)]
    put_signatures(registry, digest, *many)
    before = registry.head(signature_tag(digest))

    with pytest.raises(TrustError, match="can have 128 signatures, and this one would have more"):
        sign_image(registry, PLACE, key())

    assert registry.head(signature_tag(digest)) == before
