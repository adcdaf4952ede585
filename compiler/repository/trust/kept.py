"""Where a client keeps the root of a repository's keys, and what it saw of what they signed."""

from pathlib import Path

from compiler.archive.compress import atomic_file
from compiler.errors import OutsideError, TrustError

_ROOT = "root.json"
_STATE = "state"
_LARGEST = 512_000


def keep_root(folder: Path, root: bytes) -> None:
    """Keep the root that the owners of a repository gave out, which has been checked."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(folder / _ROOT) as file:
            file.write(root)
    except OSError as error:
        raise OutsideError(f"{folder}: cannot be written: {error.strerror}") from error


def kept_root(folder: Path) -> bytes | None:
    """Return the root that is kept in `folder`; None for a repository without one."""
    path = folder / _ROOT
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutsideError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > _LARGEST:
        raise TrustError(f"{path}: is no root of a repository")
    return data


def state_folder(folder: Path) -> Path:
    """Make the folder for what was seen of the signed metadata."""
    state = folder / _STATE
    state.mkdir(parents=True, exist_ok=True)
    return state
