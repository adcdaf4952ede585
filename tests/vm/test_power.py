"""The power goes while a machine upgrades: whatever the moment, the next boot succeeds."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.vm.machine import Hardware, Machine
from tests.vm.systems import NEW, STATE, booted, new_tree, renamed, upgrade_to_tree, version
from tests.vm.world import VERSION

pytestmark = [pytest.mark.vm, pytest.mark.long]

Installed = Callable[..., Machine]

MACHINES, CUTS = 4, 5
SEED = 20210525
PAUSE = 3.0
"""Seconds between two moments at most: an upgrade of a folder takes some tens here."""


@pytest.mark.parametrize("number", range(MACHINES))
def test_cuts_of_power_leave_a_system_that_boots(
    installed: Installed, machines: ExitStack, tmp_path: Path, number: int
) -> None:
    chance = random.Random(SEED + number)  # noqa: S311  (no secret: which moments, out of many)
    machine = installed(cache="writeback")
    new_tree(machine, renamed("1.0.0"))
    machine.check(f"systemd-run --unit upgrade --collect cos-upgrade --no-verify --directory {NEW}")
    cut = pick(cuts(machine, chance, tmp_path), chance)
    assert len(cut) == CUTS, "the upgrade was over too soon"

    seen = set()
    for disk in cut:
        hardware = Hardware(drives=[disk], cache="writeback")
        last = machines.enter_context(Machine(tmp_path / disk.stem, hardware))
        last.wait_up()
        seen.add((booted(last), version(last)))
        assert seen <= {("active", VERSION), ("active", "1.0.0"), ("passive", VERSION)}, disk
        if disk is not cut[-1]:
            last.kill()
            disk.unlink()

    new_tree(last, renamed("2.0.0"))
    upgrade_to_tree(last)
    left = set(last.check(f"ls {STATE}/cOS").split())
    assert left == {"active.img", "passive.img"}
    last.cut_and_boot()
    assert (booted(last), version(last)) == ("active", "2.0.0")


def cuts(machine: Machine, chance: random.Random, folder: Path) -> Iterator[Path]:
    """Give what a cut of power would leave of the disk, again and again while the upgrade runs."""
    number = 0
    while True:
        time.sleep(chance.uniform(0.2, PAUSE))
        disk = folder / f"cut{number}.qcow2"
        machine.copy_as_if_cut(disk)
        if machine.run("systemctl is-active upgrade").code != 0:
            disk.unlink()
            return
        yield disk
        number += 1


def pick(disks: Iterator[Path], chance: random.Random) -> list[Path]:
    """Keep `CUTS` of many disks, each as likely as any other (Vitter, "Algorithm R")."""
    kept: list[Path] = []
    for count, disk in enumerate(disks):
        place = count if count < CUTS else chance.randint(0, count)
        if place >= CUTS:
            disk.unlink()
        elif place < len(kept):
            kept[place].unlink()
            kept[place] = disk
        else:
            kept.append(disk)
    return kept
