"""Several commands after each other, as owners of machines use them, from each system."""

from pathlib import Path

import pytest

from compiler.agent.life.phases import LifeError
from tests.agent.life.lab import Bench, do, label_of, leftovers, make_system
from tests.agent.life.test_reset import in_recovery

pytestmark = pytest.mark.container

HOOKS = """
stages:
  after-upgrade-chroot: [{commands: ['touch /after-upgrade-chroot']}]
  after-reset-chroot: [{commands: ['touch /after-reset-chroot']}]
"""
MARKS = ("after-upgrade-chroot", "after-reset-chroot")


def with_shell(system: Path) -> Path:
    """Give a system what hooks in it need."""
    for name in ("sh", "touch"):
        (system / "usr/bin" / name).write_bytes(Path(do("which", "busybox").strip()).read_bytes())
        (system / "usr/bin" / name).chmod(0o755)
    (system / "bin").symlink_to("usr/bin")
    return system


def marks(bench: Bench) -> list[str]:
    """List the marks that hooks have left in the active system."""
    with bench.partition("COS_STATE") as state:
        listed = do("debugfs", "-R", "ls -p /", state / "cOS/active.img")
    return [each for each in MARKS if f"/{each}/" in listed]


def test_a_folder_is_upgraded_to_and_a_reset_brings_the_installed_version_back(
    machine: Bench, new: Path
) -> None:
    with machine.running():
        machine.upgrade("", SYSTEM="", SOURCE_KIND="dir", SOURCE_NAME=str(new))
    assert machine.systems() == {"active": "kernel 2", "passive": "kernel 1"}
    assert f"Upgrading from local folder: {new}" in machine.said

    with in_recovery(machine):
        machine.reset()

    assert machine.systems() == {"active": "kernel 1", "passive": "kernel 1"}
    assert leftovers(machine) == []


def test_in_recovery_the_system_that_is_named_is_the_one_that_runs(
    machine: Bench, new: Path, tmp_path: Path
) -> None:
    with in_recovery(machine):
        machine.upgrade(f"dir:{new}", CURRENT="active.img")
        third = make_system(tmp_path / "third", "3")
        machine.upgrade(f"dir:{third}", CURRENT="passive.img")
        with pytest.raises(LifeError, match=r"CURRENT cannot be 'other.img'"):
            machine.upgrade(f"dir:{new}", CURRENT="other.img")

    assert machine.systems() == {"active": "kernel 3", "passive": "kernel 1"}
    assert machine.said.count("-> Upgrade target: active.img") == 2
    with machine.partition("COS_RECOVERY") as recovery:
        assert label_of(recovery / "cOS/recovery.img") == "COS_SYSTEM"


def test_the_passive_system_upgrades_the_active_one_and_stays(machine: Bench, new: Path) -> None:
    with machine.running("passive") as mounted:
        running = (mounted["COS_STATE"] / "cOS/passive.img").stat().st_ino

        machine.upgrade(f"dir:{new}", CURRENT="active.img")

        assert (mounted["COS_STATE"] / "cOS/passive.img").stat().st_ino == running

    assert machine.systems() == {"active": "kernel 2", "passive": "kernel 1"}


@pytest.mark.parametrize("name", ["active", "passive"])
def test_a_forced_deployment_replaces_both_systems_also_under_the_one_that_runs(
    machine: Bench, new: Path, name: str
) -> None:
    with machine.running(name) as mounted:
        image = mounted["COS_STATE"] / f"cOS/{name}.img"
        device = do("losetup", "--find", "--show", "--read-only", image).strip()
        try:
            machine.deploy(f"dir:{new}", FORCE="true")
            assert do("blkid", "-p", "-o", "value", "-s", "LABEL", device).strip() in {
                "COS_ACTIVE", "COS_PASSIVE",
            }  # fmt: skip
        finally:
            do("losetup", "--detach", device)

    assert machine.systems() == {"active": "kernel 2", "passive": "kernel 2"}
    assert machine.record()["state"]["active"]["fromAction"] == "deploy"


def test_hooks_run_in_the_tree_of_their_own_operation_alone(blank: Bench, tmp_path: Path) -> None:
    blank.install(with_shell(make_system(tmp_path / "first", "1")))
    second = with_shell(make_system(tmp_path / "second", "2"))
    with blank.running() as mounted:
        (mounted["COS_OEM"] / "hooks.yaml").write_text(HOOKS)
        blank.upgrade(f"dir:{second}")
    assert marks(blank) == ["after-upgrade-chroot"]

    oem = blank.root / "oem"
    oem.mkdir(exist_ok=True)
    with in_recovery(blank):
        (oem / "hooks.yaml").write_text(HOOKS)
        blank.reset()

    assert marks(blank) == ["after-reset-chroot"]
