"""Engines run steps in containers and keep what they changed; they know layers, never packages."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from compiler.events import Reporter
from compiler.oci import Digest

WORKSPACE = "/luetbuild"
"""Where steps find the package's folder; the name is luet's, so that trees work unchanged."""


DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""The PATH of steps where neither image nor package sets one: that of Docker's builders."""


class Network(Enum):
    """Whether steps reach the network: the host's, or none but an own loopback."""

    HOST = "host"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheMount:
    """A folder that steps share from run to run, never part of a layer; a `tmpfs` is emptied."""

    target: str
    cache: str = ""
    tmpfs: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One command; `text` is what the person wrote, `env` the whole environment."""

    argv: tuple[str, ...]
    text: str
    env: tuple[tuple[str, str], ...] = ()
    directory: str = WORKSPACE
    user: str = ""
    mounts: tuple[CacheMount, ...] = ()
    network: Network | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyFiles:
    """Files from another root or a folder, copied as `COPY` of a Dockerfile does.

    `sources` may hold shell patterns, absolute in the root (`stack`) or relative to `folder`. A
    folder's *content* is copied; owner, mode, times, links and xattrs stay. Missing sources are an
    `EngineError`. No path and no link leads out of the root it is looked up in.
    """

    stack: tuple[Digest, ...] = ()
    folder: Path | None = None
    sources: tuple[str, ...]
    destination: str
    text: str
    extract: bool = False
    """Unpack a source that is a tar archive, as `ADD` does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRequest:
    """One layer to build: in which root, by which actions, and where its changes are to go.

    `changes` is an empty folder on the store's file system. Afterwards it holds what the actions
    changed, as overlayfs keeps it: a character device 0:0 for a deleted path, the xattr
    `trusted.overlay.opaque=y` for a folder that hides what is below (`user.overlay.*` without
    root). `workspace` is shown at `WORKSPACE`, writable, and keeps its state for a next request.
    """

    name: str
    root: tuple[Digest, ...]
    actions: tuple[Run | CopyFiles, ...]
    changes: Path
    workspace: Path
    log: Path
    network: Network = Network.HOST


class Engine(Protocol):
    """Runs commands in a container and keeps what they changed."""

    def build(self, request: LayerRequest, report: Reporter) -> None:
        """Fill `request.changes`; raises `EngineError` with the failed step, its output and log."""

    def mounted(self, root: tuple[Digest, ...]) -> AbstractContextManager[Path]:
        """Show the stack of layers as one read-only folder while the context lasts."""
