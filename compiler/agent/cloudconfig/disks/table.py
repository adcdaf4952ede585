"""Partition tables as sgdisk prints them, and where a partition has room in one."""

import re
from dataclasses import dataclass

from compiler.errors import CompilerError

MIB = 1 << 20

_SECTOR = re.compile(r"(?:[Ss]ector size \(logical(?:/physical)?\)|Logical sector size):? (\d+)")
_LAST = re.compile(r"last usable sector is (\d+)")
_ALIGNED = re.compile(r"aligned on (\d+)-sector")
_ROW = re.compile(r"\s*(\d+)\s+(\d+)\s+(\d+)\s+[\d.]+ [KMGTP]?i?B\s+([0-9A-Fa-f]{4})(?:\s+(.*))?")


@dataclass(frozen=True)
class Entry:
    """A partition: its number, first and last sector, type and name."""

    number: int
    first: int
    last: int
    code: str
    name: str


@dataclass(frozen=True)
class Table:
    """A partition table (GPT); sizes are in sectors."""

    sector: int
    last_usable: int
    aligned: int
    entries: tuple[Entry, ...]

    @property
    def end(self) -> Entry | None:
        """The partition behind which there is only room."""
        return max(self.entries, key=lambda each: each.last, default=None)

    @property
    def next_number(self) -> int:
        """The number that the next partition gets."""
        return max((each.number for each in self.entries), default=0) + 1

    @property
    def first_free(self) -> int:
        """The first sector behind all partitions at which one may begin."""
        behind = self.end.last + 1 if self.end else max(self.aligned, 34)
        return -(-behind // self.aligned) * self.aligned

    @property
    def free_mib(self) -> int:
        """How much room is behind all partitions."""
        return max(0, self.last_usable - self.first_free + 1) * self.sector // MIB

    def sectors(self, mib: int) -> int:
        """How many sectors a size is."""
        return mib * MIB // self.sector


def parse_table(text: str) -> Table:
    """Read what `sgdisk -p` prints; raises `CompilerError`."""
    last, sector = _LAST.search(text), _SECTOR.search(text)
    if last is None:
        raise CompilerError("the disk has no partition table that can be read")
    aligned = _ALIGNED.search(text)
    entries = (match for line in text.splitlines() if (match := _ROW.fullmatch(line)))
    return Table(
        sector=int(sector[1]) if sector else 512,
        last_usable=int(last[1]),
        aligned=max(1, int(aligned[1])) if aligned else 2048,
        entries=tuple(
            Entry(
                int(each[1]), int(each[2]), int(each[3]), each[4].upper(), (each[5] or "").strip()
            )
            for each in entries
        ),
    )


def added(table: Table, size: int) -> tuple[int, int]:
    """Choose first and last sector of a new partition; raises `CompilerError` if it is too big."""
    first = table.first_free
    if not size:
        return first, table.last_usable
    last = first + table.sectors(size) - 1
    # the size counts from where the room begins, so that what fits exactly is not refused
    if last > table.last_usable + table.aligned:
        raise CompilerError(f"a partition of {size} MiB is too big: {table.free_mib} MiB are free")
    return first, min(last, table.last_usable)


def expanded(table: Table, size: int) -> int:
    """Choose the last sector of the last partition when it grows; raises `CompilerError`."""
    entry = table.end
    if entry is None:
        raise CompilerError("there is no partition that could be expanded")
    if not size:
        return table.last_usable
    last = entry.first + table.sectors(size) - 1
    if last < entry.last:
        now = (entry.last - entry.first + 1) * table.sector // MIB
        raise CompilerError(f"partition {entry.number} has {now} MiB already: it is never shrunk")
    if last > table.last_usable + table.aligned:
        raise CompilerError(f"{size} MiB are too big: {table.free_mib} MiB are free")
    return min(last, table.last_usable)


def partition_node(disk: str, number: int) -> str:
    """Name the node of a partition: after a digit, the kernel puts a `p`."""
    return f"{disk}{'p' if disk[-1:].isdigit() else ''}{number}"
