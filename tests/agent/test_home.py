"""The script that tells the booted disk from others, on disks of its own, in a namespace."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.agent.life.lab import do, loop_disk
from tests.e2e.own_tree import CHECKOUT

pytestmark = pytest.mark.container

_MODULES = CHECKOUT / "tree/system/immutable-rootfs/files/usr/lib/dracut/modules.d"
HOME = _MODULES / "30cos-immutable-rootfs/cos-home.sh"
LAYOUT = HOME.with_name("cos-mount-layout.sh")
OURS = ("oem", "state", "recovery", "persistent")
DATA = "what the owner has kept"
CUTS = {"gpt": "label: gpt", "dos": "label: dos"}


@dataclass(frozen=True)
class Disk:
    """A disk with our partitions, by their names."""

    device: str

    def part(self, name: str) -> str:
        """The device of a partition."""
        return f"{self.device}p{OURS.index(name) + 1}"


@contextmanager
def made_disk(file: Path, table: str = "gpt", prefix: str = "COS_") -> Iterator[Disk]:
    """Make a disk; the persistent partition has a file of the owner's in it."""
    tree = file.with_name(f"{file.name}.tree")
    tree.mkdir()
    (tree / "mine").write_text(DATA)
    with loop_disk(file, 200) as device:
        lines = [CUTS[table]]
        lines += [f'size={size}MiB{f", name={name}" if table == "gpt" else ""}'
                  for name, size in zip(OURS, (20, 8, 8, 150), strict=True)]  # fmt: skip
        subprocess.run(["sfdisk", "-q", device], input="\n".join(lines), text=True, check=True)
        do("partx", "--update", device)
        disk = Disk(device)
        for name in OURS:
            block = "4096" if name == "persistent" else "1024"
            do("mkfs.ext4", "-q", "-b", block, "-L", f"{prefix}{name.upper()}", "-d", tree,
               disk.part(name))  # fmt: skip
        yield disk
    file.unlink()


@pytest.fixture(params=["gpt", "dos"])
def disks(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Disk, Disk]]:
    """Two disks with the same labels: the one that was booted is the second."""
    with (
        made_disk(tmp_path / "other", request.param) as other,
        made_disk(tmp_path / "ours", request.param) as ours,
    ):
        yield ours, other


def booted(disk: Disk, then: str, name: str = "state", cmdline: str = "quiet") -> str:
    """Run a command line as the initrd of a system that lies on a partition; return all said."""
    place = "/run/initramfs/cos-state" if name == "state" else "/run/initramfs/live"
    program = (
        f"mount -t tmpfs run /run && mkdir -p {place} && mount -o ro {disk.part(name)} {place} &&"
        f" echo '{cmdline}' > /run/cmdline && mount --bind /run/cmdline /proc/cmdline && {then}"
    )
    argv = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", program]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def zero_superblock(device: str) -> None:
    """Overwrite the superblock, and what blkid knows the file system by."""
    do("dd", "if=/dev/zero", f"of={device}", "bs=1k", "seek=1", "count=1", "conv=notrunc")


def content(device: str) -> str:
    """Read the owner's file."""
    return do("debugfs", "-R", "cat mine", device)


def test_partitions_are_those_of_the_disk_that_was_booted(disks: tuple[Disk, Disk]) -> None:
    ours, _ = disks

    for label in ("COS_OEM", "COS_RECOVERY", "COS_PERSISTENT"):
        said = booted(ours, f"sh {HOME} find {label}")
        assert said.split() == [ours.part(label.removeprefix("COS_").lower())]
    said = booted(ours, f"sh {HOME} find COS_PERSISTENT", name="recovery")
    assert said.split() == [ours.part("persistent")]


def test_links_by_label_are_preferred_for_that_disk_until_the_machine_is_off(
    disks: tuple[Disk, Disk],
) -> None:
    ours, _ = disks

    name = ours.device.removeprefix("/dev/")
    said = booted(
        ours,
        f"sh {HOME}; cat /run/udev/rules.d/61-cos-home.rules;"
        f" udevadm --debug test /sys/class/block/{name} 2>&1 | grep 61-cos-home",
    )

    rule = f'SUBSYSTEM=="block", KERNELS=="{name}", OPTIONS+="link_priority=100"\n'
    assert rule in said
    assert "Reading rules file: /run/udev/rules.d/61-cos-home.rules" in said
    assert "61-cos-home.rules:1" not in said, "udev has nothing against it"


def test_a_layout_mounts_the_partition_of_that_disk(
    disks: tuple[Disk, Disk], tmp_path: Path
) -> None:
    ours, _ = disks
    home = tmp_path / "home"
    home.write_text(f'#!/bin/sh\nexec sh {HOME} "$@"\n')
    home.chmod(0o755)
    root = tmp_path / "sysroot"
    for name in ("etc", "usr/local", "oem"):
        (root / name).mkdir(parents=True)
    setting = f"SYSROOT={root} OVERLAY_BASE=/run/overlay OVERLAY=tmpfs:16m RW_PATHS=/etc"
    setting += f" COS_HOME={home} VOLUME_TIMEOUT=0"

    said = booted(
        ours,
        f"mount --bind {root} {root}; {setting} VOLUMES='LABEL=COS_PERSISTENT:/usr/local'"
        f" bash {LAYOUT}; cat {root}/etc/fstab; findmnt -no SOURCE {root}/usr/local",
    )

    assert ours.part("persistent") in said.splitlines()
    assert f"{ours.part('persistent')} /usr/local auto defaults,nofail 0 0" in said


@pytest.mark.parametrize("name", ["persistent", "oem"])
def test_an_overwritten_superblock_is_mended_from_a_copy_and_said_loudly(
    disks: tuple[Disk, Disk], name: str
) -> None:
    ours, other = disks
    device = ours.part(name)
    zero_superblock(device)

    said = booted(ours, f"sh {HOME}")

    assert f"{device} should have the file system COS_{name.upper()}" in said
    assert f"{device} was mended with the copy of its superblock in block" in said
    assert content(device) == DATA
    assert do("blkid", "-p", "-o", "value", "-s", "LABEL", device) == f"COS_{name.upper()}\n"
    do("e2fsck", "-fn", device)
    assert content(other.part(name)) == DATA


def test_what_cannot_be_mended_is_left_as_it_is_and_the_other_disk_is_not_taken(
    disks: tuple[Disk, Disk],
) -> None:
    ours, _ = disks
    device = ours.part("persistent")
    do("dd", "if=/dev/urandom", f"of={device}", "bs=1M", "conv=notrunc", "count=150")
    before = do("sha256sum", device)

    said = booted(ours, f"sh {HOME}; sh {HOME} find COS_PERSISTENT")

    assert f"{device} CANNOT BE MENDED" in said
    assert do("sha256sum", device) == before
    assert device in said.splitlines()


def test_what_has_another_file_system_is_somebodys_and_stays(tmp_path: Path) -> None:
    with made_disk(tmp_path / "disk") as disk:
        do("mkswap", "--force", disk.part("persistent"))

        said = booted(disk, f"sh {HOME}")

        assert "superblock" not in said
        assert "swap" in do("blkid", "-p", disk.part("persistent"))


def test_a_file_system_beside_traces_of_another_is_not_mended(tmp_path: Path) -> None:
    with made_disk(tmp_path / "disk") as disk:
        device = disk.part("persistent")
        with Path(device).open("r+b") as file:
            file.seek(32768)
            file.write(b"\x01CD001\x01")  # of ISO 9660; ext has room for later growth there
        before = do("sha256sum", device)

        said = booted(disk, f"sh {HOME}")

        assert "superblock" not in said
        assert do("sha256sum", device) == before


def test_own_labels_are_those_that_the_kernel_was_told(tmp_path: Path) -> None:
    line = "root=LABEL=MY_ACTIVE rd.cos.statelabel=MY_STATE rd.cos.oemlabel=MY_OEM"
    with made_disk(tmp_path / "disk", prefix="MY_") as disk:
        said = booted(disk, f"sh {HOME} find COS_OEM; sh {HOME} label COS_OEM", cmdline=line)
        assert said.split() == [disk.part("oem"), "MY_OEM"]

        zero_superblock(disk.part("oem"))
        said = booted(disk, f"sh {HOME}", cmdline=line)
        assert do("blkid", "-p", "-o", "value", "-s", "LABEL", disk.part("oem")) == "MY_OEM\n"


def test_a_disk_of_an_installer_is_no_home(tmp_path: Path) -> None:
    with made_disk(tmp_path / "disk", prefix="ANY_") as disk:
        zero_superblock(disk.part("oem"))

        said = booted(disk, f"sh {HOME}; ls /run/udev/rules.d || :")

        assert "superblock" not in said
        assert "61-cos-home.rules" not in said.replace("cannot access", "")
