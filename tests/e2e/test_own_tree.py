"""Our own tree: every flavour loads and resolves, and the Debian one builds into a whole system."""

import re
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import zstandard

from compiler.archive import Clamp, Kind
from compiler.archive.scan import entries_of
from compiler.artifact.layered import LayeredRoot
from compiler.engine.overlay import OverlayEngine
from compiler.processors import AMD64
from compiler.secureboot import chain_places, parse_core
from compiler.store.local import LocalStore
from compiler.tree import load_tree
from tests.e2e.own_tree import CHECKOUT, BuiltTree, cos, values

FLAVOURS = ("debian", "fedora", "opensuse", "ubuntu")
SMALL = (
    "system/boot-assessment",
    "system/cloud-config",
    "system/cos-agent",
    "system/cos-features",
    "system/cos-setup",
    "system/grub-config",
    "system/immutable-rootfs",
    "system/selinux-policies",
    "utils/installer",
)
ARTIFACTS = {
    "base-distro-0.20261123",
    "boot-assessment-system-0.1.0",
    "cloud-config-system-0.1.0",
    "cos-agent-system-0.1.0",
    "cos-container-system-0.1.0",
    "cos-features-system-0.1.0",
    "cos-img-recovery-0.1.0",
    "cos-recovery-0.1.0",
    "cos-root-system-0.1.0",
    "cos-setup-system-0.1.0",
    "cos-system-0.1.0",
    "grub-config-system-0.1.0",
    "immutable-rootfs-system-0.1.0",
    "installer-utils-0.1.0",
    "selinux-policies-system-0.1.0",
}


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_every_flavour_renders_and_resolves_without_a_doubt(flavour: str) -> None:
    done = cos("tree", "validate", "--tree", "tree", "--values", values(flavour))

    said = "15 packages checked: 0 errors, 0 warnings\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")


@dataclass(frozen=True)
class Root:
    """The members of a root tree by path, and the contents of some small ones."""

    members: Mapping[str, tarfile.TarInfo] = field(repr=False)
    texts: Mapping[str, str] = field(repr=False)
    initrd: bytes = field(repr=False)


@pytest.fixture(scope="session")
def root(own_tree: BuiltTree) -> Root:
    members, texts, initrd = {}, {}, b""
    for archive, member in own_tree.members("cos-system-0.1.0"):
        members[member.name] = member
        if member.name.startswith("boot/initrd-"):
            initrd = _content(archive, member)
        elif member.name in {
            "etc/os-release",
            "etc/machine-id",
            "etc/shadow",
            "etc/locale.conf",
            "etc/cos/bootargs.cfg",
        }:
            texts[member.name] = _content(archive, member).decode()
    return Root(members, texts, initrd)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None
    return file.read()


def cpio_members(data: bytes) -> dict[str, bytes]:
    """Read a cpio archive of the `newc` form (cpio(5)): path to content."""
    found, at = {}, 0
    while data[at : at + 6] == b"070701":
        size = int(data[at + 54 : at + 62], 16)
        name_size = int(data[at + 94 : at + 102], 16)
        name = data[at + 110 : at + 110 + name_size - 1].decode()
        start = at + (110 + name_size + 3) // 4 * 4
        if name == "TRAILER!!!":
            break
        found[name] = data[start : start + size]
        at = start + (size + 3) // 4 * 4
    return found


@pytest.mark.container
@pytest.mark.xdist_group("own-tree")
def test_every_package_of_the_tree_becomes_an_artifact_in_a_repository(own_tree: BuiltTree) -> None:
    names = {path.name for path in own_tree.folder.iterdir()}

    assert {each for each in ARTIFACTS if f"{each}.package.tar.zst" in names} == ARTIFACTS
    assert {"repository.yaml", "tree.tar.zst", "repository.meta.yaml.tar.zst"} <= names


@pytest.mark.container
@pytest.mark.xdist_group("own-tree")
def test_a_second_build_of_the_tree_does_nothing(own_tree: BuiltTree) -> None:
    assert "nothing to do: 15 packages are built and unchanged" in own_tree.second


@pytest.mark.container
@pytest.mark.xdist_group("own-tree")
def test_the_system_is_a_whole_root_with_kernel_and_initrd(root: Root) -> None:
    kernel, initrd = root.members["boot/vmlinuz"], root.members["boot/initrd"]
    version = kernel.linkname.removeprefix("vmlinuz-")

    assert initrd.linkname == f"initrd-{version}"
    assert {f"boot/vmlinuz-{version}", f"boot/initrd-{version}"} <= root.members.keys()
    assert f"usr/lib/modules/{version}/modules.dep" in root.members
    assert root.members["usr/sbin/init"].linkname.endswith("systemd")
    for path in ("usr/sbin/sshd", "usr/bin/python3", "usr/sbin/mkfs.ext4", "usr/bin/rsync"):
        assert path in root.members


@pytest.mark.container
@pytest.mark.xdist_group("own-tree")
def test_the_system_is_named_after_its_package(root: Root) -> None:
    assert root.texts["etc/os-release"].splitlines() == [
        'NAME="cOS"',
        'ID="cos"',
        'ID_LIKE="debian"',
        'VERSION="0.1.0"',
        'VERSION_ID="0.1.0"',
        'PRETTY_NAME="cOS v0.1.0"',
        'ANSI_COLOR="0;32"',
    ]


@pytest.mark.container
@pytest.mark.xdist_group("own-tree")
def test_the_system_keeps_the_folders_that_are_mounted_over_but_nothing_in_them(root: Root) -> None:
    folders = ("dev", "proc", "run", "sys", "tmp")

    assert [each for each in folders if each in root.members] == list(folders)
    assert [path for path in root.members if path.startswith(tuple(f"{f}/" for f in folders))] == []
    assert oct(root.members["tmp"].mode) == "0o1777"


@pytest.mark.container
@pytest.mark.xdist_group("own-tree")
def test_the_configuration_is_readable_by_root_alone(root: Root) -> None:
    files = [member for path, member in root.members.items() if path.startswith("system/oem/")]

    assert [Path(each.name).name for each in files] == [
        "00_rootfs.yaml",
        "01_defaults.yaml",
        "02_upgrades.yaml",
        "03_branding.yaml",
        "04_accounting.yaml",
        "04_autologin.yaml",
        "05_network.yaml",
        "06_recovery.yaml",
        "07_live.yaml",
        "08_boot_assessment.yaml",
        "09_cloud.yaml",
    ]
    assert {(each.mode, each.uid, each.gid) for each in files} == {(0o600, 0, 0)}


@pytest.mark.container
@pytest.mark.xdist_group("own-tree")
def test_nothing_in_the_system_belongs_to_one_machine_or_to_the_build(root: Root) -> None:
    left = [
        path
        for path, member in root.members.items()
        if path.startswith(
            ("etc/ssh/ssh_host_", "etc/.resolv.conf", "luetbuild", "var/lib/apt/lists/")
        )
        or (path.startswith(("var/log/", "var/tmp/")) and not member.isdir())
        or path in {"etc/hostname", "etc/hosts", "etc/shadow-", "var/lib/systemd/random-seed"}
    ]

    assert left == []
    assert root.texts["etc/machine-id"] == "uninitialized\n"
    assert {line.split(":")[2] for line in root.texts["etc/shadow"].splitlines()} == {""}


@pytest.mark.container
@pytest.mark.xdist_group("own-tree")
def test_a_squashfs_can_hold_all_attributes_of_the_system(root: Root) -> None:
    names = {
        (path, key.removeprefix("SCHILY.xattr."))
        for path, member in root.members.items()
        for key in member.pax_headers
        if key.startswith("SCHILY.xattr.")
    }

    assert [each for each in names if not each[1].startswith(("security.", "user."))] == []


@pytest.mark.container
@pytest.mark.xdist_group("own-tree")
def test_the_initrd_has_the_immutable_root_the_first_stages_and_the_live_system(root: Root) -> None:
    with zstandard.ZstdDecompressor().stream_reader(root.initrd) as content:
        members = cpio_members(content.read())
    units = "usr/lib/systemd/system"

    assert {
        "usr/lib/systemd/system-generators/dracut-cos-generator",
        "usr/lib/systemd/system-generators/dracut-dmsquash-generator",
        "usr/sbin/cos-mount-layout",
        "usr/sbin/cos-loop-img",
        f"{units}/cos-immutable-rootfs.service",
        f"{units}/initrd-fs.target.requires/cos-immutable-rootfs.service",
        f"{units}/cos-setup-rootfs.service",
        f"{units}/cos-setup-initramfs.service",
        "usr/sbin/cos-stage-rootfs",
        "etc/systemd/system/initrd-fs.target.wants/cos-setup-rootfs.service",
        "etc/systemd/system/initrd.target.wants/cos-setup-initramfs.service",
    } <= members.keys()
    hosts = b"127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
    assert members["etc/hosts"] == hosts


@pytest.mark.container
@pytest.mark.xdist_group("own-tree")
def test_the_initrd_finds_disks_of_machines_and_clouds(root: Root) -> None:
    with zstandard.ZstdDecompressor().stream_reader(root.initrd) as content:
        names = {
            path.rpartition("/")[2].partition(".ko")[0] for path in cpio_members(content.read())
        }

    assert {"virtio_blk", "virtio_scsi", "ahci", "nvme", "usb-storage", "uas", "sd_mod", "sr_mod",
            "overlay", "squashfs", "isofs", "vfat", "loop", "softdog"} <= names  # fmt: skip


@pytest.mark.container
@pytest.mark.xdist_group("own-tree")
def test_the_names_that_people_know_are_commands(root: Root) -> None:
    names = ("setup", "installer", "upgrade", "reset", "deploy", "rebrand", "feature")
    links = {
        path: root.members[f"usr/bin/{path}"].linkname
        for path in (*(f"cos-{name}" for name in names), "suc-upgrade", "yip")
    }

    assert set(links.values()) == {"cos-agent"}
    assert root.members["usr/bin/cos-agent"].mode == 0o755
    assert root.members["usr/bin/grub2-editenv"].linkname == "grub-editenv"


@pytest.mark.container
@pytest.mark.xdist_group("own-tree")
def test_what_installs_and_repairs_machines_is_there(root: Root) -> None:
    programs = {path.rpartition("/")[2] for path in root.members if "bin/" in path}

    assert {"sgdisk", "sfdisk", "parted", "partx", "blkid", "lsblk", "losetup", "wipefs", "udevadm",
            "mkfs.ext2", "mkfs.ext4", "mkfs.fat", "tune2fs", "e2fsck", "resize2fs", "mksquashfs",
            "unsquashfs", "grub-install", "efibootmgr", "rsync", "curl", "dracut", "chroot"
            } <= programs  # fmt: skip
    for target in ("i386-pc", "x86_64-efi"):
        assert f"usr/lib/grub/{target}/normal.mod" in root.members


@pytest.mark.container
@pytest.mark.xdist_group("own-tree")
def test_secure_boot_finds_signed_programs_and_a_grub_that_has_what_our_menus_need(
    own_tree: BuiltTree, tmp_path: Path
) -> None:
    shim, grub, manager = (places[0] for places in chain_places(AMD64))
    signers = {
        shim: "Microsoft Corporation UEFI CA 2011",
        grub: "Debian Secure Boot CA",
        manager: "Debian Secure Boot CA",
    }
    found = {}
    for archive, member in own_tree.members("cos-system-0.1.0"):
        path = f"/{member.name}"
        if path in signers or path.startswith("/boot/vmlinuz-"):
            content = archive.extractfile(member)
            assert content is not None
            found[path] = content.read()

    kernel = next(path for path in found if path.startswith("/boot/"))
    core = parse_core(found[grub])
    assert (core.prefix, core.lacking) == ("/EFI/debian", frozenset())
    for path, signer in {**signers, kernel: "Debian Secure Boot CA"}.items():
        (tmp_path / "program").write_bytes(found[path])
        listed = subprocess.run(["sbverify", "--list", tmp_path / "program"], check=True,
                                capture_output=True, text=True)  # fmt: skip
        assert signer in listed.stdout, path


@pytest.mark.container
@pytest.mark.xdist_group("own-tree")
def test_every_stage_of_a_boot_is_started(root: Root) -> None:
    started = {
        path.removeprefix("etc/systemd/system/")
        for path in root.members
        if ".wants/cos-" in path and path.startswith("etc/")
    }

    assert started == {
        "initrd-fs.target.wants/cos-setup-rootfs.service",
        "initrd.target.wants/cos-setup-initramfs.service",
        "sysinit.target.wants/cos-setup-fs.service",
        "multi-user.target.wants/cos-setup-boot.service",
        "multi-user.target.wants/cos-setup-network.service",
        "multi-user.target.wants/cos-setup-reconcile.timer",
        "sysinit.target.wants/cos-boot-assessment.service",
        "sysinit.target.wants/cos-boot-guard.timer",
    }
    assert root.members["etc/systemd/system/default.target"].linkname.endswith("multi-user.target")


@pytest.mark.container
@pytest.mark.xdist_group("own-tree")
def test_language_and_time_are_the_defaults_and_boot_arguments_have_no_mark_left(
    root: Root,
) -> None:
    assert root.members["etc/localtime"].linkname.endswith("/UTC")
    assert root.texts["etc/locale.conf"] == "LANG=en_US.UTF-8\n"
    arguments = root.texts["etc/cos/bootargs.cfg"]
    assert re.findall(":[A-Z_]+:", arguments) == []
    assert "console=tty1 console=ttyS0 root=LABEL=${label} cos-img/filename=${img} panic=5" in (
        arguments
    )
    assert "root=live:${place} rd.live.dir=/ rd.live.squashimg=${img} panic=5" in arguments


@pytest.mark.container
@pytest.mark.xdist_group("own-tree")
def test_derivatives_can_make_an_initrd(root: Root) -> None:
    assert root.members["usr/libexec/cos/make-initrd"].mode == 0o755
    defaults = "usr/share/cos/defaults"
    assert root.members[f"{defaults}/usr/bin/cos-setup"].linkname == "cos-agent"
    ours = [path for path in root.members if path.startswith(f"{defaults}/")]
    assert {path.removeprefix(f"{defaults}/") for path in ours} <= set(root.members)
    assert {f"{defaults}/etc/cos/grub.cfg", f"{defaults}/usr/libexec/cos/make-initrd",
            f"{defaults}/system/oem/00_rootfs.yaml"} <= set(ours)  # fmt: skip


@pytest.mark.container
@pytest.mark.xdist_group("own-tree")
def test_the_container_image_leaves_out_what_an_engine_brings(own_tree: BuiltTree) -> None:
    names = {
        member.name.split("/")[0] for _, member in own_tree.members("cos-container-system-0.1.0")
    }

    assert names.isdisjoint({"dev", "proc", "run", "sys", "tmp", "luetbuild"})
    assert {"boot", "etc", "usr", "var"} <= names


@pytest.mark.container
@pytest.mark.xdist_group("own-tree")
def test_the_recovery_system_is_one_squashed_file(own_tree: BuiltTree) -> None:
    found = [
        (member.name, _content(archive, member)[:4] if member.isfile() else b"")
        for archive, member in own_tree.members("cos-img-recovery-0.1.0")
    ]

    assert found == [("recovery.squashfs", b"hsqs")]


@pytest.mark.container
@pytest.mark.xdist_group("own-tree")
def test_building_the_small_packages_again_gives_the_same_bytes(own_tree: BuiltTree) -> None:
    flags = ("--tree", "tree", "--values", values("debian"), "--destination", str(own_tree.folder))

    done = cos("build", "--check", *flags, "--compression", "zstd", *SMALL)

    assert (done.returncode, done.stderr if done.returncode else "") == (0, "")


def test_every_package_has_a_description_and_a_license() -> None:
    tree = load_tree([CHECKOUT / "tree"])

    bare = [
        str(package)
        for package, spec in tree.packages.items()
        if not (spec.definition.description and spec.definition.license)
    ]

    assert bare == []


@pytest.mark.container
@pytest.mark.xdist_group("own-tree")
def test_the_lists_of_the_layers_show_what_an_overlay_of_them_shows(own_tree: BuiltTree) -> None:
    assert own_tree.archive("cos-system-0.1.0").exists()
    clamp = Clamp(0, 2**62)
    with LocalStore(CHECKOUT / ".cos" / "store") as store:
        engine = OverlayEngine(store.layer_path, store.scratch, store.root / "caches")
        record = store.latest("system/cos")
        assert record is not None
        stack = (*record.root, *record.layers)
        layers = [(store.layer_path(each), store.entries(each)) for each in stack]
        listed = [each._replace(digest="") for each in LayeredRoot(layers, clamp=clamp).below("")]
        with engine.mounted(stack) as root:
            mounted = entries_of(root, clamp)

    assert [each for each in listed if each.kind is not Kind.HARDLINK] == [
        each._replace(digest="") for each in mounted if each.kind is not Kind.HARDLINK
    ]
    assert [each.path for each in listed] == [each.path for each in mounted]
