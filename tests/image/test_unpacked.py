"""File systems in files as sources: what is unpacked has owners, modes and attributes."""

import os
import subprocess
from pathlib import Path

import pytest

from compiler.archive import Clamp
from compiler.errors import ImageError
from compiler.image.ext import Ext, content_size, make_ext, tree_items
from compiler.image.gpt import identity
from compiler.image.layers import ArchiveLayer
from compiler.image.squashfs import make_squashfs
from compiler.image.tree import Tree
from compiler.image.unpacked import file_system_of, unpack_file_system
from compiler.process import Running
from tests.image.trees import ACL, EPOCH, KERNEL, write_archive, write_shared


def tree_of(folder: Path) -> Tree:
    archive = write_archive(folder / "root.tar")
    return Tree.of([ArchiveLayer(archive, Clamp())], epoch=EPOCH)


def write_squashfs(tree: Tree, target: Path) -> None:
    make_squashfs(tree, target, ("-comp", "gzip"), Running(), epoch=EPOCH)


def write_ext(tree: Tree, target: Path) -> None:
    size, inodes = content_size(tree.entries)
    ext = Ext(type="ext2", label="X", size=size, inodes=inodes, uuid=identity("x", "x"))
    scratch = target.with_name("scratch")
    scratch.mkdir()
    make_ext(ext, target, tree_items(tree, scratch / "c"), scratch, epoch=EPOCH)


@pytest.mark.container
@pytest.mark.parametrize(("write", "kind"), [(write_squashfs, "squashfs"), (write_ext, "ext")])
def test_a_file_system_is_unpacked_with_owners_and_attributes(
    tmp_path: Path, write: object, kind: str
) -> None:
    assert callable(write)
    write(tree_of(tmp_path), tmp_path / "image")

    assert file_system_of(tmp_path / "image") == kind
    unpack_file_system(tmp_path / "image", tmp_path / "out")

    out = tmp_path / "out"
    mine = (out / "home/me/mine").stat()
    assert (mine.st_uid, mine.st_gid, mine.st_mode & 0o7777) == (1000, 70_000, 0o600)
    assert (out / "boot/vmlinuz").read_bytes() == KERNEL
    assert (out / "boot/vmlinuz").is_symlink()
    assert os.getxattr(out / "usr/bin/ping", "security.capability")[:4] == b"\x01\x00\x00\x02"
    assert (out / "usr/bin/su").stat().st_mode & 0o7777 == 0o4755
    assert not (out / "lost+found").exists()


@pytest.mark.container
def test_acls_are_in_an_ext_file_system_as_the_kernel_has_them(tmp_path: Path) -> None:
    archive = write_shared(tmp_path / "shared.tar", ["a"])
    write_ext(Tree.of([ArchiveLayer(archive, Clamp())], epoch=EPOCH), tmp_path / "image")

    unpack_file_system(tmp_path / "image", tmp_path / "out")

    assert os.getxattr(tmp_path / "out/srv/a", "system.posix_acl_access") == ACL
    assert os.getxattr(tmp_path / "out/srv", "system.posix_acl_default") == ACL
    checked = subprocess.run(["e2fsck", "-fn", tmp_path / "image"], check=False)
    assert checked.returncode == 0


def test_what_a_content_needs_is_enough_for_it(tmp_path: Path) -> None:
    write_ext(tree_of(tmp_path), tmp_path / "image")

    done = subprocess.run(["e2fsck", "-fn", tmp_path / "image"], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x" * 4096)

    assert file_system_of(tmp_path / "x") == ""
    with pytest.raises(ImageError) as caught:
        unpack_file_system(tmp_path / "x", tmp_path / "out")
    assert str(caught.value) == f"{tmp_path / 'x'}: is no file system that is known here"
