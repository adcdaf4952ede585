"""`cos image` brings base images into the store and tells what is there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


def cos(store: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command in a process of its own."""
    command = [sys.executable, "-m", "compiler", "--store", str(store), "image", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small root file system."""
    folder = tmp_path / "root"
    (folder / "etc").mkdir(parents=True)
    (folder / "etc/os-release").write_text("ID=small\n")
    return folder


@pytest.mark.container
def test_an_image_is_imported_listed_and_removed(tmp_path: Path, root: Path) -> None:
    store = tmp_path / "store"

    imported = cos(store, "import", "small:1", f"dir:{root}")
    listed = cos(store, "list", "-o", "json")
    removed = cos(store, "rm", "small:1")

    (image,) = json.loads(listed.stdout)["images"]
    assert image["name"] == "docker.io/library/small:1"
    assert imported.stdout.split("\t")[:2] == [image["name"], image["digest"]]
    assert (removed.returncode, cos(store, "list").stdout) == (0, "")


@pytest.mark.container
def test_an_image_that_is_there_is_not_bootstrapped_again(tmp_path: Path, root: Path) -> None:
    store = tmp_path / "store"
    cos(store, "import", "debian:trixie", f"dir:{root}")

    again = cos(store, "bootstrap", "debian:trixie")

    assert (again.returncode, again.stdout, again.stderr) == (
        0,
        "",
        "debian:trixie is in the store already; --force makes it again\n",
    )


def test_all_unknown_names_are_reported_at_once(tmp_path: Path) -> None:
    removed = cos(tmp_path / "store", "rm", "b:1", "a")

    assert (removed.returncode, removed.stderr) == (
        1,
        "error: the store has no image docker.io/library/a:latest\n"
        "error: the store has no image docker.io/library/b:1\n",
    )


def test_a_form_that_is_unknown_is_a_wrong_use(tmp_path: Path) -> None:
    listed = cos(tmp_path / "store", "list", "-o", "xml")

    assert (listed.returncode, listed.stderr) == (
        2,
        "error: --output is terminal or json, not 'xml'\n",
    )


def test_what_cannot_be_bootstrapped_is_said_before_anything_is_made(tmp_path: Path) -> None:
    made = cos(tmp_path / "store", "bootstrap", "alpine:3")

    assert made.returncode == 1
    assert made.stderr.startswith("error: cannot bootstrap 'alpine:3', only debian:SUITE")
    assert not (tmp_path / "store").exists()
