"""What a step can do, as data: plugins decide on actions, and `perform.py` does them."""

from collections.abc import Callable, Generator
from dataclasses import dataclass

from compiler.agent.cloudconfig.machine import Machine
from compiler.agent.programs import Program
from compiler.agent.root import KEEP, Owner


@dataclass(frozen=True, kw_only=True)
class WriteFile:
    """Replace the content of a file, or make it, with the folders above it if they have a mode."""

    path: str
    data: bytes
    mode: int | None = None
    owner: Owner = KEEP
    parents: int | None = None


@dataclass(frozen=True, kw_only=True)
class MakeFolder:
    """Make a folder; one that is there gets mode and owner, unless `keep`."""

    path: str
    mode: int
    owner: Owner = KEEP
    keep: bool = False


@dataclass(frozen=True, kw_only=True)
class Change:
    """Give what is there another mode or owner."""

    path: str
    mode: int | None = None
    owner: Owner = KEEP


@dataclass(frozen=True)
class Remove:
    """Remove a file, if it is there."""

    path: str


@dataclass(frozen=True)
class Run:
    """Run a program of the root; it has to succeed."""

    program: Program


@dataclass(frozen=True)
class RunTool:
    """Run a program for disks or checkouts: of the root, or else of the machine."""

    program: Program


@dataclass(frozen=True)
class NameHost:
    """Tell the running kernel the name of the machine."""

    name: str


@dataclass(frozen=True, kw_only=True)
class Fetch:
    """Fetch a file straight to its place; the seconds count for every answer."""

    url: str
    path: str
    mode: int
    owner: Owner
    parents: int
    timeout: float


@dataclass(frozen=True, kw_only=True)
class Unpack:
    """Unpack a container image below a folder."""

    image: str
    target: str
    platform: str


@dataclass(frozen=True)
class Warn:
    """Say that something is odd."""

    text: str


Action = WriteFile | MakeFolder | Change | Remove | Run | RunTool | NameHost | Fetch | Unpack | Warn

Actions = Generator[Action, None, None]
"""What one entry of a step does, one thing after another.

Each is done before the next is asked for, so that decisions see what was done before them. What
fails is raised where it was yielded.
"""

Task = Callable[[Machine], Actions]
"""One entry of a step: a failure ends it, and no other."""
