"""Disks that were built, not installed: a whole one, and one that completes itself."""

import json
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.own_tree import cos
from tests.vm.conftest import Boot
from tests.vm.machine import BOOT, Hardware, Machine
from tests.vm.systems import STATE, booted, version
from tests.vm.world import DISK, QUICK_SQUASH, VERSION, World, make_disk, must, wait_well

pytestmark = pytest.mark.vm


def test_a_whole_disk_boots_by_uefi_and_grows_beside_another_that_is_installed(
    world: World, switch_on: Boot, tmp_path: Path
) -> None:
    disk, other = built_disk(world, tmp_path, "full"), tmp_path / "other.qcow2"
    make_disk(other, world.installed().before)
    machine = switch_on(Hardware(drives=[disk, other], efi=True))

    machine.wait_up()

    assert (booted(machine), version(machine)) == ("active", VERSION)
    for place in (STATE, "/oem", "/usr/local"):
        assert machine.check(f"findmnt -no SOURCE {place}").startswith("/dev/vda")
    assert len(machine.check("lsblk -rno LABEL | grep COS_STATE").split()) == 2
    machine.check("test -d /sys/firmware/efi")
    assert machine.check("systemctl --failed --no-legend") == ""
    assert free_space(machine) < 2, "MiB that no partition has"
    assert json.loads(machine.check("cos-agent status --output json"))["images"]["active"]["source"]


@pytest.mark.long
def test_a_disk_with_a_recovery_system_completes_itself(
    world: World, switch_on: Boot, tmp_path: Path
) -> None:
    disk = built_disk(world, tmp_path, "recovery")
    machine = switch_on(Hardware(drives=[disk]))

    machine.wait_console("is well, and marked good", 4 * BOOT)

    assert (booted(machine), version(machine)) == ("active", VERSION)
    assert free_space(machine) < 2, "MiB that no partition has"
    assert machine.run("ls /oem/05_first_boot.yaml").code != 0
    labels = machine.check("lsblk -no LABEL /dev/vda").split()
    assert {"COS_OEM", "COS_STATE", "COS_RECOVERY", "COS_PERSISTENT"} <= set(labels)


@pytest.mark.long
def test_what_an_ova_describes_boots(world: World, switch_on: Boot, tmp_path: Path) -> None:
    with packed_disk(world, tmp_path, "ova") as archive:
        names = archive.getnames()
        archive.extractall(tmp_path, filter="data")
    disk = tmp_path / "disk.qcow2"
    (packed,) = [tmp_path / name for name in names if name.endswith(".vmdk")]
    convert = ["qemu-img", "convert", "-f", "vmdk", "-O", "qcow2", str(packed), str(disk)]
    subprocess.run(convert, check=True)
    machine = switch_on(Hardware(drives=[disk], paravirtual=False, processors=2, memory=2048))

    wait_well(machine)

    assert (booted(machine), version(machine)) == ("active", VERSION)
    assert machine.check("findmnt -no SOURCE /oem").startswith("/dev/sda")


@pytest.mark.long
def test_a_box_boots_and_has_the_user_that_vagrant_logs_in_as(
    world: World, switch_on: Boot, tmp_path: Path
) -> None:
    with packed_disk(world, tmp_path, "vagrant") as archive:
        archive.extractall(tmp_path, filter="data")
    about = json.loads((tmp_path / "metadata.json").read_text())
    disk = tmp_path / "disk.qcow2"
    (tmp_path / "box.img").rename(disk)
    machine = switch_on(Hardware(drives=[disk]))

    wait_well(machine)

    assert about["provider"] == "libvirt"
    assert (booted(machine), version(machine)) == ("active", VERSION)
    assert machine.check("su vagrant -c 'id -un; pwd'").split()[0] == "vagrant"


@contextmanager
def packed_disk(world: World, folder: Path, form: str) -> Iterator[tarfile.TarFile]:
    """Make a disk that is packed in an archive, and open that."""
    out = folder / "out"
    must(cos("disk", "--local", world.packages, "--output", out, "--name", "it", "--no-date",
             "--format", form, "--layout", "full", *QUICK_SQUASH,
             "specs/images/disk.yaml"))  # fmt: skip
    (made,) = [path for path in out.iterdir() if path.suffix != ".sha256"]
    with tarfile.open(made) as archive:
        yield archive


def built_disk(world: World, folder: Path, layout: str) -> Path:
    """Make a disk of a layout, as large as the disks of machines are."""

    def build(disk: Path) -> None:
        out = disk.with_suffix(".out")
        must(cos("disk", "--local", world.packages, "--output", out, "--name", "it", "--no-date",
                 "--format", "qcow2", "--layout", layout, *QUICK_SQUASH,
                 "specs/images/disk.yaml"))  # fmt: skip
        (out / "it.qcow2").rename(disk)

    disk = folder / "disk.qcow2"
    make_disk(disk, world.once(f"disk-{layout}.qcow2", build))
    subprocess.run(["qemu-img", "resize", "-q", str(disk), DISK], check=True)
    return disk


def free_space(machine: Machine) -> int:
    """Say how many MiB of the disk belong to no partition."""
    said = machine.check("sfdisk --list-free --bytes /dev/vda | head -n 1")
    return int(said.split(",")[1].split()[0]) >> 20
