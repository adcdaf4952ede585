"""Decides how what is staged gets into the root, and what goes: the result is a `Journal`."""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from compiler.archive import Kind
from compiler.errors import ArchiveError, CompilerError, ConflictError
from compiler.spec.package import Definition, PackageId
from compiler.system.change import Change, Options
from compiler.system.conflicts import Conflict, conflict_error, find_conflicts
from compiler.system.database import Database, Installed, OwnedPath
from compiler.system.disk import STAGING, Look
from compiler.system.folders import split
from compiler.system.journal import Journal, Move, Redescribed, Standing, State
from compiler.system.lookup import Lookup, Settled, top_of
from compiler.system.protect import copy_name
from compiler.system.staging import Stage, Staged

_FOLDER = Kind.FOLDER


@dataclass(frozen=True, slots=True)
class Leaving:
    """A package that goes, with its paths."""

    package: Installed
    paths: tuple[OwnedPath, ...]


@dataclass(slots=True)
class Plan:
    """A journal while it is made, and what the user is told."""

    moves: list[Move] = field(default_factory=list)
    redescribed: list[Redescribed] = field(default_factory=list)
    unlinks: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    away: list[str] = field(default_factory=list)
    """Folders that give way to something else, with a slash at the end."""


def leaving_packages(change: Change, database: Database) -> tuple[Leaving, ...]:
    """Find what goes; raises `CompilerError` for a change that cannot be."""
    found = []
    for package in change.remove:
        there = database.find(package.name, package.category)
        if there is None or there.id != package:
            raise CompilerError(f"{package} is not installed")
        found.append(Leaving(there, database.paths(package)))
    titles: set[str] = set()
    for incoming in change.install:
        there = database.find(incoming.id.name, incoming.id.category)
        if there is not None and there.id not in change.remove:
            raise CompilerError(f"{there.id} is installed, and {incoming.id} cannot be beside it")
        if incoming.id.title in titles:
            raise CompilerError(f"{incoming.id.title} cannot be installed twice")
        titles.add(incoming.id.title)
    return tuple(found)


class Planner:
    """Looks at what is staged and at the root, and decides."""

    def __init__(
        self, stage: Stage, lookup: Lookup, database: Database, *, options: Options, change: Change
    ) -> None:
        self._stage, self._lookup, self._database = stage, lookup, database
        self._options, self._change = options, change
        self._leaving = frozenset(change.remove)
        self._owners: Mapping[str, tuple[PackageId, ...]] = {}
        self._removable: frozenset[str] = frozenset()
        self._modified: frozenset[str] = frozenset()
        self._beside: set[str] = set()
        self._gone: set[str] = set()
        self._names: dict[str, frozenset[str]] = {}
        self._plan = Plan()

    def plan(self, leaving: Sequence[Leaving], mounts: frozenset[str]) -> tuple[Journal, list[str]]:
        """Return the journal and notes for the user; raises `ConflictError`."""
        now = Settled(self._lookup.link)  # folders may have become links
        old = [(each, owned, now.place(owned.place)) for each in leaving for owned in each.paths]
        self._removable = frozenset(place for _, _, place in old)
        self._owners = self._database.owners({*self._stage.places, *self._removable})
        self._modified = frozenset(self._find_modified(old))
        conflicts = self._conflicts()
        self._detours(leaving, now)
        for place in self._uncovered():
            self._arrive(place, self._stage.places[place])
        for _, owned, place in old:
            self._leave(owned, place)
        taken = [self._overwritten(each) for each in conflicts if each.path not in self._beside]
        return self._journal(mounts), [*taken, *self._plan.notes]

    def _conflicts(self) -> Sequence[Conflict]:
        """Raise for files that two packages want; with `force`, return them."""
        wanted = [
            (incoming.id, [each.place for each in owned if not each.is_folder])
            for incoming, owned in zip(self._change.install, self._stage.owned, strict=True)
        ]
        found = find_conflicts(wanted, self._owners, self._leaving)
        if found and not self._options.force:
            raise conflict_error(found)
        return found

    def _detours(self, leaving: Sequence[Leaving], now: Settled) -> None:
        """Raise, or with `force` tell, if a link goes through which others find their files.

        A package that has /bin/x, in a system where /bin is a link to usr/bin, would lose it when
        /bin becomes a folder.
        """
        if not any(owned.kind is Kind.SYMLINK for each in leaving for owned in each.paths):
            return
        future = Settled(self._link_to_be)
        for package, path in self._database.detours():
            place = now.place(path)
            if package in self._leaving or future.place(path) == place:
                continue
            text = f"/{path} of {package} would be found as /{place} only"
            if not self._options.force:
                hint = "upgrade both in one step; --force does it nevertheless"
                raise ConflictError(f"{text}: a link on the way to it goes", hint=hint)
            self._plan.notes.append(text)

    def _link_to_be(self, place: str) -> str | None:
        """Return the text of the link that will be at a place."""
        there = self._stage.places.get(place)
        if there is not None:
            return there.target if there.kind is Kind.SYMLINK else None
        goes = place in self._removable and self._is_free(place)
        return None if goes else self._lookup.link(place)

    def _overwritten(self, conflict: Conflict) -> str:
        return f"/{conflict.path}: {conflict.package} overwrites the file of {conflict.owner}"

    def _uncovered(self) -> Iterator[str]:
        """Give the staged places in order, without those below a folder that comes as a whole."""
        covered = "\0"
        for place in sorted(self._stage.places, key=_by_folder):
            if place.startswith(covered):
                continue
            staged = self._stage.places[place]
            if staged.kind is _FOLDER and staged.made:
                covered = f"{place}/"
            yield place

    def _arrive(self, place: str, staged: Staged) -> None:
        """Decide how one staged path gets to its place."""
        status = self._lookup.status(place)
        if staged.kind is _FOLDER and not staged.made:
            self._redescribe(place, staged, status)
        elif staged.kept and (status is None or stat.S_ISDIR(status.st_mode)):
            raise ConflictError(f"/{place}: was changed by somebody else just now")
        elif status is None:
            self._plan.moves.append(Move(self._stage.staged_path(place), place))
        elif staged.kind is _FOLDER or stat.S_ISDIR(status.st_mode):
            self._swap(place, staged, status)
        else:
            self._replace(place, staged, status)

    def _redescribe(self, place: str, staged: Staged, status: os.stat_result | None) -> None:
        """Give a folder the archive's mode and owner if it is this package's alone.

        Archives hold folders that other packages, or nobody of us, made: /tmp, /root. Those that
        luet packed even invent them as 0755.
        """
        owners = self._owners.get(place, ())
        if staged.implied or staged.entry is None or status is None or not owners:
            return
        if not self._leaving.issuperset(owners):
            return
        old = _look(status)
        new = Look(staged.entry.mode, staged.entry.uid, staged.entry.gid)
        if os.geteuid() != 0:
            new = Look(new.mode, old.uid, old.gid)
        if new != old:
            self._plan.redescribed.append(Redescribed(place, new, old))

    def _swap(self, place: str, staged: Staged, status: os.stat_result) -> None:
        """Put a folder in place of a file, or the other way round, if nothing else is lost."""
        if stat.S_ISDIR(status.st_mode):
            if staged.kind is _FOLDER:
                raise ConflictError(f"/{place}: was made by somebody else just now")
            if place not in self._removable:
                raise ConflictError(f"/{place}: is a folder in the system, and no longer would be")
            for below in self._lookup.below(place):
                goes = below in self._removable and not self._stays(below)
                if not goes or not self._is_free(below):
                    raise ConflictError(f"/{place}: is a folder that still holds /{below}")
                if below in self._stage.places:
                    raise ConflictError(f"/{place}: another package of this change needs it")
            self._plan.away.append(f"{place}/")
        source = self._stage.staged_path(place)
        self._plan.moves.append(Move(source, place, self._backup(place), away=True))

    def _replace(self, place: str, staged: Staged, status: os.stat_result) -> None:
        """Put a file in place of another one, or beside it if that is protected."""
        if place not in self._owners:
            self._check_name(place)
        if staged.kept:
            return
        source = self._stage.staged_path(place)
        if not self._is_protected(place, staged) or not stat.S_ISREG(status.st_mode):
            self._plan.moves.append(Move(source, place, self._backup(place)))
            return
        self._beside.add(place)
        if self._lookup.digest(place) == staged.digest:
            return
        folder, name = split(place)
        copy, others = copy_name(name, self._lookup.names(folder))
        if any(self._lookup.digest(_join(folder, each)) == staged.digest for each in others):
            return
        self._plan.moves.append(Move(source, _join(folder, copy)))
        self._plan.notes.append(f"/{place}: was kept, the new one is /{_join(folder, copy)}")

    def _check_name(self, place: str) -> None:
        """Refuse a name that the file system only takes for the one that is there."""
        folder, name = split(place)
        if folder not in self._names:
            self._names[folder] = frozenset(self._lookup.names(folder))
        if name not in self._names[folder]:
            raise ArchiveError(f"/{place}: another file has this name in another spelling")

    def _is_protected(self, place: str, staged: Staged) -> bool:
        """Whether the package that brings a file protects it, or one that has it already."""
        if staged.kind is not Kind.FILE:
            return False
        package = self._change.install[staged.owner].metadata.runtime
        if self._covers(package, place):
            return True
        ids = self._owners.get(place, ())
        owners = [self._database.find(each.name, each.category) for each in ids]
        return any(owner and self._covers(owner.definition, place) for owner in owners)

    def _covers(self, package: Definition, place: str) -> bool:
        return self._options.protection.extended(package.annotations).covers(place)

    def _stays(self, place: str) -> bool:
        """Tell whether a file stays although its packages go."""
        return self._options.keep_protected and place in self._modified

    def _leave(self, owned: OwnedPath, place: str) -> None:
        """Decide whether a path of a package that goes is removed."""
        if place in self._stage.places or not self._is_free(place):
            return
        if place.startswith(tuple(self._plan.away)):
            return
        if owned.is_folder:
            if owned.made and place:
                self._plan.folders.append(place)
        elif place in self._gone:
            return  # it has two owners that go
        elif self._stays(place):
            self._plan.notes.append(f"/{place}: was kept, since it was modified")
        else:
            if place in self._modified:
                self._plan.notes.append(f"/{place}: was removed, although it was modified")
            self._plan.unlinks.append(place)
        self._gone.add(place)

    def _find_modified(self, old: Sequence[tuple[Leaving, OwnedPath, str]]) -> Iterator[str]:
        """Find files that somebody changed: an owner protects them, and none brought them so."""
        digests: dict[str, set[bytes]] = {}
        protected = set()
        for each, owned, place in old:
            if owned.kind is Kind.FILE:
                digests.setdefault(place, {b""}).add(owned.digest)
                if self._covers(each.package.definition, place):
                    protected.add(place)
        for place in protected:
            if self._lookup.digest(place) not in digests[place]:
                yield place

    def _is_free(self, place: str) -> bool:
        """Whether no package that stays has this place."""
        return self._leaving.issuperset(self._owners.get(place, ()))

    def _backup(self, place: str) -> str:
        top = self._stage.top_of(place)
        return _join(top, f"{STAGING}/old/{len(self._plan.moves)}")

    def _standing(self) -> Iterator[Standing]:
        """Give the folders of what comes that are there, if something is run that may take them."""
        if not self._change.parting:
            return
        wanted = {""}
        for place, staged in self._stage.places.items():
            above = place if staged.kind is _FOLDER else split(place)[0]
            while above not in wanted:
                wanted.add(above)
                above = split(above)[0]
        for place in sorted(wanted - {""}, key=_by_folder):
            status = self._lookup.status(place)
            if status is not None and stat.S_ISDIR(status.st_mode):
                yield Standing(place, _look(status))

    def _journal(self, mounts: frozenset[str]) -> Journal:
        plan = self._plan
        moved = _tops([split(move.target)[0] for move in plan.moves], mounts)
        changed = _tops([each.place for each in plan.redescribed], mounts)
        standing = tuple(self._standing())
        made = _tops([split(each.place)[0] for each in standing], mounts)
        gone = [*plan.unlinks, *plan.folders]
        return Journal(
            state=State.READY,
            staging=tuple(self._stage.tops),
            tops=tuple(sorted({*moved, *changed, *made})),
            cleaned=_tops([split(place)[0] for place in gone], mounts),
            moves=tuple(plan.moves),
            redescribed=tuple(plan.redescribed),
            unlinks=tuple(plan.unlinks),
            folders=tuple(sorted(set(plan.folders), key=_by_folder, reverse=True)),
            came=tuple(each.id for each in self._change.install),
            left=tuple(self._change.remove),
            standing=standing,
        )


def _look(status: os.stat_result) -> Look:
    """Return mode and owner of what is there."""
    return Look(stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)


def _tops(folders: Sequence[str], mounts: frozenset[str]) -> tuple[str, ...]:
    """Return the file systems that folders are on; a mount point is on the one mounted there."""
    return tuple(sorted({top_of(folder, mounts) for folder in folders}))


def _by_folder(place: str) -> str:
    """Sort what is in a folder right after the folder."""
    return place.replace("/", "\0")


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
