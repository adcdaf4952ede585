"""What several lists of entries show when each is laid over those before it, as pure data."""

import os
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from compiler.archive import Entry, Kind, renamed
from compiler.errors import ArchiveError

_FOLDER, _SYMLINK, _HARDLINK = Kind.FOLDER, Kind.SYMLINK, Kind.HARDLINK
_MOST_LINKS = 40
"""How many links a path may lead through (path_resolution(7))."""


class Place(NamedTuple):
    """Where content comes from: the number of the source, and of the entry in it."""

    layer: int
    number: int


class Shown(NamedTuple):
    """One path of a tree, and where its content is."""

    entry: Entry
    place: Place


def merged(lists: Sequence[Sequence[Entry]], epoch: int) -> list[Shown]:
    """Lay lists over each other; gives folders by path, and then all else by place.

    Folders merge, with the attributes of the last one; all else is replaced. A path that leads
    through a link to a folder goes to that folder. Hard links whose file was replaced stay one.
    Folders that are in no list are added, with the time `epoch`.
    """
    found: dict[str, Shown] = {}
    settled: list[Sequence[Entry]] = []
    for number, entries in enumerate(lists):
        settled.append(_settled(entries, found) if number else entries)
        for index, entry in enumerate(settled[-1]):
            _lay(found, Shown(entry, Place(number, index)))
    _with_links(found, settled)
    _add_parents(found, epoch)
    return ordered(found.values())


def ordered(shown: Collection[Shown]) -> list[Shown]:
    """Sort what a tree shows: folders by path, and then all else by place."""
    folders = [each for each in shown if each.entry.kind is _FOLDER]
    others = [each for each in shown if each.entry.kind is not _FOLDER]
    folders.sort(key=lambda each: os.fsencode(each.entry.path))
    others.sort(key=lambda each: each.place)
    return folders + others


def resolve(found: Mapping[str, Entry], path: str) -> str | None:
    """Follow the links on the way to a path and the path itself; None if they lead nowhere."""
    parts = [part for part in path.split("/") if part not in {"", "."}][::-1]
    at: list[str] = []
    links = 0
    while parts:
        part = parts.pop()
        if part == "..":
            del at[-1:]
            continue
        here = "/".join((*at, part))
        entry = found.get(here)
        if entry is None:
            return None
        if entry.kind is not _SYMLINK:
            at.append(part)
            continue
        links += 1
        if links > _MOST_LINKS:
            return None
        if entry.target.startswith("/"):
            at.clear()
        parts += [each for each in entry.target.split("/") if each not in {"", "."}][::-1]
    return "/".join(at)


class _Homes:
    """Where folders of an upper list are in what is below it: behind links, if there are any."""

    def __init__(self, entries: Sequence[Entry], found: Mapping[str, Shown]) -> None:
        self._below = {path: each.entry for path, each in found.items()}
        self._replaced = {each.path for each in entries if each.kind is not _FOLDER}
        self._known: dict[str, str] = {"": ""}

    def of(self, folder: str) -> str:
        """Return the folder that a path means."""
        if folder not in self._known:
            self._known[folder] = self._behind_links(self.place(folder))
        return self._known[folder]

    def place(self, path: str) -> str:
        """Return the path with the folder that it is in settled."""
        folder, _, name = path.rpartition("/")
        return f"{self.of(folder)}/{name}".lstrip("/")

    def _behind_links(self, folder: str) -> str:
        there = self._below.get(folder)
        if there is None or there.kind is not _SYMLINK or folder in self._replaced:
            return folder
        target = resolve(self._below, folder)
        is_folder = target == "" or (target and self._below[target].kind is _FOLDER)
        return target if target is not None and is_folder else folder


def _settled(entries: Sequence[Entry], found: Mapping[str, Shown]) -> list[Entry]:
    """Lead the entries of a list through the links to folders that are below it."""
    homes = _Homes(entries, found)
    settled = []
    for entry in entries:
        path = homes.of(entry.path) if entry.kind is _FOLDER else homes.place(entry.path)
        moved = entry if path == entry.path else renamed(entry, path)
        if entry.kind is _HARDLINK:
            moved = moved._replace(target=homes.place(entry.target))
        settled.append(moved)
    return settled


def _lay(found: dict[str, Shown], upper: Shown) -> None:
    """Put one entry over what is there."""
    path = upper.entry.path
    lower = found.get(path)
    if lower is not None and lower.entry.kind is _FOLDER and upper.entry.kind is not _FOLDER:
        for below in [each for each in found if each.startswith(f"{path}/")]:
            del found[below]
    if path:
        found[path] = upper


def _with_links(found: dict[str, Shown], lists: Sequence[Sequence[Entry]]) -> None:
    """Give hard links whose file was replaced the content of that file: to the first of them."""
    lost = [each for each in found.values() if _is_lost(each, found)]
    files = {
        number: {each.path: (index, each) for index, each in enumerate(lists[number])}
        for number in {each.place.layer for each in lost}
    }
    first: dict[tuple[int, str], str] = {}
    for link, (layer, _) in sorted(lost, key=lambda each: each.place):
        name = first.setdefault((layer, link.target), link.path)
        if name != link.path:
            found[link.path] = found[link.path]._replace(entry=link._replace(target=name))
            continue
        if link.target not in files[layer]:
            raise ArchiveError(f"{link.path}: is a link to {link.target}, which is not there")
        index, file = files[layer][link.target]
        found[link.path] = Shown(renamed(file, link.path), Place(layer, index))


def _is_lost(link: Shown, found: Mapping[str, Shown]) -> bool:
    """Tell whether a hard link has not the file any more that its source had for it."""
    if link.entry.kind is not _HARDLINK:
        return False
    file = found.get(link.entry.target)
    return file is None or file.place.layer != link.place.layer


def _add_parents(found: dict[str, Shown], epoch: int) -> None:
    """Add the folders that nobody listed, but what is in them."""
    for path in list(found):
        folder = path.rpartition("/")[0]
        while folder and folder not in found:
            made = Entry(path=folder, kind=_FOLDER, mode=0o755, mtime=epoch)
            found[folder] = Shown(made, Place(-1, -1))
            folder = folder.rpartition("/")[0]
        if folder and found[folder].entry.kind is not _FOLDER:
            raise ArchiveError(f"{path}: is in {folder}, which is no folder")
