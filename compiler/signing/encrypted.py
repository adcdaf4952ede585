"""Private keys under a password, as `cosign` writes them.

A PEM block holds JSON: scrypt makes a key out of the password, and NaCl's secretbox (XSalsa20 and
Poly1305) encrypts the key's PKCS#8 form with it.
"""

import base64
import binascii
import os
import re
import textwrap
from typing import Annotated, Literal

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from compiler.errors import TrustError

LABEL = "ENCRYPTED SIGSTORE PRIVATE KEY"
_LABELS = (LABEL, "ENCRYPTED COSIGN PRIVATE KEY")
"""What the block is called, the second one by cosign before 2.0."""

_PEM = re.compile(
    rb"-----BEGIN (?P<label>[A-Z ]+)-----\s+(?P<body>[A-Za-z0-9+/=\s]+)-----END (?P=label)-----"
)
_LINE = 64
_SALT = 32
_LARGEST_MEMORY = 256 << 20
"""How much memory, in bytes, a key file may ask scrypt to take; cosign's asks for 64 MiB."""


def _from_base64(text: object) -> bytes:
    """Read base64 without anything beside its alphabet; raises `ValueError`."""
    if not isinstance(text, str):
        raise ValueError("not a text")  # noqa: TRY004  (what pydantic listens for)
    return base64.b64decode(text, validate=True)


_Bytes = Annotated[
    bytes,
    BeforeValidator(_from_base64),
    PlainSerializer(lambda data: base64.b64encode(data).decode(), return_type=str),
]


class _Part(BaseModel):
    """A part of the JSON text; its fields stand in the order in which cosign writes them."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Cost(_Part):
    """What scrypt costs: 128 * N * r bytes of memory (RFC 7914, section 2)."""

    n: int = Field(alias="N", ge=2, le=1 << 22)
    r: int = Field(ge=1, le=64)
    p: int = Field(ge=1, le=16)


class _Derivation(_Part):
    """How the password becomes a key."""

    name: Literal["scrypt"] = "scrypt"
    params: _Cost = _Cost(N=65536, r=8, p=1)
    salt: _Bytes = Field(min_length=1, max_length=1024)


class _Cipher(_Part):
    """How that key encrypts."""

    name: Literal["nacl/secretbox"] = "nacl/secretbox"
    nonce: _Bytes = Field(min_length=SecretBox.NONCE_SIZE, max_length=SecretBox.NONCE_SIZE)


class _Encrypted(_Part):
    """The whole JSON text."""

    kdf: _Derivation
    cipher: _Cipher
    ciphertext: _Bytes


def is_encrypted(pem: bytes) -> bool:
    """Tell whether a file holds a key in this format."""
    match = _PEM.search(pem)
    return match is not None and match["label"].decode() in _LABELS


def encrypt(data: bytes, password: bytes) -> bytes:
    """Encrypt a key's PKCS#8 form into a PEM file; no two results are the same."""
    derivation = _Derivation.model_construct(salt=os.urandom(_SALT))
    sealed = _box(derivation, password).encrypt(data)
    value = _Encrypted.model_construct(
        kdf=derivation,
        cipher=_Cipher.model_construct(nonce=sealed.nonce),
        ciphertext=sealed.ciphertext,
    )
    body = base64.b64encode(value.model_dump_json(by_alias=True).encode()).decode()
    lines = "\n".join(textwrap.wrap(body, _LINE))
    return f"-----BEGIN {LABEL}-----\n{lines}\n-----END {LABEL}-----\n".encode()


def decrypt(pem: bytes, password: bytes) -> bytes:
    """Return the PKCS#8 form of an encrypted key; raises `TrustError`."""
    value = _read(pem)
    try:
        return _box(value.kdf, password).decrypt(value.ciphertext, value.cipher.nonce)
    except CryptoError as error:
        raise TrustError("the password is wrong, or the key is damaged") from error


def _read(pem: bytes) -> _Encrypted:
    """Read a PEM file without decrypting it."""
    match = _PEM.search(pem)
    try:
        if match is None:
            raise ValueError("no PEM block")  # noqa: TRY301  (one answer to all that is wrong)
        body = base64.b64decode(b"".join(match["body"].split()), validate=True)
        value = _Encrypted.model_validate_json(body)
    except (ValidationError, ValueError, binascii.Error) as error:
        raise TrustError("the encrypted key is damaged") from error
    cost = value.kdf.params
    if 128 * cost.n * cost.r > _LARGEST_MEMORY or cost.n & (cost.n - 1):
        raise TrustError("the encrypted key asks for more work than any program's keys do")
    return value


def _box(derivation: _Derivation, password: bytes) -> SecretBox:
    """Make the box that a password opens."""
    cost = derivation.params
    kdf = Scrypt(salt=derivation.salt, length=SecretBox.KEY_SIZE, n=cost.n, r=cost.r, p=cost.p)
    return SecretBox(kdf.derive(password))
