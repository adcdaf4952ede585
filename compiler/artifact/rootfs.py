"""The root of an image as a plain folder: its layers laid over each other, without a mount."""

from collections.abc import Sequence
from pathlib import Path

from compiler.archive import Clamp
from compiler.archive.safety import Devices
from compiler.archive.unpack import place_entries
from compiler.artifact.layered import LayeredRoot
from compiler.oci import Digest
from compiler.store.loose import ImageStore

_AS_THEY_ARE = Clamp(epoch=0, after=2**62)


def write_root(store: ImageStore, layers: Sequence[Digest], target: Path) -> None:
    """Write what a stack of layers shows into a folder, over what that holds; folders merge.

    No link of the folder is followed. Raises `ArchiveError` for what cannot be placed there,
    `OSError` when the disk refuses.
    """
    found = [(store.layer_path(layer), store.entries(layer)) for layer in layers]
    root = LayeredRoot(found, clamp=_AS_THEY_ARE)
    place_entries(root.below(""), root.content(), target, devices=Devices.allowed())
