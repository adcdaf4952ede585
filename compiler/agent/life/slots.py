"""Images of systems: files with a file system in them, built beside their place and renamed.

An image and its label belong together: the boot menu finds the file by its name, and the initrd
the root by the label inside. No name ever stands for an image with another label, whenever the
power goes: a label is only changed in a file that no entry of the menu names.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from compiler.agent.journal import checkpoint
from compiler.agent.life.host import Host, sync_file, sync_folder
from compiler.agent.life.inventory import Inventory
from compiler.agent.life.phases import LifeError, Phase, during
from compiler.layout import MIB, TRANSITION_IMAGE
from compiler.system.kernel import exchange_names

_MOUNT_POINTS = {
    "proc": 0o555, "sys": 0o555, "dev": 0o755, "tmp": 0o1777, "run": 0o755, "mnt": 0o755,
    "boot": 0o755, "usr/local": 0o755, "oem": 0o755, "root": 0o700, "var": 0o755, "etc": 0o755,
    "home": 0o755, "opt": 0o755, "srv": 0o755,
}  # fmt: skip
"""Folders that others are mounted on: a read-only root cannot make them later."""

_OVERHEAD = 16
"""MiB of a file system that hold no files: superblocks, bitmaps, the folder of what was lost."""

_INODES = 4096
_INODE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large an image becomes: in bytes, and for how many files."""

    size: int
    inodes: int


def image_size(inventory: Inventory, *, reserve: int, fixed: int) -> Size:
    """Decide on the size of an image: its content and `reserve` MiB, or `fixed` MiB if not 0.

    Raises `LifeError` for a content that has no room in what is fixed.
    """
    inodes = inventory.entries * 5 // 4 + _INODES
    content = inventory.size * 102 // 100 + _OVERHEAD * MIB + inodes * _INODE
    if fixed and content > fixed * MIB:
        needed = -(-content // MIB)
        message = f"the system needs {needed} MiB, and images are to have {fixed} MiB"
        raise LifeError(message, Phase.SIZE, hint="DEFAULT_IMAGE_SIZE says how large they are")
    whole = fixed * MIB or content + reserve * MIB
    return Size(size=-(-whole // MIB) * MIB, inodes=inodes)


@contextmanager
def new_image(
    host: Host, path: Path, label: str, size: Size, place: Path | None = None
) -> Iterator[Path]:
    """Make an image and lend its root to be filled, mounted at `place`; on disk when it ends.

    It has ext2, whose loop device can be released cleanly, unlike one with a journal. After an
    error nothing of it stays.
    """
    place = place or host.work / "target"
    try:
        _make(host, path, label, size)
        host.mount(str(path), place, "loop")
        try:
            yield place
            with during(Phase.COPY, "the mount points cannot be made"):
                add_mount_points(place)
        finally:
            host.release(place)
        with during(Phase.COPY, str(path)):
            sync_file(path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _make(host: Host, path: Path, label: str, size: Size) -> None:
    with during(Phase.FORMAT, f"{path} cannot be made"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with path.open("wb") as file:
            file.truncate(size.size)
        labelling = ("-L", label) if label else ()
        host.call(
            "mkfs.ext2", "-q", "-F", *labelling, "-b", "4096", "-I", str(_INODE), "-m", "0",
            "-N", str(size.inodes), str(path),
        )  # fmt: skip


def add_mount_points(root: Path) -> None:
    """Make the folders that others are mounted on, and let everybody into the root."""
    root.chmod(0o755)
    for name, mode in _MOUNT_POINTS.items():
        place = root / name
        if not os.path.lexists(place):
            place.mkdir(parents=True)
            place.chmod(mode)


def copy_image(host: Host, source: Path, target: Path, label: str) -> None:
    """Copy an image without its holes, give it its label, and only then its name."""
    beside = target.with_name(f"{Path(TRANSITION_IMAGE).name}.new")
    copy_file(host, source, beside)
    set_label(host, beside, label)
    rename(beside, target)


def copy_file(host: Host, source: Path, target: Path) -> None:
    """Copy an image without its holes."""
    with during(Phase.COPY, f"{source} cannot be copied"):
        target.unlink(missing_ok=True)
        host.call("cp", "--sparse=always", "--reflink=auto", str(source), str(target))


def set_label(host: Host, image: Path, label: str) -> None:
    """Give the file system in an image a label, on disk when this returns."""
    with during(Phase.LABEL, f"{image} cannot be labelled"):
        host.call("tune2fs", "-L", label, str(image))
        sync_file(image)


def rename(source: Path, target: Path) -> None:
    """Give a file its name, in place of what has it, on disk when this returns.

    What had the name is freed only when the disk has the new one there. The boot menu reads no
    journal: were both done at once, and the power went while they are written out, it could find
    the name still on a file that has nothing in it any more. So both exchange their names first;
    what a stop leaves then is a leftover, as of any change that was stopped.
    """
    with during(Phase.COPY, str(target)):
        if target.exists() and exchange_names(source, target):
            checkpoint(target.parent)
            source.unlink()
        else:
            source.rename(target)
        sync_folder(target.parent)
