"""`cos login` and `cos logout`, at a registry that wants a password."""

import json
import os
import socket
import stat
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.servers.registry import RegistryServer

HELPER = """#!/bin/sh
cat > {folder}/$1
"""


@dataclass
class Person:
    """Somebody with a home folder."""

    home: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        return self.home / ".docker/config.json"

    def cos(self, *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        env = {"PATH": os.environ["PATH"], "HOME": str(self.home), **self.env}
        argv = [sys.executable, "-P", "-m", "compiler", *words]
        return subprocess.run(
            argv, input=typed, env=env, capture_output=True, text=True, check=False
        )

    def login(self, server: RegistryServer, password: str = "") -> subprocess.CompletedProcess[str]:
        words = ("login", server.host, "-u", server.user, "--password-stdin")
        return self.cos(*words, typed=f"{password or server.password}\n")

    def settings(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.file.read_text())
        return found


@pytest.fixture
def person(tmp_path: Path) -> Person:
    return Person(tmp_path)


@pytest.mark.registry
def test_who_logged_in_is_let_in_by_all_commands(
    person: Person, password_registry: RegistryServer
) -> None:
    place = str(password_registry.repository())
    assert person.cos("registry", "gc", place).returncode == 3

    done = person.login(password_registry)

    assert done.returncode == 0, done.stderr
    host, user = password_registry.host, password_registry.user
    assert done.stdout == f"{host}: logged in as {user}; kept in {person.file}\n"
    assert stat.S_IMODE(person.file.stat().st_mode) == 0o600
    assert "has no repository.yaml" in person.cos("registry", "gc", place).stderr
    assert person.cos("logout", host).stdout == f"{host}: logged out\n"
    assert person.settings() == {"auths": {}}
    assert "has no repository.yaml" not in person.cos("registry", "gc", place).stderr
    assert person.cos("logout", host).stdout == f"{host}: nobody was logged in\n"


@pytest.mark.registry
def test_a_wrong_password_is_not_kept(person: Person, password_registry: RegistryServer) -> None:
    done = person.login(password_registry, "wrong")

    assert done.returncode == 3
    assert password_registry.host in done.stderr
    assert not person.file.exists()


@pytest.mark.registry
def test_everything_else_in_the_file_stays(
    person: Person, password_registry: RegistryServer
) -> None:
    host = password_registry.host
    person.file.parent.mkdir()
    mine = {"auths": {"other.example": {"auth": "eDp5"}, f"https://{host}/v2/": {}}, "detach": "x"}
    person.file.write_text(json.dumps(mine))

    assert person.login(password_registry).returncode == 0

    found = person.settings()
    assert found["detach"] == "x"
    auths = found["auths"]
    assert isinstance(auths, dict)
    assert sorted(auths) == sorted([host, "other.example"])
    assert auths["other.example"] == {"auth": "eDp5"}


@pytest.mark.registry
def test_a_helper_gets_the_password_and_the_file_does_not(
    person: Person, password_registry: RegistryServer, tmp_path: Path
) -> None:
    host = password_registry.host
    programs = tmp_path / "programs"
    programs.mkdir()
    helper = programs / "docker-credential-mine"
    helper.write_text(HELPER.format(folder=tmp_path))
    helper.chmod(0o755)
    person.env["PATH"] = f"{programs}:{os.environ['PATH']}"
    person.file.parent.mkdir()
    person.file.write_text(json.dumps({"credHelpers": {host: "mine"}}))

    done = person.login(password_registry)

    assert done.stdout.endswith("kept in docker-credential-mine\n"), done.stderr
    assert json.loads((tmp_path / "store").read_text()) == {
        "ServerURL": host,
        "Username": password_registry.user,
        "Secret": password_registry.password,
    }
    assert person.settings()["auths"] == {host: {}}
    assert person.cos("logout", host).returncode == 0
    assert (tmp_path / "erase").read_text() == host


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("login", "a.example", "-u", "me"),
         "the password cannot be asked for (--password-stdin reads it from standard input)"),
        (("login", "a.example", "-u", "me", "--password-stdin"), "the password is empty"),
        (("login", "a.example/b", "-u", "me", "--password-stdin"),
         "REGISTRY is HOST[:PORT], not 'a.example/b'"),
        (("logout", "name"), "REGISTRY is HOST[:PORT], not 'name'"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told(person: Person, words: tuple[str, ...], message: str) -> None:
    done = person.cos(*words)

    assert (done.returncode, done.stderr) == (2, f"error: {message}\n")
    assert not person.file.exists()


def test_a_registry_that_does_not_answer_is_an_outside_failure(person: Person) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{taken.getsockname()[1]}"  # nobody listens there

        done = person.cos("login", host, "-u", "me", "--password-stdin", typed="pw\n")

    assert done.returncode == 3
    assert f"cannot log in: {host} refused the connection" in done.stderr
    assert not person.file.exists()
