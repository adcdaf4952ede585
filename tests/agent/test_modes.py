"""What our own cloud-config does: marks that say which system runs, and what a cloud said."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.agent.scratch import make_root, put

OEM = Path(__file__).parents[2] / "tree/system/cloud-config/files/system/oem"
FEATURES = Path(__file__).parents[2] / "tree/system/cos-features/files/system/features"
FILES = ("06_recovery.yaml", "07_live.yaml", "08_boot_assessment.yaml")


@pytest.mark.parametrize(
    ("line", "marks"),
    [
        ("root=LABEL=COS_ACTIVE cos-img/filename=/cOS/active.img cos.boot_try", {"active_mode"}),
        (
            "root=LABEL=COS_PASSIVE cos-img/filename=/cOS/passive.img upgrade_failure",
            {"passive_mode", "upgrade_failure"},
        ),
        ("root=LABEL=COS_PASSIVE cos-img/filename=/cOS/passive.img", {"passive_mode"}),
        (
            "root=LABEL=A cos-img/filename=/cOS/snapshot-3.img rd.cos.recoverylabel=COS_RECOVERY_2",
            {"passive_mode"},
        ),
        (
            "root=live:LABEL=COS_RECOVERY rd.live.squashimg=/cOS/recovery.squashfs",
            {"recovery_mode"},
        ),
        (
            "root=live:UUID=1-2 rd.live.squashimg=/cOS/recovery.squashfs rd.cos.recoverylabel=MINE",
            {"recovery_mode"},
        ),
        ("root=LABEL=A cos-img/filename=/cOS/recovery.img", {"recovery_mode"}),
        (
            "root=LABEL=A cos-img/filename=/cOS/active.img rd.cos.recoverylabel=MY_COS_RECOVERY",
            {"active_mode"},
        ),
        ("cdroot root=live:CDLABEL=COS_LIVE rd.cos.disable", {"live_mode"}),
    ],
)
def test_a_system_leaves_a_mark_that_says_which_it_is(
    line: str, marks: set[str], tmp_path: Path
) -> None:
    root = make_root(tmp_path / "root")
    put(root, "/proc/cmdline", {"content": line})
    put(root, "/bin/blkid", {"content": "#!/bin/sh\nexit 2\n", "mode": "0755"})
    command = [sys.executable, "-m", "compiler.agent", "run-stage", "rootfs.before"]

    done = subprocess.run(
        [*command, "--root", root, *(OEM / name for name in FILES)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    found = {path.name: path.read_text() for path in (root / "run/cos").iterdir()}
    assert found == dict.fromkeys(marks, "1")


def test_what_the_cloud_said_in_the_initrd_counts_in_the_system(tmp_path: Path) -> None:
    root = make_root(tmp_path / "root")
    put(root, "/run/config/hostname", {"content": "web.example.org"})
    put(
        root, "/run/config/ssh/authorized_keys", {"content": "ssh-ed25519 AAAA me\nssh-rsa B you\n"}
    )
    put(root, "/root/.ssh/authorized_keys", {"content": "ssh-rsa B you\n"})
    command = [sys.executable, "-m", "compiler.agent", "run-stage", "initramfs"]

    for _ in range(2):
        argv = [*command, "--root", str(root), str(OEM / "09_cloud.yaml")]
        subprocess.run(argv, check=True, capture_output=True)

    assert (root / "etc/hostname").read_text().strip() == "web"
    keys = root / "root/.ssh/authorized_keys"
    assert keys.read_text() == "ssh-rsa B you\nssh-ed25519 AAAA me\n"


@pytest.mark.parametrize(
    ("line", "is_asked"),
    [
        ("cdroot root=live:CDLABEL=COS_LIVE rd.cos.disable", False),
        ("cdroot rd.cos.disable cos.autologin", True),
        ("cos.autologin=true quiet", True),
        ("cos.autologin=false", False),
        ("xcos.autologin cos.autologins cosXautologin", False),
    ],
)
def test_root_is_logged_in_on_consoles_only_if_the_command_line_asks_for_it(
    line: str, *, is_asked: bool, tmp_path: Path
) -> None:
    assert bool(logged_in(tmp_path, line)) == is_asked


def test_the_feature_logs_root_in_on_all_consoles(tmp_path: Path) -> None:
    found = logged_in(tmp_path, "quiet", FEATURES / "autologin.yaml")

    assert set(found) == {"getty@.service.d", "serial-getty@.service.d"}
    for text in found.values():
        first, second, third = text.splitlines()
        assert (first, second) == ("[Service]", "ExecStart=")
        assert third.startswith("ExecStart=-/sbin/agetty --autologin root ")


def logged_in(folder: Path, line: str, *more: Path) -> dict[str, str]:
    """Run the stages of an initrd; return what is put over units of consoles, by folder."""
    root = make_root(folder / "root")
    put(root, "/proc/cmdline", {"content": line})
    for stage in ("initramfs.before", "initramfs"):
        command = [sys.executable, "-m", "compiler.agent", "run-stage", stage, "--root", str(root)]
        done = subprocess.run(
            [*command, OEM / "04_autologin.yaml", *more], capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
    files = (root / "run/systemd/system").rglob("50-cos-autologin.conf")
    return {path.parent.name: path.read_text() for path in files}
