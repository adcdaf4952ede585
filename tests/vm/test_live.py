"""The live system boots from a CD and from a stick, in BIOS and UEFI, and can be logged in to."""

from collections.abc import Callable

import pytest

from tests.vm.conftest import Boot
from tests.vm.machine import Hardware, Machine
from tests.vm.world import World

pytestmark = pytest.mark.vm


@pytest.mark.parametrize("efi", [False, True], ids=["bios", "uefi"])
def test_the_live_system_boots_from_a_cd(live: Callable[..., Machine], *, efi: bool) -> None:
    machine = live(efi=efi)

    assert machine.check("cat /run/cos/live_mode") == "1"
    assert machine.check("blkid -s LABEL -o value /dev/sr0") == "COS_LIVE"
    machine.check("test -e /run/rootfsbase -a -f /run/initramfs/live/recovery.squashfs")
    assert (machine.run("test -d /sys/firmware/efi").code == 0) == efi
    assert machine.check("systemctl --failed --no-legend") == ""
    assert "ttyS0" in machine.check("cat /proc/cmdline")


@pytest.mark.long
def test_the_live_system_boots_from_a_stick_without_a_network_and_greets_on_the_console(
    world: World, switch_on: Boot
) -> None:
    machine = switch_on(Hardware(usb=world.iso, network=False))

    machine.wait_console("To install this system on a disk, run: cos-installer DEVICE")
    machine.wait_console("cos login: ")
    machine.type("root\n")
    machine.wait_console("Password: ")
    machine.type("cos\n")
    machine.wait_console(r"root@cos:~#")

    machine.type("findmnt -no SOURCE /run/initramfs/live; echo it is $((6 * 7))\n")
    assert "/dev/sd" in machine.wait_console(r"/dev/\w+[\s\S]+it is 42")[0]
