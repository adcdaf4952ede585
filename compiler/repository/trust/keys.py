"""Keys in TUF's form, and signatures in which nothing is left to chance.

`securesystemslib` verifies everything; signing is done here because its own signers draw random
numbers for ECDSA and RSA, and the same repository would be signed differently each time.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from securesystemslib.signer import Key, Signature, SSlibKey
from tuf.api.metadata import Metadata, Role, Root, Snapshot, Targets, Timestamp

from compiler.errors import TrustError
from compiler.oci import Digest
from compiler.repository.trust import limit_of
from compiler.signing.keys import PrivateKey, PublicKey

_RSA = "rsa-pkcs1v15-sha256"
_HASHES: Mapping[str, hashes.HashAlgorithm] = {
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}
"""Curves that TUF uses with another hash than SHA-256."""

AnyMetadata = Metadata[Root] | Metadata[Targets] | Metadata[Snapshot] | Metadata[Timestamp]


@dataclass(frozen=True, slots=True)
class Signing:
    """Who signs, and when: each role is signed by those of `keys` that the root names for it.

    Files get versions from `floor` on: where several sign without knowing of each other, each takes
    another floor, and no two of them write files of one name. `image_of` names the image that will
    hold a file, given its name and content, where files lie in a registry.
    """

    keys: tuple[PrivateKey, ...]
    now: datetime
    floor: int = 1
    image_of: Callable[[str, bytes], Digest] | None = None

    def after(self, version: int) -> int:
        """Return the version that follows `version` (0: there is none yet)."""
        return max(version + 1, self.floor)

    def expires(self, days: int) -> datetime:
        """Return the end of a period that begins now."""
        return (self.now + timedelta(days=days)).replace(microsecond=0)


def tuf_key(key: PublicKey) -> Key:
    """Return a public key as metadata has it (TUF specification, section 4.2.1)."""
    scheme = _RSA if isinstance(key.part, rsa.RSAPublicKey) else None
    return SSlibKey.from_crypto(key.part, scheme=scheme)


def too_few(name: str, role: Role, found: int) -> TrustError:
    """Make the error for a role, or a file of it, for which too few keys are given."""
    return TrustError(
        f"{name}: {role.threshold} of the keys that the root names have to sign,"
        f" {found or 'none'} of them {'is' if found < 2 else 'are'} given",  # noqa: PLR2004  (a plural)
        hint="pass the private keys that `cos repo init-trust` or `rotate` were told of",
    )


def sign_for(role: Role, name: str, metadata: AnyMetadata, keys: Iterable[PrivateKey]) -> bytes:
    """Sign metadata anew for a role and return the file.

    Raises `TrustError` for too few keys, and for a file that no client would read to its end.
    """
    metadata.signatures.clear()
    add_signatures(metadata, keys, set(role.keyids))
    if len(metadata.signatures) < role.threshold:
        raise too_few(name, role, len(metadata.signatures))
    data = metadata.to_bytes()
    if len(data) > limit_of(name):
        message = f"{name}: would have {len(data)} bytes, clients read {limit_of(name)}"
        raise TrustError(message, hint="a repository that is begun with more bins has smaller ones")
    return data


def add_signatures(metadata: AnyMetadata, keys: Iterable[PrivateKey], wanted: set[str]) -> None:
    """Add the signatures of those keys whose identifiers are wanted, in one fixed order."""
    data = metadata.signed_bytes
    found = {tuf_key(key.public).keyid: key for key in keys}
    for keyid in sorted(found.keys() & wanted):
        metadata.signatures[keyid] = Signature(keyid, _sign(found[keyid], data).hex())


def _sign(key: PrivateKey, data: bytes) -> bytes:
    """Sign as the key's scheme in TUF asks for."""
    part = key.part
    if isinstance(part, ec.EllipticCurvePrivateKey) and part.curve.name in _HASHES:
        return part.sign(data, ec.ECDSA(_HASHES[part.curve.name], deterministic_signing=True))
    return key.sign(data)
