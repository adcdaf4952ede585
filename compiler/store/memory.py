"""A store without files, for tests of what only asks for records."""

from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from compiler.archive import Clamp, Entry
from compiler.errors import StoreError
from compiler.keys import ArtifactKey, LayerKey
from compiler.oci import Digest, Image, parse_reference
from compiler.store import ArtifactRecord, NodeRecord, Removed
from compiler.store.layers import measure, settle
from compiler.store.records import needed_nodes


class MemoryStore:
    """A `Store` whose records live in memory; folders of layers are in a temporary folder."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="cos-store-")
        self._layers: dict[Digest, tuple[Path, tuple[Entry, ...]]] = {}
        self._nodes: dict[LayerKey, NodeRecord] = {}
        self._latest: dict[str, LayerKey] = {}
        self._content: dict[str, LayerKey] = {}
        self._artifacts: dict[ArtifactKey, ArtifactRecord] = {}
        self._overlaps: dict[str, tuple[str, ...]] = {}
        self._images: dict[str, Image] = {}
        self._kept: dict[str, tuple[LayerKey, ...]] = {}

    def close(self) -> None:
        """Forget everything."""
        self._folder.cleanup()

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Lend an empty folder."""
        with TemporaryDirectory(dir=self._folder.name) as folder:
            yield Path(folder)

    def log_path(self, key: LayerKey) -> Path:
        """Where the log of this node's steps is written."""
        return Path(self._folder.name) / f"{key}.log"

    def add_layer(self, changes: Path, clamp: Clamp) -> Digest:
        """Move the folder `changes` in."""
        layer, entries = measure(changes, clamp)
        settle(changes, entries)
        target = Path(self._folder.name) / uuid4().hex
        changes.rename(target)
        self._layers.setdefault(layer, (target, entries))
        return layer

    def layer_path(self, layer: Digest) -> Path:
        """Return the folder of a layer."""
        return self._layer(layer)[0]

    def entries(self, layer: Digest) -> Sequence[Entry]:
        """List what a layer changes."""
        return self._layer(layer)[1]

    def present(self, keys: Iterable[LayerKey]) -> Set[LayerKey]:
        """Tell which of `keys` have a record."""
        return frozenset(key for key in keys if key in self._nodes)

    def node(self, key: LayerKey) -> NodeRecord | None:
        """Return what was built for `key`."""
        return self._nodes.get(key)

    def node_by_content(self, content: str) -> NodeRecord | None:
        """Return a node built earlier from the same content."""
        key = self._content.get(content)
        return None if key is None else self._nodes.get(key)

    def latest(self, package: str) -> NodeRecord | None:
        """Return what was built last for a package."""
        key = self._latest.get(package)
        return None if key is None else self._nodes.get(key)

    def put_node(self, record: NodeRecord) -> None:
        """Keep a record."""
        for layer in record.layers:
            self._layer(layer)
        self._nodes[record.key] = record
        self._content[record.content] = record.key
        self._latest[record.package] = record.key

    def artifact(self, key: ArtifactKey) -> ArtifactRecord | None:
        """Return what was packed for `key`."""
        return self._artifacts.get(key)

    def put_artifact(self, record: ArtifactRecord) -> None:
        """Keep the record of a packed archive."""
        self._artifacts[record.key] = record

    def overlaps(self, stack: str) -> tuple[str, ...] | None:
        """Return the paths learnt to clash in a stack."""
        return self._overlaps.get(stack)

    def put_overlaps(self, stack: str, paths: tuple[str, ...]) -> None:
        """Remember what was learnt about a stack."""
        self._overlaps[stack] = paths

    def put_image(self, image: Image) -> None:
        """Keep an image under its name."""
        self._images[str(parse_reference(image.name))] = image

    def image(self, name: str) -> Image | None:
        """Look a base image up by name."""
        return self._images.get(str(parse_reference(name)))

    def images(self) -> Sequence[Image]:
        """List the base images."""
        return [self._images[name] for name in sorted(self._images)]

    def keep(self, run: str, keys: Iterable[LayerKey]) -> None:
        """Mark the nodes that a run needs."""
        self._kept[run] = tuple(keys)

    def collect(self, *, dry_run: bool) -> Sequence[Removed]:
        """Remove nodes and layers that nothing needs."""
        kept = needed_nodes((key for keys in self._kept.values() for key in keys), self._nodes)
        used = {layer for node in kept.values() for layer in (*node.layers, *node.root)}
        used |= {layer for image in self._images.values() for layer in image.layers}
        nodes = [key for key in self._nodes if key not in kept]
        layers = [layer for layer in self._layers if layer not in used]
        if not dry_run:
            for key in nodes:
                del self._nodes[key]
            for layer in layers:
                del self._layers[layer]
        return [
            *(Removed(what=f"node {key}", size=0, reason="no kept node needs it") for key in nodes),
            *(Removed(what=f"layer {each}", size=0, reason="nothing needs it") for each in layers),
        ]

    def _layer(self, layer: Digest) -> tuple[Path, tuple[Entry, ...]]:
        """Return a layer; raises `StoreError` if it is not there."""
        if layer not in self._layers:
            raise StoreError(f"the store has no layer {layer}")
        return self._layers[layer]
