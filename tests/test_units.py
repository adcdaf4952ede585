"""The units of a system: systemd takes them, and they run the stages when it says in the docs."""

import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
PROGRAMS = (
    "usr/bin/cos-setup", "usr/bin/cos-agent", "usr/bin/systemd-inhibit", "usr/bin/systemctl",
    "bin/echo", "sbin/cos-stage-rootfs", "sbin/cos-mount-layout", "sbin/cos-home",
)  # fmt: skip
"""What units start; that it is there belongs to tests of the whole tree."""
KINDS = {".service", ".timer", ".target", ".mount"}


def ours() -> list[Path]:
    """List the units of the tree."""
    return sorted(each for each in (CHECKOUT / "tree").rglob("*") if each.suffix in KINDS)


class Unit(ConfigParser):
    """A unit whose keys keep their letters, and stand once."""

    def __init__(self, name: str) -> None:
        super().__init__(interpolation=None, strict=False)
        self.read(next(each for each in ours() if each.name == name))

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def verified(folder: Path, **changed: str) -> subprocess.CompletedProcess[str]:
    """Let systemd look at all units, in a root that has little else."""
    units = folder / "usr/lib/systemd/system"
    units.mkdir(parents=True)
    for each in ours():
        shutil.copy(each, units)
    for name, text in changed.items():
        (units / f"{name.replace('_', '-')}.service").write_text(text)
    for program in PROGRAMS:
        (folder / program).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy("/bin/true", folder / program)
    argv = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", f"--root={folder}",
            *(str(each) for each in sorted(units.iterdir()))]  # fmt: skip
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def test_systemd_finds_nothing_wrong_with_any_unit(tmp_path: Path) -> None:
    done = verified(tmp_path)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_it_would_find_what_is_wrong(tmp_path: Path) -> None:
    done = verified(tmp_path, cos_bad="[Service]\nTypo=x\nExecStart=/none\n")

    assert "Command /none is not executable" in done.stderr


STAGES = ("rootfs", "initramfs", "fs", "boot", "network", "reconcile")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_fails_stops_no_boot(stage: str) -> None:
    unit = Unit(f"cos-setup-{stage}.service")

    assert unit["Service"]["Type"] == "oneshot"
    assert not unit.has_option("Install", "RequiredBy")
    for option in ("OnFailure", "FailureAction"):
        assert not unit.has_option("Unit", option)


@pytest.mark.parametrize(
    ("stage", "after", "wanted_by"),
    [
        ("rootfs", "initrd-root-fs.target", None),
        ("initramfs", "initrd-fs.target", "initrd.target"),
        ("fs", "local-fs.target", "sysinit.target"),
        ("boot", None, "multi-user.target"),
        ("network", "network-online.target", "multi-user.target"),
    ],
)
def test_stages_run_when_the_docs_say(stage: str, after: str | None, wanted_by: str | None) -> None:
    unit = Unit(f"cos-setup-{stage}.service")

    assert unit["Unit"].get("After") == after
    if wanted_by:
        assert unit["Install"]["WantedBy"] == wanted_by


def test_the_stage_initramfs_runs_in_the_final_root_and_sees_the_machine() -> None:
    service = Unit("cos-setup-initramfs.service")["Service"]

    assert service["RootDirectory"] == "/sysroot"
    assert {"/proc", "/sys", "/dev", "/run", "/tmp"} <= set(service["BindPaths"].split())  # noqa: S108  (a mount of a unit)


def test_the_stage_reconcile_runs_five_minutes_after_the_boot_and_hourly() -> None:
    timer = Unit("cos-setup-reconcile.timer")

    assert timer["Timer"]["OnBootSec"] == "5min"
    assert timer["Timer"]["OnUnitActiveSec"] == "60min"
    assert timer["Install"]["WantedBy"] == "multi-user.target"


@pytest.mark.parametrize("stage", ["network", "reconcile"])
def test_long_stages_are_in_nobodys_way(stage: str) -> None:
    service = Unit(f"cos-setup-{stage}.service")["Service"]

    kept = {name: service[name] for name in ("Nice", "TimeoutStopSec", "KillMode", "KillSignal")}
    assert kept == {
        "Nice": "19", "TimeoutStopSec": "180", "KillMode": "process", "KillSignal": "SIGINT"
    }  # fmt: skip
