"""Detached signatures of bytes, as `cosign sign-blob` and `cosign verify-blob` have them."""

import base64
import binascii
from collections.abc import Iterable

from compiler.errors import TrustError
from compiler.signing.keys import PrivateKey, PublicKey

_LONGEST = 4096
"""How many letters a signature may have; those of RSA keys with 8192 bits have 1368."""


def sign_bytes(data: bytes, key: PrivateKey) -> str:
    """Return the signature of `data` in base64."""
    return base64.b64encode(key.sign(data)).decode()


def verify_bytes(data: bytes, signature: str, public_keys: Iterable[PublicKey]) -> PublicKey:
    """Return which key signed `data`; raises `TrustError` if none of them did."""
    raw = decode_signature(signature)
    for key in public_keys:
        if key.verifies(raw, data):
            return key
    raise TrustError("the signature is not by a key that is trusted, or the content was changed")


def decode_signature(text: str) -> bytes:
    """Read the base64 form of a signature, line ends around it ignored; raises `TrustError`."""
    if len(text) > _LONGEST:
        raise TrustError("the signature is too long")
    try:
        return base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise TrustError("the signature is not base64") from error
