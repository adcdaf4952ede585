"""What systemd is told in the initrd: the mounts of the root and of the owner's partition."""

import subprocess
from pathlib import Path

import pytest

from tests.e2e.own_tree import CHECKOUT

_MODULES = "tree/system/immutable-rootfs/files/usr/lib/dracut/modules.d"
SCRIPT = CHECKOUT / _MODULES / "30cos-immutable-rootfs/cos-generator.sh"
IMAGE = "root=LABEL=COS_ACTIVE cos-img/filename=/cOS/active.img"

DRACUT = """
getarg() {
    found=1
    for word in $CMDLINE; do
        case "$word" in "$1"*) value=${word#"$1"}; found=0 ;; esac
    done
    [ $found = 0 ] && echo "$value"
    return $found
}
getargs() { for word in $CMDLINE; do case "$word" in "$1"*) echo "${word#"$1"}" ;; esac; done; }
getargbool() { for word in $CMDLINE; do [ "$word" != "$2" ] || return 0; done; return 1; }
"""
"""What dracut-lib.sh has of these, for a command line without quotes (dracut.modules(7))."""


def generated(folder: Path, cmdline: str) -> dict[str, str]:
    """Run the generator as systemd does; returns what it wrote, links as what they lead to."""
    units = folder / "units"
    units.mkdir()
    program = f"{DRACUT}\nset -- {units}\n. {SCRIPT}"
    subprocess.run(["sh", "-c", program], env={"CMDLINE": cmdline, "PATH": "/usr/bin:/bin"},
                   check=True)  # fmt: skip
    return {
        str(path.relative_to(units)): f"-> {path.readlink()}"
        if path.is_symlink()
        else path.read_text()
        for path in sorted(units.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def test_the_file_system_in_the_image_is_the_root_and_nobody_writes_to_it(tmp_path: Path) -> None:
    units = generated(tmp_path, IMAGE)

    assert (
        "What=/dev/disk/by-label/COS_ACTIVE\nWhere=/sysroot\nOptions=ro\n"
        in (units["sysroot.mount"])
    )
    assert units["initrd-root-fs.target.requires/sysroot.mount"] == "-> ../sysroot.mount"


def test_whoever_looks_for_faults_may_write(tmp_path: Path) -> None:
    units = generated(tmp_path, f"{IMAGE} rd.cos.debugrw")

    assert "Options=rw\n" in units["sysroot.mount"]
    assert (
        'Environment="cos_root_perm=rw"' in (units["cos-immutable-rootfs.service.d/override.conf"])
    )


@pytest.mark.parametrize("cmdline", ["root=live:LABEL=COS_RECOVERY", "root=LABEL=X", "quiet"])
def test_a_root_that_is_in_no_image_is_left_to_others(tmp_path: Path, cmdline: str) -> None:
    units = generated(tmp_path, cmdline)

    assert "sysroot.mount" not in units
    assert "oem.mount" in units


def test_live_systems_get_nothing(tmp_path: Path) -> None:
    assert generated(tmp_path, f"{IMAGE} rd.cos.disable") == {}


def test_the_owners_partition_is_waited_for_and_ends_no_boot(tmp_path: Path) -> None:
    units = generated(tmp_path, IMAGE)

    device = r"dev-disk-by\x2dlabel-COS_OEM.device"
    assert units[f"{device}.d/50-cos-timeout.conf"] == (
        "[Unit]\nJobRunningTimeoutSec=120\nJobTimeoutSec=120\n"
    )
    assert "What=/dev/disk/by-label/COS_OEM\nWhere=/oem\n" in units["oem.mount"]
    assert units["cos-setup-rootfs.service.wants/oem.mount"] == "-> ../oem.mount"
    assert f"initrd-root-fs.target.wants/{device}" in units
    assert f"initrd-root-fs.target.requires/{device}" not in units


def test_its_label_and_the_waiting_are_chosen_on_the_command_line(tmp_path: Path) -> None:
    units = generated(tmp_path, f"{IMAGE} rd.cos.oemlabel=MINE rd.cos.oemtimeout=7")

    assert "What=/dev/disk/by-label/MINE\n" in units["oem.mount"]
    assert r"dev-disk-by\x2dlabel-MINE.device.d/50-cos-timeout.conf" in units
    timeout = units[r"dev-disk-by\x2dlabel-MINE.device.d/50-cos-timeout.conf"]
    assert "JobTimeoutSec=7\n" in timeout


def test_overlays_and_further_mounts_reach_the_script_that_mounts_them(tmp_path: Path) -> None:
    cmdline = f"{IMAGE} rd.cos.overlay=tmpfs:33% rd.cos.mount=LABEL=A:/a rd.cos.mount=UUID=1-2:/b"

    told = generated(tmp_path, cmdline)["cos-immutable-rootfs.service.d/override.conf"]

    assert 'Environment="cos_overlay=tmpfs:33%%"' in told
    assert 'Environment="cos_mounts=LABEL=A:/a UUID=1-2:/b "' in told
    assert "EnvironmentFile=-/run/cos/cos-layout.env" in told
