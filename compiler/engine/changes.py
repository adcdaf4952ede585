"""Makes the changes of a build minimal: only what a later root would see differently stays."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from compiler.engine.metadata import same_folder
from compiler.engine.stack import OPAQUE

_NOTES = tuple(
    f"{space}.overlay.{name}"
    for space in ("trusted", "user")
    for name in ("origin", "impure", "uuid", "nlink")
)
"""What the overlay writes down for itself while it is mounted."""

Below = Callable[[Path], Path]
"""Finds a path, relative to the root, in the root as it was before."""


def minimise(changes: Path, below: Below) -> None:
    """Drop from `changes` (in overlay form) what the kernel left there and what changes nothing.

    A folder goes when nothing in it changed and it is as before, except for its time. A folder
    stops being opaque when there was no folder below that it could hide: else it would also hide
    what other layers, built beside it, have there.
    """
    _clean(changes, Path(), below)
    _forget_notes(str(changes))


def _clean(folder: Path, relative: Path, below: Below) -> bool:
    """Clean one folder from the leaves up; returns whether anything is left in it."""
    left = False
    with os.scandir(folder) as entries:
        for entry in list(entries):
            _forget_notes(entry.path)
            if entry.is_dir(follow_symlinks=False):
                left |= _keep_folder(Path(entry.path), relative / entry.name, below)
            else:
                left = True
    return left


def _keep_folder(folder: Path, relative: Path, below: Below) -> bool:
    """Clean a folder, and remove it if that leaves nothing to say; returns whether it stays."""
    left = _clean(folder, relative, below)
    opaque = _is_opaque(folder)
    if left and not opaque:
        return True
    before = below(relative)
    if before.is_symlink() or not before.is_dir():
        _make_transparent(folder)
        return True
    if left or opaque or not same_folder(folder, before):
        return True
    folder.rmdir()
    return False


def _is_opaque(folder: Path) -> bool:
    names = os.listxattr(folder, follow_symlinks=False)
    return any(name in names for name in OPAQUE)


def _make_transparent(folder: Path) -> None:
    for name in os.listxattr(folder, follow_symlinks=False):
        if name in OPAQUE:
            os.removexattr(folder, name, follow_symlinks=False)


def _forget_notes(path: str) -> None:
    for name in os.listxattr(path, follow_symlinks=False):
        if name in _NOTES:
            with suppress(OSError):
                os.removexattr(path, name, follow_symlinks=False)
