"""Base systems come out of signed packages, the same bytes every time."""

import hashlib
import tarfile
from pathlib import Path

import pytest

from compiler.engine.bootstrap import (
    BaseSystem,
    base_system,
    bootstrap,
    installed_packages,
)
from compiler.errors import CompilerError, ImageError
from compiler.events import Event, Noted


def test_the_name_of_an_image_says_what_to_bootstrap() -> None:
    assert base_system("debian:trixie") == BaseSystem(distribution="debian", suite="trixie")
    assert base_system("docker.io/library/ubuntu:noble").distribution == "ubuntu"
    assert base_system("debian:bookworm-slim").suite == "bookworm"


def test_a_suite_allows_any_name() -> None:
    assert base_system("cos/base:1", suite="trixie").distribution == "debian"
    assert base_system("cos/base:1", suite="noble").distribution == "ubuntu"


@pytest.mark.parametrize(
    ("name", "suite", "include", "message"),
    [
        (
            "fedora:42",
            "",
            (),
            "cannot bootstrap 'fedora:42', only debian:SUITE and ubuntu:SUITE (`cos image import"
            " NAME SOURCE` takes an OCI layout, a docker archive, a tar or a folder)",
        ),
        ("debian", "", (), "'debian' does not say which suite (debian:SUITE)"),
        ("debian", "--help", (), "'--help' is neither a suite nor a package"),
        ("debian", "x y", (), "'x y' is neither a suite nor a package"),
        ("debian", "sid", ("a;b",), "'a;b' is neither a suite nor a package"),
    ],
)
def test_what_cannot_be_bootstrapped_is_an_error(
    name: str, suite: str, include: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ImageError) as caught:
        base_system(name, suite=suite, include=include)

    assert str(caught.value) == message


def test_an_unknown_variant_lists_the_known_ones() -> None:
    with pytest.raises(ImageError) as caught:
        base_system("debian:sid", variant="huge")

    assert str(caught.value) == (
        "unknown variant 'huge' (one of extract, custom, essential, apt, minbase, buildd,"
        " important, standard)"
    )


@pytest.mark.container
def test_a_base_system_holds_no_trace_of_the_machine_and_the_day(base_tar: Path) -> None:
    with tarfile.open(base_tar) as tar:
        names = set(tar.getnames())
        newest = max(member.mtime for member in tar.getmembers())

    traces = {"./etc/hostname", "./etc/resolv.conf", "./var/log/dpkg.log", "./dev/null"}
    assert names & traces == set()
    assert newest <= 1577836800
    assert {"./usr/bin/apt", "./etc/apt/sources.list"} <= names


@pytest.mark.container
def test_the_same_packages_give_the_same_bytes(base_tar: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    made = bootstrap(base_system("debian:trixie"), tmp_path / "again.tar", events.append)
    expected = base_tar
    if installed_packages(base_tar) != made.packages:  # the kept one is of an older day
        expected = tmp_path / "third.tar"
        bootstrap(base_system("debian:trixie"), expected, events.append)

    assert digest(made.tar) == digest(expected)
    assert "apt" in dict(made.packages)
    assert Noted("installing essential packages...") in events
    assert {path.name for path in tmp_path.iterdir()} <= {"again.tar", "third.tar"}


def digest(path: Path) -> str:
    """Hash a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.mark.container
def test_a_suite_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CompilerError) as caught:
        bootstrap(base_system("debian:nosuch"), tmp_path / "x.tar", lambda _event: None)

    assert caught.value.message.splitlines()[0] == (
        "cannot bootstrap debian:nosuch: the mirror does not have it"
    )
    assert list(tmp_path.iterdir()) == []
