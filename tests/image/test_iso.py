"""ISO images, read back with other programs than those that wrote them."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.archive import Clamp
from compiler.errors import CompilerError, ImageError, UsageError
from compiler.events import Event, Noted
from compiler.image.iso import Firmware, Iso, make_iso
from compiler.image.layers import ArchiveLayer, FolderLayer, MemoryLayer
from compiler.image.tree import Tree
from tests.image.trees import EPOCH, INITRD, KERNEL, write_archive, write_shared, write_tree

FAST = ("-comp", "gzip", "-Xcompression-level", "1")


def run(*argv: str | Path) -> str:
    """Run a program to its end; returns what it prints."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def iso_of(folder: Path) -> Iso:
    """Say what most tests make."""
    archive = write_archive(folder / "root.tar.gz")
    root = Tree.of([ArchiveLayer(archive, Clamp())], epoch=EPOCH)
    return Iso(root=root, squashfs=FAST, epoch=EPOCH)


def content(image: Path, path: str, folder: Path) -> bytes:
    """Read a file of an ISO."""
    target = folder / "read"
    target.unlink(missing_ok=True)
    run("xorriso", "-osirrox", "on", "-indev", image, "-extract_single", path, target)
    return target.read_bytes()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ISO that many tests look at."""
    folder = tmp_path_factory.mktemp("iso")
    more = Tree.of(
        [MemoryLayer("more", {"iso-config/90_x.yaml": b"name: x\n"}, EPOCH)], epoch=EPOCH
    )
    iso = replace(iso_of(folder), files=more, configured=True, extra_arguments=("quiet", "a=b"))
    return make_iso(iso, folder / "cOS.iso").path


def test_the_files_that_other_software_looks_for_are_there(image: Path) -> None:
    listed = run("xorriso", "-indev", image, "-find", "/", "-type", "f").split()

    assert {each.strip("'") for each in listed} == {
        "/boot/grub2/eltorito.img",
        "/boot/grub2/grub.cfg",
        "/boot/kernel.xz",
        "/boot/rootfs.xz",
        "/boot/uefi.img",
        "/iso-config/90_x.yaml",
        "/rootfs.squashfs",
    }


def test_kernel_and_initrd_come_out_of_the_tree_through_its_links(
    image: Path, tmp_path: Path
) -> None:
    assert content(image, "/boot/kernel.xz", tmp_path) == KERNEL
    assert content(image, "/boot/rootfs.xz", tmp_path) == INITRD


def test_the_volume_has_the_label_that_the_kernel_looks_for(image: Path, tmp_path: Path) -> None:
    menu = content(image, "/boot/grub2/grub.cfg", tmp_path).decode()

    assert "Volume Id    : COS_LIVE" in run("xorriso", "-indev", image, "-pvd_info")
    assert (
        "  linux /boot/kernel.xz cdroot root=live:CDLABEL=COS_LIVE rd.live.dir=/"
        " rd.live.squashimg=rootfs.squashfs console=tty1 console=ttyS0 rd.cos.disable"
        " cos.setup=/run/initramfs/live/iso-config quiet a=b\n"
    ) in menu
    assert "set timeout=10\n" in menu
    assert menu.count("menuentry ") == 2


def test_it_starts_from_a_cd_on_bios_and_on_uefi(image: Path) -> None:
    report = run("xorriso", "-indev", image, "-report_el_torito", "plain")

    images = [line.split() for line in report.splitlines() if "boot img" in line]
    assert [(each[6], each[7]) for each in images if each[5].isdigit()] == [
        ("BIOS", "y"),
        ("UEFI", "y"),
    ]


def test_it_starts_from_a_stick_by_boot_code_and_an_efi_partition(image: Path) -> None:
    table = run("sfdisk", "--dump", image)
    start = image.read_bytes()[:512]

    parts = [line for line in table.splitlines() if " : start=" in line]
    assert len(parts) == 2
    assert "bootable" in parts[0]
    assert "type=ef" in parts[1]
    assert start[:3] == b"\xeb\x63\x90"
    assert start[510:] == b"\x55\xaa"


def test_the_efi_partition_has_grub_where_firmware_looks(image: Path, tmp_path: Path) -> None:
    fat = tmp_path / "uefi.img"
    fat.write_bytes(content(image, "/boot/uefi.img", tmp_path))

    assert "BOOTX64  EFI" in run("mdir", "-i", fat, "::/EFI/BOOT")
    assert fat.stat().st_size % (4 << 20) == 0
    run("fsck.fat", "-n", fat)


def test_the_checksum_lies_beside_it(image: Path) -> None:
    checksum = image.with_name("cOS.iso.sha256")

    done = subprocess.run(["sha256sum", "-c", checksum], cwd=image.parent, check=False)
    assert done.returncode == 0
    assert checksum.read_text().endswith("  cOS.iso\n")


def test_made_twice_it_is_the_same(tmp_path: Path) -> None:
    one = make_iso(iso_of(tmp_path), tmp_path / "one.iso")
    two = make_iso(iso_of(tmp_path), tmp_path / "two.iso")

    assert one.sha256 == two.sha256


def test_nothing_but_the_results_stays(image: Path) -> None:
    left = {path.name for path in image.parent.iterdir()}

    assert left == {"root.tar.gz", "cOS.iso", "cOS.iso.sha256"}


def test_files_of_the_efi_partition_and_of_the_iso_can_be_added(tmp_path: Path) -> None:
    (tmp_path / "efi/EFI/BOOT").mkdir(parents=True)
    (tmp_path / "efi/EFI/BOOT/BOOTX64.EFI").write_bytes(b"another loader")
    (tmp_path / "more/docs").mkdir(parents=True)
    (tmp_path / "more/docs/readme").write_text("read me")
    efi, more = (
        Tree.of([FolderLayer(tmp_path / name, Clamp())], epoch=EPOCH) for name in ("efi", "more")
    )

    made = make_iso(replace(iso_of(tmp_path), uefi=efi, files=more), tmp_path / "x.iso")

    (tmp_path / "fat").write_bytes(content(made.path, "/boot/uefi.img", tmp_path))
    assert run("mtype", "-i", tmp_path / "fat", "::/EFI/BOOT/BOOTX64.EFI") == "another loader"
    assert content(made.path, "/docs/readme", tmp_path) == b"read me"


@pytest.mark.parametrize(
    ("firmware", "platforms"), [(Firmware.BIOS, ["BIOS"]), (Firmware.EFI, ["UEFI"])]
)
def test_an_iso_for_one_firmware_has_nothing_for_the_other(
    tmp_path: Path, firmware: Firmware, platforms: list[str]
) -> None:
    made = make_iso(replace(iso_of(tmp_path), firmware=frozenset({firmware})), tmp_path / "x.iso")

    report = run("xorriso", "-indev", made.path, "-report_el_torito", "plain")
    found = [line.split() for line in report.splitlines() if "boot img" in line]
    assert [each[6] for each in found if each[5].isdigit()] == platforms


def test_acls_that_the_squashed_root_loses_are_warned_of(tmp_path: Path) -> None:
    archives = [write_archive(tmp_path / "root"), write_shared(tmp_path / "shared", ["a"])]
    root = Tree.of([ArchiveLayer(each, Clamp()) for each in archives], epoch=EPOCH)
    heard: list[Event] = []

    make_iso(replace(iso_of(tmp_path), root=root), tmp_path / "x.iso", heard.append)

    (warning,) = [each for each in heard if isinstance(each, Noted) and each.warning]
    assert warning.message.startswith("the squashed system loses system.posix_acl_access, ")


def refused(iso: Iso, folder: Path) -> CompilerError:
    """Make an ISO that cannot be; nothing may stay."""
    before = set(folder.iterdir())
    with pytest.raises(CompilerError) as caught:
        make_iso(iso, folder / "x.iso")
    assert set(folder.iterdir()) == before
    return caught.value


def test_a_tree_without_a_kernel_is_refused(tmp_path: Path) -> None:
    folder = write_tree(tmp_path / "root", boot__vmlinuz__6=None)
    (folder / "boot/vmlinuz-6").unlink(missing_ok=True)
    tree = Tree.of([FolderLayer(folder, Clamp())], epoch=EPOCH)

    error = refused(Iso(root=tree, epoch=EPOCH), tmp_path)

    assert isinstance(error, ImageError)
    assert str(error) == (
        f"{folder}: /boot/vmlinuz leads to vmlinuz-6 (it has to be a link to the kernel)"
    )


def test_a_tree_without_an_initrd_is_refused(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "root.tar.gz", leaves_out="boot/initrd-6")
    tree = Tree.of([ArchiveLayer(archive, Clamp())], epoch=EPOCH)

    assert "/boot/initrd leads to initrd-6" in str(refused(Iso(root=tree, epoch=EPOCH), tmp_path))


@pytest.mark.parametrize("label", ["", "two words", "x" * 33, "COS/LIVE", "ÄÖ"])
def test_a_label_that_no_volume_can_have_is_refused(tmp_path: Path, label: str) -> None:
    error = refused(replace(iso_of(tmp_path), label=label), tmp_path)

    assert isinstance(error, UsageError)
    assert str(error) == (
        f"{label!r} cannot be the label of an ISO (it has 1 to 32 letters, digits, _ and -)"
    )


def test_options_that_mksquashfs_does_not_take_are_told_in_its_words(tmp_path: Path) -> None:
    error = refused(replace(iso_of(tmp_path), squashfs=("-comp", "best")), tmp_path)

    assert "mksquashfs" in str(error)
    assert "best" in str(error)
