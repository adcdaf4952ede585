"""What is booted and which file systems there are: pure readers of what programs print."""

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, unique

from compiler.agent.life.phases import LifeError, Phase
from compiler.layout import Label

LSBLK = (
    "lsblk", "--json", "--bytes", "--paths", "--exclude", "1,2",
    "--output", "NAME,PKNAME,TYPE,SIZE,RO,MOUNTPOINTS",
)  # fmt: skip
"""Lists block devices, but neither RAM disks nor floppies: looking at the latter takes minutes."""

BLKID = ("blkid", "--probe", "--output", "export")
"""Looks at devices themselves for labels and types: neither cache nor udev have to be right."""


@unique
class Booted(Enum):
    """Which system is running."""

    ACTIVE = "active"
    PASSIVE = "passive"
    RECOVERY = "recovery"
    LIVE = "live"
    OTHER = "none of ours"


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


def booted(cmdline: str, labels: Iterable[str], *, live: bool) -> Booted:
    """Decide which system runs: the kernel is told first of all, else labels of loop devices say.

    `labels` are those of loop devices, `live` whether the root of a live system is there.
    """
    words = _words(cmdline)
    for word in words:
        name, _, value = word.partition("=")
        if name == "cos-img/filename":
            return _of_file(value)
    if any(Label.RECOVERY in word or Label.SYSTEM in word for word in words):
        return Booted.RECOVERY
    there = set(labels)
    if live or any(Label.LIVE in word for word in words):
        return Booted.LIVE
    for label, which in (
        (Label.SYSTEM, Booted.RECOVERY),
        (Label.PASSIVE, Booted.PASSIVE),
        (Label.ACTIVE, Booted.ACTIVE),
    ):
        if label in there:
            return which
    return Booted.OTHER


def _of_file(path: str) -> Booted:
    for name, which in (("recovery", Booted.RECOVERY), ("passive", Booted.PASSIVE)):
        if name in path.rpartition("/")[2]:
            return which
    return Booted.ACTIVE


def has_word(cmdline: str, word: str) -> bool:
    """Whether the kernel was told this word."""
    return word in _words(cmdline)


def _words(cmdline: str) -> list[str]:
    try:
        return shlex.split(cmdline)
    except ValueError:
        return cmdline.split()


def labelled(devices: Sequence[Device], label: str, disk: str = "") -> Device | None:
    """Find the file system with a label: one that is mounted first, then one of `disk`.

    Of two disks that have it, that of the running system counts.
    """
    there = [each for each in devices if each.label == label and each.kind != "loop"]
    there += [each for each in devices if each.label == label and each.kind == "loop"]
    ordered = sorted(there, key=lambda each: (each.disk != disk, not each.mounts))
    return ordered[0] if ordered else None


def installed_labels(devices: Sequence[Device], disk: str) -> tuple[str, ...]:
    """List the labels of an installation that a disk has."""
    wanted = {Label.STATE, Label.RECOVERY, Label.ACTIVE, Label.PASSIVE}
    return tuple(
        sorted(each.label for each in devices if each.disk == disk and each.label in wanted)
    )
