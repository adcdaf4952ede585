"""Images of systems for other processors than this machine's."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.archive import Clamp
from compiler.errors import ImageError, OutsideError, UsageError
from compiler.image.boot import processors_of
from compiler.image.disk import write_disk
from compiler.image.disk_plan import Disk
from compiler.image.formats import Format
from compiler.image.grub import efi_platform, find_modules
from compiler.image.iso import Firmware, Iso, firmware_of, make_iso
from compiler.image.layers import FolderLayer
from compiler.image.tree import Tree
from compiler.processors import AMD64, ARM64
from tests.image.arm64 import PROGRAM, SIGNED, debian_files
from tests.image.test_disk import cut, parts, run
from tests.image.test_iso import content
from tests.image.test_signed import files_of
from tests.image.trees import EPOCH, write_tree

FAST = ("-comp", "gzip", "-Xcompression-level", "1")


def tree_of(*folders: Path) -> Tree:
    return Tree.of([FolderLayer(each, Clamp()) for each in folders], epoch=EPOCH)


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """What boots, with a program for arm64."""
    return write_tree(tmp_path / "root", usr__bin__busybox=PROGRAM)


@pytest.fixture
def root(system: Path, test_cache: Path) -> Tree:
    """The same with GRUB's modules for arm64."""
    return tree_of(system, debian_files(test_cache, "grub-efi-arm64-bin"))


def machine_of(program: bytes) -> str:
    """Say for which machine an EFI program is (Microsoft, "PE Format", COFF header)."""
    at = int.from_bytes(program[0x3C:0x40], "little")
    return hex(int.from_bytes(program[at + 4 : at + 6], "little"))


def test_a_system_is_for_what_its_programs_are_for(system: Path) -> None:
    assert processors_of(tree_of(system)) is ARM64
    assert processors_of(tree_of(system), ARM64) is ARM64


def test_scripts_tell_nothing_but_other_programs_do(system: Path) -> None:
    (system / "usr/bin/bash").write_text("#!/bin/sh\necho no program\n")

    assert processors_of(tree_of(system)) is ARM64


def test_a_system_that_tells_nothing_is_for_what_is_wanted_or_amd64(tmp_path: Path) -> None:
    tree = tree_of(write_tree(tmp_path / "silent"))

    assert (processors_of(tree), processors_of(tree, ARM64)) == (AMD64, ARM64)


def test_a_system_for_other_processors_than_wanted_is_refused(system: Path) -> None:
    with pytest.raises(ImageError) as caught:
        processors_of(tree_of(system), AMD64)

    assert str(caught.value) == (
        f"{system}: /usr/bin/busybox is a program for arm64, and the image is to be for amd64"
        " (take the system for amd64)"
    )


def test_an_image_is_for_all_firmware_that_there_is() -> None:
    assert firmware_of(AMD64, []) == {Firmware.BIOS, Firmware.EFI}
    assert firmware_of(ARM64, []) == {Firmware.EFI}
    assert firmware_of(AMD64, [Firmware.BIOS]) == {Firmware.BIOS}


def test_a_bios_is_refused_where_there_is_none(tmp_path: Path, system: Path) -> None:
    iso = Iso(
        root=tree_of(system), processors=ARM64, firmware=frozenset({Firmware.BIOS}), epoch=EPOCH
    )

    with pytest.raises(UsageError, match=r"arm64 processors have no BIOS .*say efi alone"):
        make_iso(iso, tmp_path / "x.iso")
    assert [each.name for each in tmp_path.iterdir()] == ["root"]


def test_without_modules_anywhere_their_packages_are_named(tmp_path: Path, system: Path) -> None:
    nowhere = (str(tmp_path / "nowhere"),)

    with pytest.raises(OutsideError) as caught:
        find_modules(efi_platform(ARM64), tree_of(system), tmp_path / "modules", nowhere)

    assert str(caught.value) == (
        "GRUB's modules for arm64-efi are missing (apt install grub-efi-arm64-bin, dnf install"
        " grub2-efi-aa64-modules or zypper install grub2-arm64-efi, here or in the root of the"
        " image)"
    )
    assert [each.name for each in tmp_path.iterdir()] == ["root"]


def test_an_iso_has_grub_for_its_processors_out_of_the_root(root: Tree, tmp_path: Path) -> None:
    iso = Iso(root=root, processors=ARM64, squashfs=FAST, epoch=EPOCH)

    one, two = (make_iso(iso, tmp_path / name) for name in ("one.iso", "two.iso"))

    assert one.sha256 == two.sha256
    (tmp_path / "fat").write_bytes(content(one.path, "/boot/uefi.img", tmp_path))
    found = files_of(tmp_path / "fat")
    assert list(found) == ["EFI/BOOT/BOOTAA64.EFI"]
    assert machine_of(found["EFI/BOOT/BOOTAA64.EFI"]) == "0xaa64"
    listed = run("xorriso", "-indev", one.path, "-report_el_torito", "plain")
    images = [line.split() for line in listed.splitlines() if "boot img" in line]
    assert [each[6] for each in images if each[5].isdigit()] == ["UEFI"]
    menu = content(one.path, "/boot/grub2/grub.cfg", tmp_path).decode()
    assert " console=tty1 console=ttyS0 console=ttyAMA0 " in menu


def test_an_iso_starts_what_is_signed_for_its_processors(
    system: Path, root: Tree, test_cache: Path, tmp_path: Path
) -> None:
    signed = debian_files(test_cache, *SIGNED)
    modules = debian_files(test_cache, "grub-efi-arm64-bin")
    iso = Iso(root=root, processors=ARM64, squashfs=FAST, epoch=EPOCH)

    made = make_iso(replace(iso, root=tree_of(system, modules, signed)), tmp_path / "x.iso")

    (tmp_path / "fat").write_bytes(content(made.path, "/boot/uefi.img", tmp_path))
    found = files_of(tmp_path / "fat")
    programs = {path: machine_of(data) for path, data in found.items() if not path.endswith("cfg")}
    assert programs == {
        f"EFI/BOOT/{name}": "0xaa64" for name in ("BOOTAA64.EFI", "grubaa64.efi", "mmaa64.efi")
    }
    shim = signed / "usr/lib/shim/shimaa64.efi.signed"
    assert found["EFI/BOOT/BOOTAA64.EFI"] == shim.read_bytes()
    assert b"configfile" in found["EFI/debian/grub.cfg"]


def test_a_disk_has_no_partition_for_a_bios(root: Tree, tmp_path: Path) -> None:
    disk = Disk(root=root, processors=ARM64, squashfs=FAST, epoch=EPOCH)

    made = write_disk(disk, tmp_path / "x.raw", Format.RAW).path

    assert list(parts(made)) == ["efi", "oem", "state", "recovery", "persistent"]
    assert made.read_bytes()[:440] == bytes(440)
    found = files_of(cut(made, "efi", tmp_path / "fat"))
    assert list(found) == ["EFI/BOOT/BOOTAA64.EFI"]
    assert machine_of(found["EFI/BOOT/BOOTAA64.EFI"]) == "0xaa64"
    state = cut(made, "state", tmp_path / "state")
    listed = subprocess.run(
        ["debugfs", "-R", "ls -p /grub2", state], capture_output=True, text=True, check=True
    ).stdout
    assert "/arm64-efi/" in listed
    assert "i386-pc" not in listed
