"""Partition tables: GPT, with a place for GRUB on BIOS machines and one for UEFI."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from compiler.image.tools import run_tool
from compiler.layout import MIB
from compiler.process import Command

SECTOR = 512
BIOS_TYPE, EFI_TYPE, LINUX_TYPE = "ef02", "ef00", "8300"
"""Types of partitions, as sgdisk(8) calls them."""

_END = MIB
"""What is left free at the end, for the second table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A partition: name, type, and the bytes from `start` on."""

    name: str
    type: str
    start: int
    size: int


def sliced(wanted: Sequence[tuple[str, str, int]], total: int = 0) -> tuple[list[Slice], int]:
    """Lay partitions (name, type, size in bytes) one after the other, each at a whole MiB.

    The last one takes what is left of `total`. Returns them and the size of the disk in bytes.
    """
    slices: list[Slice] = []
    start = MIB
    for name, kind, size in wanted:
        whole = -(-size // MIB) * MIB
        slices.append(Slice(name=name, type=kind, start=start, size=whole))
        start += whole
    size = max(total, start + _END)
    last = slices[-1]
    rest = (size - _END - last.start) // MIB * MIB
    slices[-1] = Slice(name=last.name, type=last.type, start=last.start, size=rest)
    return slices, size


def write_table(disk: Path, slices: Sequence[Slice], seed: str) -> None:
    """Write the tables at both ends of a disk; identities come from `seed`."""
    argv = ["sgdisk", "--clear", "--set-alignment=1", f"--disk-guid={identity(seed, 'disk')}"]
    for number, each in enumerate(slices, 1):
        first, last = each.start // SECTOR, (each.start + each.size) // SECTOR - 1
        argv += [
            f"--new={number}:{first}:{last}",
            f"--typecode={number}:{each.type}",
            f"--change-name={number}:{each.name}",
            f"--partition-guid={number}:{identity(seed, each.name)}",
        ]
    run_tool(Command(argv=(*argv, str(disk))))


def identity(seed: str, name: str) -> UUID:
    """Make an identity that is always the same for the same content and name (RFC 9562, v8)."""
    digest = bytearray(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return UUID(bytes=bytes(digest))
