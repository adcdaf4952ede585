"""Layers without overlayfs: puts them over each other by copying, and finds changes."""

import filecmp
import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

from compiler.engine.confine import is_folder, mode_of
from compiler.engine.copying import Copier
from compiler.engine.metadata import copy_metadata, same_folder
from compiler.engine.stack import OPAQUE

_WHITEOUT = os.makedev(0, 0)


def flatten(layers: Sequence[Path], root: Path) -> None:
    """Copy `layers` (in overlay form, bottom first) into the empty folder `root`."""
    for layer in layers:
        _apply(layer, root, Copier(root))
        copy_metadata(layer, root)


def changes_between(before: Path, after: Path, changes: Path) -> None:
    """Fill the empty folder `changes`, in overlay form, with what makes `before` become `after`."""
    _compare(before, after, changes, Copier(changes))
    copy_metadata(after, changes)


def is_whiteout(path: Path) -> bool:
    """Tell whether `path` says that what is below it is deleted."""
    status = path.lstat()
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == _WHITEOUT


def remove(path: Path) -> None:
    """Remove whatever is at `path`, or nothing."""
    if is_folder(path):
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _apply(layer: Path, root: Path, copier: Copier) -> None:
    for source in sorted(layer.iterdir()):
        target = root / source.name
        if is_whiteout(source):
            remove(target)
        elif not is_folder(source):
            remove(target)
            copier.entry(source, target)
        else:
            if _is_opaque(source) or not is_folder(target):
                remove(target)
                target.mkdir()
            _apply(source, target, copier)
            copy_metadata(source, target)


def _compare(before: Path, after: Path, changes: Path, copier: Copier) -> None:
    names = {path.name for folder in (before, after) for path in folder.iterdir()}
    for name in sorted(names):
        old, new, change = before / name, after / name, changes / name
        if mode_of(new) is None:
            os.mknod(change, stat.S_IFCHR, _WHITEOUT)
        elif is_folder(old) and is_folder(new):
            _compare_folders(old, new, change, copier)
        elif mode_of(old) is None or not _same(old, new):
            copier.entry(new, change)


def _compare_folders(old: Path, new: Path, change: Path, copier: Copier) -> None:
    change.mkdir()
    _compare(old, new, change, copier)
    if same_folder(old, new) and not any(change.iterdir()):
        change.rmdir()
    else:
        copy_metadata(new, change)


def _same(old: Path, new: Path) -> bool:
    """Tell whether two files, neither of them a folder, are alike."""
    one, other = old.lstat(), new.lstat()
    if (one.st_mode, one.st_uid, one.st_gid, one.st_rdev, one.st_mtime_ns) != (
        other.st_mode,
        other.st_uid,
        other.st_gid,
        other.st_rdev,
        other.st_mtime_ns,
    ):
        return False
    if stat.S_ISLNK(one.st_mode):
        return old.readlink() == new.readlink()
    return not stat.S_ISREG(one.st_mode) or filecmp.cmp(old, new, shallow=False)


def _is_opaque(folder: Path) -> bool:
    names = os.listxattr(folder, follow_symlinks=False)
    return any(name in names for name in OPAQUE)
