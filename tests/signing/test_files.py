"""Detached signatures of files, as `cosign sign-blob` makes them."""

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.errors import TrustError
from compiler.signing.files import sign_bytes, verify_bytes
from compiler.signing.keys import read_public_key
from tests.signing.lab import key

DATA = Path(__file__).parent.parent / "data" / "signing"


def refusal(data: bytes, signature: str) -> str:
    with pytest.raises(TrustError) as caught:
        verify_bytes(data, signature, [key().public])
    return str(caught.value)


def test_a_signature_that_cosign_made_is_verified() -> None:
    public = read_public_key(DATA / "cosign.pub")
    signature = (DATA / "blob.txt.sig").read_text()

    assert verify_bytes((DATA / "blob.txt").read_bytes(), signature, [public]) == public


@given(st.binary(max_size=200))
def test_what_was_signed_is_verified_and_signing_leaves_nothing_to_chance(data: bytes) -> None:
    signature = sign_bytes(data, key())

    assert signature == sign_bytes(data, key())
    assert verify_bytes(data, signature, [key("another").public, key().public]) == key().public
    assert "not by a key that is trusted" in refusal(data + b"\0", signature)


@given(st.data())
def test_no_changed_bit_of_a_signature_passes(data: st.DataObject) -> None:
    signature = bytearray(base64.b64decode(sign_bytes(b"data", key())))
    bit = data.draw(st.integers(0, len(signature) * 8 - 1))
    signature[bit // 8] ^= 1 << bit % 8

    assert refusal(b"data", base64.b64encode(signature).decode())


@pytest.mark.parametrize("cut", [-1, -2, -3, 1, 0])
def test_a_cut_signature_is_refused(cut: int) -> None:
    assert refusal(b"data", sign_bytes(b"data", key())[:cut])


def test_what_is_no_base64_or_too_long_is_refused() -> None:
    assert refusal(b"data", "not base64!") == "the signature is not base64"
    assert refusal(b"data", "ä" * 8) == "the signature is not base64"
    assert refusal(b"data", "A" * 10_000) == "the signature is too long"


def test_without_a_key_nothing_is_verified() -> None:
    with pytest.raises(TrustError):
        verify_bytes(b"data", sign_bytes(b"data", key()), [])
