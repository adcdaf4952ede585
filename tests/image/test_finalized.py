"""What changes in a copy of a root is taken over, and nothing else."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from compiler.archive import Clamp, Entry, Kind
from compiler.archive.tar import write_tar
from compiler.image.finalized import finalized
from compiler.image.layers import ArchiveLayer, TreeLayer
from compiler.image.tree import Tree
from tests.image.trees import EPOCH, write_archive

CLAMP = Clamp(epoch=EPOCH, after=2**62)


def root_of(folder: Path) -> Tree:
    """Have a root with owners, attributes, links, and a device in a folder; the same each time."""
    paths = (folder / "root.tar.gz", folder / "more.tar")
    if not paths[0].exists():
        write_archive(paths[0])
        _write_more(paths[1])
    return Tree.of([ArchiveLayer(each, Clamp()) for each in paths], epoch=EPOCH)


def _write_more(target: Path) -> None:
    entries = [
        Entry(path="dev/null", kind=Kind.CHARACTER, mode=0o666, device=(1, 3)),
        Entry(path="usr/bin/fourth", kind=Kind.FILE, mode=0o644, size=3),
        Entry(path="usr/bin/third", kind=Kind.HARDLINK, target="usr/bin/fourth"),
    ]
    with target.open("wb") as file:
        write_tar(entries, lambda _: b"4th", file)


def changed(folder: Path, run: Callable[[Path], None], name: str = "copy") -> Tree:
    return finalized(root_of(folder), folder / name, run, CLAMP)


def shown(tree: Tree) -> dict[str, Entry]:
    return {each.path: each for each in tree.entries}


def contents(tree: Tree, *paths: str) -> dict[str, bytes]:
    found = {}
    for path, data in tree.files(paths):
        found[path] = data if isinstance(data, bytes) else data.read(1 << 20) or b""
        if not isinstance(data, bytes):
            data.close()
    return found


def test_where_nothing_changes_the_root_stays_as_it_is(tmp_path: Path) -> None:
    before = root_of(tmp_path)

    after = changed(tmp_path, lambda _: None)

    assert list(after.entries) == list(before.entries)


def test_what_is_written_is_in_the_root_with_the_time_of_the_image(tmp_path: Path) -> None:
    def run(root: Path) -> None:
        (root / "etc/cos/grub.cfg").write_bytes(b"set timeout=9\n")  # as long as what was there
        (root / "etc/new").mkdir()
        (root / "etc/new/file").write_bytes(b"new")
        (root / "etc/link").symlink_to("new")

    tree = changed(tmp_path, run)

    found = shown(tree)
    new = ("etc", "etc/cos/grub.cfg", "etc/new", "etc/new/file", "etc/link")
    assert {found[path].mtime for path in new} == {EPOCH}
    assert found["etc/link"].target == "new"
    assert found["etc/os-release"] == shown(root_of(tmp_path))["etc/os-release"]
    assert contents(tree, "etc/cos/grub.cfg", "etc/new/file", "etc/os-release") == {
        "etc/cos/grub.cfg": b"set timeout=9\n",
        "etc/new/file": b"new",
        "etc/os-release": contents(root_of(tmp_path), "etc/os-release")["etc/os-release"],
    }


def test_what_is_left_alone_keeps_owners_attributes_and_devices(tmp_path: Path) -> None:
    def run(root: Path) -> None:
        (root / "usr/bin/tool2").write_bytes(b"x")

    found = shown(changed(tmp_path, run))

    assert (found["home/me/mine"].uid, found["home/me/mine"].gid) == (1000, 70_000)
    assert list(found["usr/bin/ping"].xattrs) == ["security.capability"]
    assert found["usr/bin/other"].target == "usr/bin/tool"
    assert found["dev/null"].device == (1, 3)


def test_what_is_removed_is_gone_with_the_devices_below_it(tmp_path: Path) -> None:
    def run(root: Path) -> None:
        (root / "dev").rmdir()
        (root / "bin").unlink()
        (root / "bin").mkdir()
        (root / "etc/os-release").unlink()

    found = shown(changed(tmp_path, run))

    assert "dev/null" not in found
    assert "etc/os-release" not in found
    assert found["bin"].kind is Kind.FOLDER


def test_a_file_that_is_replaced_is_no_longer_linked_to_what_it_was(tmp_path: Path) -> None:
    def run(root: Path) -> None:
        (root / "usr/bin/new").write_bytes(b"new")
        (root / "usr/bin/new").rename(root / "usr/bin/fourth")

    tree = changed(tmp_path, run)

    assert {shown(tree)[f"usr/bin/{name}"].kind for name in ("third", "fourth")} == {Kind.FILE}
    assert contents(tree, "usr/bin/third", "usr/bin/fourth") == {
        "usr/bin/third": b"4th",
        "usr/bin/fourth": b"new",
    }


def test_times_that_are_set_stay(tmp_path: Path) -> None:
    def run(root: Path) -> None:
        (root / "etc/old").write_bytes(b"x")
        os.utime(root / "etc/old", (1, 1))

    assert shown(changed(tmp_path, run))["etc/old"].mtime == 1


def test_changed_twice_it_is_the_same_and_can_be_a_source(tmp_path: Path) -> None:
    def run(root: Path) -> None:
        for name in ("b", "a"):
            (root / "etc" / name).write_bytes(b"x")
            time.sleep(1)  # times of files differ in whole seconds

    one, two = changed(tmp_path, run, "one"), changed(tmp_path, run, "two")

    assert list(one.entries) == list(two.entries)
    over = Tree.of([TreeLayer(one)], epoch=EPOCH)
    assert list(over.entries) == list(one.entries)
    paths = [each.path for each in one.entries if each.kind is Kind.FILE]
    assert contents(over, *paths) == contents(one, *paths)
