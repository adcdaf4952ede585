"""A new system that is bad: the passive one comes up by itself, and says why."""

import json
from collections.abc import Callable

import pytest

from compiler.agent.assessment import DEFAULT_TRIES
from tests.vm.machine import BOOT, Machine
from tests.vm.systems import (
    booted,
    choose,
    new_tree,
    open_state,
    renamed,
    upgrade_to_tree,
    version,
)
from tests.vm.world import VERSION

pytestmark = pytest.mark.vm

Installed = Callable[..., Machine]

PANIC = "echo 'set kernelcmd=\"$kernelcmd rdinit=/none root=/dev/none\"' >> etc/cos/bootargs.cfg"
BROKEN = {
    "the root is empty": "rm -rf usr/lib/systemd usr/bin/sh usr/bin/bash usr/bin/dash sbin/init",
    "init hangs": "printf '#!/bin/sh\\nexec sleep infinity\\n' > usr/lib/systemd/hang &&"
    " chmod 755 usr/lib/systemd/hang && ln -sfn ../lib/systemd/hang usr/sbin/init &&"
    " echo 'set kernelcmd=\"$kernelcmd init=/usr/lib/systemd/hang\"' >> etc/cos/bootargs.cfg",
    "its health check fails": "printf '#!/bin/sh\\necho no coffee\\nexit 1\\n' >"
    " usr/libexec/cos/health.d/90-coffee && chmod 755 usr/libexec/cos/health.d/90-coffee",
}


_LONG = ("the root is empty", "init hangs")
_PASSIVE = "This is the passive system, for the active one is bad"
_KERNEL = "Linux version "


@pytest.mark.parametrize(
    "how",
    [pytest.param(how, marks=pytest.mark.long if how in _LONG else ()) for how in BROKEN],
)
def test_the_passive_system_comes_up_by_itself_when(installed: Installed, how: str) -> None:
    machine = installed()
    new_tree(machine, renamed("9.9.9"), BROKEN[how])
    upgrade_to_tree(machine)
    open_state(machine)
    machine.check("grub2-editenv /run/initramfs/cos-state/boot_assessment set"
                  " boot_assessment_allowed=1 && sync")  # fmt: skip

    machine.run("systemctl reboot")
    machine.wait_console(_PASSIVE, 3 * BOOT)

    check_fallen_back(machine)


def test_a_system_whose_kernel_panics_gets_three_tries_and_then_the_passive_one_comes_up(
    installed: Installed,
) -> None:
    machine = installed()
    new_tree(machine, renamed("9.9.9"), PANIC)
    upgrade_to_tree(machine)
    before = len(machine.console())

    machine.run("systemctl reboot")
    machine.wait_console(_PASSIVE, 4 * BOOT)

    assert machine.console()[before:].count(_KERNEL) == DEFAULT_TRIES + 1
    check_fallen_back(machine)


@pytest.mark.long
def test_an_older_system_is_kept_and_boots_from_the_menu(installed: Installed) -> None:
    machine = installed()
    older = ("--snapshots", "3", "--snapshot-labels", "a=1")
    for number, more in (("9.9.8", ()), ("9.9.9", older)):
        new_tree(machine, renamed(number))
        upgrade_to_tree(machine, *more)
        machine.cut_and_boot()
        assert (booted(machine), version(machine)) == ("active", number)
        machine.wait_console("is well, and marked good")

    choose(machine, next_entry="snapshot1")
    machine.cut_and_boot()

    assert (booted(machine), version(machine)) == ("passive", VERSION)
    found = json.loads(machine.check("cos-agent status -o json"))
    assert found["snapshot"] == 1
    assert set(found["images"]) == {"active", "passive", "recovery", "snapshot 1"}
    assert found["images"]["active"]["labels"] == {"a": "1"}
    machine.cut_and_boot()
    assert (booted(machine), version(machine)) == ("active", "9.9.9")


def check_fallen_back(machine: Machine) -> None:
    """Fail unless the passive system runs for the active one was found to be bad."""
    machine.wait_up()
    assert (booted(machine), version(machine)) == ("passive", VERSION)
    assert "upgrade_failure" in machine.check("cat /proc/cmdline")
    machine.check("test -f /run/cos/upgrade_failure")
    told = json.loads(machine.check("cos-agent status --output json"))
    assert told["images"]["active"]["standing"] == "bad"
