"""Looks paths up inside a root: no link of the root, absolute or with `..`, leads out of it.

Nothing runs in the root while we look (the processes of a step end with it), so that a path which
was found stays what it is.
"""

import stat
from pathlib import Path

from compiler.errors import EngineError
from compiler.links import follow


def settle(root: Path, path: str) -> Path:
    """Return where `path` really is below `root`, all links followed; it need not exist.

    Raises `EngineError` when links go round in a ring.
    """
    return root / follow(path, lambda place: _link_target(root / place), ring=EngineError)


def settle_parent(root: Path, path: str) -> Path:
    """Like `settle`, but a link at the very end stays itself."""
    parent, _, name = path.rstrip("/").rpartition("/")
    if name in {"", ".", ".."}:
        return settle(root, path)
    return settle(root, parent) / name


def make_folders(root: Path, path: str) -> Path:
    """Create the folders of `path` that are missing, 0755 and root's; raises `EngineError`."""
    place = settle(root, path)
    for folder in (*reversed(place.relative_to(root).parents), place.relative_to(root)):
        step = root / folder
        if not step.is_symlink() and not step.exists():
            step.mkdir()
            step.chmod(0o755)
        elif not step.is_dir():
            raise EngineError(f"/{folder} is not a folder")
    return place


def mode_of(path: Path) -> int | None:
    """Return the mode of what is at `path` without following it, None for nothing."""
    try:
        return path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


def is_folder(path: Path) -> bool:
    """Tell whether a folder itself, no link to one, is at `path`."""
    mode = mode_of(path)
    return mode is not None and stat.S_ISDIR(mode)


def _link_target(path: Path) -> str | None:
    mode = mode_of(path)
    return str(path.readlink()) if mode is not None and stat.S_ISLNK(mode) else None
