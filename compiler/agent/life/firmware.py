"""What the firmware is told after an installation: a boot entry of EFI, and that the CD is to go.

Neither is needed, as the loader lies where every firmware looks; so what fails is a warning.
"""

import os
import re
from collections.abc import Collection, Sequence

from compiler.agent.life.detect import Device
from compiler.agent.life.host import Host, write_whole
from compiler.agent.life.medium import LIVE_MEDIUM
from compiler.agent.life.phases import LifeError, Phase
from compiler.agent.life.settings import Settings
from compiler.errors import CompilerError
from compiler.processors import processors_named

_VARIABLES = "/sys/firmware/efi/efivars"
_PROGRAM = "efibootmgr"
_TITLE = "cOS"
_ENTRY = re.compile(r"Boot([0-9A-Fa-f]{4})\*?\s+([^\t]*)(?:\t(.*))?")
_PARTITION = re.compile(r"HD\(\d+,GPT,([0-9A-Fa-f-]{36})")
_EJECT = "usr/lib/systemd/system-shutdown/cos-eject"
_SCRIPT = """#!/bin/sh
# Opens the tray once all is unmounted: the next boot is from the disk (systemd-shutdown(8)).
exec eject --force --no-unmount --no-partitions-unmount {device}
"""


def add_entry(host: Host, settings: Settings, partition: str | None) -> None:
    """Let an EFI firmware boot a partition of GRUB's first, unless that is not wanted."""
    unwanted = settings.flag("DISABLE_BOOT_ENTRY")
    processors = processors_named(os.uname().machine)
    if not partition or processors is None or unwanted or not host.path(_VARIABLES).is_dir():
        return
    title = settings.text("GRUB_ENTRY_NAME") or _TITLE
    try:
        devices = host.devices()
        ours = next((each for each in devices if each.name == partition), None)
        if ours is None:
            raise LifeError(f"{partition} is not there", Phase.ABSENT)
        others = {each.part_identity for each in devices if each is not ours}
        listing = host.answer(_PROGRAM, "--verbose")
        for words in entry_commands(listing, ours, others, title, processors.loader):
            host.call(_PROGRAM, *words)
    except CompilerError as error:
        host.log.warning(f"the firmware has no boot entry for {partition}: {error}")


def entry_commands(
    listing: str, ours: Device, others: Collection[str], title: str, loader: str
) -> list[list[str]]:
    """Decide what efibootmgr is told: nothing, if the firmware knows our loader already.

    `listing` is what `efibootmgr --verbose` prints, `others` are the identities of all other
    partitions, and `loader` is where GRUB's installer puts it on its partition. An entry of our
    title whose partition is no more goes.
    """
    stale = []
    for number, name, path in _entries(listing):
        found = _PARTITION.search(path)
        identity = found[1].lower() if found else ""
        if identity == ours.part_identity.lower() and _file(loader) in path.upper():
            return []
        if name == title and identity and identity not in {each.lower() for each in others}:
            stale.append(number)
    gone = [["--quiet", "--delete-bootnum", "--bootnum", number] for number in stale]
    return [
        *gone,
        ["--quiet", "--create", "--disk", ours.disk, "--part", str(ours.part_number),
         "--label", title, "--loader", _file(loader)],
    ]  # fmt: skip


def eject_at_shutdown(host: Host, settings: Settings) -> None:
    """Have the CD that the live system runs from ejected when the machine goes down, if wanted."""
    if not settings.flag("EJECT_CD"):
        return
    device = cd_of(host.devices(), str(host.path(LIVE_MEDIUM)))
    if device is None or not host.has("eject"):
        why = "this system was not booted from one" if device is None else "eject is missing"
        host.log.warning(f"no CD is ejected: {why}")
        return
    script = host.path(_EJECT)
    try:
        script.parent.mkdir(parents=True, exist_ok=True)
        write_whole(script, _SCRIPT.format(device=device.name).encode(), 0o755)
    except OSError as error:
        host.log.warning(f"the CD is not ejected: {script}: {error.strerror}")


def cd_of(devices: Sequence[Device], place: str) -> Device | None:
    """Find the CD that is mounted at a place; None if something else is, or nothing."""
    found = (each for each in devices if place in each.mounts)
    return next((each for each in found if each.kind == "rom"), None)


def _entries(listing: str) -> list[tuple[str, str, str]]:
    """Read the entries of a listing: their numbers, names and paths."""
    found = (_ENTRY.fullmatch(line.rstrip()) for line in listing.splitlines())
    return [(each[1], each[2].strip(), each[3] or "") for each in found if each]


def _file(path: str) -> str:
    return "\\" + path.replace("/", "\\")
