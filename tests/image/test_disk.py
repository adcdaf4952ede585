"""Disk images, read back with other programs than those that wrote them."""

import json
import os
import re
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from compiler.archive import Clamp
from compiler.errors import CompilerError, ImageError, UsageError
from compiler.events import Event, Noted
from compiler.grubenv import parse_block
from compiler.image.boxes import feature_of
from compiler.image.disk import write_disk
from compiler.image.disk_plan import Disk, Layout
from compiler.image.formats import Format
from compiler.image.layers import ArchiveLayer, FolderLayer, MemoryLayer
from compiler.image.record import Origin
from compiler.image.sparse import data_of
from compiler.image.squashfs import make_squashfs
from compiler.image.tree import Tree
from compiler.process import Running
from tests.image.trees import EPOCH, INITRD, KERNEL, MENU, write_archive, write_shared, write_tree

FAST = ("-comp", "gzip", "-Xcompression-level", "1")
MIB = 1 << 20
BOXES = {Format.OVA: "cos.vmdk", Format.VAGRANT: "box.img"}
OVF = "{http://schemas.dmtf.org/ovf/envelope/1}"
ORIGIN = Origin(source="oci:x:1", digest=f"sha256:{'ab' * 32}")

pytestmark = pytest.mark.xdist_group("disks")  # they share what takes long to make


def run(*argv: str | Path) -> str:
    """Run a program to its end; returns what it prints."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (argv, done.stdout, done.stderr)
    return done.stdout


def disk_of(folder: Path) -> Disk:
    """Say what most tests make."""
    archive = write_archive(folder / "root.tar.gz")
    root = Tree.of([ArchiveLayer(archive, Clamp())], epoch=EPOCH)
    config = {"90_x.yaml": b"name: x\n"}
    return Disk(root=root, squashfs=FAST, cloud_init=config, origin=ORIGIN, epoch=EPOCH)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk with everything, that many tests look at."""
    folder = tmp_path_factory.mktemp("full")
    return write_disk(disk_of(folder), folder / "full.raw", Format.RAW).path


@pytest.fixture(scope="module")
def recovery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk that installs itself."""
    folder = tmp_path_factory.mktemp("recovery")
    disk = replace(disk_of(folder), layout=Layout.RECOVERY, deploy_command="cos-deploy x")
    return write_disk(disk, folder / "recovery.raw", Format.RAW).path


def parts(disk: Path) -> dict[str, tuple[int, int]]:
    """List partitions by name, with start and size in bytes."""
    found = re.findall(r'start= *(\d+), size= *(\d+),.*name="(\w+)"', run("sfdisk", "--dump", disk))
    return {name: (int(start) * 512, int(size) * 512) for start, size, name in found}


def cut(disk: Path, name: str, target: Path) -> Path:
    """Take a partition out of a disk, its holes too."""
    start, size = parts(disk)[name]
    with disk.open("rb") as file, target.open("wb") as copy:
        copy.truncate(size)
        for first, last in data_of(file.fileno(), start + size):
            end = min(last, start + size)
            for at in range(max(first, start), end, MIB):
                copy.seek(at - start)
                copy.write(os.pread(file.fileno(), min(MIB, end - at), at))
    return target


def dump(filesystem: Path, path: str, target: Path) -> Path:
    """Take a file out of a file system."""
    run("debugfs", "-R", f"dump {path} {target}", filesystem)
    return target


def label(filesystem: Path) -> str:
    return run("blkid", "-p", "-s", "LABEL", "-o", "value", filesystem).strip()


def test_the_table_is_sound_and_its_partitions_are_in_order(full: Path) -> None:
    assert "No problems found" in run("sgdisk", "--verify", full)
    assert list(parts(full)) == ["bios", "efi", "oem", "state", "recovery", "persistent"]
    assert full.stat().st_size % MIB == 0


def test_every_file_system_is_sound_and_has_its_label(full: Path, tmp_path: Path) -> None:
    labels = {
        "oem": "COS_OEM",
        "state": "COS_STATE",
        "recovery": "COS_RECOVERY",
        "persistent": "COS_PERSISTENT",
    }
    for name, expected in labels.items():
        part = cut(full, name, tmp_path / name)
        run("e2fsck", "-fn", part)
        assert label(part) == expected
    efi = cut(full, "efi", tmp_path / "efi")
    run("fsck.fat", "-n", efi)
    assert label(efi) == "COS_GRUB"
    assert "BOOTX64  EFI" in run("mdir", "-i", efi, "::/EFI/BOOT")


def test_both_systems_are_images_that_differ_in_their_label_only(
    full: Path, tmp_path: Path
) -> None:
    state = cut(full, "state", tmp_path / "state")
    for name, expected in (("active", "COS_ACTIVE"), ("passive", "COS_PASSIVE")):
        image = dump(state, f"/cOS/{name}.img", tmp_path / f"{name}.img")
        run("e2fsck", "-fn", image)
        assert label(image) == expected
        assert run("blkid", "-p", "-s", "TYPE", "-o", "value", image).strip() == "ext2"
        assert dump(image, "/boot/vmlinuz-6", tmp_path / "k").read_bytes() == KERNEL


def stat_of(image: Path, path: str) -> str:
    return run("debugfs", "-R", f"stat {path}", image)


def test_owners_modes_links_and_attributes_are_those_of_the_tree(
    full: Path, tmp_path: Path
) -> None:
    state = cut(full, "state", tmp_path / "state")
    image = dump(state, "/cOS/active.img", tmp_path / "active.img")

    mine = stat_of(image, "/home/me/mine")
    assert re.search(r"Mode: +0600 ", mine)
    assert re.search(r"User: +1000 +Group: +70000 ", mine)
    assert f" mtime: 0x{EPOCH - 1000:08x}" in mine
    assert re.search(r"Mode: +04755 ", stat_of(image, "/usr/bin/su"))
    assert "Links: 2 " in stat_of(image, "/usr/bin/tool")
    assert "security.capability" in run("debugfs", "-R", "ea_list /usr/bin/ping", image)
    assert 'Fast link dest: "vmlinuz-6"' in stat_of(image, "/boot/vmlinuz")
    assert "Inode:" in stat_of(image, '"/etc/a ""name"" of blanks"')


def test_the_recovery_system_is_a_squashfs_that_grub_reads(full: Path, tmp_path: Path) -> None:
    part = cut(full, "recovery", tmp_path / "recovery")
    squashfs = dump(part, "/cOS/recovery.squashfs", tmp_path / "x.squashfs")

    run("unsquashfs", "-q", "-n", "-d", tmp_path / "out", squashfs, "boot")
    assert (tmp_path / "out/boot/initrd").read_bytes() == INITRD


def test_the_boot_menu_is_that_of_the_tree_with_modules_beside_it(
    full: Path, tmp_path: Path
) -> None:
    state = cut(full, "state", tmp_path / "state")

    assert dump(state, "/grub2/grub.cfg", tmp_path / "menu").read_bytes() == MENU
    modules = run("debugfs", "-R", "ls -p /grub2/i386-pc", state)
    assert "/normal.mod/" in modules
    settings = dump(state, "/grub_oem_env", tmp_path / "settings").read_bytes()
    assert parse_block(settings) == {"default_menu_entry": "cOS"}


def test_the_owner_has_a_block_for_choices_and_the_files_that_were_given(
    full: Path, tmp_path: Path
) -> None:
    oem = cut(full, "oem", tmp_path / "oem")

    assert parse_block(dump(oem, "/grubenv", tmp_path / "env").read_bytes()) == {}
    assert dump(oem, "/90_x.yaml", tmp_path / "x").read_bytes() == b"name: x\n"
    growing = yaml.safe_load(dump(oem, "/00_disk_layout.yaml", tmp_path / "grow").read_bytes())
    assert growing["stages"]["rootfs.before"] == [
        {"layout": {"device": {"label": "COS_PERSISTENT"}, "expand_partition": {"size": 0}}}
    ]


def test_the_record_says_what_is_installed(full: Path, tmp_path: Path) -> None:
    state = cut(full, "state", tmp_path / "state")

    record = yaml.safe_load(dump(state, "/state.yaml", tmp_path / "record").read_bytes())
    assert record["date"] == "2020-01-01T00:00:00Z"
    assert record["state"]["label"] == "COS_STATE"
    assert record["state"]["passive"] == {
        "source": "oci:x:1",
        "digest": ORIGIN.digest,
        "label": "COS_PASSIVE",
        "fs": "ext2",
        "date": "2020-01-01T00:00:00Z",
        "fromAction": "build-disk",
    }
    recovery = record["recovery"]["recovery"]
    assert (recovery["source"], recovery["digest"]) == ("oci:x:1", ORIGIN.digest)
    assert recovery["fs"] == "squashfs"


def test_the_first_sector_leads_to_the_core_in_its_partition(full: Path) -> None:
    start, _ = parts(full)["bios"]
    with full.open("rb") as file:
        boot = file.read(512)
        file.seek(start)
        core = file.read(MIB)

    assert int.from_bytes(boot[0x5C:0x64], "little") == start // 512
    assert boot[0x66:0x68] == b"\x90\x90"
    assert boot[510:] == b"\x55\xaa"
    assert int.from_bytes(core[500:508], "little") == start // 512 + 1
    assert int.from_bytes(core[508:510], "little") * 512 < MIB
    assert core[512:1024].strip(b"\0")


def test_it_is_mostly_holes(full: Path) -> None:
    status = full.stat()

    assert status.st_blocks * 512 < 64 * MIB < status.st_size


def test_a_recovery_disk_has_no_system_but_completes_itself(recovery: Path, tmp_path: Path) -> None:
    oem = cut(recovery, "oem", tmp_path / "oem")
    part = cut(recovery, "recovery", tmp_path / "part")

    assert list(parts(recovery)) == ["bios", "efi", "oem", "recovery"]
    assert dump(part, "/grub2/grub.cfg", tmp_path / "menu").read_bytes() == MENU
    stages = yaml.safe_load(dump(oem, "/05_first_boot.yaml", tmp_path / "x").read_bytes())["stages"]
    added = stages["rootfs.before"][0]["layout"]["add_partitions"]
    assert [each["fsLabel"] for each in added] == ["COS_STATE", "COS_PERSISTENT"]
    assert added[-1]["size"] == 0
    assert stages["network"][0] == stages["rootfs.before"][0]
    assert stages["network"][1]["commands"] == [
        "cos-deploy x && rm -f /oem/05_first_boot.yaml && systemctl --no-block reboot"
    ]


def test_the_cloud_config_that_disks_carry_is_valid(
    full: Path, recovery: Path, tmp_path: Path
) -> None:
    for disk, name in ((full, "00_disk_layout.yaml"), (recovery, "05_first_boot.yaml")):
        oem = cut(disk, "oem", tmp_path / "oem")
        file = dump(oem, f"/{name}", tmp_path / name)
        run(".venv/bin/cos-agent", "validate", file)


def test_made_twice_it_is_the_same(full: Path, tmp_path: Path) -> None:
    again = write_disk(disk_of(tmp_path), tmp_path / "again.raw", Format.RAW)

    assert again.sha256 == full.with_name("full.raw.sha256").read_text().split()[0]


def test_sizes_are_as_asked_for_and_the_last_partition_takes_the_rest(tmp_path: Path) -> None:
    disk = replace(disk_of(tmp_path), sizes={"size": 2048, "oem": 100, "state": 700})

    made = write_disk(disk, tmp_path / "x.raw", Format.RAW)

    assert made.path.stat().st_size == 2048 * MIB
    found = parts(made.path)
    assert found["oem"][1] == 100 * MIB
    assert found["state"][1] == 700 * MIB
    assert found["persistent"][0] + found["persistent"][1] == 2047 * MIB


@pytest.mark.parametrize("form", [each for each in Format if each is not Format.RAW])
def test_other_forms_hold_the_same_disk_and_are_the_same_twice(
    tmp_path: Path, form: Format
) -> None:
    disk = replace(disk_of(tmp_path), layout=Layout.RECOVERY, step=form.step)
    made = [write_disk(disk, tmp_path / f"{n}{form.suffix}", form) for n in ("one", "two")]

    assert made[0].sha256 == made[1].sha256
    plain = unpacked(made[0].path, form, tmp_path)
    assert "No problems found" in run("sgdisk", "--verify", plain)
    assert list(parts(plain)) == ["bios", "efi", "oem", "recovery"]
    assert plain.stat().st_size % (form.step * MIB) == 0


def unpacked(image: Path, form: Format, folder: Path) -> Path:
    """Turn a disk image of any form into a raw one."""
    if form is Format.GCE:
        with tarfile.open(image) as archive:
            assert archive.getnames() == ["disk.raw"]
            archive.extractall(folder, filter="data")
        return folder / "disk.raw"
    if form in BOXES:
        with tarfile.open(image) as archive:
            archive.extractall(folder, filter="data")
        image = folder / BOXES[form]
    name = {Format.VHD: "vpc", Format.OVA: "vmdk", Format.VAGRANT: "qcow2"}.get(form, form.value)
    if form is Format.VHD:
        assert run("qemu-img", "info", "-f", "vpc", image)
        assert image.read_bytes()[-512:-504] == b"conectix"
    run("qemu-img", "convert", "-f", name, "-O", "raw", image, folder / "plain")
    return folder / "plain"


def test_an_ova_describes_a_machine_with_the_disk_and_lists_checksums(tmp_path: Path) -> None:
    disk = replace(disk_of(tmp_path), layout=Layout.RECOVERY, title="ours & <theirs>")
    made = write_disk(disk, tmp_path / "x.ova", Format.OVA).path

    with tarfile.open(made) as archive:
        assert archive.getnames() == ["cos.ovf", "cos.mf", "cos.vmdk"]
        archive.extractall(tmp_path, filter="data")
    run("sha256sum", "--check", "--strict", sums(tmp_path))
    told = ElementTree.parse(tmp_path / "cos.ovf")  # noqa: S314  (we wrote it)
    assert told.findtext(".//{*}VirtualSystem/{*}Name") == "ours & <theirs>"
    file, virtual = told.find(".//{*}File"), told.find(".//{*}DiskSection/{*}Disk")
    assert file is not None
    assert virtual is not None
    assert file.get(f"{OVF}href") == "cos.vmdk"
    assert file.get(f"{OVF}size") == str((tmp_path / "cos.vmdk").stat().st_size)
    about = json.loads(run("qemu-img", "info", "--output", "json", tmp_path / "cos.vmdk"))
    assert virtual.get(f"{OVF}capacity") == str(about["virtual-size"])
    assert virtual.get(f"{OVF}format", "").endswith(about["format-specific"]["data"]["create-type"])
    hardware = [
        item.findtext("{*}ResourceType") for item in told.iter() if item.tag.endswith("Item")
    ]
    assert hardware == ["3", "4", "20", "17", "10"]


def sums(folder: Path) -> Path:
    """Rewrite the checksums of an OVA for sha256sum(1), which reads the form of BSD."""
    text = (folder / "cos.mf").read_text()
    named = re.sub(r"SHA256\((.*)\)= ", rf"SHA256 ({folder}/\1) = ", text)
    (folder / "sums").write_text(named)
    return folder / "sums"


def test_a_box_tells_vagrant_of_its_disk_and_knows_its_user(tmp_path: Path) -> None:
    feature = feature_of(with_feature(tmp_path))
    disk = replace(disk_of(tmp_path), layout=Layout.RECOVERY, cloud_init=feature)

    made = write_disk(disk, tmp_path / "x.box", Format.VAGRANT).path

    with tarfile.open(made) as archive:
        assert archive.getnames() == ["metadata.json", "Vagrantfile", "box.img"]
        archive.extractall(tmp_path, filter="data")
    about = json.loads((tmp_path / "metadata.json").read_text())
    info = json.loads(run("qemu-img", "info", "--output", "json", tmp_path / "box.img"))
    size = -(-info["virtual-size"] // 2**30)
    assert about == {"provider": "libvirt", "format": info["format"], "virtual_size": size}
    oem = cut(unpacked(made, Format.VAGRANT, tmp_path), "oem", tmp_path / "oem")
    assert dump(oem, "/features/vagrant.yaml", tmp_path / "x").read_bytes() == b"name: v\n"


def test_a_system_without_the_feature_makes_no_box(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"/system/features/vagrant.yaml is not there"):
        feature_of(disk_of(tmp_path).root)


def with_feature(folder: Path) -> Tree:
    """Make a tree that has the feature `vagrant`."""
    (folder / "tree/system/features").mkdir(parents=True)
    (folder / "tree/system/features/vagrant.yaml").write_bytes(b"name: v\n")
    return Tree.of([FolderLayer(folder / "tree", Clamp())], epoch=EPOCH)


def refused(disk: Disk, folder: Path) -> CompilerError:
    """Make a disk that cannot be; nothing may stay."""
    before = set(folder.iterdir())
    with pytest.raises(CompilerError) as caught:
        write_disk(disk, folder / "x.raw", Format.RAW)
    assert set(folder.iterdir()) == before
    return caught.value


def test_a_disk_that_is_too_small_is_refused(tmp_path: Path) -> None:
    error = refused(replace(disk_of(tmp_path), sizes={"size": 500}), tmp_path)

    assert isinstance(error, UsageError)
    assert re.fullmatch(r"the disk needs \d+ MiB at least, not 500", str(error))


def test_a_partition_that_is_too_small_is_refused(tmp_path: Path) -> None:
    error = refused(replace(disk_of(tmp_path), sizes={"state": 100}), tmp_path)

    assert re.fullmatch(r"the partition 'state' needs \d+ MiB at least, not 100", str(error))


def test_a_recovery_system_that_grub_cannot_read_is_refused(tmp_path: Path) -> None:
    disk = disk_of(tmp_path)
    make_squashfs(disk.root, tmp_path / "r", ("-comp", "zstd"), Running(), epoch=EPOCH)
    files = MemoryLayer("r", {"recovery.squashfs": (tmp_path / "r").read_bytes()}, EPOCH)

    error = refused(replace(disk, recovery=Tree.of([files], epoch=EPOCH)), tmp_path)

    assert isinstance(error, ImageError)
    assert "compressed with zstd, which GRUB does not read" in str(error)


def test_a_recovery_system_that_was_made_before_is_taken_as_it_is(tmp_path: Path) -> None:
    disk = replace(disk_of(tmp_path), layout=Layout.RECOVERY)
    make_squashfs(disk.root, tmp_path / "r", FAST, Running(), epoch=EPOCH)
    before = (tmp_path / "r").read_bytes()
    files = MemoryLayer("r", {"recovery.squashfs": before}, EPOCH)
    disk = replace(
        disk, recovery=Tree.of([files], epoch=EPOCH), recovery_origin=Origin(source="dir:r")
    )

    made = write_disk(disk, tmp_path / "x.raw", Format.RAW)

    part = cut(made.path, "recovery", tmp_path / "part")
    assert dump(part, "/cOS/recovery.squashfs", tmp_path / "x").read_bytes() == before
    record = yaml.safe_load(dump(part, "/state.yaml", tmp_path / "record").read_bytes())
    assert record["recovery"]["recovery"]["source"] == "dir:r"
    assert "digest" not in record["recovery"]["recovery"]


def test_systems_keep_acls_and_the_squashed_recovery_is_told_to_lose_them(tmp_path: Path) -> None:
    archives = [write_archive(tmp_path / "root"), write_shared(tmp_path / "shared", ["a"])]
    root = Tree.of([ArchiveLayer(each, Clamp()) for each in archives], epoch=EPOCH)
    heard: list[Event] = []

    disk = replace(disk_of(tmp_path), root=root)
    made = write_disk(disk, tmp_path / "x.raw", Format.RAW, heard.append)

    (warning,) = [each for each in heard if isinstance(each, Noted) and each.warning]
    assert " of srv, srv/a, which a squashfs cannot hold" in warning.message
    state = cut(made.path, "state", tmp_path / "state")
    image = dump(state, "/cOS/passive.img", tmp_path / "image")
    assert "system.posix_acl_access" in run("debugfs", "-R", "ea_list /srv/a", image)
    assert "system.posix_acl_default" in run("debugfs", "-R", "ea_list /srv", image)


def test_nothing_is_told_where_nothing_is_squashed(tmp_path: Path) -> None:
    archives = [write_archive(tmp_path / "root"), write_shared(tmp_path / "shared", ["a"])]
    root = Tree.of([ArchiveLayer(each, Clamp()) for each in archives], epoch=EPOCH)
    disk = replace(disk_of(tmp_path), layout=Layout.RECOVERY)
    make_squashfs(disk.root, tmp_path / "r", FAST, Running(), epoch=EPOCH)
    files = MemoryLayer("r", {"recovery.squashfs": (tmp_path / "r").read_bytes()}, EPOCH)
    heard: list[Event] = []

    disk = replace(disk, root=root, recovery=Tree.of([files], epoch=EPOCH))
    write_disk(disk, tmp_path / "x.raw", Format.RAW, heard.append)

    assert heard == []


def test_a_tree_without_boot_arguments_is_refused(tmp_path: Path) -> None:
    folder = write_tree(tmp_path / "root")
    (folder / "etc/cos/bootargs.cfg").unlink()
    tree = Tree.of([FolderLayer(folder, Clamp())], epoch=EPOCH)

    error = refused(Disk(root=tree, epoch=EPOCH), tmp_path)

    assert str(error) == (
        f"{folder}: /etc/cos/bootargs.cfg is not there"
        " (it has to be the kernel's arguments, from the package system/grub-config)"
    )


def test_a_name_with_a_line_end_is_refused(tmp_path: Path) -> None:
    folder = write_tree(tmp_path / "root")
    (folder / "etc/a\nb").write_text("x")
    tree = Tree.of([FolderLayer(folder, Clamp())], epoch=EPOCH)

    error = refused(Disk(root=tree, squashfs=FAST, epoch=EPOCH), tmp_path)

    assert "a name with a line end cannot be in an image" in str(error)
