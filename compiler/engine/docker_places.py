"""Places for mounts that a root lacks, as a layer on top of it that looks like the root.

Without it, the engine would make them in the folder that changes are read from. See `BuildRoot`,
which does the same with mounts of our own.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from compiler.engine.buildroot import make_place
from compiler.engine.lookup import Lowers
from compiler.engine.metadata import copy_metadata


def places_above(lowers: Lowers, wanted: Sequence[tuple[str, bool]], place: Path) -> Path | None:
    """Make a layer with what is `wanted` (path, is a folder) and missing; None for nothing."""
    stub = place / "places"
    stub.mkdir(mode=0o755)
    missing = [each for each in wanted if not _fits(lowers, *each)]
    for path, is_folder in missing:
        make_place(stub, Path(lowers.resolve(path)), is_folder)
    _disguise(stub, lowers)
    return stub if missing else None


def _fits(lowers: Lowers, path: str, is_folder: bool) -> bool:  # noqa: FBT001  (a plain fact)
    there = lowers.followed(path)
    return there is not None and there.is_dir() == is_folder


def _disguise(stub: Path, lowers: Lowers) -> None:
    """Make the folders of a layer of places look as they do in the root."""
    for name, _, _ in os.walk(stub, topdown=False):
        folder = Path(name)
        there = lowers.find(str(folder.relative_to(stub)))
        if there is not None and there.is_dir() and not there.is_symlink():
            copy_metadata(there, folder)
