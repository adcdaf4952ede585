"""What the firmware is told: decided from what efibootmgr prints, and who is asked at all."""

import subprocess
from pathlib import Path

import pytest

from compiler.agent.life.detect import Device
from compiler.agent.life.firmware import add_entry, cd_of, eject_at_shutdown, entry_commands
from compiler.agent.life.host import Host
from compiler.agent.life.settings import gather
from compiler.agent.log import Level, Log
from compiler.processors import AMD64

OURS, OTHER, GONE = (f"{digit * 8}-1111-2222-3333-444444444444" for digit in "abc")
ESP = Device(name="/dev/sda1", disk="/dev/sda", kind="part", size=1, part_number=1,
             part_identity=OURS)  # fmt: skip
CREATE = [
    "--quiet", "--create", "--disk", "/dev/sda", "--part", "1", "--label", "cOS",
    "--loader", "\\EFI\\BOOT\\BOOTX64.EFI",
]  # fmt: skip

LOADER = AMD64.loader

HEAD = """BootCurrent: 0001
Timeout: 3 seconds
BootOrder: 0001,0003
Boot0001* UEFI QEMU DVD-ROM\tPciRoot(0x0)/Pci(0x1f,0x2)/Sata(2,65535,0){auto_created_boot_option}
"""


def entry(number: int, name: str, partition: str, file: str = r"\EFI\BOOT\BOOTX64.EFI") -> str:
    """Write an entry as efibootmgr 18 does."""
    return f"Boot{number:04X}* {name}\tHD(1,GPT,{partition},0x800,0x20000)/{file}\n"


def test_a_firmware_that_knows_nothing_of_us_gets_an_entry() -> None:
    assert entry_commands(HEAD, ESP, {OTHER}, "cOS", LOADER) == [CREATE]


def test_an_entry_that_is_there_stays_where_it_is_in_the_order() -> None:
    listing = HEAD + entry(3, "whatever", OURS.upper())

    assert entry_commands(listing, ESP, {OTHER}, "cOS", LOADER) == []


def test_an_older_efibootmgr_writes_files_otherwise() -> None:
    listing = HEAD + entry(3, "cOS", OURS, r"File(\EFI\BOOT\BOOTX64.EFI)")

    assert entry_commands(listing, ESP, {OTHER}, "cOS", LOADER) == []


def test_an_entry_of_our_title_goes_if_its_partition_is_no_more() -> None:
    listing = HEAD + entry(0x1F, "cOS", GONE) + entry(4, "Windows", GONE) + entry(5, "cOS", OTHER)

    assert entry_commands(listing, ESP, {OTHER}, "cOS", LOADER) == [
        ["--quiet", "--delete-bootnum", "--bootnum", "001F"],
        CREATE,
    ]


def test_another_loader_on_our_partition_is_not_ours() -> None:
    listing = HEAD + entry(3, "cOS", OURS, r"\EFI\debian\shimx64.efi")

    commands = entry_commands(listing, ESP, {OTHER}, "cOS", LOADER)

    assert commands[-1] == CREATE


def host_of(root: Path, said: list[str]) -> Host:
    return Host(log=Log(said.append, Level.INFO), root=root, disks=("/dev/null",))


@pytest.mark.parametrize(
    ("flags", "variables"),
    [({"DISABLE_BOOT_ENTRY": "true"}, True), ({}, False)],
    ids=["unwanted", "no EFI"],
)
def test_nobody_is_asked_where_no_entry_is_wanted_or_no_firmware_keeps_any(
    flags: dict[str, str], *, variables: bool, tmp_path: Path
) -> None:
    said: list[str] = []
    if variables:
        (tmp_path / "sys/firmware/efi/efivars").mkdir(parents=True)

    add_entry(host_of(tmp_path, said), gather({}, {}, flags), "/dev/sda1")

    assert said == []


def test_a_firmware_that_cannot_be_told_is_a_warning(tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / "sys/firmware/efi/efivars").mkdir(parents=True)

    add_entry(host_of(tmp_path, said), gather({}, {}, {}), "/dev/sda1")

    (text,) = said
    assert "the firmware has no boot entry for /dev/sda1: " in text


def test_the_cd_is_that_which_the_live_system_runs_from() -> None:
    cd = Device(name="/dev/sr0", disk="", kind="rom", size=1, mounts=("/run/initramfs/live",))
    stick = Device(name="/dev/sdb", disk="", kind="disk", size=1, mounts=("/run/initramfs/live",))

    assert cd_of([ESP, cd], "/run/initramfs/live") == cd
    assert cd_of([ESP, stick], "/run/initramfs/live") is None
    assert cd_of([cd], "/elsewhere") is None


def test_no_cd_is_said_only_to_who_wants_one_ejected(tmp_path: Path) -> None:
    said: list[str] = []
    host = Host(log=Log(said.append, Level.INFO), root=tmp_path)

    eject_at_shutdown(host, gather({}, {}, {}))
    assert said == []
    eject_at_shutdown(host, gather({}, {"COS_INSTALL_EJECT_CD": "true"}, {}))

    assert len(said) == 1
    assert "no CD is ejected: this system was not booted from one" in said[0]


def test_the_names_that_elemental_has_for_it_are_known() -> None:
    environ = {"ELEMENTAL_INSTALL_DISABLE_BOOT_ENTRY": "true", "ELEMENTAL_EJECT_CD": "true"}

    settings = gather({}, environ, {})

    assert (settings.flag("DISABLE_BOOT_ENTRY"), settings.flag("EJECT_CD")) == (True, True)


def test_eject_takes_the_flags_of_the_script() -> None:
    done = subprocess.run(["eject", "--help"], capture_output=True, text=True, check=True)

    for flag in ("--force", "--no-unmount", "--no-partitions-unmount"):
        assert flag in done.stdout
