"""Key pairs in cosign's format: made, written, read, and refused."""

import base64
import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from compiler.errors import TrustError
from compiler.signing.encrypted import LABEL, decrypt, encrypt
from compiler.signing.keys import (
    PrivateKey,
    generate,
    parse_private_key,
    parse_public_key,
    read_private_key,
    read_public_key,
    write_key_pair,
)
from tests.signing.lab import key

DATA = Path(__file__).parent.parent / "data" / "signing"

_Private = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


def nobody_knows() -> bytes:
    raise AssertionError("nobody has to be asked for a password")


def password() -> bytes:
    return b"pw"


def pkcs8(part: _Private, encryption: KeySerializationEncryption | None = None) -> bytes:
    return part.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


def with_cost(**cost: int) -> bytes:
    """Write an encrypted key whose scrypt parameters are others."""
    body = encrypt(b"a key", b"pw").decode().splitlines()[1:-1]
    value = json.loads(base64.b64decode("".join(body)))
    value["kdf"]["params"] |= cost
    text = base64.b64encode(json.dumps(value).encode()).decode()
    return f"-----BEGIN {LABEL}-----\n{text}\n-----END {LABEL}-----\n".encode()


def refusal(text: bytes, ask: Callable[[], bytes] = password) -> str:
    with pytest.raises(TrustError) as caught:
        parse_private_key(text, ask)
    return str(caught.value)


def test_a_key_that_cosign_made_is_read() -> None:
    secret = read_private_key(DATA / "cosign.key", password)

    assert secret.public.pem == (DATA / "cosign.pub").read_bytes()
    assert secret.public == read_public_key(DATA / "cosign.pub")


def test_a_key_of_an_older_cosign_is_read() -> None:
    text = (DATA / "cosign.key").read_bytes().replace(b"SIGSTORE", b"COSIGN")

    assert parse_private_key(text, password).public.pem == (DATA / "cosign.pub").read_bytes()


def test_the_encrypted_text_is_what_cosign_writes_field_by_field() -> None:
    ours, theirs = encrypt(b"x" * 138, b"pw"), (DATA / "cosign.key").read_bytes()

    def layout(pem: bytes) -> list[object]:
        first, *body, last = pem.decode().splitlines()
        value = json.loads(base64.b64decode("".join(body)))
        lengths = [len(line) for line in body]
        kdf, cipher = value["kdf"], value["cipher"]
        sizes = [len(kdf.pop("salt")), len(cipher.pop("nonce")), len(value.pop("ciphertext"))]
        return [first, last, lengths, sizes, list(value), kdf, cipher]

    assert layout(ours) == layout(theirs)


def test_a_written_pair_can_be_read_again_and_only_its_owner_sees_the_secret(
    tmp_path: Path,
) -> None:
    made = generate()

    write_key_pair(made, tmp_path / "mine", password=b"pw")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.key", "mine.pub"]
    assert stat.S_IMODE((tmp_path / "mine.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "mine.pub").stat().st_mode) == 0o644
    assert read_private_key(tmp_path / "mine.key", password).public == made.public
    assert read_public_key(tmp_path / "mine.pub") == made.public


@pytest.mark.parametrize("there", ["mine.key", "mine.pub"])
def test_a_key_that_is_there_is_replaced_only_by_force(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("dear to me")

    with pytest.raises(TrustError, match="is there already"):
        write_key_pair(key(), tmp_path / "mine", password=b"pw")

    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "dear to me"
    write_key_pair(key(), tmp_path / "mine", password=b"pw", force=True)
    assert read_public_key(tmp_path / "mine.pub") == key().public


def test_a_name_that_is_taken_by_a_link_to_nowhere_is_taken(tmp_path: Path) -> None:
    (tmp_path / "mine.pub").symlink_to("nowhere")

    with pytest.raises(TrustError, match=r"mine\.pub is there already"):
        write_key_pair(key(), tmp_path / "mine", password=b"pw")

    assert [path.name for path in tmp_path.iterdir()] == ["mine.pub"]
    assert (tmp_path / "mine.pub").is_symlink()


def test_a_wrong_password_is_said_to_be_wrong() -> None:
    with pytest.raises(TrustError) as caught:
        read_private_key(DATA / "cosign.key", lambda: b"guessed")

    expected = f"{DATA}/cosign.key: the password is wrong, or the key is damaged"
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    "part",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP521R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["P-256", "P-384", "P-521", "Ed25519", "RSA"],
)
def test_keys_of_every_kind_sign_the_same_data_in_the_same_way(part: _Private) -> None:
    secret = parse_private_key(pkcs8(part), nobody_knows)
    public = parse_public_key(secret.public.pem)

    signature = secret.sign(b"data")

    assert secret.sign(b"data") == signature
    assert public.verifies(signature, b"data")
    assert not public.verifies(signature, b"other data")
    assert not public.verifies(signature[:-1], b"data")
    assert not public.verifies(b"", b"data")
    assert not key().public.verifies(signature, b"data")


def test_a_pkcs8_key_under_a_password_is_read() -> None:
    part = ed25519.Ed25519PrivateKey.generate()
    text = pkcs8(part, BestAvailableEncryption(b"pw"))

    assert parse_private_key(text, password).part.public_key() == part.public_key()
    assert "the password is wrong" in refusal(text, lambda: b"other")


def test_weak_and_strange_keys_are_refused() -> None:
    small = rsa.generate_private_key(65537, 1024)  # noqa: S505  (it is the weak key to be refused)
    koblitz = ec.generate_private_key(ec.SECP256K1())
    public = ed448.Ed448PrivateKey.generate().public_key()

    assert refusal(pkcs8(small)) == (
        "an RSA key of 1024 bits is not used here (ECDSA on P-256, P-384 or P-521, Ed25519, or"
        " RSA of 2048 to 8192 bits)"
    )
    assert "keys on the curve secp256k1 are not used here" in refusal(pkcs8(koblitz))
    with pytest.raises(TrustError, match="of a kind that is not used here"):
        parse_public_key(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


@pytest.mark.parametrize("text", [b"", b"not PEM", b"-----BEGIN PRIVATE KEY-----\n", b"\0" * 99])
def test_what_is_no_key_is_refused(text: bytes) -> None:
    assert "not a private key that can be used" in refusal(text)
    with pytest.raises(TrustError, match="not a public key in PEM form"):
        parse_public_key(text)


@pytest.mark.parametrize(
    ("cost", "said"),
    [
        ({"N": 1 << 21, "r": 8}, "asks for more work"),
        ({"N": 1 << 16, "r": 64}, "asks for more work"),
        ({"N": 65535}, "asks for more work"),
        ({"N": 1 << 30}, "is damaged"),
        ({"p": 1 << 20}, "is damaged"),
        ({"N": 0}, "is damaged"),
    ],
)
def test_a_key_file_cannot_ask_for_endless_work(cost: dict[str, int], said: str) -> None:
    assert said in refusal(with_cost(**cost))


@pytest.mark.parametrize("cut", [40, 200, -60])
def test_a_cut_key_file_is_refused(cut: int) -> None:
    text = (DATA / "cosign.key").read_bytes()

    assert refusal(text[:cut] + b"\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n")


def test_a_changed_ciphertext_does_not_decrypt() -> None:
    text = encrypt(b"a key", b"pw").decode()
    body = base64.b64decode("".join(text.splitlines()[1:-1]))
    value = json.loads(body)
    raw = bytearray(base64.b64decode(value["ciphertext"]))
    raw[-1] ^= 1
    value["ciphertext"] = base64.b64encode(raw).decode()
    damaged = base64.b64encode(json.dumps(value).encode()).decode()

    with pytest.raises(TrustError, match="the password is wrong, or the key is damaged"):
        decrypt(f"-----BEGIN {LABEL}-----\n{damaged}\n-----END {LABEL}-----\n".encode(), b"pw")


def test_a_huge_file_is_not_read_as_a_key(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)

    with pytest.raises(TrustError, match="huge: too large for a key"):
        read_public_key(tmp_path / "huge")


def test_a_secret_does_not_print_itself() -> None:
    secret = PrivateKey(key().part)

    assert repr(secret) == f"PrivateKey(of {key().public.fingerprint})"
