"""Folders of a root, opened step by step."""

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from compiler.archive.folders import Folders
from compiler.system.lookup import Lookup


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root of a few folders, with a link out of it."""
    (tmp_path / "root/a/b").mkdir(parents=True)
    (tmp_path / "root/c").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "root/out").symlink_to(tmp_path / "outside")
    return tmp_path / "root"


@pytest.fixture
def folders(root: Path) -> Iterator[Folders]:
    """Folders of that root."""
    with closing(Folders(root)) as opened:
        yield opened


def is_open_at(folders: Folders, path: str, place: Path) -> bool:
    """Whether opening `path` gives the folder that is at a place."""
    return os.path.samestat(os.fstat(folders.open(path)), place.stat())


def test_a_folder_is_opened_by_its_path(folders: Folders, root: Path) -> None:
    for path in ("a/b", "a", "c", "a/b", ""):
        assert is_open_at(folders, path, root / path)


@pytest.mark.parametrize("missing", ["a/x", "a/b/x/y", "x", "c/x"])
@pytest.mark.parametrize("following", ["", "a", "a/b", "c"])
def test_after_a_folder_that_is_not_there_all_others_are_where_they_were(
    folders: Folders, root: Path, missing: str, following: str
) -> None:
    with pytest.raises(FileNotFoundError):
        folders.open(missing)

    assert is_open_at(folders, following, root / following)


def test_a_link_is_never_followed(folders: Folders, root: Path) -> None:
    for path in ("out", "out/x"):
        with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
            folders.open(path)

    assert is_open_at(folders, "", root)


def test_a_name_that_is_too_long_is_not_there(root: Path) -> None:
    with closing(Lookup(root)) as lookup:
        assert lookup.status("n" * 300) is None
        assert lookup.status("a") is not None


def test_folders_are_made_on_the_way_where_that_is_wanted(folders: Folders, root: Path) -> None:
    made = folders.open("a/new/one", make=True)

    assert os.path.samestat(os.fstat(made), (root / "a/new/one").stat())


def test_a_path_may_be_deeper_than_a_process_has_files_to_open(
    folders: Folders, root: Path
) -> None:
    deep = "/".join(["d"] * 1500)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))

    try:
        folders.open(deep, make=True)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert is_open_at(folders, "a/b", root / "a/b")
    assert is_open_at(folders, deep[:-2], root / deep[:-2])
    assert is_open_at(folders, deep, root / deep)

    # pytest removes a test's folder by recursion, and would give up at the end of a later run
    subprocess.run(["rm", "-rf", root / "d"], check=True)
