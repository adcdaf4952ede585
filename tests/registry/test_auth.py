"""Where credentials come from: files of Docker and Podman, and helper programs."""

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from compiler.errors import DeniedError
from compiler.oci import Reference
from compiler.registry.auth import CredentialFiles, Credentials
from compiler.registry.tokens import (
    Challenge,
    TokenRequest,
    merge_scopes,
    parse_challenges,
    token_request,
)

HERE = Reference("registry.example:5000", "team/app")
HUB = Reference("docker.io", "library/debian")


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def find(folder: Path, config: object, repository: Reference = HERE) -> Credentials | None:
    (folder / "config.json").write_text(json.dumps(config))
    return CredentialFiles((folder / "config.json",), helper_path(folder)).find(repository)


def helper_path(folder: Path) -> Mapping[str, str]:
    """The environment in which the helpers of a folder are found."""
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


@pytest.mark.parametrize(
    "key",
    ["registry.example:5000", "https://registry.example:5000", "https://registry.example:5000/v1/"],
)
def test_a_host_is_found_however_it_is_written(tmp_path: Path, key: str) -> None:
    config = {"auths": {key: {"auth": encoded("ali:open:sesame")}}}

    assert find(tmp_path, config) == Credentials("ali", "open:sesame")


def test_docker_hub_is_found_under_its_old_name(tmp_path: Path) -> None:
    config = {"auths": {"https://index.docker.io/v1/": {"auth": encoded("ali:sesame")}}}

    assert find(tmp_path, config, HUB) == Credentials("ali", "sesame")


def test_the_longest_prefix_of_a_repository_wins(tmp_path: Path) -> None:
    entries = {
        key: {"auth": encoded(f"{user}:x")}
        for key, user in {
            "registry.example:5000": "host",
            "registry.example:5000/team": "team",
            "registry.example:5000/team/app": "app",
            "registry.example:5000/te": "other",
        }.items()
    }

    users = []
    for name in ("team/app", "team/other", "else", "team/app/deep"):
        found = find(tmp_path, {"auths": entries}, Reference(HERE.registry, name))
        users.append(found.user if found else None)

    assert users == ["app", "team", "host", "app"]


def test_other_hosts_and_empty_entries_have_no_credentials(tmp_path: Path) -> None:
    assert find(tmp_path, {"auths": {"registry.example": {"auth": encoded("a:b")}}}) is None
    assert find(tmp_path, {"auths": {HERE.registry: {}}}) is None
    assert find(tmp_path, {}) is None
    assert CredentialFiles((tmp_path / "missing",)).find(HERE) is None


def test_tokens_are_found(tmp_path: Path) -> None:
    identity = {"auths": {HERE.registry: {"auth": encoded("x:"), "identitytoken": "i"}}}
    bare = {"auths": {HERE.registry: {"registrytoken": "t"}}}

    assert find(tmp_path, identity) == Credentials(identity="i")
    assert find(tmp_path, bare) == Credentials(token="t")  # noqa: S106  (of nobody)


def test_the_first_file_that_has_any_wins(tmp_path: Path) -> None:
    for name in ("first", "second", "third"):
        entries = {} if name == "first" else {HERE.registry: {"auth": encoded(f"{name}:x")}}
        (tmp_path / name).write_text(json.dumps({"auths": entries}))

    files = CredentialFiles([tmp_path / name for name in ("first", "second", "third")])

    assert files.find(HERE) == Credentials("second", "x")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[", "no file with credentials"),
        ('{"auths": []}', "no file with credentials: auths"),
        ('{"auths": {"registry.example:5000": {"auth": "%"}}}', "is damaged"),
    ],
)
def test_a_damaged_file_is_an_error(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "config.json").write_text(text)

    with pytest.raises(DeniedError, match=why) as raised:
        CredentialFiles((tmp_path / "config.json",)).find(HERE)
    assert "sesame" not in str(raised.value)


def make_helper(folder: Path, script: str) -> None:
    """Write a credential helper that is a shell script; it notes what it is asked."""
    helper = folder / "docker-credential-test"
    helper.write_text(f'#!/bin/sh\nread server\necho "$1 $server" >> {folder}/asked\n{script}\n')
    helper.chmod(0o755)


ANSWER = """printf '{"ServerURL":"x","Username":"ali","Secret":"sesame"}'"""


@pytest.mark.parametrize(
    "config", [{"credsStore": "test"}, {"credHelpers": {HERE.registry: "test"}, "auths": {}}]
)
def test_a_helper_is_asked_once(tmp_path: Path, config: object) -> None:
    make_helper(tmp_path, ANSWER)
    (tmp_path / "config.json").write_text(json.dumps(config))
    files = CredentialFiles((tmp_path / "config.json",), helper_path(tmp_path))

    assert [files.find(HERE), files.find(HERE)] == [Credentials("ali", "sesame")] * 2
    assert (tmp_path / "asked").read_text() == "get registry.example:5000\n"


def test_a_helper_knows_docker_hub_by_its_old_name(tmp_path: Path) -> None:
    make_helper(tmp_path, ANSWER)

    assert find(tmp_path, {"credsStore": "test"}, HUB) == Credentials("ali", "sesame")
    assert (tmp_path / "asked").read_text() == "get https://index.docker.io/v1/\n"


def test_a_helper_may_have_an_identity_token_or_nothing(tmp_path: Path) -> None:
    make_helper(tmp_path, ANSWER.replace("ali", "<token>"))
    assert find(tmp_path, {"credsStore": "test"}) == Credentials(identity="sesame")

    make_helper(tmp_path, "echo credentials not found in native keychain; exit 1")
    assert find(tmp_path, {"credsStore": "test"}) is None


@pytest.mark.parametrize(
    ("config", "script", "message"),
    [
        (
            {"credsStore": "test"},
            "echo locked >&2; exit 3",
            "registry.example:5000: docker-credential-test failed with exit code 3: locked",
        ),
        (
            {"credsStore": "test"},
            "echo nonsense",
            "registry.example:5000: docker-credential-test printed no credentials",
        ),
        (
            {"credsStore": "absent"},
            "",
            "registry.example:5000: the program 'docker-credential-absent' is missing",
        ),
        (
            {"credsStore": "../evil"},
            "",
            "registry.example:5000: '../evil' is no name of a credential helper",
        ),
    ],
)
def test_a_helper_that_fails_is_an_error(
    tmp_path: Path, config: object, script: str, message: str
) -> None:
    make_helper(tmp_path, script)

    with pytest.raises(DeniedError) as raised:
        find(tmp_path, config)
    assert raised.value.message == message


def test_secrets_are_not_shown() -> None:
    shown = repr(Credentials("ali", "sesame", "identity-1", "token-1"))

    assert shown == "Credentials(user='ali')"


@pytest.mark.parametrize(
    ("header", "challenge"),
    [
        ("Basic", Challenge("basic")),
        ('Basic realm="cave, inner"', Challenge("basic")),
        (
            'Bearer realm="https://auth.example/token",service="s",scope="repository:a:pull,push"',
            Challenge("bearer", "https://auth.example/token", "s", "repository:a:pull,push"),
        ),
        (
            'Basic realm="x", bearer REALM = "https://a/", error="invalid_token"',
            Challenge("bearer", "https://a/"),
        ),
        (r'Bearer realm="https://a/\"b\""', Challenge("bearer", 'https://a/"b"')),
        ("Negotiate", None),
        ("Bearer", None),
        ("", None),
    ],
)
def test_challenges_are_read(header: str, challenge: Challenge | None) -> None:
    assert parse_challenges(header) == challenge


def test_tokens_are_asked_for_with_what_there_is() -> None:
    challenge = Challenge("bearer", "https://a/token?x=1", "s e")
    scope = "repository:a:pull repository:b:pull"
    ali = Credentials("ali", "sesame")

    assert token_request(challenge, scope, None) == TokenRequest(
        "https://a/token?x=1&service=s+e&scope=repository%3Aa%3Apull&scope=repository%3Ab%3Apull"
    )
    assert token_request(challenge, "", ali) == TokenRequest(
        "https://a/token?x=1&service=s+e&account=ali", authorization=ali.basic
    )
    assert token_request(challenge, "x", Credentials(identity="i&")) == TokenRequest(
        "https://a/token?x=1",
        form="grant_type=refresh_token&service=s+e&client_id=cos&scope=x&refresh_token=i%26",
    )


def test_scopes_are_joined() -> None:
    merged = merge_scopes("repository:b:pull", "repository:a:push,pull repository:b:delete", "")

    assert merged == "repository:a:pull,push repository:b:delete,pull"
