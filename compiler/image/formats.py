"""Forms of disk images that hypervisors and clouds take, made of a raw disk."""

import os
import struct
from datetime import UTC, datetime
from enum import Enum, unique
from pathlib import Path
from uuid import UUID

from compiler.errors import OutsideError
from compiler.image.tools import run_tool
from compiler.process import Command

_FOOTER = 512
_TIME, _CHECKSUM, _IDENTITY = 24, 64, 68
_EPOCH_2000 = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp())
_COOKIE = b"conectix"

_GCE_NAME = "disk.raw"
_GCE_STEP = 1024


@unique
class Format(Enum):
    """How a disk image is written."""

    RAW = "raw"
    QCOW2 = "qcow2"
    VHD = "vhd"
    GCE = "gce"

    @property
    def suffix(self) -> str:
        """Return what the names of such files end in."""
        return {"gce": ".tar.gz"}.get(self.value, f".{self.value}")

    @property
    def step(self) -> int:
        """Return of how many MiB the disk has to be a multiple."""
        return _GCE_STEP if self is Format.GCE else 1


def convert(raw: Path, target: Path, form: Format, *, identity: UUID, epoch: int) -> None:
    """Write a raw disk in another form, over the file `target`; raises `OutsideError`."""
    match form:
        case Format.QCOW2:
            _qemu_img(raw, target, "qcow2", "compat=1.1,lazy_refcounts=off")
        case Format.VHD:
            _qemu_img(raw, target, "vpc", "subformat=fixed,force_size")
            _settle_footer(target, identity, epoch)
        case Format.GCE:
            _pack(raw, target, epoch)
        case Format.RAW:
            raise ValueError(form)


def _qemu_img(raw: Path, target: Path, form: str, options: str) -> None:
    argv = ("qemu-img", "convert", "-f", "raw", "-O", form, "-o", options, str(raw), str(target))
    run_tool(Command(argv=argv))


def _settle_footer(disk: Path, identity: UUID, epoch: int) -> None:
    """Give a VHD a time and an identity that are always the same.

    Format: Microsoft, "Virtual Hard Disk Image Format Specification" of 2006, "Hard Disk Footer
    Format": seconds since 2000, and a checksum that is the complement of the sum of all bytes.
    """
    with disk.open("r+b") as file:
        file.seek(-_FOOTER, os.SEEK_END)
        footer = bytearray(file.read())
        if not footer.startswith(_COOKIE):
            raise OutsideError(f"{disk}: qemu-img wrote no footer that is known")
        struct.pack_into(">I", footer, _TIME, max(0, epoch - _EPOCH_2000))
        footer[_IDENTITY : _IDENTITY + 16] = identity.bytes
        struct.pack_into(">I", footer, _CHECKSUM, 0)
        struct.pack_into(">I", footer, _CHECKSUM, ~sum(footer) & 0xFFFFFFFF)
        file.seek(-_FOOTER, os.SEEK_END)
        file.write(footer)


def _pack(raw: Path, target: Path, epoch: int) -> None:
    """Pack a disk as Google Compute Engine takes it: `disk.raw` in a gzip tar of GNU's old format.

    Holes are looked for in the content, since those of the file depend on where it lies.
    """
    named = raw.with_name(_GCE_NAME)
    raw.rename(named)
    argv = (
        "tar", "--format=oldgnu", "--sparse", "--hole-detection=raw", "--owner=0", "--group=0",
        "--numeric-owner", "--mode=0644", f"--mtime=@{epoch}", "--use-compress-program=gzip -n",
        "-C", str(named.parent), "-cf", str(target), _GCE_NAME,
    )  # fmt: skip
    run_tool(Command(argv=argv))
