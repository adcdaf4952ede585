"""Questions and orders to a machine that runs one of our systems."""

from tests.vm.machine import Machine

_MODES = ("active", "passive", "recovery", "live")


def booted(machine: Machine) -> str:
    """Say which system runs, as the mark that the boot leaves says it."""
    found = [mode for mode in _MODES if machine.run(f"test -f /run/cos/{mode}_mode").code == 0]
    assert len(found) == 1, f"marks of {found}"
    return found[0]


def version(machine: Machine) -> str:
    """Say which version of the system runs."""
    return machine.check(". /etc/os-release && echo $VERSION")


def choose(machine: Machine, **variables: str) -> None:
    """Set variables of the boot menu that are the owner's."""
    words = " ".join(f"{name}={value}" for name, value in variables.items())
    machine.check(f"grub2-editenv /oem/grubenv set {words} && sync")
