"""Forms of disk images that hypervisors and clouds take, made of a raw disk."""

import os
import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, unique
from pathlib import Path
from uuid import UUID

from compiler.errors import OutsideError
from compiler.image.boxes import pack_box, pack_ova, settle_vmdk
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
    VMDK = "vmdk"
    OVA = "ova"
    VAGRANT = "vagrant"

    @property
    def suffix(self) -> str:
        """Return what the names of such files end in."""
        return _SUFFIXES.get(self, f".{self.value}")

    @property
    def step(self) -> int:
        """Return of how many MiB the disk has to be a multiple."""
        return _GCE_STEP if self is Format.GCE else 1


_SUFFIXES = {Format.GCE: ".tar.gz", Format.VAGRANT: ".box"}


@dataclass(frozen=True, slots=True)
class About:
    """What a disk is called, the identity of its image, and the time of what has one."""

    title: str
    identity: UUID
    epoch: int


def convert(raw: Path, target: Path, form: Format, about: About) -> None:
    """Write a raw disk in another form, over the file `target`.

    The raw disk may be gone then. Raises `OutsideError` for a program that fails, and `ImageError`
    for a disk that a form has no room for.
    """
    size, packed = raw.stat().st_size, raw.with_name("cos.vmdk")  # it stands in it, too
    match form:
        case Format.QCOW2:
            _qcow2(raw, target)
        case Format.VHD:
            _qemu_img(raw, target, "vpc", "subformat=fixed,force_size")
            _settle_footer(target, about.identity, about.epoch)
        case Format.GCE:
            _pack(raw, target, about.epoch)
        case Format.VMDK:
            _vmdk(raw, packed, about.identity)
            packed.replace(target)
        case Format.OVA:
            _vmdk(raw, packed, about.identity)
            pack_ova(packed, target, title=about.title, size=size, epoch=about.epoch)
        case Format.VAGRANT:
            _qcow2(raw, packed)
            pack_box(packed, target, size=size, epoch=about.epoch)
        case Format.RAW:
            raise ValueError(form)


def _qcow2(raw: Path, target: Path) -> None:
    _qemu_img(raw, target, "qcow2", "compat=1.1,lazy_refcounts=off")


def _vmdk(raw: Path, target: Path, identity: UUID) -> None:
    _qemu_img(raw, target, "vmdk", "subformat=streamOptimized")
    settle_vmdk(target, identity)


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
