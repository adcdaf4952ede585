"""A machine with SELinux: the policy is loaded, and what the machine holds has labels."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.vm.conftest import Boot
from tests.vm.machine import Machine
from tests.vm.systems import NEW, booted, new_tree, renamed, upgrade_to_tree, version
from tests.vm.world import VERSION, World, make_disk, wait_well

pytestmark = [pytest.mark.vm, pytest.mark.long]

POLICY = "specs/values/debian-selinux.yaml"


class Labelled(World):
    """The same system with the policy of Debian."""

    def values(self) -> tuple[str, ...]:
        """The values files of a build."""
        return (*super().values(), POLICY)


@pytest.fixture
def machine(world: World, switch_on: Boot, tmp_path: Path) -> Callable[[], Machine]:
    """Give an installed machine after its first boot."""
    folder = world.folder / "selinux"
    folder.mkdir(exist_ok=True)

    def boot() -> Machine:
        saved = Labelled(folder).installed()
        disk = tmp_path / "disk.qcow2"
        make_disk(disk, saved.disk)
        made = switch_on(saved.machine(tmp_path / "machine", disk))
        made.wait_up()
        return made

    return boot


def test_an_installed_system_is_labelled_and_so_is_what_it_is_upgraded_to(
    machine: Callable[[], Machine],
) -> None:
    installed = machine()

    assert (booted(installed), version(installed)) == ("active", VERSION)
    assert_labelled(installed)
    installed.check("echo kept > /usr/local/kept && echo gone > /etc/gone")
    new_tree(installed, renamed("0.1.1"))
    upgrade_to_tree(installed)
    installed.check(f"umount -l {NEW}")
    installed.reboot()
    wait_well(installed)

    assert (booted(installed), version(installed)) == ("active", "0.1.1")
    assert_labelled(installed)
    assert label(installed, "/usr/local/kept") == "usr_t"
    installed.check("test ! -e /etc/gone")


def assert_labelled(machine: Machine) -> None:
    """See that the policy is loaded and permissive, and that nothing is without a label."""
    assert machine.check("getenforce").strip() == "Permissive"
    named = {path: label(machine, path) for path in LABELS}
    assert named == LABELS
    lacking = machine.check("find / -xdev -context '*unlabeled*' -o -context '*file_t:*' | head")
    assert lacking == ""
    lacking = machine.check("find /etc /oem /usr/local /var -context '*unlabeled*' | head")
    assert lacking == ""


LABELS = {
    "/etc": "etc_t",
    "/etc/passwd": "etc_t",
    "/system/oem": "etc_t",
    "/oem": "etc_t",
    "/usr/lib/cos": "lib_t",
    "/usr/libexec/cos": "bin_t",
    "/usr/bin/bash": "shell_exec_t",
    "/root": "user_home_dir_t",
}


def label(machine: Machine, path: str) -> str:
    """Tell the type of a file's label."""
    return machine.check(f"stat -c %C {path}").strip().split(":")[2]
