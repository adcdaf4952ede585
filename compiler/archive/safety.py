"""What is taken from archives, whoever made them: paths, attributes, device nodes."""

import os
from enum import Enum

from compiler.errors import ArchiveError

OVERLAY = ("trusted.overlay.", "user.overlay.")
"""What the names of overlayfs's own attributes begin with: root's, and those of users."""

_LONGEST = 4095


class Devices(Enum):
    """What is done with device nodes: made, left out, or refused with an `ArchiveError`."""

    MAKE = "make"
    SKIP = "skip"
    REFUSE = "refuse"

    @classmethod
    def allowed(cls) -> "Devices":
        """Make them where that is allowed, as root; without it, a root comes without them."""
        return cls.MAKE if os.geteuid() == 0 else cls.SKIP


def safe_parts(path: str) -> tuple[str, ...]:
    """Split a path into names below the root; raises `ArchiveError` if it leads out of it.

    A leading slash means the root. More than 4095 bytes are more than the kernel takes.
    """
    parts = path.split("/")
    if "" in parts or "." in parts:
        parts = [part for part in parts if part not in {"", "."}]
    if ".." in parts:
        raise ArchiveError("the path leads out with '..'")
    if "\0" in path:
        raise ArchiveError("the path has a NUL byte")
    if len(path) > _LONGEST // 4 and len(os.fsencode(path)) > _LONGEST:
        raise ArchiveError(f"the path is longer than {_LONGEST} bytes")
    return tuple(parts)


def is_settable(name: str) -> bool:
    """Whether an archive may set an extended attribute: none of overlayfs's own."""
    return not name.startswith(OVERLAY)
