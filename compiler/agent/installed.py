"""Which system runs, and which images the state partition has: what boot assessment speaks of."""

import fcntl
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from compiler.agent.assessment import (
    BOOT_TRY,
    UPGRADE_FAILURE,
    Disk,
    Image,
    Record,
    read_record,
    write_record,
)
from compiler.agent.booted import Booted, booted, has_word
from compiler.agent.journal import checkpoint
from compiler.errors import Location, OutsideError
from compiler.grubenv import change_block, read_block
from compiler.layout import (
    ACTIVE_IMAGE,
    BOOT_ASSESSMENT,
    PASSIVE_IMAGE,
    STATE,
    Label,
    Slot,
)
from compiler.process import Command, Finished, run

_SLOTS = {Booted.ACTIVE: Slot.ACTIVE, Booted.PASSIVE: Slot.PASSIVE}
_OURS: Mapping[str, Label] = {str(label): label for label in Label}
_LOCK = "run/cos/life.lock"
"""Held by whoever changes the installed systems; the kernel lets go of it when they end."""

_PATIENCE = 3600.0  # seconds to wait for somebody who upgrades
_STEP = 0.5

_SUPERBLOCK = 1024
_MAGIC = b"\x53\xef"
"""Of ext2 and its successors: where the superblock is, and what is at its 56th byte
(linux/fs/ext4/ext4.h, struct ext4_super_block)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """The installed system that runs: its slot, and why it was booted."""

    slot: Slot
    counted: bool
    after_failure: bool


class Installed:
    """An installed machine below `root`, seen from the active or the passive system."""

    def __init__(self, root: Path, state: Path | None = None) -> None:
        """Look at a machine whose state partition is at `state`, else where a system has it."""
        self.root = root
        self.state = state or root / (STATE.mount or "").lstrip("/")

    def running(self) -> Running | None:
        """Say which system runs; None for recovery, live systems and others."""
        line = self._text("proc/cmdline")
        slot = _SLOTS.get(booted(line, (), live=False))
        if slot is None:
            return None
        return Running(
            slot=slot,
            counted=has_word(line, BOOT_TRY),
            after_failure=has_word(line, UPGRADE_FAILURE),
        )

    def identity(self, running: Running) -> str:
        """Say who the image that runs is; raises `OutsideError`."""
        return read_image(self._root_device(), _label(running.slot)).identity

    def _root_device(self) -> Path:
        """Find the device of /: the file may have been replaced since it was booted."""
        for line in self._text("proc/self/mountinfo").splitlines():
            fields = line.split()
            if fields[4] == "/":
                return self.root / "dev/block" / fields[2]
        raise OutsideError("the root is not mounted", location=Location("/proc/self/mountinfo"))

    def _text(self, path: str) -> str:
        try:
            return (self.root / path).read_text("utf-8", "replace")
        except FileNotFoundError:
            return ""

    def disk(self) -> Disk:
        """Look which images there are, as the boot menu does: an empty file is none."""
        found = {}
        for name, label in ((ACTIVE_IMAGE, Label.ACTIVE), (PASSIVE_IMAGE, Label.PASSIVE)):
            path = self.state / name
            if path.is_file() and path.stat().st_size:
                found[name] = read_image(path, label)
        return Disk(images=found)

    def record(self) -> Record:
        """Read what is known of the images."""
        return read_record(read_block(self.state / BOOT_ASSESSMENT))

    def change(self, change: Callable[[Record], Record]) -> Record:
        """Change what is known, on disk and for the boot menu to see when this returns.

        Raises `OutsideError`.
        """
        try:
            with _alone(self.root / _LOCK), _writable(self.state):
                record = change(self.record())
                change_block(self.state / BOOT_ASSESSMENT, write_record(record))
        except OSError as error:
            place = Location(error.filename or str(self.state))
            message = f"cannot be changed: {error.strerror}"
            raise OutsideError(message, location=place) from error
        return record


def read_image(path: Path, expected: Label, names: Mapping[str, Label] = _OURS) -> Image:
    """Read who an image is; one that holds no file system that we know is nobody.

    `names` are what labels mean here; one that means nothing counts as the `expected` one.
    Raises `OutsideError` for a file that cannot be read.
    """
    try:
        with path.open("rb") as file:
            file.seek(_SUPERBLOCK)
            block = file.read(256)
    except OSError as error:
        raise OutsideError(
            f"cannot be read: {error.strerror}", location=Location(str(path))
        ) from error
    if block[56:58] != _MAGIC:
        return Image(identity="", label=expected)
    label = block[120:136].rstrip(b"\0").decode("ascii", "replace")
    known = names.get(label) or _OURS.get(label, expected)
    return Image(identity=str(uuid.UUID(bytes=block[104:120])), label=known)


def _label(slot: Slot) -> Label:
    return Label.ACTIVE if slot is Slot.ACTIVE else Label.PASSIVE


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Wait until nobody else changes the systems; an upgrade makes the partition read-only last."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + _PATIENCE
    with lock.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    message = "somebody else changes the systems, and does not end"
                    raise OutsideError(message, location=Location(str(lock))) from error
                time.sleep(_STEP)
        yield


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """Make a partition writable for a moment, and its journal written out after it.

    It stays writable where the kernel does not let it be read-only: while the image that runs has
    been replaced, and is there without a name.
    """
    read_only = bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    if read_only:
        _remount(folder, "rw").check()
    try:
        yield
    finally:
        if not read_only or _remount(folder, "ro").code:
            with suppress(OSError):
                checkpoint(folder)


def _remount(folder: Path, how: str) -> Finished:
    return run(Command(argv=("mount", "-o", f"remount,{how}", str(folder))))
