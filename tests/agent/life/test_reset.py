"""Reset and deploy: both systems become one, whatever they were."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from compiler.agent.life.phases import LifeError
from compiler.grubenv import read_block
from tests.agent.life.lab import Bench, do, leftovers, mount, partitions

pytestmark = pytest.mark.container


@pytest.fixture
def upgraded(machine: Bench, new: Path) -> Bench:
    """A machine in recovery, whose active system is of another version than that."""
    with machine.running() as mounted:
        machine.upgrade(f"dir:{new}")
        (mounted["COS_OEM"] / "99_custom.yaml").write_text("name: mine\n")
        (mounted["COS_PERSISTENT"] / "mine").write_text("kept")
    machine.said.clear()
    machine.boot("recovery")
    return machine


def kept(bench: Bench) -> tuple[bool, bool]:
    """Whether the owner's settings and data are there."""
    with bench.partition("COS_OEM") as oem, bench.partition("COS_PERSISTENT") as persistent:
        assert (oem / "grubenv").stat().st_size == 1024
        return (oem / "99_custom.yaml").exists(), (persistent / "mine").exists()


def test_reset_is_refused_outside_of_recovery(machine: Bench) -> None:
    with machine.running(), pytest.raises(LifeError) as caught:
        machine.reset()

    assert caught.value.exit_code == 1
    assert caught.value.message == "cos-reset can be run only from recovery"


def test_both_systems_become_what_the_recovery_is(upgraded: Bench) -> None:
    upgraded.reset()

    assert upgraded.systems() == {"active": "kernel 1", "passive": "kernel 1"}
    assert kept(upgraded) == (True, True)
    assert leftovers(upgraded) == []
    record = upgraded.record()
    assert record["state"]["active"]["fromAction"] == "reset"
    assert record["state"]["passive"]["fromAction"] == "reset"
    with upgraded.partition("COS_STATE") as state:
        assert read_block(state / "boot_assessment") == {}


def test_the_boot_loader_is_installed_anew(upgraded: Bench) -> None:
    menu = upgraded.root / "etc/cos/grub.cfg"
    menu.write_text("# menu of the recovery\n")

    upgraded.reset()

    with upgraded.partition("COS_STATE") as state:
        assert (state / "grub/grub.cfg").read_text() == "# menu of the recovery\n"


@pytest.mark.parametrize(
    ("given", "left"),
    [({"PERSISTENCE_RESET": "true"}, (False, False)), ({"RESET_PERSISTENT": "true"}, (True, False)),
     ({"RESET_OEM": "true"}, (False, True))],
)  # fmt: skip
def test_what_the_owner_has_kept_goes_only_if_that_is_asked_for(
    upgraded: Bench, given: dict[str, str], left: tuple[bool, bool]
) -> None:
    upgraded.reset(**given)

    assert kept(upgraded) == left


def test_a_squashed_recovery_resets_from_where_it_is_mounted(
    blank: Bench, old: Path, new: Path
) -> None:
    medium = blank.root / "run/initramfs/live"
    medium.mkdir(parents=True)
    do("mksquashfs", old, medium / "recovery.squashfs", "-noappend", "-no-progress")
    blank.install(new)
    blank.boot("recovery")
    do("mount", "-o", "ro", partitions(blank.device)["COS_RECOVERY"], medium)
    try:
        blank.reset()
    finally:
        do("umount", medium)

    assert blank.systems() == {"active": "kernel 1", "passive": "kernel 1"}


@contextmanager
def in_recovery(bench: Bench) -> Iterator[None]:
    """Run the recovery system, from its image: it is where all find the disk that was booted."""
    bench.boot("recovery")
    place = bench.root / "run/initramfs/cos-state"
    place.mkdir(parents=True, exist_ok=True)
    mount(partitions(bench.device)["COS_RECOVERY"], place, "ro")
    try:
        yield
    finally:
        bench.host.unmount(place)


@pytest.mark.parametrize("damage", ["no superblock", "no label", "no folders"])
def test_a_state_partition_that_is_damaged_is_made_anew(upgraded: Bench, damage: str) -> None:
    state = partitions(upgraded.device)["COS_STATE"]
    before = do("blkid", "-p", "-o", "value", "-s", "UUID", state)
    with in_recovery(upgraded):
        if damage == "no label":
            do("tune2fs", "-L", "", state)
        else:
            seek, count = (0, 64) if damage == "no superblock" else (8, 4096)
            do("dd", "if=/dev/zero", f"of={state}", "bs=1k", f"seek={seek}", f"count={count}",
               "conv=notrunc")  # fmt: skip
        upgraded.reset()

    assert upgraded.systems() == {"active": "kernel 1", "passive": "kernel 1"}
    assert kept(upgraded) == (True, True)
    if damage != "no folders":  # e2fsck may bring those back
        assert do("blkid", "-p", "-o", "value", "-s", "UUID", state) != before
        told = f"warning: THE STATE PARTITION {state} IS DAMAGED AND IS MADE ANEW"
        assert any(line.startswith(told) for line in upgraded.said)
    with upgraded.partition("COS_STATE") as folder:
        assert read_block(folder / "grub_oem_env")["default_menu_entry"] == "cOS"
        assert (folder / "grub/grub.cfg").is_file()
    assert leftovers(upgraded) == []


@pytest.mark.parametrize("damage", ["no superblock", "no descriptors"])
def test_what_the_owner_keeps_on_a_damaged_partition_stays_unless_it_is_to_be_emptied(
    upgraded: Bench, damage: str
) -> None:
    device = partitions(upgraded.device)["COS_PERSISTENT"]
    seek, count = (0, 4) if damage == "no superblock" else (4, 4)
    do("dd", "if=/dev/zero", f"of={device}", "bs=1k", f"seek={seek}", f"count={count}",
       "conv=notrunc")  # fmt: skip
    before = do("sha256sum", device)
    with in_recovery(upgraded):
        upgraded.reset()
        assert do("sha256sum", device) == before, "nobody asked for that"
        upgraded.reset(RESET_PERSISTENT="true")

    assert upgraded.systems() == {"active": "kernel 1", "passive": "kernel 1"}
    assert kept(upgraded) == (True, False)


def test_a_state_partition_that_holds_something_of_others_is_left_to_them(upgraded: Bench) -> None:
    state = partitions(upgraded.device)["COS_STATE"]
    do("mkswap", "--force", state)
    with in_recovery(upgraded), pytest.raises(LifeError) as caught:
        upgraded.reset()

    assert caught.value.message == f"{state} should be the state partition, and holds swap"
    assert do("blkid", "-p", "-o", "value", "-s", "TYPE", state) == "swap\n"


def test_others_say_that_the_state_partition_is_lost(upgraded: Bench, new: Path) -> None:
    state = partitions(upgraded.device)["COS_STATE"]
    do("tune2fs", "-L", "", state)

    with in_recovery(upgraded), pytest.raises(LifeError) as caught:
        upgraded.upgrade(f"dir:{new}", CURRENT="active.img")

    assert caught.value.message == (
        f"State partition cannot be found: {state} has no file system of that name"
    )
    assert caught.value.hint == "`cos-reset` in the recovery system makes it anew"


def test_a_deployment_is_not_overwritten_unless_forced(machine: Bench, new: Path) -> None:
    with machine.running():
        with pytest.raises(LifeError) as caught:
            machine.deploy(f"dir:{new}")
        assert caught.value.exit_code == 57
        assert str(caught.value) == (
            "There is already an active deployment in the system, "
            "use '--force' flag to overwrite it"
        )
        machine.deploy(f"dir:{new}", FORCE="true")

    assert machine.systems() == {"active": "kernel 2", "passive": "kernel 2"}
    assert "Forcing overwrite current COS_ACTIVE and COS_PASSIVE partitions" in machine.said
    assert machine.said[-1] == "Deployment done, now you might want to reboot"


def test_a_disk_with_only_a_recovery_gets_both_systems(machine: Bench, new: Path) -> None:
    machine.boot("recovery")
    with machine.running("recovery") as mounted:
        state = mounted["COS_STATE"]
        do("mount", "-o", "remount,rw", state)
        for each in (state / "cOS").iterdir():
            each.unlink()
        do("mount", "-o", "remount,ro", state)
        machine.deploy(f"dir:{new}")

    assert machine.systems() == {"active": "kernel 2", "passive": "kernel 2"}
    assert machine.record()["state"]["passive"]["fromAction"] == "deploy"
