"""Contents of trees as plain files, for tools that read nothing else."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from compiler.archive import Entry
from compiler.archive.safety import Devices
from compiler.archive.tar import CHUNK, Content
from compiler.archive.unpack import place_entries
from compiler.image.tree import Tree


def place_tree(tree: Tree, folder: Path) -> None:
    """Write everything of a tree into a folder, over what that holds.

    Device nodes and, without root, owners are lost: for what has none. Raises `ArchiveError`.
    """

    def place(entries: Iterator[Entry], content: Content) -> None:
        place_entries(entries, content, folder, devices=Devices.SKIP, name=tree.name)

    tree.write(place)


def place_files(tree: Tree, places: Mapping[str, Path]) -> None:
    """Write files of a tree, by path in it, to places outside; raises `ArchiveError`."""
    for path, data in tree.files(list(places)):
        places[path].parent.mkdir(parents=True, exist_ok=True)
        with places[path].open("wb") as file:
            if isinstance(data, bytes):
                file.write(data)
                continue
            try:
                while piece := data.read(CHUNK):
                    file.write(piece)
            finally:
                data.close()
