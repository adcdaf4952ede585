"""Nothing leads out of a root, and nothing of a file is lost."""

import os
from pathlib import Path

import pytest

from compiler.agent.root import SMALLER, Owner, Root
from compiler.errors import OutsideError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret").write_text("secret")
    return root


def test_links_and_dots_stay_below_the_root(folder: Path) -> None:
    (folder / "up").symlink_to("../../../..")
    (folder / "away").symlink_to(folder.parent)
    (folder / "file").symlink_to("../secret")

    with Root(folder) as root:
        root.write("/up/a", b"1")
        root.write("../../b", b"2")
        root.write("/away/c", b"3", parents=0o755)
        root.write("/file", b"4")

    assert (folder.parent / "secret").read_text() == "secret"
    assert sorted(each.name for each in folder.parent.iterdir()) == ["root", "secret"]
    assert (folder / "a").read_text() == "1"
    assert (folder / "b").read_text() == "2"
    assert (folder / "secret").read_text() == "4"
    assert (folder / str(folder.parent).lstrip("/") / "c").read_text() == "3"


def test_what_a_link_leads_to_outside_is_not_read(folder: Path) -> None:
    (folder / "link").symlink_to(folder.parent / "secret")

    with Root(folder) as root:
        assert not root.exists("/link")
        with pytest.raises(OutsideError, match=r"^/link: no such file or directory$"):
            root.read("/link")


def test_links_in_a_ring_are_an_error(folder: Path) -> None:
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")

    with Root(folder) as root, pytest.raises(OutsideError) as caught:
        root.write("/a", b"x")

    assert str(caught.value) == "/a: too many levels of symbolic links"


def test_links_are_followed_as_if_the_root_were_the_machines(folder: Path) -> None:
    (folder / "usr/lib").mkdir(parents=True)
    (folder / "lib").symlink_to("/usr/lib")
    (folder / "usr/lib/os-release").write_text("ID=x")
    (folder / "etc").mkdir()
    (folder / "etc/os-release").symlink_to("../lib/os-release")

    with Root(folder) as root:
        assert root.text("/etc/os-release") == "ID=x"
        assert root.settled("/etc/os-release") == folder / "usr/lib/os-release"


def test_a_replaced_file_keeps_its_mode_and_attributes(folder: Path) -> None:
    path = folder / "shadow"
    path.write_text("old and longer")
    path.chmod(0o640)
    os.setxattr(path, "user.label", b"kept")

    with Root(folder) as root:
        root.write("/shadow", b"new")

    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o7777 == 0o640
    assert os.getxattr(path, "user.label") == b"kept"
    assert [each.name for each in folder.iterdir()] == ["shadow"]


def test_a_pipe_is_written_in_place(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    reader = os.open(folder / "pipe", os.O_RDONLY | os.O_NONBLOCK)

    with Root(folder) as root:
        root.write("/pipe", b"through")

    assert os.read(reader, 100) == b"through"
    os.close(reader)


def test_a_large_file_is_not_read(folder: Path) -> None:
    with (folder / "big").open("wb") as file:
        file.truncate(50 << 20)

    with Root(folder) as root, pytest.raises(OutsideError) as caught:
        root.read("/big")

    assert str(caught.value) == f"/big: is larger than 16777216 bytes ({SMALLER})"


def test_a_file_where_a_folder_has_to_be_is_an_error(folder: Path) -> None:
    (folder / "file").write_text("")

    with Root(folder) as root:
        with pytest.raises(OutsideError, match=r"^/file/x: not a directory$"):
            root.write("/file/x", b"", parents=0o755)
        with pytest.raises(OutsideError, match=r"^/file: not a directory$"):
            root.make_folder("/file", 0o755, Owner())


def test_a_path_with_a_nul_is_an_error(folder: Path) -> None:
    with Root(folder) as root, pytest.raises(OutsideError, match="cannot hold a NUL"):
        root.write("/a\0b", b"")


def test_a_root_that_is_missing_is_an_error(folder: Path) -> None:
    with pytest.raises(OutsideError, match="no such file or directory"):
        Root(folder / "missing")
