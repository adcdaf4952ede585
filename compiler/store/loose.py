"""Images that are only unpacked, for as long as a folder lasts: nothing is compressed or kept."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from compiler.archive import Clamp, Entry
from compiler.oci import SOURCE, Digest, Image, digest_of, hex_of, parse_reference
from compiler.store.files import outside
from compiler.store.images import ImageConfig, config_json
from compiler.store.layers import measure


class ImageStore(Protocol):
    """What bringing an image here asks of a store; the words are those of `Store`."""

    root: Path

    def guarded(self) -> AbstractContextManager[None]:
        """Turn what the operating system refuses while something is put in into a `StoreError`."""

    def scratch(self) -> AbstractContextManager[Path]:
        """Lend an empty folder on the store's file system; what is left in it is removed."""

    def add_layer(self, changes: Path, clamp: Clamp) -> Digest:
        """Move the folder `changes` (in overlay form) in as a layer; returns its DiffID."""

    def layer_path(self, layer: Digest) -> Path:
        """Return the unpacked folder of a layer."""

    def entries(self, layer: Digest) -> Sequence[Entry]:
        """List what a layer changes, sorted by path."""

    def has_layer(self, layer: Digest) -> bool:
        """Tell whether a layer is there and whole."""

    def image(self, name: str) -> Image | None:
        """Look an image up by name."""

    def put_image(self, name: str, layers: Sequence[Digest], config: ImageConfig) -> Image:
        """Name an image; its layers, bottom first, must be there already."""


class LooseImages:
    """An `ImageStore` in an empty folder that somebody else removes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._entries: dict[Digest, Sequence[Entry]] = {}
        self._images: dict[str, Image] = {}

    def guarded(self) -> AbstractContextManager[None]:
        """Turn what the operating system refuses into a `StoreError`."""
        return outside(self.root, "make room, or name another folder with $TMPDIR")

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Lend an empty folder; what is left in it is removed."""
        with self.guarded():
            lent = TemporaryDirectory(dir=self.root, prefix="scratch-")
        with lent as folder:
            yield Path(folder)

    def add_layer(self, changes: Path, clamp: Clamp) -> Digest:
        """Move the folder `changes` in; its DiffID is computed, since images are checked by it."""
        with self.guarded():
            layer, entries = measure(changes, clamp)
            if layer not in self._entries:
                changes.rename(self.layer_path(layer))
                self._entries[layer] = entries
        return layer

    def layer_path(self, layer: Digest) -> Path:
        """Return the unpacked folder of a layer."""
        return self.root / hex_of(layer)

    def entries(self, layer: Digest) -> Sequence[Entry]:
        """List what a layer changes."""
        return self._entries[layer]

    def has_layer(self, layer: Digest) -> bool:
        """Tell whether a layer is here."""
        return layer in self._entries

    def image(self, name: str) -> Image | None:
        """Look an image up by name."""
        return self._images.get(str(parse_reference(name)))

    def put_image(self, name: str, layers: Sequence[Digest], config: ImageConfig) -> Image:
        """Name an image."""
        full = str(parse_reference(name))
        image = self._images[full] = Image(
            name=full,
            digest=digest_of(config_json(config, layers)),
            layers=tuple(layers),
            env=config.env,
            user=config.user,
            shell=config.shell,
            platform=config.platform,
            source=dict(config.labels).get(SOURCE, ""),
        )
        return image
