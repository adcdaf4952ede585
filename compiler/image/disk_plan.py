"""What a disk image is to be, and how it is divided: decided before anything is written."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, unique
from pathlib import Path

from compiler import layout
from compiler.errors import UsageError
from compiler.image.gpt import BIOS_TYPE, EFI_TYPE, LINUX_TYPE, Slice, sliced
from compiler.image.record import Origin
from compiler.image.squashfs import DEFAULT_OPTIONS
from compiler.image.tree import Tree
from compiler.layout import MIB
from compiler.processors import AMD64, Processors

SIZES = ("size", "efi", "oem", "state", "recovery", "persistent")
"""What can be given a size, the first of them the whole disk."""

_SPARE = 256
_PERSISTENT = 256
_LEAST = 8
"""MiB: free on partitions besides images, the least of the last one, and that of any other."""

_KEPT, _IMAGES = 2, 3
"""How many images are on the state partition, and for how many it has room: upgrades need one."""


@unique
class Layout(Enum):
    """What is on a disk."""

    FULL = "full"
    RECOVERY = "recovery"


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A disk image to be made.

    `recovery` is a tree with `recovery.squashfs`; without it the root is squashed. `sizes` are MiB,
    by the names of `SIZES`; what is not there is as large as its content needs. `cloud_init` are
    files of the OEM partition, by name. `origin` goes into the record of the systems, and
    `recovery_origin` into that of the recovery system, if that comes from elsewhere.
    """

    root: Tree
    processors: Processors = AMD64
    layout: Layout = Layout.FULL
    recovery: Tree | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)
    cloud_init: Mapping[str, bytes] = field(default_factory=dict)
    deploy_command: str = "cos-reset"
    squashfs: tuple[str, ...] = DEFAULT_OPTIONS
    title: str = "cOS"
    origin: Origin = field(default_factory=Origin)
    recovery_origin: Origin | None = None
    step: int = 1
    """Of how many MiB the whole disk is a multiple."""
    epoch: int

    @property
    def seed(self) -> str:
        """What all identities on the disk are made of: the same for the same content."""
        digest = hashlib.sha256(repr((self.layout, sorted(self.sizes.items()))).encode())
        for entry in self.root.entries:
            digest.update(repr(entry).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """The systems of a disk, each in a file; a disk with a recovery system only has that alone."""

    recovery: Path
    active: Path | None = None
    passive: Path | None = None


def divide(disk: Disk, images: Images) -> tuple[dict[str, Slice], int]:
    """Divide a disk; returns its partitions by name, in order, and its size in bytes.

    One for BIOS is there if machines with such processors have that. Raises `UsageError` if
    something is to be smaller than what has to be in it.
    """
    squashed = _mib(images.recovery.stat().st_size)
    recovery = _size(disk, "recovery", 2 * squashed + _SPARE, squashed + _LEAST)
    wanted = [("bios", BIOS_TYPE, 1)] if disk.processors.bios else []
    wanted += [
        ("efi", EFI_TYPE, _size(disk, "efi", layout.ESP.size, _LEAST)),
        ("oem", LINUX_TYPE, _size(disk, "oem", layout.OEM.size, _LEAST)),
    ]
    if images.active is None:
        wanted.append(("recovery", LINUX_TYPE, recovery))
    else:
        wanted.append(("state", LINUX_TYPE, state_size(disk, images.active)))
        wanted.append(("recovery", LINUX_TYPE, recovery))
        wanted.append(("persistent", LINUX_TYPE, _size(disk, "persistent", _PERSISTENT, _LEAST)))
    total = disk.sizes.get("size", 0)
    whole = [(name, kind, mib * MIB) for name, kind, mib in wanted]
    slices, size = sliced(whole, total * MIB)
    slices, size = sliced(whole, -(-size // (disk.step * MIB)) * disk.step * MIB)
    if total and sliced(whole)[1] > total * MIB:
        raise UsageError(f"the disk needs {sliced(whole)[1] // MIB} MiB at least, not {total}")
    return {each.name: each for each in slices}, size


def state_size(disk: Disk, image: Path) -> int:
    """Return the size of a state partition for images of this size, in MiB."""
    size = _mib(image.stat().st_size)
    return _size(disk, "state", _IMAGES * size + _SPARE, _KEPT * size + _LEAST)


def _size(disk: Disk, name: str, needed: int, least: int) -> int:
    """Return the size of a partition in MiB: what was asked for, if that is enough."""
    asked = disk.sizes.get(name, 0)
    if asked and asked < least:
        raise UsageError(f"the partition {name!r} needs {least} MiB at least, not {asked}")
    return asked or needed


def _mib(size: int) -> int:
    return -(-size // MIB)
