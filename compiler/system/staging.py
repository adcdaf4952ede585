"""Unpacks packages into staging folders, each path where it will be in the root.

Links of the root are followed, so that `bin/x` lands in `/usr/bin` where `/bin` is a link to it;
so are links of packages that come before in the same change, but never a link of the same archive.
Nothing is visible in the root before all of it is staged.
"""

import hashlib
import stat
from collections.abc import Set
from typing import NamedTuple
from unicodedata import normalize

from compiler.archive import Entry, Kind
from compiler.archive.members import short
from compiler.archive.safety import Devices, safe_parts
from compiler.archive.tar import Source
from compiler.errors import ArchiveError, ConflictError
from compiler.links import follow
from compiler.system.change import Incoming, Options
from compiler.system.content import entries_in, entry_at, naming_package
from compiler.system.database import OwnedPath
from compiler.system.disk import STAGING, Disk
from compiler.system.folders import split
from compiler.system.journal import Journal, State
from compiler.system.lookup import Lookup, top_of
from compiler.system.root import System
from compiler.system.unchanged import difference, is_standing_link, standing_file

_FILE, _FOLDER, _SYMLINK, _HARDLINK = Kind.FILE, Kind.FOLDER, Kind.SYMLINK, Kind.HARDLINK
_DEVICES = (Kind.CHARACTER, Kind.BLOCK)
_FOLDER_MODE = 0o755


class Staged(NamedTuple):
    """What will be at a place: whose it is (its number in the change), and what.

    `made` is a folder that is not in the root yet; `implied` one that no archive has, although it
    has something in it. `kept` is what is in the root already and stays. `entry` is what an archive
    says of a folder, or of what is kept.
    """

    owner: int
    kind: Kind
    digest: bytes = b""
    target: str = ""
    made: bool = False
    implied: bool = False
    kept: bool = False
    entry: Entry | None = None


class _Hashing:
    """A content that is hashed while it is written."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.hash = hashlib.sha256()

    def read(self, size: int, /) -> bytes | None:
        """Read a piece."""
        data = self._source.read(size)
        if data:
            self.hash.update(data)
        return data

    def close(self) -> None:
        """Let go of the source."""
        self._source.close()


class Stage:
    """All packages of a change, as they are staged; `places` says what will be where.

    `vanishing` are places, no folders, that the change takes away: a link there is followed no
    more. What is at the places of `passing` is staged in any case. `owned` collects the paths of
    each package for the database.
    """

    def __init__(
        self,
        system: System,
        disk: Disk,
        lookup: Lookup,
        *,
        options: Options,
        mounts: frozenset[str],
    ) -> None:
        self.places: dict[str, Staged] = {}
        self.owned: list[list[OwnedPath]] = []
        self.tops: list[str] = []
        self.vanishing: Set[str] = frozenset()
        self.passing: Set[str] = frozenset()
        self._system, self._disk, self._lookup = system, disk, lookup
        self._options, self._mounts = options, mounts
        self._folders: dict[str, str] = {}
        self._tops: dict[str, str] = {}
        self._folding: dict[str, dict[str, str]] = {}
        self._own_folders: set[str] = set()
        self._package = ""

    def add(self, incoming: Incoming, unpacked: bytes | None = None) -> None:
        """Stage one package; raises `ArchiveError` for what is hostile or damaged in it."""
        self.owned.append([])
        self._folders.clear()
        self._own_folders.clear()
        self._package = str(incoming.id)
        with naming_package(incoming):
            for entry, member in entries_in(incoming, self._options.limits, unpacked):
                try:
                    if entry.kind is _FOLDER:
                        self._add_folder(entry)
                    else:
                        self._add_other(entry, member.content)
                except ArchiveError as error:
                    name = short(member.info.name)
                    raise ArchiveError(f"{name}: {error.message}", hint=error.hint) from error

    def finish(self) -> None:
        """Give the staged folders their modes and owners."""
        for top in self.tops:
            self._disk.finish_staging(top)

    def staged_path(self, place: str) -> str:
        """Return where a place is while it is staged."""
        top = self.top_of(place)
        return f"{_staging(top)}/new/{_within(place, top)}"

    def top_of(self, place: str) -> str:
        """Return the file system that a place is on."""
        folder = split(place)[0]
        found = self._tops.get(folder)
        if found is None:
            found = self._tops[folder] = top_of(folder, self._mounts)
        return found

    @property
    def _number(self) -> int:
        return len(self.owned) - 1

    def _add_folder(self, entry: Entry) -> None:
        """Stage a folder, or take it for the one that is there, also behind a link."""
        folder, name = split(entry.path)
        place = self._settle(self._folder(folder), name)
        self._refuse_ours(place)
        there = self.places.get(place)
        if there is None:
            self._enter(split(place)[0])
            self._new_folder(place, entry)
        elif there.kind is not _FOLDER:
            raise self._clash(place)
        elif there.implied or there.owner == self._number:
            self._restage(place, there._replace(owner=self._number, implied=False, entry=entry))
        self._own_folder(entry.path, place)

    def _new_folder(self, place: str, entry: Entry, *, implied: bool = False) -> None:
        """Stage a folder that this change has not had yet; its parents are there."""
        made = not self._is_folder(place)
        if made:
            self._refuse_detour(place)
            self._check_case(place)
        staged = Staged(self._number, _FOLDER, made=made, implied=implied, entry=entry)
        self._restage(place, staged)

    def _restage(self, place: str, staged: Staged) -> None:
        self.places[place] = staged
        if staged.made and staged.entry is not None:
            self._put(place, staged.entry, None)

    def _add_other(self, entry: Entry, content: Source | None) -> None:
        """Stage what is no folder."""
        folder, name = split(entry.path)
        above = self._folder(folder)
        place = f"{above}/{name}" if above else name
        self._refuse_ours(place)
        self._refuse_detour(place, entry.target if entry.kind is _SYMLINK else None)
        if entry.kind in _DEVICES and self._options.devices is Devices.SKIP:
            return
        self._make_room(place)
        if entry.kind is _HARDLINK:
            staged = self._link(place, entry)
        else:
            staged = self._file(place, entry, content)
        self.places[place] = staged
        owned = OwnedPath(path=entry.path, place=place, kind=staged.kind, digest=staged.digest)
        self.owned[-1].append(owned)

    def _make_room(self, place: str) -> None:
        """Refuse a place that is taken in this change; `force` takes it from another package."""
        there = self.places.get(place)
        if place in self._mounts:
            raise ConflictError(f"/{place}: is a mount point")
        if there is None:
            self._check_case(place)
        elif there.owner == self._number:
            raise ArchiveError("is there twice")
        elif there.kind is _FOLDER or not self._options.force:
            raise self._clash(place)

    def _file(self, place: str, entry: Entry, content: Source | None) -> Staged:
        """Stage a file, or something that has no content."""
        may_stand = self._may_stand(place)
        if content is None:
            kept = may_stand and is_standing_link(self._lookup, place, entry)
            if not kept:
                self._put(place, entry, None)
            return Staged(self._number, entry.kind, target=entry.target, kept=kept)
        hashing = _Hashing(content)
        kept = may_stand and self._compare(place, entry, hashing)
        if not may_stand:
            self._put(place, entry, hashing)
        digest = hashing.hash.digest()
        return Staged(self._number, _FILE, digest, kept=kept, entry=entry if kept else None)

    def _may_stand(self, place: str) -> bool:
        """Whether something may be in the root that could stay: in no folder that is new itself."""
        taken = place in self.places or place in self.passing
        return not taken and not self._is_in_new(place)

    def _is_in_new(self, place: str) -> bool:
        """Whether a place is in a folder that is new itself, where the root has nothing."""
        above = self.places.get(split(place)[0])
        return above is not None and above.made

    def _compare(self, place: str, entry: Entry, content: Source) -> bool:
        """Stage a file unless it is there as it comes; returns whether it is."""
        rest: Source | None = content
        with standing_file(self._lookup, place, entry) as there:
            if there is not None:
                rest = difference(content, there)
            if rest is not None:
                self._put(place, entry, rest)
        return rest is None

    def _stage_kept(self, place: str, staged: Staged) -> Staged:
        """Stage after all what was to stay: it gets a second name."""
        if staged.entry is None:
            raise ArchiveError(f"a hard link to {place[:100]!r}, which is no file")
        with self._lookup.open(place) as file:
            hashing = _Hashing(file)
            self._put(place, staged.entry, hashing)
        if hashing.hash.digest() != staged.digest:
            raise ConflictError(f"/{place}: was changed by somebody else just now")
        self.places[place] = staged._replace(kept=False, entry=None)
        return self.places[place]

    def _link(self, place: str, entry: Entry) -> Staged:
        """Stage a hard link to a file of the same package."""
        folder, name = split("/".join(safe_parts(entry.target)))
        above = self._folder(folder)
        source = f"{above}/{name}" if above else name
        there = self.places.get(source)
        if there is None or there.owner != self._number or there.kind is _FOLDER:
            raise ArchiveError(f"a hard link to {entry.target[:100]!r}, which is not there")
        if self.top_of(source) != self.top_of(place):
            raise ArchiveError(f"a hard link to {entry.target[:100]!r} on another file system")
        if there.kept:
            there = self._stage_kept(source, there)
        target = _within(source, self.top_of(source))
        self._put(place, Entry(path=place, kind=_HARDLINK, target=target), None)
        return there

    def _put(self, place: str, entry: Entry, content: Source | None) -> None:
        """Make an entry in the staging folder."""
        top = self._open_top(place)
        self._disk.stage(top, entry_at(entry, _within(place, top)), content)

    def _open_top(self, place: str) -> str:
        """Return the file system of a place, ready to stage on: once that is written down."""
        top = self.top_of(place)
        if top in self.tops:
            return top
        self.tops.append(top)
        text = Journal(state=State.STAGING, staging=tuple(self.tops)).text()
        self._disk.commit(lambda: self._system.database.note(text))
        self._disk.make_staging(top)
        if self._lookup.status(f"{_staging(top)}/NEW") is not None:  # where it is called `new`
            self._folding[top] = {}
        return top

    def _folder(self, path: str) -> str:
        """Return the place of a folder in which something of this package goes."""
        missing = []
        while path and path not in self._folders:
            missing.append(path)
            path = split(path)[0]
        place = self._folders[path] if path else ""
        for each in reversed(missing):
            place = self._folders[each] = self._settle(place, split(each)[1])
            self._enter(place)
            self._own_folder(each, place)
        return place

    def _own_folder(self, path: str, place: str) -> None:
        """Note that the package needs a folder, once; those that no archive has as well.

        Behind a link those on the way to its place may be nobody else's.
        """
        while path not in self._own_folders:
            self._own_folders.add(path)
            there = self.places.get(place)
            made = there is not None and there.made
            self.owned[-1].append(OwnedPath(path=path, place=place, kind=_FOLDER, made=made))
            path = place = split(place)[0]
            if not path:
                return

    def _enter(self, place: str) -> None:
        """Make sure that there will be a folder at a place; missing ones are 0755 and root's."""
        missing = []
        while place and not self._is_staged_folder(place):
            missing.append(place)
            place = split(place)[0]
        for each in reversed(missing):
            if self.places.get(each) is not None:
                raise self._clash(each)
            if not self._is_folder(each):
                self._refuse_ours(each)
                entry = Entry(path=each, kind=_FOLDER, mode=_FOLDER_MODE)
                self._new_folder(each, entry, implied=True)

    def _is_staged_folder(self, place: str) -> bool:
        there = self.places.get(place)
        return there is not None and there.kind is _FOLDER

    def _is_folder(self, place: str) -> bool:
        """Whether the root has a folder there; raises if something stays there that is none."""
        status = None if self._is_in_new(place) else self._lookup.status(place)
        if status is None or place in self.vanishing:
            return False
        if stat.S_ISDIR(status.st_mode):
            return True
        raise ConflictError(f"/{place}: is no folder in the system, and {self._package} needs one")

    def _settle(self, above: str, name: str) -> str:
        """Return the place that a name in a folder leads to; `above` is the place of that."""
        place = f"{above}/{name}" if above else name
        if self._link_at(place) is None:
            return place
        return follow(place, self._link_at, ring=ArchiveError)

    def _link_at(self, place: str) -> str | None:
        """Return the text of the link that will be at a place."""
        there = self.places.get(place)
        if there is not None:
            if there.kind is not _SYMLINK:
                return None
            if there.owner == self._number:
                raise ArchiveError(f"{place[:100]!r} on the way to it is not a folder")
            return there.target
        if place in self.vanishing or self._is_in_new(place):
            return None
        return self._lookup.link(place)

    def _check_case(self, place: str) -> None:
        """Refuse a name that the file system takes for another one of this change."""
        names = self._folding.get(self._open_top(place))
        if names is not None and names.setdefault(_folded(place), place) != place:
            other = names[_folded(place)]
            raise ArchiveError(f"and {other[:100]!r} are one name on this file system")

    def _refuse_ours(self, place: str) -> None:
        if self._system.is_ours(place):
            folder = self._system.folder
            hint = f"no package may bring anything below {folder}"
            raise ArchiveError("this path is the package manager's own", hint=hint)

    def _refuse_detour(self, place: str, target: str | None = None) -> None:
        if self._system.is_on_our_way(place, target):
            raise ArchiveError("the package manager's own folder could not be found behind it")

    def _clash(self, place: str) -> ConflictError:
        return ConflictError(f"/{place}: {self._package} brings it, and so does another package")


def _folded(place: str) -> str:
    """Return what names of one file have in common where case does not count (Unicode, D145)."""
    return normalize("NFD", normalize("NFD", place).casefold())


def _staging(top: str) -> str:
    return f"{top}/{STAGING}" if top else STAGING


def _within(place: str, top: str) -> str:
    """Return a place relative to the top of its file system."""
    return place[len(top) + 1 :] if top else place
