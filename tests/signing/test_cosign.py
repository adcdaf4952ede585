"""Signatures that the `cosign` program verifies, and that it makes, in a real registry."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from compiler.errors import TrustError
from compiler.oci import Digest, Reference, hex_of
from compiler.registry.client import RegistryClient
from compiler.registry.settings import RegistrySettings
from compiler.signing.attestations import attest_image, verify_attestations
from compiler.signing.files import sign_bytes, verify_bytes
from compiler.signing.images import sign_image, verify_image
from compiler.signing.keys import (
    PrivateKey,
    generate,
    parse_private_key,
    read_private_key,
    read_public_key,
    write_key_pair,
)
from tests.servers.cosign import LOCAL, OFFLINE, Cosign
from tests.servers.modern import ModernRegistry
from tests.signing.lab import by_digest, image, signature_tag, statement

pytestmark = pytest.mark.registry

KIND = "https://example.org/made/v1"


@dataclass(frozen=True, slots=True)
class Image:
    """An image that nobody has signed yet, in a registry."""

    registry: RegistryClient
    place: Reference
    digest: Digest

    @property
    def name(self) -> str:
        """Its name by digest."""
        return str(by_digest(self.digest, self.place))

    @property
    def signatures(self) -> Reference:
        """The tag for its signatures."""
        return signature_tag(self.digest, self.place)


@pytest.fixture
def target(repository: Reference) -> Iterator[Image]:
    place = replace(repository, tag="1")
    with RegistryClient(RegistrySettings()) as client:
        yield Image(client, place, image(client, place, os.urandom(8).hex()))


@pytest.fixture(scope="session")
def ours(cosign: Cosign) -> PrivateKey:
    """A key of ours, in the files that cosign is to read: `ours.key` and `ours.pub`."""
    made = generate()
    write_key_pair(made, cosign.folder / "ours", password=cosign.password.encode())
    return made


@pytest.fixture(scope="session")
def theirs(cosign: Cosign) -> PrivateKey:
    """The key that cosign made."""
    return read_private_key(cosign.folder / "theirs.key", cosign.password.encode)


def claims(said: str) -> list[dict[str, object]]:
    """Read what `cosign verify` prints."""
    found: list[dict[str, object]] = json.loads(said)
    return found


def test_keys_that_cosign_made_are_ours_to_read(cosign: Cosign, theirs: PrivateKey) -> None:
    assert theirs.public == read_public_key(cosign.folder / "theirs.pub")
    with pytest.raises(TrustError, match="the password is wrong"):
        read_private_key(cosign.folder / "theirs.key", lambda: b"wrong")


def test_keys_that_we_made_are_cosigns_to_read(cosign: Cosign, ours: PrivateKey) -> None:
    assert cosign.do("public-key", "--key", "ours.key") == ours.public.pem.decode()
    wrong = replace(cosign, password="").run("public-key", "--key", "ours.key")
    assert wrong.returncode != 0


def test_cosign_verifies_what_we_signed(cosign: Cosign, ours: PrivateKey, target: Image) -> None:
    sign_image(target.registry, target.place, ours, {"stage": "tested", "by": "Zoë & co <ci>"})

    asked = ("-a", "stage=tested", "-a", "by=Zoë & co <ci>", target.name)
    (found,) = claims(cosign.do("verify", *LOCAL, "--key", "ours.pub", *asked))

    assert found["critical"] == {
        "identity": {"docker-reference": f"{target.place.registry}/{target.place.repository}"},
        "image": {"docker-manifest-digest": target.digest},
        "type": "cosign container image signature",
    }
    assert found["optional"] == {"stage": "tested", "by": "Zoë & co <ci>"}


def test_cosign_verifies_what_we_attached_as_a_referrer(
    cosign: Cosign, ours: PrivateKey, target: Image
) -> None:
    sign_image(target.registry, target.place, ours)
    tag = target.registry.head(target.signatures)
    assert tag is not None
    target.registry.delete(by_digest(tag.digest, target.place))

    found = claims(
        cosign.do("verify", *LOCAL, "--experimental-oci11", "--key", "ours.pub", target.name)
    )

    assert len(found) == 1
    assert cosign.run("verify", *LOCAL, "--key", "ours.pub", target.name).returncode != 0


def test_cosign_finds_our_referrers_where_a_registry_lists_them(
    cosign: Cosign, ours: PrivateKey, modern_registry: ModernRegistry
) -> None:
    place = Reference(modern_registry.host, "os/cos", "1")
    with RegistryClient(RegistrySettings()) as client:
        digest = image(client, place)
        sign_image(client, place, ours)
        tag = client.head(signature_tag(digest, place))
        assert tag is not None
        client.delete(by_digest(tag.digest, place))
    name = str(by_digest(digest, place))

    said = cosign.do("verify", *LOCAL, "--experimental-oci11", "--key", "ours.pub", name)

    assert len(claims(said)) == 1


def test_cosign_refuses_what_another_key_signed_and_what_is_not_signed(
    cosign: Cosign,
    ours: PrivateKey,
    theirs: PrivateKey,
    target: Image,
) -> None:
    arguments = ("verify", *LOCAL, "--key", "ours.pub", target.name)
    assert cosign.run(*arguments).returncode != 0

    sign_image(target.registry, target.place, theirs)
    assert cosign.run(*arguments).returncode != 0

    sign_image(target.registry, target.place, ours)
    assert cosign.run(*arguments).returncode == 0


@pytest.mark.parametrize("mode", ["legacy", "oci-1-1"])
def test_we_verify_what_cosign_signed(
    cosign: Cosign,
    theirs: PrivateKey,
    target: Image,
    *,
    mode: str,
) -> None:
    sign = ("sign", *OFFLINE, "--registry-referrers-mode", mode, "--allow-http-registry")
    cosign.do(*sign, "--key", "theirs.key", "-a", "stage=tested", target.name)

    found = verify_image(
        target.registry, target.place, [theirs.public], annotations={"stage": "tested"}
    )

    assert found.image == by_digest(target.digest, target.place)
    assert (target.registry.head(target.signatures) is None) == (mode == "oci-1-1")
    with pytest.raises(TrustError, match="does not say stage=released"):
        verify_image(
            target.registry, target.place, [theirs.public], annotations={"stage": "released"}
        )
    with pytest.raises(TrustError, match="is not by a key that is trusted"):
        verify_image(target.registry, target.place, [generate().public])


def test_signatures_of_both_programs_stand_side_by_side(
    cosign: Cosign,
    ours: PrivateKey,
    theirs: PrivateKey,
    target: Image,
) -> None:
    sign = ("sign", *OFFLINE, "--allow-http-registry", "--key", "theirs.key")

    cosign.do(*sign, "-a", "round=1", target.name)
    sign_image(target.registry, target.place, ours)
    cosign.do(*sign, "-a", "round=2", target.name)
    sign_image(target.registry, target.place, ours, {"round": "2"})

    assert len(verify_image(target.registry, target.place, [ours.public]).signatures) == 2
    assert len(verify_image(target.registry, target.place, [theirs.public]).signatures) == 2
    for key in ("ours.pub", "theirs.pub"):
        assert len(claims(cosign.do("verify", *LOCAL, "--key", key, target.name))) == 2


def test_a_copied_image_keeps_its_signatures_for_both_programs(
    cosign: Cosign, ours: PrivateKey, target: Image
) -> None:
    sign_image(target.registry, target.place, ours)
    copy = replace(target.place, repository=f"{target.place.repository}/copy")
    cosign.do("copy", "--allow-http-registry", str(target.place), str(copy))

    cosign.do("verify", *LOCAL, "--key", "ours.pub", str(by_digest(target.digest, copy)))
    found = verify_image(target.registry, copy, [ours.public], signed_as=target.place)

    assert found.image == by_digest(target.digest, copy)
    with pytest.raises(TrustError, match="is for the repository"):
        verify_image(target.registry, copy, [ours.public])


def test_cosign_verifies_our_attestations_and_we_verify_its(
    cosign: Cosign, ours: PrivateKey, theirs: PrivateKey, target: Image,
) -> None:  # fmt: skip
    (cosign.folder / "predicate.json").write_text('{"by": "cosign"}')
    attest_image(target.registry, target.place, statement(target.digest), ours)
    cosign.do("attest", *OFFLINE, "--allow-http-registry", "--key", "theirs.key", "--type", KIND,
              "--predicate", "predicate.json", target.name)  # fmt: skip

    verify = ("verify-attestation", *LOCAL, "--type", KIND, "--key")
    envelope = json.loads(cosign.do(*verify, "ours.pub", target.name))
    (found,) = verify_attestations(
        target.registry, target.place, [theirs.public], predicate_type=KIND
    )

    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    assert json.loads(found.statement)["predicate"] == {"by": "cosign"}
    assert json.loads(found.statement)["subject"][0]["digest"] == {"sha256": hex_of(target.digest)}
    with pytest.raises(TrustError):
        verify_attestations(target.registry, target.place, [generate().public], predicate_type=KIND)


def test_files_are_signed_and_verified_both_ways(
    cosign: Cosign, ours: PrivateKey, theirs: PrivateKey
) -> None:
    blob = cosign.folder / "blob"
    blob.write_bytes(os.urandom(100_000))
    (cosign.folder / "blob.sig").write_text(sign_bytes(blob.read_bytes(), ours))
    verify = ("verify-blob", "--insecure-ignore-tlog", "--signature", "blob.sig", "blob", "--key")

    cosign.do(*verify, "ours.pub")
    signature = cosign.do("sign-blob", *OFFLINE, "--key", "theirs.key", "blob")

    assert verify_bytes(blob.read_bytes(), signature, [theirs.public]) == theirs.public
    assert cosign.run(*verify, "theirs.pub").returncode != 0
    with pytest.raises(TrustError):
        verify_bytes(blob.read_bytes()[:-1], signature, [theirs.public])


@pytest.mark.parametrize(
    "part",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["P-384", "Ed25519", "RSA"],
)
def test_cosign_verifies_signatures_by_keys_of_other_kinds(
    cosign: Cosign, part: ec.EllipticCurvePrivateKey, tmp_path: Path
) -> None:
    pem = part.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    secret = parse_private_key(pem, lambda: b"")
    (tmp_path / "blob").write_bytes(b"a blob")
    (tmp_path / "blob.sig").write_text(sign_bytes(b"a blob", secret))
    (tmp_path / "other.pub").write_bytes(secret.public.pem)

    cosign.do("verify-blob", "--insecure-ignore-tlog", "--key", tmp_path / "other.pub",
              "--signature", tmp_path / "blob.sig", tmp_path / "blob")  # fmt: skip


def test_signers_at_the_same_time_lose_nothing(target: Image) -> None:
    secrets = [generate() for _ in range(3)]

    def sign(secret: PrivateKey) -> None:
        with RegistryClient(RegistrySettings()) as own:
            sign_image(own, target.place, secret)

    with ThreadPoolExecutor(len(secrets)) as threads:
        list(threads.map(sign, secrets))

    for secret in secrets:
        found = verify_image(target.registry, target.place, [secret.public])
        assert len(found.signatures) == 1
