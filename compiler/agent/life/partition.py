"""How a disk is divided: decided here, as a script for sfdisk; `apply_table` carries it out.

Sizes are MiB. The table and its order are those of cOS-toolkit 0.5 (0.7 for GPT on BIOS).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, unique

from compiler import layout
from compiler.agent.life.phases import LifeError, Phase
from compiler.layout import MIB, Label

_ESP_TYPE = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
_BIOS_TYPE = "21686148-6449-6E6F-744E-656564454649"
_LINUX_TYPE = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
"""Types of partitions (UEFI specification 2.10, table 5-7; GRUB manual, BIOS installation)."""

_ENDS = 3
"""MiB before the first partition and after the last: alignment, and the second GPT."""

_SPARE = 256
_LEAST_PERSISTENT = 256
_COMFORTABLE_PERSISTENT = 1024
_IMAGES = 3
_MSDOS_MOST = 4
_SECTORS = (1 << 32) // 2048
"""MiB that an msdos table can reach: 2^32 sectors of 512 bytes."""


@unique
class Table(Enum):
    """The kind of a partition table, in sfdisk's words."""

    GPT = "gpt"
    MSDOS = "dos"


@unique
class Firmware(Enum):
    """What starts the machine."""

    BIOS = "bios"
    EFI = "efi"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A partition to be made; `size` 0 is the rest of the disk."""

    name: str
    label: str = ""
    size: int
    filesystem: str = ""
    kind: str = _LINUX_TYPE
    boots: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What is to be put on the disk, in MiB: an image of a system, and the recovery system."""

    image: int
    recovery: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What somebody wants of the partitions: sizes by label, file systems, and further ones."""

    sizes: tuple[tuple[str, int], ...] = ()
    filesystems: tuple[tuple[str, str], ...] = ()
    extra: tuple[Part, ...] = ()

    @property
    def made(self) -> frozenset[str]:
        """The file systems that have to be made for it."""
        extra = (part.filesystem for part in self.extra if part.filesystem)
        return frozenset((*(filesystem for _, filesystem in self.filesystems), *extra))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole table, its partitions in order."""

    table: Table
    firmware: Firmware
    parts: tuple[Part, ...]

    def number(self, label: str) -> int:
        """Return the number of the partition with a label, from 1."""
        return next(n for n, part in enumerate(self.parts, 1) if part.label == label)


def make_plan(
    disk_size: int, needs: Needs, *, firmware: Firmware, gpt: bool, wanted: Layout
) -> Plan:
    """Decide on the table of a disk of `disk_size` MiB; raises `LifeError` if it is too small."""
    table = Table.GPT if gpt or firmware is Firmware.EFI else Table.MSDOS
    sizes = _sizes(disk_size, needs, wanted)
    parts = _in_order(_first(table, firmware), sizes, wanted)
    _check(parts, table, disk_size, needs)
    return Plan(table=table, firmware=firmware, parts=parts)


def _first(table: Table, firmware: Firmware) -> tuple[Part, ...]:
    if firmware is Firmware.EFI:
        size = layout.ESP.size
        esp = Part(name="efi", label=Label.GRUB, size=size, filesystem="vfat", kind=_ESP_TYPE)
        return (esp,)
    return (Part(name="bios", size=1, kind=_BIOS_TYPE),) if table is Table.GPT else ()


def _sizes(disk_size: int, needs: Needs, wanted: Layout) -> dict[str, int]:
    """Choose the default sizes where they fit, and what the content takes where they do not."""
    least: dict[str, int] = {
        Label.OEM: layout.OEM.size,
        Label.STATE: _IMAGES * needs.image + _SPARE,
        Label.RECOVERY: 2 * needs.recovery + _SPARE,
        Label.PERSISTENT: layout.PERSISTENT.size,
    }
    usual: dict[str, int] = {
        Label.OEM: layout.OEM.size,
        Label.STATE: layout.STATE.size,
        Label.RECOVERY: layout.RECOVERY.size,
        Label.PERSISTENT: layout.PERSISTENT.size,
    }
    asked = dict(wanted.sizes)
    other = _ENDS + layout.ESP.size + sum(part.size for part in wanted.extra)
    roomy = sum({**usual, **asked}.values()) + other + _COMFORTABLE_PERSISTENT
    enough = all(usual[label] >= least[label] for label in least)
    chosen = usual if enough and roomy <= disk_size else least
    return {**chosen, **asked}


def _in_order(first: Sequence[Part], sizes: dict[str, int], wanted: Layout) -> tuple[Part, ...]:
    filesystems = dict(wanted.filesystems)
    ours = [
        Part(
            name=each.label.removeprefix("COS_").lower(),
            label=each.label,
            size=sizes[each.label],
            filesystem=filesystems.get(each.label, each.filesystem),
            boots=each.label is Label.STATE,
        )
        for each in (layout.OEM, layout.STATE, layout.RECOVERY, layout.PERSISTENT)
    ]
    ordered = [*first, *ours[:-1], *wanted.extra, ours[-1]]
    return tuple(sorted(ordered, key=lambda part: part.size == 0))


def _check(parts: Sequence[Part], table: Table, disk_size: int, needs: Needs) -> None:
    """Raise `LifeError` for a table that cannot be."""
    open_ended = [part.name for part in parts if part.size == 0]
    if len(open_ended) > 1:
        names = " and ".join(open_ended)
        message = f"only one partition can have the rest of the disk, not {names}"
        raise LifeError(message, Phase.PARTITION, hint="give all but one of them a size")
    if table is Table.MSDOS and len(parts) > _MSDOS_MOST:
        message = f"a table of the kind msdos has room for 4 partitions, not {len(parts)}"
        raise LifeError(message, Phase.PARTITION, hint="--force-gpt has no such limit")
    if table is Table.MSDOS and disk_size > _SECTORS:
        hint = "--force-gpt reaches all of it"
        raise LifeError("a table of the kind msdos reaches 2 TiB", Phase.PARTITION, hint=hint)
    _check_needs(parts, needs)
    least = sum(part.size or _LEAST_PERSISTENT for part in parts) + _ENDS
    if least > disk_size:
        listed = ", ".join(f"{part.name} {part.size or _LEAST_PERSISTENT}" for part in parts)
        message = f"the disk has {disk_size} MiB, and at least {least} MiB are needed ({listed})"
        raise LifeError(message, Phase.SIZE, hint="use a larger disk, or a smaller system")


def _check_needs(parts: Sequence[Part], needs: Needs) -> None:
    demands: dict[str, int] = {Label.STATE: _IMAGES * needs.image, Label.RECOVERY: needs.recovery}
    for part in parts:
        least = demands.get(part.label, 0)
        if part.size and part.size < least:
            message = f"{part.label} with {part.size} MiB is too small: {least} MiB are needed"
            raise LifeError(message, Phase.SIZE, hint="give it more, or leave its size out")


def sfdisk_script(plan: Plan) -> str:
    """Write the table as sfdisk reads it (sfdisk(8), INPUT FORMATS, named-fields)."""
    lines = [f"label: {plan.table.value}"]
    for part in plan.parts:
        fields = [f"size={part.size}MiB"] if part.size else []
        if plan.table is Table.GPT:
            fields += [f"type={part.kind}", f'name="{part.name}"']
        else:
            fields.append("type=83")
            fields += ["bootable"] if part.boots else []
        lines.append(", ".join(fields))
    return "\n".join(lines) + "\n"


def node(disk: str, number: int) -> str:
    """Return the device of a partition: with `p` where the disk's name ends with a digit."""
    return f"{disk}p{number}" if disk[-1:].isdigit() else f"{disk}{number}"


def with_rest(plan: Plan, disk_size: int) -> tuple[Part, ...]:
    """Return the partitions, that with the rest of the disk with its size in MiB."""
    used = sum(part.size for part in plan.parts) + _ENDS
    return tuple(part if part.size else replace(part, size=disk_size - used) for part in plan.parts)


def mib(size: int) -> int:
    """Round bytes up to MiB."""
    return -(-size // MIB)
