"""Looks paths up in a stack of layers that is mounted nowhere: the topmost layer decides."""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compiler.engine.confine import mode_of
from compiler.engine.flatten import is_whiteout
from compiler.engine.stack import OPAQUE
from compiler.errors import EngineError
from compiler.links import follow


@dataclass(frozen=True, slots=True)
class Lowers:
    """The folders of a stack in overlay form, topmost first; nothing may change in them."""

    layers: Sequence[Path]

    def find(self, path: str) -> Path | None:
        """Return the file that the stack shows at `path`, no link followed, None for nothing."""
        parts = _parts(path)
        for layer in self.layers:
            found, decides = _look(layer, parts)
            if decides:
                return found
        return None

    def resolve(self, path: str) -> str:
        """Return where `path` really is, links followed inside the stack; it need not exist.

        Raises `EngineError` when links go round in a ring.
        """
        return follow(path, lambda place: _link_target(self.find(place)), ring=EngineError)

    def followed(self, path: str) -> Path | None:
        """Return the file that is at `path` with all links followed, None for nothing."""
        return self.find(self.resolve(path))


def _look(layer: Path, parts: Sequence[str]) -> tuple[Path | None, bool]:
    """Look into one layer; tells what it has there, and whether layers below do not matter."""
    at, hidden = layer, False
    for number, part in enumerate(parts):
        at /= part
        mode = mode_of(at)
        if mode is None:
            return None, hidden
        if is_whiteout(at):
            return None, True
        if number == len(parts) - 1:
            return at, True
        if not stat.S_ISDIR(mode):
            return None, True
        hidden = hidden or is_opaque(at)
    return at, True


def is_opaque(folder: Path) -> bool:
    """Tell whether a folder of a layer hides what layers below have in it."""
    return any(name in OPAQUE for name in os.listxattr(folder, follow_symlinks=False))


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in {"", "."}]


def _link_target(path: Path | None) -> str | None:
    return str(path.readlink()) if path is not None and path.is_symlink() else None
