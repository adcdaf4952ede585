"""The power goes while a machine upgrades: whatever the moment, the next boot succeeds."""

import random
import time
from collections.abc import Callable

import pytest

from tests.vm.machine import Machine
from tests.vm.systems import NEW, STATE, booted, new_tree, renamed, upgrade_to_tree, version

pytestmark = [pytest.mark.vm, pytest.mark.long]

Installed = Callable[..., Machine]

MACHINES, CUTS = 4, 5
SEED = 20210525
LATEST = 60.0
"""Seconds after which most upgrades of a folder are done here: cuts fall before and around it."""


@pytest.mark.parametrize("number", range(MACHINES))
def test_cuts_of_power_leave_a_system_that_boots(installed: Installed, number: int) -> None:
    moments = random.Random(SEED + number)  # noqa: S311  (no secret: the same moments in each run)
    machine = installed()
    known = {version(machine)}
    seen = []

    for cut in range(CUTS):
        name = f"1.{cut}.0"
        new_tree(machine, renamed(name))
        start_upgrade(machine)
        time.sleep(moments.uniform(1, LATEST))
        machine.kill()
        machine.start()
        machine.wait_up()

        known.add(name)
        assert booted(machine) in {"active", "passive"}
        assert version(machine) in known
        seen.append((booted(machine), version(machine)))

    new_tree(machine, renamed("2.0.0"))
    upgrade_to_tree(machine)
    assert machine.run(f"ls {STATE}/cOS/transition.img").code != 0
    machine.reboot()
    assert (booted(machine), version(machine)) == ("active", "2.0.0"), seen


def start_upgrade(machine: Machine) -> None:
    """Begin an upgrade that nobody waits for."""
    command = f"cos-upgrade --no-verify --directory {NEW}"
    machine.check(f"systemd-run --unit upgrade --collect {command}")
