"""Attestations: signed statements about images, as cosign keeps them."""

import base64
import json

import pytest

from compiler.errors import TrustError
from compiler.oci import MANIFEST, Digest
from compiler.registry.memory import MemoryRegistry
from compiler.signing.attachments import (
    ATTESTATION,
    SIGNATURE_ANNOTATION,
    Attachment,
    attach,
)
from compiler.signing.attestations import attest_image, seal, unseal, verify_attestations
from tests.signing.lab import PLACE, by_digest, image, key, signature_tag, statement

KIND = "https://example.org/made/v1"


def refusal(registry: MemoryRegistry, kind: str = KIND) -> str:
    with pytest.raises(TrustError) as caught:
        verify_attestations(registry, PLACE, [key().public], predicate_type=kind)
    return str(caught.value)


def put_envelope(registry: MemoryRegistry, digest: Digest, envelope: bytes) -> None:
    """Attach an envelope, as whoever can push may do."""
    attachment = Attachment(ATTESTATION, envelope, {SIGNATURE_ANNOTATION: ""})
    attach(registry, by_digest(digest), registry.manifest(PLACE).descriptor, attachment)


def test_a_statement_is_found_again_with_its_bytes() -> None:
    registry = MemoryRegistry()
    digest = image(registry)

    made = attest_image(registry, PLACE, statement(digest), key())
    (found,) = verify_attestations(registry, PLACE, [key().public], predicate_type=KIND)

    assert made.added
    assert made.image == by_digest(digest)
    assert found.statement == statement(digest)
    assert (found.predicate_type, found.key) == (KIND, key().public)


def test_it_is_kept_where_cosign_looks_for_it() -> None:
    registry = MemoryRegistry()
    digest = image(registry)
    attest_image(registry, PLACE, statement(digest), key())

    tagged = json.loads(registry.manifest(signature_tag(digest, suffix="att")).data)

    (layer,) = tagged["layers"]
    assert layer["mediaType"] == "application/vnd.dsse.envelope.v1+json"
    assert layer["annotations"] == {
        "dev.cosignproject.cosign/signature": "",
        "predicateType": KIND,
    }
    assert len(registry.referrers(by_digest(digest), "application/vnd.in-toto+json")) == 1


def test_attesting_again_adds_nothing_and_other_statements_stand_beside() -> None:
    registry = MemoryRegistry()
    digest = image(registry)

    assert attest_image(registry, PLACE, statement(digest), key()).added
    assert not attest_image(registry, PLACE, statement(digest), key()).added
    assert attest_image(registry, PLACE, statement(digest, "https://other/v1"), key()).added

    found = verify_attestations(registry, PLACE, [key().public], predicate_type=KIND)
    assert len(found) == 1
    assert "has none" in refusal(registry, "https://third/v1")


def test_a_statement_about_another_image_is_neither_made_nor_believed() -> None:
    registry = MemoryRegistry()
    digest = image(registry)
    other = Digest("sha256:" + "0" * 64)

    with pytest.raises(TrustError) as caught:
        attest_image(registry, PLACE, statement(other), key())
    put_envelope(registry, digest, seal(statement(other), key()))

    assert (
        str(caught.value) == f"{by_digest(digest)}: what is to be attested is about another image"
    )
    assert "is about another image" in refusal(registry)


@pytest.mark.parametrize(
    "text",
    [
        b"{}",
        b"not JSON",
    ],
)
def test_what_is_no_statement_is_not_attested(text: bytes) -> None:
    registry = MemoryRegistry()
    image(registry)

    with pytest.raises(TrustError, match="what is to be attested is"):
        attest_image(registry, PLACE, text, key())

    assert not registry.tags(PLACE, after="sha256")


def test_a_statement_of_a_version_that_nobody_knows_is_neither_made_nor_believed() -> None:
    registry = MemoryRegistry()
    digest = image(registry)
    text = statement(digest).replace(b"Statement/v1", b"Statement/v9")

    with pytest.raises(TrustError, match="a version that is not known here"):
        attest_image(registry, PLACE, text, key())
    put_envelope(registry, digest, seal(text, key()))

    assert "a version that is not known here" in refusal(registry)


def test_another_key_or_a_changed_statement_does_not_count() -> None:
    registry = MemoryRegistry()
    digest = image(registry)
    put_envelope(registry, digest, seal(statement(digest), key("another")))
    envelope = json.loads(seal(statement(digest), key()))
    changed = statement(digest).replace(b"a test", b"nobody")
    envelope["payload"] = base64.b64encode(changed).decode()
    put_envelope(registry, digest, json.dumps(envelope).encode())

    assert "is not by a key that is trusted (2 times)" in refusal(registry)


def test_the_type_of_the_signed_statement_decides_and_not_the_annotation() -> None:
    registry = MemoryRegistry()
    digest = image(registry)
    envelope = seal(statement(digest, "https://other/v1"), key())
    annotations = {SIGNATURE_ANNOTATION: "", "predicateType": KIND}
    subject = registry.manifest(PLACE).descriptor
    attach(registry, by_digest(digest), subject, Attachment(ATTESTATION, envelope, annotations))

    assert "no attestation https://example.org/made/v1 counts" in refusal(registry)


def test_a_signature_over_the_bare_statement_does_not_count() -> None:
    digest = Digest("sha256:" + "0" * 64)
    envelope = json.loads(seal(statement(digest), key()))
    bare = base64.b64encode(key().sign(statement(digest))).decode()
    envelope["signatures"] = [{"keyid": "", "sig": bare}]

    with pytest.raises(TrustError, match="is not by a key that is trusted"):
        unseal(json.dumps(envelope).encode(), [key().public])


def test_an_envelope_with_several_signatures_needs_one_that_is_trusted() -> None:
    digest = Digest("sha256:" + "0" * 64)
    ours, theirs = (json.loads(seal(statement(digest), key(name))) for name in ("ours", "theirs"))
    theirs["signatures"] += ours["signatures"]

    found = unseal(json.dumps(theirs).encode(), [key("third").public, key("ours").public])

    assert found == (statement(digest), key("ours").public)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"payloadType": "text/plain"}, "is no in-toto statement"),
        ({"payload": "?"}, "is no signed statement"),
        ({"signatures": []}, "is not by a key that is trusted"),
        ({"signatures": [{"sig": "!"}]}, "the signature is not base64"),
        ({"signatures": [{"sig": "AAAA"}] * 17}, "is no signed statement"),
        ({"signatures": None}, "is no signed statement"),
    ],
)
def test_a_damaged_envelope_is_refused(change: dict[str, object], said: str) -> None:
    envelope = json.loads(seal(statement(Digest("sha256:" + "0" * 64)), key())) | change

    with pytest.raises(TrustError, match=said):
        unseal(json.dumps(envelope).encode(), [key().public])


def test_a_tag_of_attestations_says_nothing_of_signatures() -> None:
    registry = MemoryRegistry()
    digest = image(registry)
    attest_image(registry, PLACE, statement(digest), key())
    data = registry.manifest(signature_tag(digest, suffix="att")).data
    registry.put_manifest(signature_tag(digest, suffix="sig"), data, MANIFEST)

    assert registry.head(signature_tag(digest, suffix="sig")) is not None
    assert len(verify_attestations(registry, PLACE, [key().public], predicate_type=KIND)) == 1
