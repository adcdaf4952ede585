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

from compiler.agent.life.host import Host, sync_file, sync_folder
from compiler.agent.life.inventory import Inventory
from compiler.agent.life.phases import LifeError, Phase, during
from compiler.layout import ACTIVE_IMAGE, MIB, PASSIVE_IMAGE, TRANSITION_IMAGE

OUTGOING_IMAGE = "cOS/outgoing.img"
"""What was active until a moment ago, on its way to be passive."""

LEFTOVERS = (TRANSITION_IMAGE, f"{TRANSITION_IMAGE}.new")

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
def new_image(host: Host, path: Path, label: str, size: Size) -> Iterator[Path]:
    """Make an image and lend its root to be filled; on disk when the block ends.

    It has ext2, whose loop device can be released cleanly, unlike one with a journal. After an
    error nothing of it stays.
    """
    try:
        _make(host, path, label, size)
        with host.mounted(str(path), "target", "loop") as root:
            yield root
            with during(Phase.COPY, "the mount points cannot be made"):
                add_mount_points(root)
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
        host.call(
            "mkfs.ext2", "-q", "-F", "-L", label, "-b", "4096", "-I", str(_INODE), "-m", "0",
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
    with during(Phase.COPY, f"{source} cannot be copied"):
        beside.unlink(missing_ok=True)
        host.call("cp", "--sparse=always", "--reflink=auto", str(source), str(beside))
    set_label(host, beside, label)
    rename(beside, target)


def set_label(host: Host, image: Path, label: str) -> None:
    """Give the file system in an image a label, on disk when this returns."""
    with during(Phase.LABEL, f"{image} cannot be labelled"):
        host.call("tune2fs", "-L", label, str(image))
        sync_file(image)


def rename(source: Path, target: Path) -> None:
    """Give a file its name, in place of what has it, on disk when this returns."""
    with during(Phase.COPY, str(target)):
        source.rename(target)
        sync_folder(target.parent)


@dataclass(frozen=True, slots=True)
class Names:
    """The images of a state partition that is mounted at `state`, and their labels."""

    state: Path
    active_label: str
    passive_label: str

    @property
    def active(self) -> Path:
        """What the first entry of the menu boots."""
        return self.state / ACTIVE_IMAGE

    @property
    def passive(self) -> Path:
        """What is booted when that fails."""
        return self.state / PASSIVE_IMAGE

    @property
    def transition(self) -> Path:
        """What an upgrade fills."""
        return self.state / TRANSITION_IMAGE

    @property
    def outgoing(self) -> Path:
        """What was active."""
        return self.state / OUTGOING_IMAGE


def swap(host: Host, names: Names, *, keep_passive: bool) -> None:
    """Make the transition image the active one, and the active one passive unless that stays.

    After each step both names stand for whole images with the right label.
    """
    moving = not keep_passive and names.active.exists()
    if moving:
        with during(Phase.COPY, str(names.outgoing)):
            names.outgoing.unlink(missing_ok=True)
            names.outgoing.hardlink_to(names.active)
            sync_folder(names.outgoing.parent)
    rename(names.transition, names.active)
    if moving:
        retire(host, names)


def retire(host: Host, names: Names) -> None:
    """Make what was active the passive image."""
    set_label(host, names.outgoing, names.passive_label)
    rename(names.outgoing, names.passive)


def clean(host: Host, names: Names, *, passive_runs: bool) -> None:
    """Finish or undo what a command that was stopped has left on the state partition."""
    with during(Phase.COPY, "what was left of an upgrade cannot be removed"):
        for each in LEFTOVERS:
            (names.state / each).unlink(missing_ok=True)
        if not names.outgoing.exists():
            return
        begun = names.active.exists() and not names.outgoing.samefile(names.active)
        if not begun or passive_runs:
            names.outgoing.unlink()
            return
    host.log.info("Finishing an upgrade that was interrupted")
    retire(host, names)
