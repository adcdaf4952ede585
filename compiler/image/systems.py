"""The systems that a disk gets, as files: the active and the passive image, and the recovery."""

import shutil
from functools import partial
from pathlib import Path

from compiler.errors import ImageError
from compiler.events import Noted, Reporter, silent
from compiler.image.disk_plan import Disk, Images, Layout
from compiler.image.ext import Ext, content_size, make_ext, relabel, tree_items
from compiler.image.gpt import identity
from compiler.image.parallel import beside
from compiler.image.place import place_files
from compiler.image.sparse import copy_sparse
from compiler.image.squashfs import (
    GRUB_READS,
    compression_of,
    lost_attributes,
    make_squashfs,
)
from compiler.layout import MIB, Label
from compiler.process import Running

RECOVERY_FILE = "recovery.squashfs"
"""Where a tree has a recovery system that was made before, as an ISO has it."""

_RESERVE = 256 * MIB
"""What is free in the image of a system, for hooks that add to it."""


def make_images(disk: Disk, scratch: Path, report: Reporter = silent) -> Images:
    """Make what the layout needs in a folder, recovery and system at the same time.

    Warns of attributes of the root that its squashed form cannot hold. Raises `ImageError` for a
    recovery system that GRUB could not start.
    """
    recovery = scratch / RECOVERY_FILE
    if disk.recovery is not None and disk.recovery.get(RECOVERY_FILE) is not None:
        place_files(disk.recovery, {RECOVERY_FILE: recovery})
        check_readable(recovery)
        return _with_system(disk, recovery, scratch)
    if lost := lost_attributes(disk.root.entries):
        report(Noted(lost, warning=True))
    with beside(partial(_squash, disk, recovery)):
        return _with_system(disk, recovery, scratch)


def check_readable(recovery: Path) -> None:
    """Raise `ImageError` for a squashfs that GRUB cannot read the kernel from."""
    compression = compression_of(recovery)
    if compression not in GRUB_READS:
        raise ImageError(
            f"the recovery system is compressed with {compression}, which GRUB does not read",
            hint="squash it with -comp xz or gzip: GRUB starts the kernel that is in it",
        )


def _squash(disk: Disk, target: Path, running: Running) -> None:
    make_squashfs(disk.root, target, disk.squashfs, running, epoch=disk.epoch)
    check_readable(target)


def _with_system(disk: Disk, recovery: Path, scratch: Path) -> Images:
    """Make the images of the active and the passive system, unless the first boot does that."""
    if disk.layout is Layout.RECOVERY:
        return Images(recovery=recovery)
    active, passive = scratch / "active.img", scratch / "passive.img"
    needed, inodes = content_size(disk.root.entries)
    size = -(-(needed + _RESERVE) // MIB) * MIB
    uuid = identity(disk.seed, Label.ACTIVE)
    ext = Ext(type="ext2", label=Label.ACTIVE, size=size, inodes=inodes, uuid=uuid)
    contents = scratch / "contents"
    make_ext(ext, active, tree_items(disk.root, contents), scratch, epoch=disk.epoch)
    shutil.rmtree(contents)
    copy_sparse(active, passive)
    relabel(passive, Label.PASSIVE, identity(disk.seed, Label.PASSIVE), epoch=disk.epoch)
    return Images(recovery=recovery, active=active, passive=passive)
