"""Where a client keeps the root of a repository's keys, and what it saw of what they signed.

TUF's library is not needed here: all that is kept was verified before.
"""

import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path

from compiler.errors import TrustError, unwritable
from compiler.repository.configured import RepositoryConfig
from compiler.repository.trust import ROLES, limit_of

_ROOT = "root.json"
_STATE = "state"
_NOTHING = "without its root, nothing of the repository is used"


def kept_root(folder: Path) -> bytes | None:
    """Return the root that an earlier `cos repo add` kept in `folder`; None if there is none.

    It goes with a cache that is emptied, so roots are put beside the files of repositories now.
    A root that is there and cannot be read, or leads nowhere, is no repository without one.
    """
    path = folder / _ROOT
    return read_root(path) if os.path.lexists(path) else None


def read_root(path: Path, *, hint: str = _NOTHING) -> bytes:
    """Read the file of a root; raises `TrustError` if it is not there, or no root at all."""
    try:
        with path.open("rb") as file:
            data = file.read(limit_of(_ROOT) + 1)
    except OSError as error:
        raise TrustError(f"{path}: cannot be read: {error.strerror}", hint=hint) from error
    if len(data) > limit_of(_ROOT):
        raise TrustError(f"{path}: is no root of a repository")
    return data


def refuse_unverifiable(config: RepositoryConfig) -> None:
    """Raise `TrustError` for a repository without a root that is to be verified: by luet's key.

    To use it unverified would be what its owner has forbidden.
    """
    if config.verify:
        message = f"{config.name}: 'verify: true' without a root verifies nothing"
        hint = "name the root of its keys with 'root:', or add it with `cos repo add --root`"
        raise TrustError(message, hint=hint)


def state_folder(folder: Path) -> Path:
    """Make the folder for what was seen of the signed metadata; raises `OutsideError`."""
    state = folder / _STATE
    try:
        state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(state, error) from error
    return state


def seal_of(root: bytes | None) -> str:
    """Name a root; what was accepted under another one, or without any, is not believed."""
    return "" if root is None else hashlib.sha256(root).hexdigest()


def holds(state: Path, now: datetime) -> bool:
    """Whether everything that was signed and seen is good beyond `now`; not if nothing was seen.

    This is asked when a repository does not answer, or need not be asked.
    """
    ends = [_end_of(state / f"{role}.json") for role in ROLES]
    return all(end is not None and end > now for end in ends)


def _end_of(path: Path) -> datetime | None:
    """Read until when a file is good (TUF specification, section 4.3)."""
    try:
        with path.open("rb") as file:
            signed = json.loads(file.read(limit_of(path.name)))["signed"]
        end = datetime.fromisoformat(signed["expires"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return end if end.tzinfo else end.replace(tzinfo=UTC)
