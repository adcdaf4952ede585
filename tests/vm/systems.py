"""Questions and orders to a machine that runs one of our systems."""

from tests.vm.machine import Machine

NEW = "/run/new"
"""In a machine: a tree that is its own root, to be changed and upgraded to."""

STATE = "/run/initramfs/cos-state"
_MODES = ("active", "passive", "recovery", "live")


def booted(machine: Machine) -> str:
    """Say which system runs, as the mark that the boot leaves says it."""
    marks = machine.check("cd /run/cos && ls | grep _mode$").split()
    found = [mode for mode in _MODES if f"{mode}_mode" in marks]
    assert len(found) == 1, f"marks of {found}"
    return found[0]


def version(machine: Machine) -> str:
    """Say which version of the system runs."""
    return machine.check(". /etc/os-release && echo $VERSION")


def choose(machine: Machine, **variables: str) -> None:
    """Set variables of the boot menu that are the owner's."""
    words = " ".join(f"{name}={value}" for name, value in variables.items())
    machine.check(f"grub2-editenv /oem/grubenv set {words} && sync")


def new_tree(machine: Machine, *commands: str) -> None:
    """Make `NEW` of the running root, changed by commands that run in it."""
    machine.check(
        f"umount -l {NEW} 2> /dev/null; mkdir -p /run/over {NEW} && mount -t tmpfs over /run/over"
        " && mkdir /run/over/upper /run/over/work && mount -t overlay over -o"
        f" lowerdir=/,upperdir=/run/over/upper,workdir=/run/over/work {NEW}"
    )
    for command in commands:
        machine.check(f"cd {NEW} && {command}")


def renamed(name: str) -> str:
    """Give the command that names the system in `NEW` by another version."""
    return f'sed -i "s/^VERSION=.*/VERSION={name}/" etc/os-release'


def upgrade_to_tree(machine: Machine, *more: str) -> str:
    """Upgrade to `NEW`; return what was said."""
    return machine.check(f"cos-upgrade --no-verify --directory {NEW} {' '.join(more)}", 1200)


def open_state(machine: Machine) -> None:
    """Make the state partition writable, as an upgrade does."""
    machine.check(f"mount -o remount,rw {STATE}")
