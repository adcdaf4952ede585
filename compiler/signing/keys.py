"""Key pairs: made, read and written as the `cosign` program does, and what they sign.

A key signs with one algorithm: ECDSA and RSA (PKCS #1 v1.5) over SHA-256, or Ed25519. The same key
and data give the same signature (RFC 6979 for ECDSA), so that signing twice adds nothing.
"""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from compiler.errors import OutsideError, TrustError, unreadable
from compiler.signing.encrypted import decrypt, encrypt, is_encrypted

LARGEST_KEY = 1 << 16
"""How many bytes of a key file are read."""

_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_RSA_BITS = range(2048, 8192 + 1)
_PRIVATE, _PUBLIC = 0o600, 0o644

_PublicPart = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey
_PrivatePart = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey

Password = Callable[[], bytes]
"""Gives the password of a key; called only when there is something to decrypt."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """What tells whether the owner of a private key signed something."""

    part: _PublicPart

    @property
    def pem(self) -> bytes:
        """The key as a file (RFC 7468, section 13)."""
        return self.part.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    @property
    def fingerprint(self) -> str:
        """The key's name: the SHA-256 of its DER form, in hexadecimal."""
        der = self.part.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return hashlib.sha256(der).hexdigest()

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Tell whether `signature` was made over `data` with the private half of this key."""
        try:
            match self.part:
                case ec.EllipticCurvePublicKey():
                    self.part.verify(signature, data, ec.ECDSA(hashes.SHA256()))
                case ed25519.Ed25519PublicKey():
                    self.part.verify(signature, data)
                case rsa.RSAPublicKey():
                    self.part.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """What signs."""

    part: _PrivatePart

    def __repr__(self) -> str:
        """Say whose it is, and nothing of the secret."""
        return f"PrivateKey(of {self.public.fingerprint})"

    @property
    def public(self) -> PublicKey:
        """The half that others get."""
        return PublicKey(self.part.public_key())

    def sign(self, data: bytes) -> bytes:
        """Sign `data`; raises `OutsideError` where the system's OpenSSL is too old."""
        match self.part:
            case ec.EllipticCurvePrivateKey():
                return self.part.sign(data, _ecdsa())
            case ed25519.Ed25519PrivateKey():
                return self.part.sign(data)
            case rsa.RSAPrivateKey():
                return self.part.sign(data, padding.PKCS1v15(), hashes.SHA256())


def generate() -> PrivateKey:
    """Make a key of the kind that cosign makes: ECDSA on the curve P-256."""
    return PrivateKey(ec.generate_private_key(ec.SECP256R1()))


def parse_private_key(text: bytes, password: Password) -> PrivateKey:
    """Read a key that is encrypted in cosign's format, or PKCS#8; raises `TrustError`."""
    try:
        if is_encrypted(text):
            loaded = serialization.load_der_private_key(decrypt(text, password()), None)
        else:
            secret = password() if b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in text else None
            loaded = serialization.load_pem_private_key(text, secret)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise TrustError(
            "not a private key that can be used, or the password is wrong",
            hint="keys are PEM files, such as `cos key generate` makes",
        ) from error
    if not isinstance(loaded, _PrivatePart):
        raise TrustError("the private key is of a kind that is not used here", hint=_kinds())
    _check(loaded.public_key())
    return PrivateKey(loaded)


def parse_public_key(text: bytes) -> PublicKey:
    """Read a public key, which is a PEM file; raises `TrustError`."""
    try:
        loaded = serialization.load_pem_public_key(text)
    except (ValueError, UnsupportedAlgorithm) as error:
        hint = "`cos key public` prints the public half of a private key"
        raise TrustError("not a public key in PEM form", hint=hint) from error
    if not isinstance(loaded, _PublicPart):
        raise TrustError("the public key is of a kind that is not used here", hint=_kinds())
    _check(loaded)
    return PublicKey(loaded)


def read_private_key(path: Path, password: Password) -> PrivateKey:
    """Read a private key from a file; raises `TrustError` with its name."""
    try:
        return parse_private_key(_read(path), password)
    except TrustError as error:
        raise TrustError(f"{path}: {error.message}", hint=error.hint) from error


def read_public_key(path: Path) -> PublicKey:
    """Read a public key from a file; raises `TrustError` with its name."""
    try:
        return parse_public_key(_read(path))
    except TrustError as error:
        raise TrustError(f"{path}: {error.message}", hint=error.hint) from error


def write_key_pair(key: PrivateKey, prefix: Path, *, password: bytes, force: bool = False) -> None:
    """Write `PREFIX.key`, encrypted and for its owner's eyes only, and `PREFIX.pub`.

    Raises `TrustError` if one of them is there, unless `force` says to replace them.
    """
    secret, public = (prefix.with_name(f"{prefix.name}.{end}") for end in ("key", "pub"))
    der = key.part.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    for path in (secret, public):
        if not force and (path.exists() or path.is_symlink()):
            raise _in_the_way(path)
    _write(secret, encrypt(der, password), mode=_PRIVATE, force=force)
    _write(public, key.public.pem, mode=_PUBLIC, force=force)


def _ecdsa() -> ec.ECDSA:
    """Choose ECDSA without chance in it."""
    try:
        return ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
    except UnsupportedAlgorithm as error:
        raise OutsideError(
            "the OpenSSL library of Python's cryptography package cannot sign deterministically",
            hint="OpenSSL 3.2 or newer can; the package from PyPI brings one",
        ) from error


def _check(part: _PublicPart) -> None:
    """Refuse keys that are too weak, or so large that they only cost time."""
    if isinstance(part, rsa.RSAPublicKey) and part.key_size not in _RSA_BITS:
        raise TrustError(f"an RSA key of {part.key_size} bits is not used here", hint=_kinds())
    if isinstance(part, ec.EllipticCurvePublicKey) and not isinstance(part.curve, _CURVES):
        raise TrustError(f"keys on the curve {part.curve.name} are not used here", hint=_kinds())


def _kinds() -> str:
    """Name what can be used."""
    return "ECDSA on P-256, P-384 or P-521, Ed25519, or RSA of 2048 to 8192 bits"


def _read(path: Path) -> bytes:
    """Read a key file, no more than a key can be; raises `InputError`."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_KEY + 1)
    except OSError as error:
        raise unreadable(path, error) from error
    if len(data) > LARGEST_KEY:
        raise TrustError("too large for a key")
    return data


def _write(path: Path, data: bytes, *, mode: int, force: bool) -> None:
    """Write a file beside its place: it appears whole, and replaces another only by force."""
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        part = Path(file.name)
        try:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            if force:
                part.replace(path)
            else:
                path.hardlink_to(part)
        except FileExistsError as error:
            raise _in_the_way(path) from error
        finally:
            with suppress(FileNotFoundError):
                part.unlink()


def _in_the_way(path: Path) -> TrustError:
    """Explain why no key was written."""
    hint = "--force replaces it; what it signed needs the old public key to be verified"
    return TrustError(f"{path} is there already", hint=hint)
