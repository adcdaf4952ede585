"""The boot loader: GRUB by its own installer, its menu, and the variables that the menu reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from compiler.agent.life.host import Host, write_whole
from compiler.agent.life.partition import Firmware
from compiler.agent.life.phases import LifeError, Phase, during
from compiler.agent.life.signed import copy_chain
from compiler.errors import CompilerError
from compiler.grubenv import change_block, read_block
from compiler.layout import BOOT_SETTINGS, GRUB_MENU, OWNER_CHOICES, Label
from compiler.processors import processors_named
from compiler.secureboot import disk_script

INSTALLERS = ("grub2-install", "grub-install")
_TITLE = "cOS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the boot loader goes: the disk, its firmware, and folders where partitions are."""

    disk: str
    firmware: Firmware
    state: Path
    efi: Path | None = None
    labels: tuple[str, str] = (Label.STATE, Label.RECOVERY)
    """What the state and the recovery partition are called: where the menu is looked for."""


def install(host: Host, places: Places, *, tree: Path, machine: str) -> None:
    """Install GRUB on a disk, and the menu of a tree; raises `LifeError`.

    `machine` is what uname(2) calls the machine. Where the tree has the signed programs of secure
    boot, EFI starts those.
    """
    with during(Phase.BOOTLOADER, "the boot loader cannot be installed"):
        program = next((each for each in INSTALLERS if host.has(each)), None)
        if program is None:
            raise LifeError("grub2-install and grub-install are missing", Phase.TOOLS)
        host.call(program, *arguments(places, tree=tree, machine=machine))
        copy_menu(tree, places.state)
        processors = processors_named(machine)
        if places.efi is not None and processors is not None:
            copy_chain(host, tree, places.efi, processors, disk_script(*places.labels))


def arguments(places: Places, *, tree: Path, machine: str) -> list[str]:
    """Say what GRUB's installer is told; raises `LifeError` for a machine that it cannot serve."""
    found = processors_named(machine)
    target = "" if found is None else found.bios
    if found is not None and places.firmware is Firmware.EFI:
        target = found.efi
    if not target:
        raise LifeError(f"there is no boot loader for {machine} here", Phase.BOOTLOADER)
    words = [f"--target={target}", f"--root-directory={tree}", f"--boot-directory={places.state}"]
    if places.firmware is Firmware.EFI:
        words += [f"--efi-directory={places.efi}", "--no-nvram"]
    return [*words, "--removable", "--force", places.disk]


def copy_menu(tree: Path, state: Path) -> None:
    """Copy the menu of a tree to where the boot loader looks for it; raises `OSError`."""
    folders = [each for each in (state / "grub2", state / "grub") if each.is_dir()]
    menu = tree / GRUB_MENU.lstrip("/")
    for each in folders:
        write_whole(each / "grub.cfg", menu.read_bytes())


def add_choices(oem: Path) -> None:
    """Make the block in which the owner chooses what boots: the menu can only write to one."""
    with during(Phase.MENU):
        change_block(oem / OWNER_CHOICES, {})


def change_settings(state: Path, changes: Mapping[str, str | None]) -> None:
    """Set variables of the boot menu; None takes one out. Raises `LifeError`."""
    try:
        change_block(state / BOOT_SETTINGS, changes)
    except CompilerError as error:
        raise LifeError(error.message, Phase.MENU, hint=error.hint) from error


def write_labels(state: Path, labels: Mapping[Label, str]) -> None:
    """Tell the boot menu what labels are called that are not called as ours; raises `LifeError`."""
    changes = {f"{ours.name.lower()}_label": label
               for ours, label in labels.items() if label != str(ours)}  # fmt: skip
    if changes:
        change_settings(state, changes)


def rebrand(state: Path, title: str) -> str:
    """Give the boot menu a title, and return it; without one it keeps its own, or gets ours."""
    with during(Phase.ENTRY):
        known = read_block(state / BOOT_SETTINGS).get("default_menu_entry", "")
        wanted = title or known or _TITLE
        if wanted != known:
            change_block(state / BOOT_SETTINGS, {"default_menu_entry": wanted})
    return wanted
