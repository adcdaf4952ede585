"""The store keeps layers, base images and the record of every node that was built, by key."""

from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from compiler.archive import Clamp, Entry
from compiler.keys import ArtifactKey, LayerKey
from compiler.oci import Digest, Image


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecord:
    """What was built for a layer key, and from what.

    `layers` are the node's own, bottom first: what prelude and copies changed, then what the steps
    changed; `builder` counts how many of them belong to the former. `inputs` names every input
    with a short hash, so that a later plan can tell which one changed. `content` is the key made of
    the *digests* below instead of their keys, which lets an unchanged result be found again.
    `root` are the layers that it was built on, bottom first. `unverified` names the places from
    which the layers, or some of what they were built from, came with no signature checked.
    """

    key: LayerKey
    content: str
    package: str
    layers: tuple[Digest, ...]
    builder: int
    root: tuple[Digest, ...]
    inputs: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[LayerKey, ...] = ()
    log: str = ""
    seconds: float = 0.0
    unverified: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactRecord:
    """The archive that was packed for an artifact key: SHA-256 and size in bytes.

    `unverified` names the places from which it, or what it was packed from, came with no signature
    checked.
    """

    key: ArtifactKey
    sha256: str
    size: int
    unverified: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactFile:
    """A file that an artifact is made of: the key of its record, and the package that it is of.

    Documents are `optional`: they may have been left out.
    """

    key: ArtifactKey
    package: str
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """One thing that garbage collection removes: what it is, how large in bytes, and why."""

    what: str
    size: int
    reason: str


class Store(Protocol):
    """Layers by digest, nodes by key, images by name; safe for several processes and threads."""

    def scratch(self) -> AbstractContextManager[Path]:
        """Lend an empty folder on the store's file system; what is left in it is removed."""

    def log_path(self, key: LayerKey) -> Path:
        """Where the log of this node's steps is written; the folder exists."""

    def add_layer(self, changes: Path, clamp: Clamp) -> Digest:
        """Take the folder `changes` (in overlay form) in as a layer, with canonical times.

        The folder is moved, not copied. Its digest is that of its canonical tar (the DiffID).
        """

    def layer_path(self, layer: Digest) -> Path:
        """Return the unpacked folder of a layer, in overlay form; raises `StoreError` if absent."""

    def entries(self, layer: Digest) -> Sequence[Entry]:
        """List what a layer changes, sorted by path; the digests of file contents included."""

    def present(self, keys: Iterable[LayerKey]) -> Set[LayerKey]:
        """Tell which of `keys` have a record whose layers are all there."""

    def node(self, key: LayerKey) -> NodeRecord | None:
        """Return what was built for `key`."""

    def node_by_content(self, content: str) -> NodeRecord | None:
        """Return a node built earlier from the same content, whatever its key was."""

    def latest(self, package: str) -> NodeRecord | None:
        """Return what was built last for `package` (`category/name`), to explain a rebuild."""

    def put_node(self, record: NodeRecord) -> None:
        """Keep a record; its layers must be there already. Becomes the latest of its package."""

    def artifact(self, key: ArtifactKey) -> ArtifactRecord | None:
        """Return what was packed for `key`."""

    def put_artifact(self, record: ArtifactRecord) -> None:
        """Keep the record of a packed archive."""

    def overlaps(self, stack: str) -> tuple[str, ...] | None:
        """Return the paths known to clash in a stack (named by a hash); None if never checked."""

    def put_overlaps(self, stack: str, paths: tuple[str, ...]) -> None:
        """Remember what was learnt about a stack."""

    def image(self, name: str) -> Image | None:
        """Look a base image up by name, completed as container tools do."""

    def images(self) -> Sequence[Image]:
        """List the base images, sorted by name."""

    def keep(self, run: str, keys: Iterable[LayerKey]) -> None:
        """Mark these nodes as the ones that `run` (a tree and its target) needs from now on."""

    def collect(self, *, dry_run: bool) -> Sequence[Removed]:
        """Remove what neither an image nor a kept node needs, and say what and why."""


class Cache(Protocol):
    """Where layers and archives are shared with other machines, by key.

    What fetches and pushes raises `RegistryError`.
    """

    def nodes(self, keys: Iterable[LayerKey]) -> Set[LayerKey]:
        """Tell which layers can be fetched."""

    def artifacts(self, keys: Iterable[ArtifactKey]) -> Set[ArtifactKey]:
        """Tell which archives can be fetched."""

    def fetch_node(self, key: LayerKey) -> NodeRecord:
        """Bring the layers of a node into the store."""

    def fetch_artifact(
        self, key: ArtifactKey, files: Mapping[str, ArtifactFile], destination: Path
    ) -> None:
        """Bring an archive, its metadata and documents, which are `files`, into the destination.

        What no signature was checked of gets a mark there (`compiler.marks`).
        """

    def push_node(self, record: NodeRecord) -> None:
        """Give the layers of a node to others, signed if a key is given.

        What came from others, and no signature was checked, is not given where it would be signed.
        """

    def push_artifact(
        self, key: ArtifactKey, names: Mapping[str, ArtifactKey], folder: Path
    ) -> None:
        """Give an archive and its metadata, files of `folder` by name and key; as above."""

    def refuse(self, key: str) -> None:
        """Never fetch what this key names again: it was of no use."""
