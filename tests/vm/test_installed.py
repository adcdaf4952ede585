"""An installed machine: what it boots, what it keeps, and what nobody can change."""

from collections.abc import Callable

import pytest

from tests.vm.machine import Machine
from tests.vm.systems import booted, choose

pytestmark = pytest.mark.vm

Installed = Callable[..., Machine]


def test_an_installed_machine_is_what_it_should_be(installed: Installed) -> None:
    machine = installed()

    assert booted(machine) == "active"
    assert machine.check("blkid -L COS_ACTIVE") == "/dev/loop0"
    assert machine.check("hostname") == "cos"
    assert "UTC" in machine.check("date")
    assert "LANG=en_US.UTF-8" in machine.check("localectl status")
    assert machine.check("systemctl --failed --no-legend") == ""
    assert machine.check("systemctl is-active systemd-timesyncd") == "active"
    assert machine.check(". /etc/cos-upgrade-image && echo $UPGRADE_IMAGE") == "system/cos"
    assert "cOS" in machine.check(". /etc/os-release && echo $PRETTY_NAME")
    labels = machine.check("lsblk -no LABEL /dev/vda").split()
    assert labels == ["COS_OEM", "COS_STATE", "COS_RECOVERY", "COS_PERSISTENT"]

    done = machine.run("cos-reset")
    assert done.code != 0
    assert "cos-reset can be run only from recovery" in done.text
    assert machine.check("stat -c %a /root") == "700"


def test_what_is_written_is_kept_where_it_should_be_and_nowhere_else(installed: Installed) -> None:
    machine = installed()
    identity = machine.check("cat /etc/machine-id")
    host_key = machine.check("cat /etc/ssh/ssh_host_ed25519_key.pub")

    assert machine.run("touch /usr/x").code != 0
    assert "ro" in machine.check("findmnt -no OPTIONS /").split(",")
    machine.check("touch /etc/x /root/x /home/x /opt/x /srv/x /var/x /usr/local/x /oem/x && sync")
    machine.reboot()

    kept = machine.run("ls -d /{etc,root,home,opt,srv,var,usr/local,oem}/x 2> /dev/null").text
    assert set(kept.split()) == {"/usr/local/x", "/oem/x"}
    assert machine.check("cat /etc/machine-id") == identity
    assert machine.check("cat /etc/ssh/ssh_host_ed25519_key.pub") == host_key
    assert "Failed unmounting" not in machine.console()


def test_a_choice_for_one_boot_and_a_lasting_one_are_followed(installed: Installed) -> None:
    machine = installed()

    choose(machine, next_entry="fallback", saved_entry="recovery")
    machine.cut_and_boot()
    assert booted(machine) == "passive"
    assert machine.run("test -e /run/cos/recovery_mode").code != 0
    machine.cut_and_boot()
    assert booted(machine) == "recovery"
    assert machine.check("cat /run/cos/recovery_mode") == "1"
    assert machine.check("hostname") == "cos-recovery"


def test_an_image_that_is_gone_gives_way_to_the_next_and_a_superblock_is_mended(
    installed: Installed,
) -> None:
    machine = installed()

    machine.check("mount -o remount,rw /run/initramfs/cos-state")
    machine.check("rm /run/initramfs/cos-state/cOS/active.img && touch /usr/local/kept && sync")
    machine.check("umount -l /usr/local; dd if=/dev/zero bs=4k count=1 oflag=direct"
                  " of=$(blkid -L COS_PERSISTENT)")  # fmt: skip
    machine.cut_and_boot()
    assert booted(machine) == "passive"
    assert "was mended with the copy of its superblock" in machine.console()
    assert machine.check("findmnt -no LABEL /usr/local") == "COS_PERSISTENT"
    machine.check("test -e /usr/local/kept")
    assert "upgrade_failure" not in machine.check("cat /proc/cmdline")

    machine.check("mount -o remount,rw /run/initramfs/cos-state")
    machine.check("rm /run/initramfs/cos-state/cOS/passive.img && sync")
    machine.cut_and_boot()
    assert booted(machine) == "recovery"


@pytest.mark.long
def test_a_machine_installed_for_uefi_boots(installed: Installed) -> None:
    machine = installed(efi=True)

    assert booted(machine) == "active"
    machine.check("test -d /sys/firmware/efi")
    assert "COS_GRUB" in machine.check("lsblk -no LABEL /dev/vda").split()
    choose(machine, next_entry="recovery")
    machine.cut_and_boot()
    assert booted(machine) == "recovery"
