"""Older systems: which upgrades keep them, how many stay, and what is said of them."""

import os
from pathlib import Path

import pytest

from compiler.agent.life.phases import LifeError, Phase
from compiler.agent.life.status import gather, lines_of
from compiler.agent.snapshots import SNAPSHOTS
from compiler.grubenv import read_block
from tests.agent.life.lab import Bench, bootable, do, label_of, leftovers, make_system, prove

pytestmark = pytest.mark.container


@pytest.fixture
def versions(tmp_path: Path) -> list[Path]:
    """Systems that follow each other, the first of them version 2."""
    return [make_system(tmp_path / f"v{number}", str(number)) for number in range(2, 7)]


def follow(bench: Bench, versions: list[Path], **given: str) -> None:
    """Upgrade to one system after another, each of which proves itself."""
    for version in versions:
        with bench.running() as mounted:
            prove(mounted["COS_STATE"])
            bench.upgrade(f"dir:{version}", **given)


def images(bench: Bench) -> dict[str, str]:
    """Return the kernel of each image that is there; checks all that booting needs."""
    with bench.partition("COS_STATE") as state:
        found = {}
        for image in sorted((state / "cOS").iterdir()):
            label = "COS_ACTIVE" if image.name == "active.img" else "COS_PASSIVE"
            assert label_of(image) == label
            do("e2fsck", "-fn", image)
            found[image.stem] = bootable(image)
        return found


def test_without_the_setting_nothing_is_kept(machine: Bench, versions: list[Path]) -> None:
    follow(machine, versions[:3])

    assert images(machine) == {"active": "kernel 4", "passive": "kernel 3"}
    assert "snapshots" not in machine.record()["state"]
    with machine.partition("COS_STATE") as state:
        assert SNAPSHOTS not in read_block(state / "boot_assessment")


def test_earlier_systems_stay_up_to_the_number_and_the_oldest_goes(
    machine: Bench, versions: list[Path]
) -> None:
    follow(machine, versions[:1])
    assert images(machine) == {"active": "kernel 2", "passive": "kernel 1"}

    follow(machine, versions[1:2], SNAPSHOTS="4")
    first = images(machine)
    follow(machine, versions[2:])

    assert first == {"active": "kernel 3", "passive": "kernel 2", "snapshot-1": "kernel 1"}
    assert images(machine) == {
        "active": "kernel 6", "passive": "kernel 5",
        "snapshot-3": "kernel 3", "snapshot-4": "kernel 4",
    }  # fmt: skip
    with machine.partition("COS_STATE") as state:
        assert read_block(state / "boot_assessment")[SNAPSHOTS].split()[:2] == ["4", "3"]
    assert leftovers(machine) == []


def test_the_record_says_of_each_what_it_is_and_how_many_stay(
    machine: Bench, versions: list[Path]
) -> None:
    follow(machine, versions[:1], SNAPSHOT_LABELS="ticket=7, by=me")
    follow(machine, versions[1:3], SNAPSHOTS="4")

    record = machine.record()
    older = record["state"]["snapshots"]
    assert record["snapshotter"] == {"type": "loopdevice", "max-snaps": 4}
    assert {number: each["fromAction"] for number, each in older.items()} == {
        1: "install", 2: "upgrade"}  # fmt: skip
    assert older[2]["source"] == f"dir:{versions[0]}"
    assert older[2]["labels"] == {"ticket": "7", "by": "me"}
    assert older[2]["label"] == "COS_PASSIVE"
    assert "labels" not in record["state"]["active"]


def test_status_shows_older_systems(machine: Bench, versions: list[Path]) -> None:
    follow(machine, versions[:1], SNAPSHOT_LABELS="ticket=7")
    follow(machine, versions[1:3], SNAPSHOTS="4")

    with machine.running("snapshot-1"):
        found = gather(machine.host, machine.settings())

    lines = list(lines_of(found))
    assert lines[0].startswith("Booted:     passive, snapshot 1 (")
    assert list(found["images"])[-2:] == ["snapshot 2", "snapshot 1"]
    place = next(at for at, line in enumerate(lines) if line.startswith("Snapshot 2: "))
    assert f"dir:{versions[0]} since " in lines[place]
    assert "            ticket=7" in lines[place:]


def test_fewer_systems_stay_once_that_is_asked_for(machine: Bench, versions: list[Path]) -> None:
    follow(machine, versions[:4], SNAPSHOTS="5")
    before = images(machine)

    follow(machine, versions[4:], SNAPSHOTS="2")

    assert [name for name in before if "snapshot" in name] == [
        "snapshot-1", "snapshot-2", "snapshot-3"]  # fmt: skip
    assert images(machine) == {"active": "kernel 6", "passive": "kernel 5"}


def test_a_machine_that_runs_an_older_system_keeps_it(machine: Bench, versions: list[Path]) -> None:
    follow(machine, versions[:3], SNAPSHOTS="4")

    with machine.running("snapshot-1"):
        machine.upgrade(f"dir:{versions[3]}", SNAPSHOTS="2")

    assert images(machine) == {
        "active": "kernel 5", "passive": "kernel 3", "snapshot-1": "kernel 1"}  # fmt: skip


def leave(bench: Bench, mebibytes: int) -> None:
    """Fill the state partition up to so many MiB."""
    with bench.running() as mounted:
        state = mounted["COS_STATE"]
        do("mount", "-o", "remount,rw", state)
        left = os.statvfs(state)
        free = left.f_bavail * left.f_frsize - (mebibytes << 20)
        do("fallocate", "-l", str(free), state / "filler")
        do("mount", "-o", "remount,ro", state)


@pytest.fixture
def heavy(tmp_path: Path) -> list[Path]:
    """Systems of some 24 MiB."""
    made = [make_system(tmp_path / f"heavy{number}", str(number)) for number in range(2, 6)]
    for each in made:
        (each / "usr/bin/large").write_bytes(os.urandom(24 << 20))
    return made


def test_the_oldest_go_where_a_new_system_has_no_room(machine: Bench, heavy: list[Path]) -> None:
    follow(machine, heavy[:3], SNAPSHOTS="6")
    leave(machine, 30)

    follow(machine, heavy[3:], SNAPSHOTS="6")

    assert images(machine) == {
        "active": "kernel 5", "passive": "kernel 4", "snapshot-1": "kernel 3"}  # fmt: skip
    said = "Removing cOS/snapshot-{}.img, which is the oldest system, to make room"
    assert [line for line in machine.said if line.startswith("Removing")] == [
        said.format(1), said.format(2)]  # fmt: skip


def test_nothing_goes_where_that_would_not_help(machine: Bench, heavy: list[Path]) -> None:
    follow(machine, heavy[:3], SNAPSHOTS="6")
    before = images(machine)
    leave(machine, 2)

    with machine.running(), pytest.raises(LifeError, match="the new system needs") as caught:
        machine.upgrade(f"dir:{heavy[3]}")

    assert caught.value.phase is Phase.SIZE
    assert images(machine) == before


def test_a_reset_leaves_no_older_systems(machine: Bench, versions: list[Path]) -> None:
    follow(machine, versions[:3], SNAPSHOTS="4")
    machine.boot("recovery")

    machine.reset()

    assert images(machine) == {"active": "kernel 1", "passive": "kernel 1"}
    assert "snapshots" not in machine.record()["state"]


def test_a_menu_that_offers_no_older_systems_is_told(machine: Bench, new: Path) -> None:
    with machine.running():
        machine.upgrade(f"dir:{new}", SNAPSHOTS="3")

    assert (
        "warning: the boot menu of this machine offers no older systems "
        "(`cos-upgrade --bootloader` renews it)"
    ) in machine.said


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"SNAPSHOTS": "many"}, "SNAPSHOTS is a number, not 'many'"),
        ({"SNAPSHOTS": "33"}, "SNAPSHOTS is at most 32, not 33"),
        ({"SNAPSHOT_LABELS": "a=1,b"},
         "SNAPSHOT_LABELS has a key and a value each, not 'b' (KEY=VALUE,KEY=VALUE)"),
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_mean_nothing_are_refused_before_anything_is_done(
    machine: Bench, new: Path, given: dict[str, str], message: str
) -> None:
    with machine.running(), pytest.raises(LifeError) as caught:
        machine.upgrade(f"dir:{new}", **given)

    assert str(caught.value) == message
    assert caught.value.phase is Phase.CONFIG


def test_an_installation_notes_how_many_systems_stay(blank: Bench, old: Path) -> None:
    blank.install(old, SNAPSHOTS="4", SNAPSHOT_LABELS="site=1")

    record = blank.record()
    assert record["snapshotter"] == {"type": "loopdevice", "max-snaps": 4}
    assert record["state"]["active"]["labels"] == {"site": "1"}
    assert "labels" not in record["recovery"]["recovery"]
