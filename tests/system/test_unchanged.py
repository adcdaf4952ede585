"""What is in the root already, byte for byte, stays as it is; all else is made anew."""

import os
from contextlib import closing
from pathlib import Path

import pytest

from compiler.archive import Entry
from compiler.archive.tar import Source
from compiler.errors import ConflictError
from compiler.system.change import Change, Incoming
from compiler.system.disk import RootDisk
from compiler.system.transaction import apply
from tests.system.lab import TIME, Lab, id_of, snapshot

LARGE = "x" * 600_000


def inode(lab: Lab, path: str) -> int:
    return (lab.root / path).lstat().st_ino


def test_an_upgrade_leaves_files_and_links_alone_that_did_not_change(lab: Lab) -> None:
    same = {"d/f": "same", "d/l": "-> f", "d/empty": "", "d/large": LARGE}
    lab.apply(lab.package("a-1", {**same, "d/g": "old"}))
    before = [inode(lab, path) for path in same]

    lab.apply(lab.package("a-2", {**same, "d/g": "new"}), remove=["a-1"])

    assert [inode(lab, path) for path in same] == before
    assert (lab.root / "d/g").read_text() == "new"
    with lab.system() as system:
        assert system.database.files(id_of("a-2")) == ("d/f", "d/l", "d/empty", "d/large", "d/g")
    lab.apply(remove=["a-2"])
    assert snapshot(lab.root) == {}


@pytest.mark.parametrize("place", [0, 100, 262_143, 262_144, 300_000, 599_999])
def test_of_two_files_of_one_size_and_time_the_new_one_is_there(lab: Lab, place: int) -> None:
    lab.apply(lab.package("a-1", {"f": LARGE}))
    new = f"{LARGE[:place]}y{LARGE[place + 1 :]}"

    lab.apply(lab.package("a-2", {"f": new}), remove=["a-1"])

    assert (lab.root / "f").read_text() == new
    with lab.system() as system:
        (owned,) = system.database.paths(id_of("a-2"))
    fresh = Lab(lab.place / "fresh")
    fresh.apply(fresh.package("a-2", {"f": new}))
    with fresh.system() as system:
        assert system.database.paths(id_of("a-2")) == (owned,)


def _write(path: Path) -> None:
    path.write_text("none")
    os.utime(path, (TIME, TIME))


@pytest.mark.parametrize(
    "harm",
    [
        _write,
        lambda path: path.chmod(0o600),
        lambda path: os.utime(path, (1, 1)),
        lambda path: os.setxattr(path, "user.note", b"mine"),
        lambda path: path.with_name("other").hardlink_to(path),
        lambda path: path.unlink(),
        lambda path: (path.unlink(), path.symlink_to("g")),
    ],
)
def test_whatever_was_done_to_a_file_is_put_right(lab: Lab, harm: object) -> None:
    lab.apply(lab.package("a", {"f": "same", "g": "same"}))
    before, status = snapshot(lab.root), (lab.root / "f").stat()

    assert callable(harm)
    harm(lab.root / "f")
    lab.apply(lab.package("a", {"f": "same", "g": "same"}), remove=["a"])

    (lab.root / "other").unlink(missing_ok=True)
    after = (lab.root / "f").stat()
    assert snapshot(lab.root) == before
    assert (after.st_mtime_ns, os.listxattr(lab.root / "f")) == (status.st_mtime_ns, [])


def test_a_hard_link_to_a_file_that_would_stay_is_one(lab: Lab) -> None:
    lab.apply(lab.package("a-1", {"d/f": "same"}))

    lab.apply(lab.package("a-2", {"d/f": "same", "e/g": "= d/f"}), remove=["a-1"])

    assert (lab.root / "d/f").samefile(lab.root / "e/g")
    assert (lab.root / "e/g").read_text() == "same"


def test_files_that_were_one_are_two_if_they_come_as_two(lab: Lab) -> None:
    lab.apply(lab.package("a-1", {"f": "same", "g": "= f"}))

    lab.apply(lab.package("a-2", {"f": "same", "g": "same"}), remove=["a-1"])

    assert not (lab.root / "f").samefile(lab.root / "g")


class _Removing(RootDisk):
    """A disk on which somebody else removes `f` once the file `t` is staged."""

    def stage(self, top: str, entry: Entry, content: Source | None) -> None:
        super().stage(top, entry, content)
        if entry.path == "t":
            self.harm(self._root / "f")

    def harm(self, path: Path) -> None:
        path.unlink()


class _Writing(_Removing):
    """The same, but it is written."""

    def harm(self, path: Path) -> None:
        _write(path)


@pytest.mark.parametrize(
    ("disk_kind", "content"),
    [
        (_Removing, {"f": "same", "t": "x"}),
        (_Writing, {"f": "same", "t": "x", "link": "= f"}),
    ],
)
def test_a_file_that_changes_while_it_is_to_stay_is_told(
    lab: Lab, disk_kind: type[RootDisk], content: dict[str, str]
) -> None:
    lab.apply(lab.package("a-1", {"f": "same"}))
    new: Incoming = lab.package("a-2", content)

    with lab.system() as system, closing(disk_kind(lab.root)) as disk:
        change = Change(install=(new,), remove=(id_of("a-1"),))
        with pytest.raises(ConflictError, match="/f: was changed by somebody else just now"):
            apply(change, system, disk=disk)

    assert lab.installed() == ["t/a-1"]
    assert not (lab.root / "t").exists()
