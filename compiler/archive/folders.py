"""Folders below a root, opened step by step, so that no link ever leads anywhere else."""

import os
from pathlib import Path

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_KEPT = 100
"""How many levels stay open: a path may have two thousand, and a process 1024 open files."""
_MODE = 0o755


class Folders:
    """Opens folders below a root by their paths; the last one and those above it stay open.

    A link on the way is a `NotADirectoryError` that names its path, whoever put it there, and
    whenever; so is anything else that is no folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._chain: list[tuple[str, int]] = []
        self._deep = -1
        self._path = ""

    def open(self, path: str, *, make: bool = False) -> int:
        """Return a handle of the folder `path` ("" is the root), good until the next call.

        `make` says whether to make what is missing.
        """
        if path == self._path:
            return self._last
        for part in self._return(path):
            self._path = self._step(part, make=make)  # also if the next one fails
        return self._last

    def _return(self, path: str) -> list[str]:
        """Go back to the last folder that is on the way to `path`; returns the names from there."""
        if self._deep >= 0 and path.startswith(f"{self._path}/"):
            return path[len(self._path) + 1 :].split("/")
        parts = path.split("/") if path else []
        same = 0
        for (name, _), part in zip(self._chain, parts, strict=False):
            if name != part:
                break
            same += 1
        self._cut(same)
        return parts[same:]

    def forget(self) -> None:
        """Look at every folder anew: some may have moved."""
        self._cut(0)

    def close(self) -> None:
        """Let go of all."""
        self._cut(0)
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    @property
    def _last(self) -> int:
        if self._deep >= 0:
            return self._deep
        return self._chain[-1][1] if self._chain else self._root

    def _step(self, name: str, *, make: bool) -> str:
        """Open one more folder in the last one; returns the path of it."""
        path = f"{self._path}/{name}" if self._path else name
        try:
            handle = _open_folder(self._last, name, make=make)
        except NotADirectoryError as error:
            error.filename = path
            raise
        if len(self._chain) < _KEPT:
            self._chain.append((name, handle))
        else:
            self._let_go_of_deep()
            self._deep = handle
        return path

    def _cut(self, length: int) -> None:
        """Close what is deeper than `length` folders."""
        self._let_go_of_deep()
        for _, handle in self._chain[length:]:
            os.close(handle)
        del self._chain[length:]
        self._path = "/".join(name for name, _ in self._chain)

    def _let_go_of_deep(self) -> None:
        if self._deep >= 0:
            os.close(self._deep)
            self._deep = -1


def _open_folder(parent: int, name: str, *, make: bool) -> int:
    """Open one folder in another; `make` says whether to make it if it is missing."""
    try:
        return os.open(name, _FLAGS, dir_fd=parent)
    except FileNotFoundError:
        if not make:
            raise
    os.mkdir(name, _MODE, dir_fd=parent)
    return os.open(name, _FLAGS, dir_fd=parent)
