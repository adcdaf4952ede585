"""Two installed disks in one machine: what is done is done to the one that was booted."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from compiler.agent.life.detect import Device, labelled, without_label
from compiler.agent.life.phases import LifeError
from compiler.agent.life.rebrand import rebrand
from compiler.agent.life.status import gather
from compiler.grubenv import read_block
from compiler.layout import Label
from tests.agent.life.lab import Bench, do, loop_disk, mount, partitions

BOTH = {"active": "kernel 1", "passive": "kernel 1"}
NAMES = {label: str(label) for label in Label}


def part(name: str, label: str, *, identity: str = "", part_name: str = "") -> Device:
    """A partition of the disk that its name begins with."""
    return Device(
        name=name,
        disk=name[:-1],
        kind="part",
        size=1,
        label=label,
        identity=identity or name,
        part_number=int(name[-1]),
        part_name=part_name,
    )


def disk(name: str, *labels: str) -> list[Device]:
    """The partitions of a disk, in this order."""
    return [part(f"{name}{number}", label) for number, label in enumerate(labels, 1)]


WHOLE = ("COS_OEM", "COS_STATE", "COS_RECOVERY", "COS_PERSISTENT")


def test_a_disk_that_was_not_booted_is_never_taken_for_a_part_of_the_one_that_was() -> None:
    devices = [*disk("a", *WHOLE), *disk("b", "COS_OEM", "", "COS_RECOVERY")]

    assert labelled(devices, "COS_STATE", "b") is None
    assert labelled(devices, "COS_PERSISTENT", "b") is None


def test_an_installation_may_have_its_partitions_on_several_disks() -> None:
    devices = [*disk("a", "COS_STATE"), *disk("b", "COS_OEM", "COS_RECOVERY", "COS_PERSISTENT")]

    found = labelled(devices, "COS_STATE", "b")

    assert found is not None
    assert found.name == "a1"


def test_where_nothing_says_which_disk_is_meant_none_is_taken() -> None:
    devices = [*disk("a", *WHOLE), *disk("b", *WHOLE)]

    with pytest.raises(LifeError, match="several disks have COS_STATE: a2, b2"):
        labelled(devices, "COS_STATE")
    same = [part("a2", "COS_STATE", identity="x"), part("b2", "COS_STATE", identity="x")]
    assert labelled(same, "COS_STATE") == same[0]


def test_a_partition_that_lost_its_label_is_found_by_its_name_or_place() -> None:
    def lost(devices: list[Device], label: Label) -> str:
        found = without_label(devices, label, "a", NAMES)
        return found.name if found else ""

    named = [part("a1", ""), part("a2", "COS_OEM", part_name="oem"),
             part("a3", "", part_name="state")]  # fmt: skip
    assert lost(named, Label.STATE) == "a3"
    assert lost(named, Label.PERSISTENT) == ""
    assert lost(disk("a", "COS_OEM", "", "COS_RECOVERY", "COS_PERSISTENT"), Label.STATE) == "a2"
    assert lost(disk("a", "", "COS_STATE", "COS_RECOVERY", ""), Label.PERSISTENT) == "a4"
    assert lost(disk("a", "COS_OEM", "COS_RECOVERY", "COS_PERSISTENT", ""), Label.STATE) == "a4"
    assert lost(disk("a", *WHOLE), Label.STATE) == ""
    assert lost(disk("a", "", "", "", ""), Label.STATE) == ""
    assert lost(disk("a", "COS_OEM", "DATA", "COS_RECOVERY"), Label.STATE) == ""


@pytest.fixture(params=["first", "second"])
def pair(
    request: pytest.FixtureRequest, installed_disk: Path, tmp_path: Path
) -> Iterator[tuple[Bench, Bench]]:
    """A machine that has booted one of two disks, and another that has the other."""
    for name in ("one", "two"):
        do("cp", "--sparse=always", "--reflink=auto", installed_disk, tmp_path / name)
    with loop_disk(tmp_path / "one") as one, loop_disk(tmp_path / "two") as two:
        for each in partitions(two).values():
            do("e2fsck", "-fy", each)
            do("tune2fs", "-U", "random", each)
        ours, other = (one, two) if request.param == "first" else (two, one)
        bench = Bench(tmp_path / "root", ours, (other,))
        try:
            yield bench, Bench(tmp_path / "other", other)
        finally:
            bench.clear()
    for name in ("one", "two"):
        (tmp_path / name).unlink()


@contextmanager
def in_recovery(bench: Bench, label: str = "COS_RECOVERY") -> Iterator[None]:
    """Run the recovery system of a disk, which is mounted where a squashed one is."""
    bench.boot("recovery")
    place = bench.root / "run/initramfs/live"
    place.mkdir(parents=True, exist_ok=True)
    mount(partitions(bench.device)[label], place, "ro")
    try:
        yield
    finally:
        bench.host.unmount(place)


@pytest.mark.container
def test_the_disk_that_was_booted_is_upgraded_and_reset(
    pair: tuple[Bench, Bench], new: Path
) -> None:
    bench, other = pair
    with bench.running() as mounted:
        assert gather(bench.host, bench.settings())["images"]["active"]["label"] == "COS_ACTIVE"
        bench.upgrade(f"dir:{new}")
        rebrand(bench.host, bench.settings(GRUB_ENTRY_NAME="Mine"))
        assert read_block(mounted["COS_STATE"] / "grub_oem_env")["default_menu_entry"] == "Mine"

    assert bench.systems()["active"] == "kernel 2"
    assert other.systems() == BOTH

    other_bench = Bench(bench.root, other.device, (bench.device,))
    with in_recovery(other_bench):
        other_bench.reset()
    assert bench.systems()["active"] == "kernel 2"
    with in_recovery(bench):
        bench.reset()
    assert bench.systems() == BOTH


@pytest.mark.container
def test_a_live_system_asks_which_disk_is_meant(pair: tuple[Bench, Bench], new: Path) -> None:
    bench, other = pair
    bench.boot("live")

    with pytest.raises(LifeError, match="several disks have COS_STATE") as caught:
        bench.upgrade(f"dir:{new}", CURRENT="active.img")
    bench.upgrade(f"dir:{new}", CURRENT="active.img", COS_DISK=bench.device)

    assert caught.value.hint == "COS_DISK names the disk that is meant"
    assert bench.systems()["active"] == "kernel 2"
    assert other.systems() == BOTH
