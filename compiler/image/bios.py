"""GRUB's start on BIOS machines, written into a disk image without a mount or a loop device.

Formats: GRUB 2.06, include/grub/i386/pc/boot.h, grub-core/boot/i386/pc/boot.S and diskboot.S, and
the manual's section "BIOS installation". The BIOS loads the first sector (boot.img), which loads
one more sector, whose number stands in it: the first of the core, which has a list of where the
rest of the core lies, and loads that.
"""

import struct
from pathlib import Path

from compiler.errors import OutsideError
from compiler.image.gpt import SECTOR, Slice
from compiler.image.grub import Modules

_CODE = 440
"""Bytes of the first sector that are code; after them is the table of partitions."""

_CORE_SECTOR = 0x5C
"""Where boot.img has the number of the core's first sector, in eight bytes."""

_DRIVE_CHECK = 0x66
_NO_CHECK = b"\x90\x90"
"""A jump that is taken out on hard disks: some BIOSes give the number of a floppy for them."""

_LIST = SECTOR - 12
"""Where the core's first sector has the first part of the rest: sector (8), count (2), segment."""

_SEGMENT = 0x820
"""Where that part is loaded: right after the core's first sector at 0x8000."""


def write_boot_code(disk: Path, core: Path, slot: Slice, modules: Modules) -> None:
    """Write GRUB's first sector, and its core into the partition that is there for it.

    `modules` are those that the core is made of. Raises `OutsideError` if the core does not fit, or
    is built in a way that is not known.
    """
    boot = bytearray((modules.folder / "boot.img").read_bytes())
    data = bytearray(core.read_bytes())
    if len(data) > slot.size:
        raise OutsideError(f"GRUB's core has {len(data)} bytes, and only {slot.size} are there")
    first = slot.start // SECTOR
    sectors = -(-len(data) // SECTOR)
    _, count, segment = struct.unpack_from("<QHH", data, _LIST)
    if len(boot) != SECTOR or count != sectors - 1 or segment != _SEGMENT:
        raise OutsideError("GRUB's core is built in a way that is not known")
    struct.pack_into("<Q", data, _LIST, first + 1)
    struct.pack_into("<Q", boot, _CORE_SECTOR, first)
    boot[_DRIVE_CHECK : _DRIVE_CHECK + 2] = _NO_CHECK
    with disk.open("r+b") as file:
        file.write(boot[:_CODE])
        file.seek(slot.start)
        file.write(data)
