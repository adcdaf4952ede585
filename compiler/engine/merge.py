"""Puts one layer over another, both in overlay form, so that one layer says what both said."""

import os
from contextlib import suppress
from pathlib import Path

from compiler.engine.confine import is_folder, mode_of
from compiler.engine.copying import Copier
from compiler.engine.flatten import is_whiteout, remove
from compiler.engine.lookup import Lowers, is_opaque
from compiler.engine.metadata import copy_metadata
from compiler.engine.stack import OPAQUE


def put_over(upper: Path, changes: Path) -> None:
    """Put what `upper` says over what `changes` says; `upper` stays as it is.

    Files are shared by hard links where one disk has both, and copied elsewhere.
    """
    _put_over(upper, changes, Copier(changes))


def drop_needless(changes: Path, lowers: Lowers) -> None:
    """Drop the deletions that delete nothing: what one layer made and a later one deleted."""
    _drop_needless(changes, "", lowers, hidden=False)


def _put_over(upper: Path, changes: Path, copier: Copier) -> None:
    for source in sorted(upper.iterdir()):
        target = changes / source.name
        if is_folder(source):
            _put_folder(source, target, copier)
        else:
            remove(target)
            _share(source, target, copier)


def _put_folder(source: Path, target: Path, copier: Copier) -> None:
    """Put a folder over whatever is there; over a file or a deletion, it hides what is below."""
    there = mode_of(target) is not None
    opaque = is_opaque(source)
    if opaque or not is_folder(target):
        remove(target)
        target.mkdir()
        opaque = opaque or there
    _put_over(source, target, copier)
    if opaque:
        _hide_below(target)
    copy_metadata(source, target)


def _share(source: Path, target: Path, copier: Copier) -> None:
    """Link a file, or copy it if the disk or its owner does not allow a link."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        copier.entry(source, target)


def _hide_below(folder: Path) -> None:
    """Make a folder opaque; without the machine's root, with the attribute that users may set."""
    for name in OPAQUE:
        with suppress(PermissionError):
            os.setxattr(folder, name, b"y")
            return


def _drop_needless(folder: Path, relative: str, lowers: Lowers, *, hidden: bool) -> None:
    for entry in sorted(folder.iterdir()):
        path = f"{relative}/{entry.name}"
        if is_folder(entry):
            _drop_needless(entry, path, lowers, hidden=hidden or is_opaque(entry))
        elif is_whiteout(entry) and (hidden or lowers.find(path) is None):
            entry.unlink()
