"""Squashed trees: owners, modes, links and attributes, without anything unpacked."""

import os
import struct
import subprocess
from pathlib import Path

import pytest

from compiler.archive import Clamp
from compiler.errors import ImageError
from compiler.image.layers import ArchiveLayer
from compiler.image.squashfs import compression_of, lost_attributes, make_squashfs
from compiler.image.tree import Tree
from compiler.process import Running
from tests.image.trees import EPOCH, write_archive, write_shared

FAST = ("-comp", "gzip", "-Xcompression-level", "1")


def squashed(folder: Path, name: str = "x.squashfs", options: tuple[str, ...] = FAST) -> Path:
    archive = write_archive(folder / "root.tar.gz")
    tree = Tree.of([ArchiveLayer(archive, Clamp())], epoch=EPOCH)
    make_squashfs(tree, folder / name, options, Running(), epoch=EPOCH)
    return folder / name


def listing(image: Path) -> dict[str, list[str]]:
    done = subprocess.run(
        ["unsquashfs", "-lln", image],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = (line.split(None, 5) for line in done.stdout.splitlines() if "squashfs-root" in line)
    return {row[5].partition("squashfs-root")[2]: row for row in rows}


def test_owners_modes_and_times_are_those_of_the_tree(tmp_path: Path) -> None:
    found = listing(squashed(tmp_path))

    assert found["/home/me/mine"][:2] == ["-rw-------", "1000/70000"]
    assert found["/usr/bin/su"][0] == "-rwsr-xr-x"
    assert found["/boot/vmlinuz -> vmlinuz-6"][0].startswith("l")
    assert found['/etc/a "name" of blanks'][0] == "-rw-r--r--"


def test_hard_links_are_one_file(tmp_path: Path) -> None:
    image = squashed(tmp_path)
    subprocess.run(["unsquashfs", "-q", "-n", "-d", tmp_path / "out", image], check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip

    assert (tmp_path / "out/usr/bin/tool").samefile(tmp_path / "out/usr/bin/other")


def test_the_root_has_the_time_that_is_asked_for(tmp_path: Path) -> None:
    data = squashed(tmp_path).read_bytes()

    (root,) = struct.unpack_from("<Q", data, 32)
    (table,) = struct.unpack_from("<Q", data, 64)
    (time,) = struct.unpack_from("<I", data, table + (root >> 16) + 2 + (root & 0xFFFF) + 8)
    assert time == EPOCH
    assert listing(tmp_path / "x.squashfs")[""][0] == "drwxr-xr-x"


def test_attributes_that_a_squashfs_cannot_hold_are_told_with_their_paths(tmp_path: Path) -> None:
    archive = write_shared(tmp_path / "shared.tar", ["a", "b", "c", "d", "e", "f"])
    tree = Tree.of([ArchiveLayer(archive, Clamp())], epoch=EPOCH)

    assert lost_attributes(tree.entries) == (
        "the squashed system loses system.posix_acl_access, system.posix_acl_default of"
        " srv, srv/a, srv/b, srv/c, srv/d and 2 more, which a squashfs cannot hold"
        " (give these rights by owner and mode, or set them in a stage of the boot)"
    )
    assert lost_attributes(each for each in tree.entries if each.path == "boot") == ""


def test_exactly_the_attributes_that_are_told_are_lost(tmp_path: Path) -> None:
    archive = write_shared(tmp_path / "shared.tar", ["a"])
    tree = Tree.of([ArchiveLayer(archive, Clamp())], epoch=EPOCH)

    make_squashfs(tree, tmp_path / "x", FAST, Running(), epoch=EPOCH)

    subprocess.run(["unsquashfs", "-q", "-n", "-user-xattrs", "-d", tmp_path / "out",
                    tmp_path / "x"], check=True, stdout=subprocess.DEVNULL)  # fmt: skip
    assert os.listxattr(tmp_path / "out/srv/a") == ["user.kept"]
    assert os.listxattr(tmp_path / "out/srv") == []


def test_squashed_twice_it_is_the_same(tmp_path: Path) -> None:
    one, two = squashed(tmp_path, "one"), squashed(tmp_path, "two")

    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("name", ["gzip", "xz", "zstd"])
def test_the_compression_of_a_squashfs_is_told(tmp_path: Path, name: str) -> None:
    assert compression_of(squashed(tmp_path, options=("-comp", name))) == name


def test_a_file_that_is_no_squashfs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"no")

    with pytest.raises(ImageError) as caught:
        compression_of(tmp_path / "x")

    assert str(caught.value) == f"{tmp_path / 'x'}: is no squashfs"
