"""`cos key`, `cos sign` and `cos verify`, as processes."""

import json
import os
import stat
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.oci import Digest, Reference
from compiler.registry.client import RegistryClient
from compiler.registry.manifests import read_links
from compiler.registry.settings import RegistrySettings
from compiler.sbom import PROVENANCE
from compiler.signing.attestations import attest_image
from compiler.signing.keys import generate, read_private_key, read_public_key
from tests.cli.test_main import cos
from tests.signing.lab import by_digest, image, signature_tag, statement

needs_registry = pytest.mark.registry

PASSWORD = {"COSIGN_PASSWORD": "pw"}


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder with a key pair, `mine.key` and `mine.pub`."""
    assert cos("key", "generate", "--output", "mine", cwd=tmp_path, **PASSWORD).returncode == 0
    return tmp_path


@pytest.fixture
def place(repository: Reference) -> Reference:
    """An image that nobody has signed."""
    tagged = replace(repository, tag="1")
    with RegistryClient(RegistrySettings()) as registry:
        image(registry, tagged, os.urandom(8).hex())
    return tagged


def test_a_key_pair_is_made_where_it_is_wanted(tmp_path: Path) -> None:
    done = cos("key", "generate", cwd=tmp_path, **PASSWORD)

    assert (done.returncode, done.stdout, done.stderr) == (0, "cosign.key\ncosign.pub\n", "")
    secret = read_private_key(tmp_path / "cosign.key", lambda: b"pw")
    assert secret.public == read_public_key(tmp_path / "cosign.pub")
    assert stat.S_IMODE((tmp_path / "cosign.key").stat().st_mode) == 0o600


def test_a_key_is_replaced_only_by_force(keys: Path) -> None:
    before = (keys / "mine.key").read_bytes()

    refused = cos("key", "generate", "--output", "mine", cwd=keys, **PASSWORD)

    assert refused.returncode == 1
    assert refused.stderr == (
        "error: mine.key is there already (--force replaces it; what it signed needs the old public"
        " key to be verified)\n"
    )
    assert (keys / "mine.key").read_bytes() == before
    forced = cos("key", "generate", "--output", "mine", "--force", cwd=keys, **PASSWORD)
    assert forced.returncode == 0
    assert (keys / "mine.key").read_bytes() != before


def test_without_a_terminal_the_password_must_be_in_the_environment(tmp_path: Path) -> None:
    done = cos("key", "generate", cwd=tmp_path)

    assert done.returncode == 2
    assert done.stderr == (
        "error: the password of the key cannot be asked for"
        " (COSIGN_PASSWORD holds it where there is no terminal; it may be empty)\n"
    )
    assert not list(tmp_path.iterdir())


def typed(folder: Path, *lines: str) -> tuple[int, str]:
    """Make a key pair on a terminal, where somebody answers each question with one of `lines`."""
    ours, theirs = os.openpty()
    with (
        os.fdopen(ours, "r+b", buffering=0) as screen,
        subprocess.Popen(
            [sys.executable, "-m", "compiler", "key", "generate"],
            cwd=folder,
            env={name: value for name, value in os.environ.items() if name not in PASSWORD},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        ) as process,
    ):
        os.close(theirs)
        answers = list(lines)
        said = ""
        with suppress(OSError):  # which is how a terminal ends
            while letter := screen.read(1).decode():
                said += letter
                if answers and said.endswith(("none): ", "again: ")):
                    screen.write(f"{answers.pop(0)}\n".encode())
        return process.wait(timeout=60), said


def test_on_a_terminal_the_password_is_asked_for_twice(tmp_path: Path) -> None:
    code, said = typed(tmp_path, "open sesame", "open sesame")

    assert code == 0, said
    assert "Password for the private key (empty: none): " in said
    assert read_private_key(tmp_path / "cosign.key", lambda: b"open sesame").public


def test_two_passwords_that_differ_make_no_key(tmp_path: Path) -> None:
    code, said = typed(tmp_path, "open sesame", "open simsim")

    assert code == 2
    assert "error: the two passwords differ, no key was made" in said
    assert not list(tmp_path.iterdir())


def test_the_public_half_is_printed_from_a_file_or_a_variable(keys: Path) -> None:
    expected = (keys / "mine.pub").read_text()
    secret = (keys / "mine.key").read_text()

    from_file = cos("key", "public", "--key", "mine.key", cwd=keys, **PASSWORD)
    from_variable = cos("key", "public", "--key", "env://KEY", cwd=keys, KEY=secret, **PASSWORD)

    assert from_file.stdout == from_variable.stdout == expected


def test_keys_that_cannot_be_used_are_named(keys: Path) -> None:
    wrong = cos("key", "public", "--key", "mine.key", cwd=keys, COSIGN_PASSWORD="no")  # noqa: S106  (it is the wrong one)
    missing = cos("key", "public", "--key", "none.key", cwd=keys)
    unset = cos("key", "public", "--key", "env://NONE", cwd=keys)
    public = cos("key", "public", "--key", "mine.pub", cwd=keys)

    assert wrong.stderr == "error: mine.key: the password is wrong, or the key is damaged\n"
    assert wrong.returncode == 1
    assert missing.stderr == "error: none.key: cannot be read: No such file or directory\n"
    assert missing.returncode == 1
    assert unset.stderr == "error: --key env://NONE: the variable NONE is not set\n"
    assert "error: mine.pub: not a private key that can be used" in public.stderr


@needs_registry
def test_an_image_is_signed_and_verified(keys: Path, place: Reference) -> None:
    signed = cos("sign", "--key", "mine.key", "-a", "by=ci", str(place), cwd=keys, **PASSWORD)
    verified = cos("verify", "--key", "mine.pub", str(place), cwd=keys)
    told = cos("verify", "--key", "mine.pub", "-a", "by=ci", "-o", "json", str(place), cwd=keys)

    assert (signed.returncode, signed.stderr) == (0, "")
    assert signed.stdout == verified.stdout
    (found,) = json.loads(told.stdout)["images"]
    assert f"{found['image']}\n" == signed.stdout
    assert found["image"] == f"{place.registry}/{place.repository}@{found['digest']}"
    assert found["signatures"] == [
        {
            "identity": f"{place.registry}/{place.repository}",
            "annotations": {"by": "ci"},
            "key": read_public_key(keys / "mine.pub").fingerprint,
        }
    ]


@needs_registry
def test_statements_of_a_type_are_asked_for_besides(keys: Path, place: Reference) -> None:
    signed = cos("sign", "--key", "mine.key", str(place), cwd=keys, **PASSWORD)
    asked = ("verify", "--key", "mine.pub", "--attestation", "provenance")
    digest = Digest(signed.stdout.strip().rpartition("@")[2])
    made = statement(digest, PROVENANCE.predicate)

    without = cos(*asked, str(place), cwd=keys)
    with RegistryClient(RegistrySettings()) as registry:
        attest_image(registry, place, made, generate())
        by_another = cos(*asked, str(place), cwd=keys)
        attest_image(registry, place, made, read_private_key(keys / "mine.key", lambda: b"pw"))
    verified = cos(*asked, str(place), cwd=keys)
    told = cos(*asked, "-o", "json", str(place), cwd=keys)
    other = cos(*asked, "--attestation", "https://example.org/v1", str(place), cwd=keys)

    kind = PROVENANCE.predicate
    assert (without.returncode, without.stdout) == (1, "")
    assert without.stderr == (
        f"error: {by_digest(digest, place)}: no attestation {kind} counts: {digest} has none"
        " (`cos create-repo --sign` attests what is in packages and how they were made,"
        " if `cos build --sbom` wrote it down)\n"
    )
    assert by_another.returncode == 1
    assert "is not by a key that is trusted" in by_another.stderr
    assert (verified.returncode, verified.stdout) == (0, signed.stdout)
    assert json.loads(told.stdout)["images"][0]["attestations"] == [
        {
            "type": kind,
            "key": read_public_key(keys / "mine.pub").fingerprint,
            "statement": json.loads(made),
        }
    ]
    assert (other.returncode, other.stdout) == (1, "")


@needs_registry
def test_signing_again_says_that_nothing_was_added(keys: Path, place: Reference) -> None:
    arguments = ("sign", "--key", "mine.key", "-o", "json", str(place))

    first, second = (cos(*arguments, cwd=keys, **PASSWORD) for _ in range(2))

    assert json.loads(first.stdout)["images"][0]["added"]
    assert not json.loads(second.stdout)["images"][0]["added"]


@needs_registry
def test_every_image_that_fails_is_named_and_the_others_are_printed(
    keys: Path, place: Reference
) -> None:
    other = replace(place, tag="2")
    with RegistryClient(RegistrySettings()) as registry:
        digest = image(registry, other, "another image")
    cos("sign", "--key", "mine.key", str(place), cwd=keys, **PASSWORD)
    gone = replace(place, tag="gone")

    done = cos("verify", "--key", "mine.pub", str(gone), str(place), str(other), cwd=keys)

    assert done.returncode == 1  # one has no signature that counts, whatever the other lacks
    assert len(done.stdout.splitlines()) == 1
    first, second = done.stderr.splitlines()
    assert second.startswith(f"error: {gone}: ")
    assert first == (
        f"error: {other}: no signature counts: {digest} has none"
        " (`cos sign --key KEY` signs it; is it the right image?)"
    )
    alone = cos("verify", "--key", "mine.pub", str(by_digest(digest, other)), cwd=keys)
    assert alone.returncode == 1


def copy_signatures(registry: RegistryClient, signed: Reference, copy: Reference) -> None:
    """Copy the signatures of an image into another repository, as programs that mirror do."""
    source, target = (signature_tag(Digest(signed.digest), place) for place in (signed, copy))
    found = registry.manifest(source)
    links = read_links(found.data)
    for blob in links.blobs:
        assert registry.mount_blob(copy, blob.digest, origin=signed)
    registry.put_manifest(target, found.data, found.descriptor.media_type)


@needs_registry
def test_a_copy_is_verified_by_the_name_that_it_was_signed_under(
    keys: Path, place: Reference
) -> None:
    copy = replace(place, repository=f"{place.repository}/copy")
    with RegistryClient(RegistrySettings()) as registry:
        digest = image(registry, copy, "a copied image")
        assert image(registry, place, "a copied image") == digest
        cos("sign", "--key", "mine.key", str(place), cwd=keys, **PASSWORD)
        copy_signatures(registry, by_digest(digest, place), copy)

    name = f"{place.registry}/{place.repository}"
    done = cos("verify", "--key", "mine.pub", "--signed-as", name, str(copy), cwd=keys)
    refused = cos("verify", "--key", "mine.pub", str(copy), cwd=keys)

    assert done.returncode == 0
    assert f"is for the repository '{name}'" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-a", "novalue"), "error: --annotations is NAME=VALUE, not 'novalue'\n"),
        (("-a", "=x"), "error: --annotations is NAME=VALUE, not '=x'\n"),
        (("-o", "xml"), "error: --output is terminal, json or yaml, not 'xml'\n"),
        (("--signed-as", "h/a:1"), "error: --signed-as: 'h/a:1' is to be a repository,"
                                   " without tag or digest\n"),
        (("--attestation", "sbom"),
         "error: --attestation is provenance, cyclonedx, spdx or a URI, not 'sbom'\n"),
    ],
)  # fmt: skip
def test_a_wrong_command_line_is_told_before_anything_is_asked(
    keys: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = cos("verify", "--key", "mine.pub", *arguments, "127.0.0.1:1/a/b", cwd=keys)

    assert (done.returncode, done.stderr) == (2, said)
