"""A whole root put together from the lists of its layers: nothing is mounted and nothing scanned.

What an overlay of the layers would show is decided here from their entries, in the words of the
kernel's documentation (filesystems/overlayfs): an upper entry hides a lower one, folders merge
unless the upper one is opaque, a whiteout hides all below it.
"""

import os
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from compiler.archive import Clamp, Entry, Kind, renamed
from compiler.archive.tar import Content, Source, folder_content

Layer = tuple[Path, Sequence[Entry]]
"""The folder of a layer, and what it changes."""


class LayeredRoot:
    """Shows a stack of layers, bottom first, to a selection that takes the whole root."""

    def __init__(self, layers: Sequence[Layer], *, clamp: Clamp) -> None:
        self._found = _with_links(_stacked(layers), layers)
        self._clamp = clamp

    def changes(self) -> Sequence[Entry]:
        """List nothing: a whole root is not about changes."""
        return ()

    def in_builder(self, path: str) -> bool:
        """Tell whether the root has `path`."""
        return path in self._found

    def entry(self, path: str) -> Entry | None:
        """Describe a path of the root."""
        found = self._found.get(path)
        return self._clamped(found[0]) if found is not None else None

    def below(self, folder: str) -> Iterable[Entry]:
        """List everything below `folder`, as paths from there, sorted by their bytes."""
        prefix = f"{folder}/" if folder else ""
        outside: dict[str, str] = {}
        for path in sorted(self._found, key=os.fsencode):
            if path.startswith(prefix):
                entry = self._clamped(self._found[path][0])
                yield self._moved(entry, prefix, outside) if prefix else entry

    def _moved(self, entry: Entry, prefix: str, outside: dict[str, str]) -> Entry:
        """Make an entry relative to a folder; the first link to a file outside is that file."""
        path = entry.path.removeprefix(prefix)
        if entry.kind is not Kind.HARDLINK:
            return renamed(entry, path)
        if entry.target.startswith(prefix):
            return entry._replace(path=path, target=entry.target.removeprefix(prefix))
        first = outside.setdefault(entry.target, path)
        if first != path:
            return entry._replace(path=path, target=first)
        return self._clamped(self._found[entry.target][0])._replace(path=path)

    def content(self) -> Content:
        """Read the files of the root, each in the layer that it comes from."""
        readers = {folder: folder_content(folder) for _, folder in self._found.values()}
        found = self._found

        def read(entry: Entry) -> bytes | Source:
            return readers[found[entry.path][1]](entry)

        return read

    def _clamped(self, entry: Entry) -> Entry:
        """Apply the run's clamp to the time of an entry."""
        mtime = self._clamp.apply(entry.mtime)
        return entry if mtime == entry.mtime else entry._replace(mtime=mtime)


def _stacked(layers: Sequence[Layer]) -> dict[str, tuple[Entry, Path]]:
    """Lay layers over each other; every path with the layer that shows it."""
    found: dict[str, tuple[Entry, Path]] = {}
    for folder, entries in layers:
        hidden = [each.path for each in entries if _hides(each, found)]
        if hidden:
            _hide(found, hidden)
        for each in entries:
            if each.kind is Kind.WHITEOUT:
                found.pop(each.path, None)
            else:
                found[each.path] = (each._replace(opaque=False) if each.opaque else each, folder)
    return found


def _hides(entry: Entry, found: Mapping[str, tuple[Entry, Path]]) -> bool:
    """Tell whether an entry hides what lower layers have below its path."""
    lower = found.get(entry.path)
    if lower is None or lower[0].kind is not Kind.FOLDER:
        return False
    return entry.opaque or entry.kind is not Kind.FOLDER


def _hide(found: dict[str, tuple[Entry, Path]], hidden: Iterable[str]) -> None:
    """Remove everything below the `hidden` paths."""
    paths = sorted(found)
    for path in hidden:
        first, last = bisect_left(paths, f"{path}/"), bisect_left(paths, f"{path}0")
        for below in paths[first:last]:
            found.pop(below, None)


def _with_links(
    found: dict[str, tuple[Entry, Path]], layers: Sequence[Layer]
) -> dict[str, tuple[Entry, Path]]:
    """Make hard links whose file is hidden by an upper layer files of their own."""
    lost = {
        path: (entry, folder)
        for path, (entry, folder) in found.items()
        if entry.kind is Kind.HARDLINK and found.get(entry.target, (None, None))[1] != folder
    }
    if not lost:
        return found
    files = {folder: {each.path: each for each in entries} for folder, entries in layers}
    first: dict[tuple[Path, str], str] = {}
    for path in sorted(lost, key=os.fsencode):
        entry, folder = lost[path]
        name = first.setdefault((folder, entry.target), path)
        file = files[folder][entry.target]
        shown = file._replace(path=path)
        if name != path:
            shown = entry._replace(target=name)
        found[path] = (shown, folder)
    return found
