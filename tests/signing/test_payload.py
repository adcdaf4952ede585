"""What signatures of images say, in the simple signing format."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.errors import TrustError
from compiler.oci import Digest, Reference, digest_of, parse_reference
from compiler.signing.payload import Claim, claim_of, names, read_payload, write_payload

DIGEST = digest_of(b"an image")


def test_the_payload_is_the_text_that_cosign_signs() -> None:
    claim = claim_of(Reference("h:5000", "a/b", "t"), DIGEST, {"k": "v", "b": "é"})

    assert write_payload(claim).decode() == (
        '{"critical":{"identity":{"docker-reference":"h:5000/a/b"},"image":{"docker-manifest-digest":"'
        f'{DIGEST}"}},"type":"cosign container image signature"}},"optional":{{"b":"é","k":"v"}}}}'
    )


def test_images_of_the_hub_are_named_as_cosign_names_them() -> None:
    claim = claim_of(parse_reference("debian:trixie"), DIGEST)

    assert claim.identity == "index.docker.io/library/debian"
    assert write_payload(claim).endswith(b'"optional":null}')
    assert names(claim, parse_reference("debian:trixie"))


@given(st.text(max_size=50), st.dictionaries(st.text(max_size=9), st.text(max_size=9)))
def test_what_is_written_is_read(identity: str, annotations: dict[str, str]) -> None:
    claim = Claim(identity, DIGEST, tuple(sorted(annotations.items())))

    assert read_payload(write_payload(claim)) == claim


def test_annotations_that_are_no_texts_count_for_nothing() -> None:
    value = json.loads(write_payload(claim_of(Reference("h", "a"), DIGEST)))
    value["optional"] = {"a": 1, "b": None, "c": "text", "creator": {"x": []}}

    assert read_payload(json.dumps(value).encode()).annotations == (("c", "text"),)


@pytest.mark.parametrize(
    "change",
    [
        {"type": "atomic container signature"},
        {"type": None},
        {"image": {"docker-manifest-digest": "sha256:ab"}},
        {"image": {}},
        {"identity": {"docker-reference": 7}},
    ],
)
def test_a_payload_that_says_something_else_is_refused(change: dict[str, object]) -> None:
    value = json.loads(write_payload(claim_of(Reference("h", "a"), DIGEST)))
    value["critical"] |= change

    with pytest.raises(TrustError, match="is no signature of an image"):
        read_payload(json.dumps(value).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{", b'{"critical":{}}', b"[" * 100_000])
def test_what_is_no_payload_is_refused(data: bytes) -> None:
    with pytest.raises(TrustError, match="is no signature of an image"):
        read_payload(data)


@pytest.mark.parametrize(
    ("identity", "asked", "expected"),
    [
        ("h.example/a/b", "h.example/a/b:1", True),
        ("h.example/a/b:1", "h.example/a/b:1", True),
        ("h.example/a/b:2", "h.example/a/b:1", False),
        (f"h.example/a/b@{DIGEST}", "h.example/a/b:1", True),
        ("h.example/a/b:2", f"h.example/a/b@{DIGEST}", True),
        ("h.example/a/c", "h.example/a/b:1", False),
        ("g.example/a/b", "h.example/a/b:1", False),
        ("h.example:5000/a/b", "h.example/a/b:1", False),
        ("h.example:5000/a/b", "h.example:5000/a/b:1", True),
        ("docker.io/library/debian", "debian", True),
        ("debian", "debian", True),
        ("", "debian", False),
        ("../a", "debian", False),
    ],
)
def test_a_signature_holds_for_the_repository_that_it_names(
    identity: str, asked: str, *, expected: bool
) -> None:
    claim = Claim(identity, Digest(DIGEST))

    assert names(claim, parse_reference(asked)) is expected
