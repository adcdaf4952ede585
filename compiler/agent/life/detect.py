"""Which file systems there are: pure readers of what programs print."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from compiler.agent.life.phases import LifeError, Phase
from compiler.layout import Label

LSBLK = (
    "lsblk", "--json", "--bytes", "--paths", "--exclude", "1,2",
    "--output", "NAME,PKNAME,TYPE,SIZE,RO,MOUNTPOINTS",
)  # fmt: skip
"""Lists block devices, but neither RAM disks nor floppies: looking at the latter takes minutes."""

BLKID = ("blkid", "--probe", "--output", "export")
"""Looks at devices themselves for labels and types: neither cache nor udev have to be right."""


_POSITIONS = {Label.OEM: 1, Label.STATE: 2, Label.RECOVERY: 3, Label.PERSISTENT: 4}
"""Where an msdos table of ours has which partition."""

Names = Mapping[Label, str]
"""What our labels are called on a machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A block device; size in bytes, `disk` the device that it is a part of, "" if of none."""

    name: str
    disk: str
    kind: str
    size: int
    read_only: bool = False
    label: str = ""
    filesystem: str = ""
    table: str = ""
    identity: str = ""
    """The UUID of its file system."""
    part_name: str = ""
    """What a GPT calls the partition; other tables have no names."""
    part_number: int = 0
    """Its number in the table, from 1; 0 for what is no partition."""
    part_identity: str = ""
    """What its table knows the partition by."""
    mounts: tuple[str, ...] = ()


def parse_devices(listed: str, probed: str) -> tuple[Device, ...]:
    """Read what `LSBLK` and `BLKID` print, each device once; raises `LifeError`."""
    try:
        entries = json.loads(listed)["blockdevices"]
    except (ValueError, KeyError, TypeError) as error:
        raise LifeError("cannot read what lsblk prints", Phase.DEVICE) from error
    known = parse_probed(probed)
    found = {each.name: each for each in _devices(entries, known)}
    return tuple(found.values())


def names_in(listed: str) -> list[str]:
    """Return the names of all devices that `LSBLK` prints."""
    return [device.name for device in parse_devices(listed, "")]


def _devices(entries: object, known: Mapping[str, Mapping[str, str]]) -> Iterator[Device]:
    for entry in entries if isinstance(entries, list) else ():
        name = str(entry.get("name"))
        about = known.get(name, {})
        yield Device(
            name=name,
            disk=str(entry.get("pkname") or ""),
            kind=str(entry.get("type")),
            size=int(entry.get("size") or 0),
            read_only=bool(entry.get("ro")),
            label=about.get("LABEL", ""),
            filesystem=about.get("TYPE", ""),
            table=about.get("PTTYPE", ""),
            identity=about.get("UUID", ""),
            part_name=about.get("PART_ENTRY_NAME", ""),
            part_number=int(about.get("PART_ENTRY_NUMBER", "0")),
            part_identity=about.get("PART_ENTRY_UUID", ""),
            mounts=tuple(filter(None, entry.get("mountpoints") or ())),
        )
        yield from _devices(entry.get("children"), known)


def parse_probed(text: str) -> dict[str, dict[str, str]]:
    r"""Read what `BLKID` prints: the values of each device, by its name.

    Values are those of the device, with a backslash before each character that a shell minds.
    """
    found: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition("=")
        if name == "DEVNAME":
            current = found.setdefault(value, {})
        elif name:
            current[name] = re.sub(r"\\(.)", r"\1", value)
    return found


def home_disk(devices: Sequence[Device], places: Sequence[str]) -> str:
    """Return the disk that the running system was booted from, "" if that cannot be told.

    `places` are where a running system has the partition that its image is on.
    """
    for place in places:
        for each in devices:
            if place in each.mounts:
                return each.disk or each.name
    return ""


def labelled(devices: Sequence[Device], label: str, disk: str = "") -> Device | None:
    """Find the file system with a label: on `disk`, else the mounted one, else the only one.

    Another disk counts only if it has none of the labels that `disk` has: else it is another
    installation. Raises `LifeError` where several have it and nothing says which of them is meant.
    What one disk shows in several ways, as multipath does, has one identity.
    """
    others = _other_installations(devices, disk)
    there = [each for each in devices if each.label == label and each.disk not in others]
    there.sort(key=lambda each: each.kind == "loop")
    here = [each for each in there if disk and each.disk == disk]
    if not here:
        here = [each for each in there if each.mounts] or there
        if len({each.identity or each.name for each in here}) > 1:
            names = ", ".join(each.name for each in here)
            hint = "COS_DISK names the disk that is meant"
            raise LifeError(f"several disks have {label}: {names}", Phase.DEVICE, hint=hint)
    return next((each for each in here if each.mounts), here[0] if here else None)


def _other_installations(devices: Sequence[Device], disk: str) -> set[str]:
    """List the disks that have a label of ours which `disk` has, too."""
    ours = {each.label for each in devices if disk and each.disk == disk} & {*map(str, Label)}
    return {each.disk for each in devices if each.label in ours and each.disk != disk}


def without_label(
    devices: Sequence[Device], label: Label, disk: str, names: Names
) -> Device | None:
    """Find the partition of a disk that should have a label of ours, and has none at all.

    A GPT names it. In other tables it is the only one without a label where only this label is
    missing, or stands where our own tables have it. `names` are the labels that ours have here.
    """
    parts = [each for each in devices if disk and each.disk == disk and each.part_number]
    there = {each.label: each.part_number for each in parts if each.label}
    if names[label] in there:
        return None
    nameless = [each for each in parts if not each.label]
    for each in nameless:
        if each.part_name == label.removeprefix("COS_").lower():
            return each
    if any(each.part_name for each in parts):
        return None
    missing = [each for each in _POSITIONS if names[each] not in there]
    if len(nameless) == 1 and missing == [label]:
        return nameless[0]
    usual = all(there.get(names[each], at) == at for each, at in _POSITIONS.items())
    if not usual or len(missing) == len(_POSITIONS):
        return None
    return next((each for each in nameless if each.part_number == _POSITIONS.get(label)), None)


def installed_labels(devices: Sequence[Device], disk: str) -> tuple[str, ...]:
    """List the labels of an installation that a disk has."""
    wanted = {Label.STATE, Label.RECOVERY, Label.ACTIVE, Label.PASSIVE}
    return tuple(
        sorted(each.label for each in devices if each.disk == disk and each.label in wanted)
    )
