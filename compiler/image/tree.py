"""Root trees out of several sources, laid over each other: listed first, then read once, in order.

Nothing is unpacked for it, and so neither owners nor attributes get lost, whoever runs it.
"""

from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, Self

from compiler.archive import Entry, Kind
from compiler.archive.tar import Content, Source
from compiler.errors import ArchiveError
from compiler.image.merge import Place, Shown, merged, ordered, resolve

Data = bytes | Source | None
"""The content of a file: whole, or to be read in pieces; None for what has none."""

Indexed = tuple[int, Data]
"""A content with the number of its entry."""

Writer = Callable[[Iterator[Entry], Content], None]
"""Writes entries somewhere; asks for the contents of files in the order of the entries."""


class Layer(Protocol):
    """One source of a tree."""

    @property
    def name(self) -> str:
        """What errors call it; empty for what nobody named."""

    def entries(self) -> Sequence[Entry]:
        """List what it has, by clean paths (empty: the root); files before links to them."""

    def read(self, wanted: Container[int]) -> AbstractContextManager[Iterator[Indexed]]:
        """Give the contents of the entries with these numbers, in order, each before the next."""


class Tree:
    """What layers show together; reads nothing but their lists until its contents are asked for.

    Folders that no layer has, but things in them, are added with the time `epoch`.
    """

    def __init__(self, layers: Sequence[Layer], shown: Sequence[Shown]) -> None:
        self._layers = tuple(layers)
        self._shown = shown
        self._by_path = {each.entry.path: each.entry for each in shown}

    @classmethod
    def of(cls, layers: Sequence[Layer], *, epoch: int) -> Self:
        """Lay layers over each other."""
        return cls(layers, merged([layer.entries() for layer in layers], epoch))

    def without(self, path: str) -> "Tree":
        """Return the same tree, but for one file."""
        return Tree(self._layers, [each for each in self._shown if each.entry.path != path])

    def changed(self, layer: Layer, taken: Container[str], gone: Container[str]) -> "Tree":
        """Return the same tree, but with the entries of a layer at the paths `taken`.

        What else it has at these paths and at those of `gone` goes. Links are not followed.
        """
        number = len(self._layers)
        kept = [
            each
            for each in self._shown
            if each.entry.path not in taken and each.entry.path not in gone
        ]
        new = [
            Shown(entry, Place(number, index))
            for index, entry in enumerate(layer.entries())
            if entry.path in taken
        ]
        return Tree((*self._layers, layer), ordered(kept + new))

    @property
    def name(self) -> str:
        """What errors call it."""
        return ", ".join(layer.name for layer in self._layers if layer.name)

    @property
    def entries(self) -> Iterator[Entry]:
        """Every entry: folders before what is in them, files before links to them."""
        return (each.entry for each in self._shown)

    def get(self, path: str) -> Entry | None:
        """Describe a path as it stands, without following it."""
        return self._by_path.get(path.strip("/"))

    def resolve(self, path: str) -> Entry | None:
        """Follow the links of a path inside of the tree; None if it leads to nothing."""
        found = resolve(self._by_path, path)
        return self._by_path.get(found) if found else None

    def stream(self, paths: Container[str] | None = None) -> Iterator[tuple[Entry, Data]]:
        """Give entries with their contents, in the order of `entries`: all, or those of `paths`."""
        wanted: list[dict[int, Entry]] = [{} for _ in self._layers]
        for entry, place in self._shown:
            if paths is not None and entry.path not in paths:
                continue
            if entry.kind is Kind.FOLDER:
                yield entry, None
            else:
                wanted[place.layer][place.number] = entry
        for layer, entries in zip(self._layers, wanted, strict=True):
            if entries:
                with layer.read(entries) as contents:
                    yield from ((entries[index], data) for index, data in contents)

    def write(self, writer: Writer) -> None:
        """Hand all entries to what writes them, with a way to their contents."""
        stream = self.stream()

        def content(entry: Entry) -> bytes | Source:
            for found, data in stream:
                if found.path == entry.path and data is not None:
                    return data
            raise ArchiveError(f"{entry.path}: its content is gone")

        writer(self.entries, content)

    def files(self, paths: Sequence[str]) -> Iterator[tuple[str, bytes | Source]]:
        """Give the contents of files, in any order; raises `ArchiveError` for what is none."""
        wanted = set(paths)
        for path in sorted(wanted):
            if path not in self._by_path or self._by_path[path].kind is not Kind.FILE:
                raise ArchiveError(f"{path}: is no file of {self.name}")
        for entry, data in self.stream(wanted):
            if data is not None:
                wanted.discard(entry.path)
                yield entry.path, data
            if not wanted:
                return
