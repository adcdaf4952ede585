"""Folders of a root, opened step by step, so that no link ever leads anywhere else."""

import os
from pathlib import Path

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Folders:
    """Opens folders below a root by their paths; the last one and those above it stay open.

    A link on the way is an `OSError` (`ELOOP` or `ENOTDIR`), whoever put it there, and whenever.
    """

    def __init__(self, root: Path) -> None:
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._chain: list[tuple[str, int]] = []
        self._path = ""

    def open(self, path: str) -> int:
        """Return a handle of the folder `path` ("" is the root), good until the next call."""
        if path == self._path:
            return self._chain[-1][1] if self._chain else self._root
        parts = path.split("/") if path else []
        same = 0
        for (name, _), part in zip(self._chain, parts, strict=False):
            if name != part:
                break
            same += 1
        self._cut(same)
        for part in parts[same:]:
            above = self._chain[-1][1] if self._chain else self._root
            self._chain.append((part, os.open(part, _FLAGS, dir_fd=above)))
            self._path = f"{self._path}/{part}" if self._path else part  # also if the next fails
        return self._chain[-1][1] if self._chain else self._root

    def forget(self) -> None:
        """Look at every folder anew: some may have moved."""
        self._cut(0)

    def close(self) -> None:
        """Let go of all."""
        self._cut(0)
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    def _cut(self, length: int) -> None:
        """Close what is deeper than `length` folders."""
        for _, handle in self._chain[length:]:
            os.close(handle)
        del self._chain[length:]
        self._path = "/".join(name for name, _ in self._chain)


def split(path: str) -> tuple[str, str]:
    """Split a path into its folder ("" is the root) and its name."""
    folder, _, name = path.rpartition("/")
    return folder, name
