"""The chain of secure boot on images: there if the root tree has it, and then all of it."""

import subprocess
from pathlib import Path

import pytest

from compiler.archive import Clamp
from compiler.errors import ImageError
from compiler.image.disk import write_disk
from compiler.image.disk_plan import Disk, Layout
from compiler.image.formats import Format
from compiler.image.iso import Iso, make_iso
from compiler.image.layers import FolderLayer, MemoryLayer
from compiler.image.menu import SIGNED
from compiler.image.tree import Tree
from compiler.secureboot import disk_script
from tests.image.test_disk import cut
from tests.image.test_iso import content
from tests.image.trees import EPOCH, signed_grub, with_chain, write_tree

FAST = ("-comp", "gzip", "-Xcompression-level", "1")


def tree_of(folder: Path) -> Tree:
    return Tree.of([FolderLayer(folder, Clamp())], epoch=EPOCH)


@pytest.fixture
def grub(tmp_path: Path) -> bytes:
    return signed_grub(tmp_path, "/EFI/acme")


@pytest.fixture
def root(tmp_path: Path, grub: bytes) -> Tree:
    """A tree with the three programs."""
    return tree_of(with_chain(tmp_path / "root", grub))


def files_of(fat: Path) -> dict[str, bytes]:
    """Read all files of a FAT file system."""
    out = fat.with_suffix(".files")
    out.mkdir()
    subprocess.run(["mcopy", "-s", "-n", "-i", fat, "::*", out], check=True)
    paths = (path for path in out.rglob("*") if path.is_file())
    return {str(path.relative_to(out)): path.read_bytes() for path in paths}


def esp_of_iso(iso: Iso, folder: Path) -> dict[str, bytes]:
    """Make an ISO, and read its EFI file system."""
    made = make_iso(iso, folder / "x.iso").path
    (folder / "fat").write_bytes(content(made, "/boot/uefi.img", folder))
    return files_of(folder / "fat")


def esp_of_disk(root: Tree, folder: Path) -> dict[str, bytes]:
    """Make a disk, and read its EFI system partition."""
    disk = Disk(root=root, layout=Layout.RECOVERY, squashfs=FAST, epoch=EPOCH)
    made = write_disk(disk, folder / "x.raw", Format.RAW).path
    return files_of(cut(made, "efi", folder / "fat"))


def test_an_iso_starts_what_is_signed(root: Tree, grub: bytes, tmp_path: Path) -> None:
    found = esp_of_iso(Iso(root=root, squashfs=FAST, epoch=EPOCH), tmp_path)

    menu = f"rmmod tpm\n{SIGNED}".encode()
    assert found == {
        "EFI/BOOT/BOOTX64.EFI": b"shim",
        "EFI/BOOT/grubx64.efi": grub,
        "EFI/BOOT/mmx64.efi": b"manager",
        "EFI/acme/grub.cfg": menu,
    }
    assert content(tmp_path / "x.iso", "/EFI/acme/grub.cfg", tmp_path) == menu


def test_a_disk_starts_what_is_signed(root: Tree, grub: bytes, tmp_path: Path) -> None:
    found = esp_of_disk(root, tmp_path)

    assert found == {
        "EFI/BOOT/BOOTX64.EFI": b"shim",
        "EFI/BOOT/grubx64.efi": grub,
        "EFI/BOOT/mmx64.efi": b"manager",
        "EFI/acme/grub.cfg": f"rmmod tpm\n{disk_script()}".encode(),
    }


def test_a_chain_that_lacks_a_program_is_none(tmp_path: Path, grub: bytes) -> None:
    folder = with_chain(tmp_path / "root", grub)
    (folder / "usr/lib/shim/mmx64.efi.signed").unlink()

    found = esp_of_disk(tree_of(folder), tmp_path)

    assert list(found) == ["EFI/BOOT/BOOTX64.EFI"]
    assert b"cmdpath" in found["EFI/BOOT/BOOTX64.EFI"], "our own GRUB with its script"


def test_what_the_manifest_has_for_uefi_goes_before_the_chain(root: Tree, tmp_path: Path) -> None:
    own = {"EFI/BOOT/BOOTX64.EFI": b"another loader"}
    uefi = Tree.of([MemoryLayer("efi", own, EPOCH)], epoch=EPOCH)

    found = esp_of_iso(Iso(root=root, uefi=uefi, squashfs=FAST, epoch=EPOCH), tmp_path)

    assert found == own


def test_images_with_a_chain_are_the_same_twice(root: Tree, tmp_path: Path) -> None:
    iso = Iso(root=root, squashfs=FAST, epoch=EPOCH)

    one, two = (make_iso(iso, tmp_path / f"{name}.iso") for name in ("one", "two"))

    assert one.sha256 == two.sha256


def test_a_signed_grub_that_could_not_show_the_menu_makes_no_image(tmp_path: Path) -> None:
    grub = signed_grub(tmp_path, "/EFI/acme", without="squash4")
    root = tree_of(with_chain(tmp_path / "root", grub))

    with pytest.raises(ImageError) as caught:
        make_iso(Iso(root=root, squashfs=FAST, epoch=EPOCH), tmp_path / "x.iso")

    assert str(caught.value).startswith(
        f"{tmp_path}/root: the signed GRUB has no module squash4 (the boot menu needs it"
    )
    assert not (tmp_path / "x.iso").exists()


def test_a_tree_without_a_chain_has_our_own_grub(tmp_path: Path) -> None:
    root = tree_of(write_tree(tmp_path / "root"))

    found = esp_of_iso(Iso(root=root, squashfs=FAST, epoch=EPOCH), tmp_path)

    assert list(found) == ["EFI/BOOT/BOOTX64.EFI"]
