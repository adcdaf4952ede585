"""The script that puts a root together, on a root and a disk of their own, in a mount namespace."""

import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.own_tree import CHECKOUT

pytestmark = pytest.mark.container

_MODULES = "tree/system/immutable-rootfs/files/usr/lib/dracut/modules.d"
SCRIPT = CHECKOUT / _MODULES / "30cos-immutable-rootfs/cos-mount-layout.sh"
FOLDERS = ("etc/ssh", "root", "home", "opt", "srv", "usr/local", "var", "oem")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[str]:
    """A disk with an empty file system."""
    image = tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(32 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    attach = ["losetup", "--find", "--show", str(image)]
    device = subprocess.run(attach, check=True, capture_output=True, text=True).stdout.strip()
    yield device
    subprocess.run(["losetup", "--detach", device], check=True)


@pytest.fixture
def sysroot(tmp_path: Path) -> Path:
    """A root, which is mounted read-only when the script runs."""
    root = tmp_path / "sysroot"
    for name in FOLDERS:
        (root / name).mkdir(parents=True)
    (root / "etc/ssh/config").write_text("of the image")
    return root


def put_together(root: Path, then: str, **env: str) -> str:
    """Run the script as the initrd does, and a command line after it, in the root; return all said.

    The root and what is mounted on it are gone afterwards.
    """
    base = root.parent / "overlay"
    words = " ".join(f"{name}={shlex.quote(value)}" for name, value in env.items())
    program = (
        f"mount --bind {root} {root} && mount -o remount,bind,ro {root} && cd {root} &&"
        f" SYSROOT={root} OVERLAY_BASE={base} VOLUME_TIMEOUT=0 OVERLAY=tmpfs:16m {words}"
        f" bash {SCRIPT} && cd {root} && {then}"
    )
    argv = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", program]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_what_is_written_is_gone_or_on_the_disk(sysroot: Path, disk: str) -> None:
    volumes = f"{disk}:/usr/local"
    put_together(sysroot, "touch etc/x var/x usr/local/x", VOLUMES=volumes)

    said = put_together(sysroot, "! ls etc/x var/x usr/local/x", VOLUMES=volumes)

    assert "usr/local/x\n" in said
    assert "cannot access 'etc/x'" in said
    assert "cannot access 'var/x'" in said


@pytest.mark.parametrize("bind", ["false", "true"])
def test_paths_that_are_kept_are_on_the_disk_whatever_their_names(
    sysroot: Path, disk: str, bind: str
) -> None:
    layout = {
        "VOLUMES": f"{disk}:/usr/local",
        "PERSISTENT_STATE_PATHS": "/etc/ssh /home /var/lib/mine",
        "PERSISTENT_STATE_BIND": bind,
    }
    said = put_together(
        sysroot, "touch etc/ssh/x home/x var/lib/mine/x etc/x && cat etc/fstab", **layout
    )
    assert "warning" not in said
    for path in ("/etc/ssh", "/home", "/var/lib/mine"):
        assert f" {path} " in said, "in the table of file systems"

    seen = put_together(sysroot, "cat etc/ssh/config; ls etc/ssh home var/lib/mine etc", **layout)
    assert "of the image" in seen
    assert seen.count("x\n") == 3


def test_half_a_copy_is_never_taken_for_the_whole(sysroot: Path, disk: str) -> None:
    layout = {"VOLUMES": f"{disk}:/usr/local", "PERSISTENT_STATE_PATHS": "/etc/ssh"}
    put_together(sysroot, "mkdir -p usr/local/.state/etc-ssh.bind.new/half", **layout)

    seen = put_together(sysroot, "ls etc/ssh", **layout, PERSISTENT_STATE_BIND="true")

    assert ("config" in seen, "half" in seen) == (True, False)


def test_a_disk_that_is_missing_is_told_and_the_boot_goes_on_without_it(sysroot: Path) -> None:
    said = put_together(sysroot, "cat etc/fstab", VOLUMES="/dev/nonesuch:/oem")

    assert "warning: /dev/nonesuch is not there, so /oem is not mounted" in said
    assert "/dev/nonesuch /oem auto defaults,nofail 0 0\n" in said


def test_a_label_that_no_disk_has_is_waited_for_by_its_name(sysroot: Path) -> None:
    said = put_together(sysroot, "cat etc/fstab", VOLUMES="LABEL=NONE:/oem")

    assert "warning: /dev/disk/by-label/NONE is not there, so /oem is not mounted" in said
    assert "/dev/disk/by-label/NONE /oem auto defaults,nofail 0 0\n" in said


def test_a_path_that_cannot_be_kept_is_not_in_the_table(sysroot: Path) -> None:
    said = put_together(
        sysroot, "cat etc/fstab", PERSISTENT_STATE_PATHS="/home",
        PERSISTENT_STATE_TARGET="/nowhere/.state",
    )  # fmt: skip

    assert "/home stays read-only" in said
    assert " /home overlay" not in said


def test_what_is_written_has_the_room_that_the_layout_says(sysroot: Path) -> None:
    said = put_together(
        sysroot, "df --output=size -k ../overlay; cat etc/fstab", OVERLAY="tmpfs:8m"
    )

    assert " 8192\n" in said
    assert "tmpfs,size=8m" not in said
    assert " tmpfs defaults,size=8m 0 0\n" in said


def test_paths_that_can_be_written_to_are_chosen_and_may_be_none(sysroot: Path) -> None:
    said = put_together(sysroot, "touch opt/x && ! touch srv/x", RW_PATHS="/etc /opt")
    assert "srv/x" in said
    assert "Read-only file system" in said

    said = put_together(sysroot, "true", RW_PATHS="/etc", MERGE="false")
    assert "warning" not in said


def test_mounts_of_the_kernel_count_unless_the_layout_says_otherwise(
    sysroot: Path, disk: str
) -> None:
    layout = {"cos_mounts": f"{disk}:/opt /dev/nonesuch:/srv", "VOLUMES": f"{disk}:/srv"}

    merged = put_together(sysroot, "cat etc/fstab", **layout)
    alone = put_together(sysroot, "cat etc/fstab", **layout, MERGE="false")

    for path in ("/opt", "/srv"):
        assert f"{disk} {path} auto defaults,nofail 0 0\n" in merged
    assert "nonesuch" not in merged, "the layout's word for a path wins"
    assert f"{disk} /opt " not in alone
    assert f"{disk} /srv " in alone


def test_the_root_stays_read_only_unless_the_layout_says_otherwise(sysroot: Path) -> None:
    assert "Read-only file system" in put_together(sysroot, "! touch x")

    said = put_together(sysroot, "touch x && cat etc/fstab", DEBUG_RW="true")
    assert " / auto rw 0 0\n" in said


def damage(disk: str, start: int, size: int) -> None:
    """Overwrite some of a disk with zeroes."""
    with Path(disk).open("r+b") as device:
        device.seek(start)
        device.write(bytes(size))
    subprocess.run(["blockdev", "--flushbufs", disk], check=True)


def test_a_damaged_file_system_is_mended_before_it_is_mounted(sysroot: Path, disk: str) -> None:
    damage(disk, 2048, 2048)

    said = put_together(sysroot, "touch usr/local/x", VOLUMES=f"{disk}:/usr/local")

    assert "trying backup blocks..." in said
    assert "FILE SYSTEM WAS MODIFIED" in said
    assert "cannot be mounted" not in said
