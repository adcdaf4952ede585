"""Docker Content Trust, with a Notary server, as the docker client sees it."""

import json
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from compiler.content_trust import TrustServer, sign_tags, trust_server, unsign_tags
from compiler.errors import OutsideError, TrustError, UsageError
from compiler.oci import MANIFEST, Descriptor, Reference, digest_of, hex_of
from compiler.publish.endorse import ContentTrust
from tests.servers.notary import PASSPHRASES, NotaryServer
from tests.servers.registry import ANYWHERE, make_certificates

needs_server = pytest.mark.registry


@pytest.fixture
def place() -> Reference:
    """A repository that no other test has; nobody asks its registry."""
    return Reference("registry.example:5000", f"os/{uuid4().hex}")


@pytest.fixture
def server(notary_server: NotaryServer, tmp_path: Path) -> TrustServer:
    """The server, with keys and metadata in the test's folder."""
    folder = notary_server.docker_folder(tmp_path)
    return trust_server(notary_server.url, environment(folder))


def environment(docker_folder: Path, **more: str) -> dict[str, str]:
    home = str(docker_folder.parent)
    own = {"HOME": home, "DOCKER_CONFIG": str(docker_folder)}
    return {"PATH": os.environ["PATH"], **own, **PASSPHRASES, **more}


def content(text: str) -> Descriptor:
    return Descriptor(MANIFEST, digest_of(text.encode()), len(text))


def docker(server: TrustServer, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run Debian's docker client, which needs no engine for this."""
    env = {**server.environ, "DOCKER_CONTENT_TRUST_SERVER": server.url}
    return subprocess.run(
        ["/usr/bin/docker", *arguments], env=env, capture_output=True, text=True, check=False
    )


def signed_tags(server: TrustServer, place: Reference) -> dict[str, str]:
    """Ask docker what is signed in a repository."""
    done = docker(server, "trust", "inspect", f"{place.registry}/{place.repository}")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    return {each["SignedTag"]: each["Digest"] for each in found["SignedTags"]}


def pulled(server: TrustServer, place: Reference, tag: str) -> str:
    """Ask docker which digest it would pull for a tag; that it says before it needs an engine."""
    name = f"{place.registry}/{place.repository}:{tag}"
    done = docker(server, "-H", "unix:///nowhere", "pull", "--disable-content-trust=false", name)
    before, _, digest = done.stdout.strip().partition("@sha256:")
    assert before == f"Pull (1 of 1): {name}", done.stderr
    return digest


def private_keys(server: TrustServer) -> set[str]:
    return {path.name for path in (server.folder / "private").iterdir()}


@needs_server
def test_docker_lists_the_signature_of_a_tag(server: TrustServer, place: Reference) -> None:
    tags = {"cos-system-0.1.0": content("one"), "cos-system-0.2.0": content("two")}

    signed = sign_tags(server, place, tags)

    assert signed == ("cos-system-0.1.0", "cos-system-0.2.0")
    assert signed_tags(server, place) == {tag: hex_of(each.digest) for tag, each in tags.items()}
    name = f"{place.registry}/{place.repository}:cos-system-0.2.0"
    (found,) = json.loads(docker(server, "trust", "inspect", name).stdout)
    assert found["SignedTags"] == [
        {
            "SignedTag": "cos-system-0.2.0",
            "Digest": hex_of(content("two").digest),
            "Signers": ["Repo Admin"],
        }
    ]


@needs_server
def test_only_what_changed_is_signed_again(server: TrustServer, place: Reference) -> None:
    sign_tags(server, place, {"a": content("one"), "b": content("one")})
    targets = server.folder / "tuf" / place.registry / place.repository / "metadata/targets.json"
    assert sign_tags(server, place, {"b": content("one")}) == ()
    before = targets.read_bytes()

    assert sign_tags(server, place, {"a": content("one")}) == ()
    assert targets.read_bytes() == before  # as the server gave it: nothing was published
    assert sign_tags(server, place, {"a": content("one"), "b": content("two")}) == ("b",)
    assert signed_tags(server, place)["b"] == hex_of(content("two").digest)


@needs_server
def test_the_server_stands_for_what_is_signed_for_a_tag_and_for_nothing_else(
    server: TrustServer, place: Reference
) -> None:
    trust = ContentTrust(server)
    assert not trust.vouches(place, "one", content("1").digest)

    sign_tags(server, place, {"one": content("1"), "two": content("2")})

    assert trust.vouches(place, "one", content("1").digest)
    assert not trust.vouches(place, "one", content("2").digest)
    assert not trust.vouches(place, "three", content("1").digest)


@needs_server
def test_what_is_taken_back_is_listed_no_longer_and_the_rest_stays(
    server: TrustServer, place: Reference
) -> None:
    assert unsign_tags(server, place, ["a"]) == ()
    sign_tags(server, place, {"a": content("one"), "b": content("two"), "c": content("three")})

    assert unsign_tags(server, place, ["c", "a", "d"]) == ("a", "c")

    assert signed_tags(server, place) == {"b": hex_of(content("two").digest)}
    assert unsign_tags(server, place, ["a", "c"]) == ()


@needs_server
def test_a_root_key_serves_several_repositories(server: TrustServer, place: Reference) -> None:
    sign_tags(server, place, {"a": content("one")})
    first = private_keys(server)

    sign_tags(server, Reference(place.registry, f"{place.repository}/more"), {"a": content("one")})

    assert len(first) == 2  # the root's and the targets'; the server has that of the snapshots
    assert len(private_keys(server) - first) == 1


@needs_server
def test_what_somebody_staged_is_not_published_along(server: TrustServer, place: Reference) -> None:
    sign_tags(server, place, {"a": content("one")})
    gun = f"{place.registry}/{place.repository}"
    argv = ["notary", "-s", server.url, "-d", str(server.folder), "addhash", gun, "left", "3"]
    staged = [*argv, "--sha256", hex_of(content("bad").digest)]
    subprocess.run(staged, env=dict(server.environ), check=True, capture_output=True)

    sign_tags(server, place, {"b": content("two")})

    assert sorted(signed_tags(server, place)) == ["a", "b"]


@needs_server
def test_where_several_people_sign_the_role_that_docker_believes_is_signed(
    server: TrustServer, place: Reference, tmp_path: Path
) -> None:
    sign_tags(server, place, {"a": content("one")})
    gun = f"{place.registry}/{place.repository}"
    secret, certificate = make_signer(tmp_path)
    notary = ["notary", "-s", server.url, "-d", str(server.folder)]
    notary += ["--tlscacert", str(server.authority)]
    for arguments in (
        ["key", "import", str(secret), "--role", "targets/releases"],
        ["delegation", "add", gun, "targets/releases", str(certificate), "--all-paths", "-p"],
    ):
        subprocess.run(
            [*notary, *arguments], env=dict(server.environ), check=True, capture_output=True
        )

    assert sign_tags(server, place, {"a": content("two")}) == ("a",)

    # `docker trust inspect` goes through the roles in no order, and so gives either of the digests
    assert pulled(server, place, "a") == hex_of(content("two").digest)
    assert sign_tags(server, place, {"a": content("two")}) == ()
    metadata = server.folder / "tuf" / place.registry / place.repository / "metadata"
    found = json.loads((metadata / "targets" / "releases.json").read_text())
    assert list(found["signed"]["targets"]) == ["a"]

    assert unsign_tags(server, place, ["a"]) == ("a",)
    assert signed_tags(server, place) == {}  # nor what the role behind it had


def make_signer(folder: Path) -> tuple[Path, Path]:
    """Write the key and the certificate of a person who may sign."""
    part = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a signer")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(part.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(part, hashes.SHA256())
    )
    secret = part.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    (folder / "signer.key").write_bytes(secret)
    (folder / "signer.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
    return folder / "signer.key", folder / "signer.crt"


@needs_server
def test_without_passphrases_nothing_is_begun(
    notary_server: NotaryServer, place: Reference, tmp_path: Path
) -> None:
    folder = notary_server.docker_folder(tmp_path)
    environ = {name: text for name, text in environment(folder).items() if name not in PASSPHRASES}

    with pytest.raises(TrustError) as caught:
        sign_tags(trust_server(notary_server.url, environ), place, {"a": content("one")})

    assert str(caught.value) == (
        "no passphrase for the keys: NOTARY_ROOT_PASSPHRASE, NOTARY_TARGETS_PASSPHRASE,"
        " NOTARY_SNAPSHOT_PASSPHRASE must be set (docker's own names will do:"
        " DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE, DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE)"
    )
    assert not list((folder / "trust" / "private").iterdir())


@needs_server
def test_a_wrong_passphrase_is_said_and_leaves_nothing_staged(
    server: TrustServer, notary_server: NotaryServer, place: Reference
) -> None:
    sign_tags(server, place, {"a": content("one")})
    wrong = {"DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE": "another one"}
    environ = environment(server.folder.parent, **wrong)

    with pytest.raises(TrustError, match="could not find necessary signing keys") as caught:
        sign_tags(trust_server(notary_server.url, environ), place, {"a": content("two")})

    assert f"the keys are in {server.folder}/private" in str(caught.value)
    assert signed_tags(server, place) == {"a": hex_of(content("one").digest)}
    assert sign_tags(server, place, {"b": content("two")}) == ("b",)
    assert signed_tags(server, place)["a"] == hex_of(content("one").digest)


@needs_server
def test_whoever_lacks_the_keys_cannot_sign(
    server: TrustServer, notary_server: NotaryServer, place: Reference, tmp_path: Path
) -> None:
    sign_tags(server, place, {"a": content("one")})
    elsewhere = notary_server.docker_folder(tmp_path / "elsewhere")

    with pytest.raises(TrustError, match="could not find necessary signing keys"):
        sign_tags(
            trust_server(notary_server.url, environment(elsewhere)), place, {"a": content("bad")}
        )

    assert signed_tags(server, place) == {"a": hex_of(content("one").digest)}


@needs_server
def test_a_server_that_nobody_vouches_for_is_not_used(
    notary_server: NotaryServer, place: Reference, tmp_path: Path
) -> None:
    server = trust_server(notary_server.url, environment(tmp_path / "docker"))
    (tmp_path / "other.crt").write_bytes(make_certificates(tmp_path).read_bytes())
    others = trust_server(
        notary_server.url, environment(tmp_path / "docker"), authority=tmp_path / "other.crt"
    )

    for each, hint in (
        (server, f"put the certificate of its authority into {tmp_path}/docker/tls/{{}}/ca.crt"),
        (others, f"{tmp_path}/other.crt has to hold the certificate of the server's authority"),
    ):
        with pytest.raises(OutsideError, match="certificate signed by unknown authority") as told:
            sign_tags(each, place, {"a": content("one")})
        assert told.value.hint == hint.format(notary_server.url.removeprefix("https://"))


@needs_server
def test_a_server_of_another_name_or_a_file_without_certificates_is_told(
    notary_server: NotaryServer, place: Reference, tmp_path: Path
) -> None:
    (tmp_path / "other.crt").write_text("nothing")
    environ = environment(tmp_path / "docker")
    elsewhere = notary_server.url.replace("127.0.0.1", ANYWHERE)

    other = trust_server(elsewhere, environ, authority=notary_server.authority)
    with pytest.raises(OutsideError) as named:
        sign_tags(other, place, {"a": content("one")})
    unread = trust_server(notary_server.url, environ, authority=tmp_path / "other.crt")
    with pytest.raises(TrustError) as empty:
        sign_tags(unread, place, {"a": content("one")})

    assert "certificate is valid for 127.0.0.1" in named.value.message
    assert str(named.value.hint).startswith("give its address as its certificate has it")
    assert empty.value.hint == f"{tmp_path}/other.crt has to hold certificates, as PEM"


@needs_server
def test_what_was_known_before_is_not_taken_for_an_answer(
    server: TrustServer, place: Reference
) -> None:
    sign_tags(server, place, {"a": content("one")})
    gone = TrustServer(url="https://127.0.0.1:1", folder=server.folder, environ=server.environ)

    with pytest.raises(OutsideError, match="connection refused") as told:
        sign_tags(gone, place, {"a": content("one")})

    assert told.value.hint == "check the address, and that the server runs"


def test_the_folder_and_the_certificate_are_dockers(tmp_path: Path) -> None:
    certificate = tmp_path / ".docker/tls/notary.example:4443/ca.crt"
    certificate.parent.mkdir(parents=True)
    certificate.touch()

    server = trust_server("notary.example:4443/", {"HOME": str(tmp_path)})

    assert server == TrustServer(
        url="https://notary.example:4443",
        folder=tmp_path / ".docker/trust",
        environ={"HOME": str(tmp_path)},
        authority=certificate,
    )
    assert trust_server("https://other.example", {"HOME": str(tmp_path)}).authority is None


def test_notary_gets_the_passphrases_that_docker_got() -> None:
    server = trust_server("h", {**PASSPHRASES, "NOTARY_TARGETS_PASSPHRASE": "its own"})

    given = {name: text for name, text in server.environ.items() if name.startswith("NOTARY")}
    assert given == {
        "NOTARY_ROOT_PASSPHRASE": "a root of trust",
        "NOTARY_TARGETS_PASSPHRASE": "its own",
        "NOTARY_SNAPSHOT_PASSPHRASE": "a repository of trust",
        "NOTARY_DELEGATION_PASSPHRASE": "a repository of trust",
    }


@pytest.mark.parametrize("url", ["http://notary.example", "ftp://x", "https://", ""])
def test_an_address_that_docker_would_not_take_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="is not the address of a Notary server"):
        trust_server(url, {})
