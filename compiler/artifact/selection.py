"""What of a built package goes into its archive: decided from lists of entries, without effects."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol, overload

from compiler.archive import Entry, Kind, renamed
from compiler.artifact.filters import Filters, compile_filters
from compiler.errors import ArchiveError, SpecError
from compiler.spec.package import BuildSpec


class Strategy(Enum):
    """Where the content of an artifact comes from."""

    EMPTY = "empty"
    DELTA = "delta"
    ROOT = "root"
    FOLDER = "folder"


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of an archive, and the path in the package's root where its content is read."""

    entry: Entry
    source: str


class Found(Sequence[Member]):
    """Members that are found while they are gone through for the first time, and then known.

    So a whole root is being written while it is still being read, which halves the time. What is
    wrong with a member is raised where it is met.
    """

    def __init__(self, members: Iterable[Member]) -> None:
        self._known: list[Member] = []
        self._rest = iter(members)

    def __iter__(self) -> Iterator[Member]:
        yield from self._known
        keep = self._known.append
        for member in self._rest:
            keep(member)
            yield member

    @overload
    def __getitem__(self, index: int) -> Member: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Member]: ...
    def __getitem__(self, index: int | slice) -> Member | Sequence[Member]:
        return self._all()[index]

    def __len__(self) -> int:
        return len(self._all())

    def __bool__(self) -> bool:
        """Tell whether there are any, without looking for all of them."""
        return any(True for _ in self)

    def _all(self) -> Sequence[Member]:
        self._known += self._rest
        return self._known


@dataclass(frozen=True, slots=True)
class Selection:
    """The members of an archive in canonical order, and what the person should know about it."""

    members: Sequence[Member] = ()
    warnings: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """The paths that are no folders, in archive order: the `files` of the metadata."""
        folder = Kind.FOLDER  # looked up once: it costs as much as all the rest
        entries = (member.entry for member in self.members)
        return tuple(entry.path for entry in entries if entry.kind is not folder)


class Roots(Protocol):
    """What a selection asks about the roots of a node: the package's, and its builder's below."""

    def changes(self) -> Sequence[Entry]:
        """List what the steps changed: the entries of their layer."""

    def in_builder(self, path: str) -> bool:
        """Tell whether the root that the steps started from has `path`, following no link."""

    def entry(self, path: str) -> Entry | None:
        """Describe the folder or file `path` of the package's root; None for anything else."""

    def below(self, folder: str) -> Iterable[Entry]:
        """List everything below `folder` of the package's root, as paths from that folder, sorted.

        A further name of a file below `folder` is a hard link to the first one there.
        """


def strategy_of(build: BuildSpec | None) -> Strategy:
    """Decide how a package is packed; `package_dir` wins over `unpack`."""
    if build is None or build.is_virtual:
        return Strategy.EMPTY
    if build.package_dir:
        return Strategy.FOLDER
    return Strategy.ROOT if build.unpack else Strategy.DELTA


def select(build: BuildSpec | None, roots: Roots) -> Selection:
    """Decide the members of a package's archive.

    Raises `SpecError` for a filter or `package_dir` that cannot be, `ArchiveError` for a layer that
    does not fit its root.
    """
    strategy = strategy_of(build)
    if build is None or strategy is Strategy.EMPTY:
        return Selection()
    filters = compile_filters(build.includes, build.excludes)
    if strategy is Strategy.FOLDER:
        return _folder(build.package_dir, filters, roots)
    if strategy is Strategy.ROOT:
        return _below("", filters, roots)
    return choose(map(_as_it_is, added(roots)), filters, parent=_parents_of(roots))


def _below(folder: str, filters: Filters, roots: Roots) -> Selection:
    """Take what lies below a folder, with paths relative to it, on which filters act."""
    base = f"{folder}/" if folder else ""
    found = (each for each in roots.below(folder) if each.kind is not Kind.WHITEOUT)
    members = (Member(entry, base + entry.path) for entry in found)
    if filters.keep_all:
        return Selection(Found(members))
    seen: dict[str, Member] = {}
    kept = _passing(_noted(members, seen), filters)
    return Selection(Found(_linked(kept, seen, _parents_of(roots, base))))


def _noted(members: Iterable[Member], seen: dict[str, Member]) -> Iterator[Member]:
    """Note every member in `seen` by its path, just before it is taken."""
    for member in members:
        seen[member.entry.path] = member
        yield member


def _passing(members: Iterable[Member], filters: Filters) -> Iterator[Member]:
    """Keep the members that pass, and all folders above them, while `members` are gone through.

    These are in canonical order and hold every folder. One that does not pass itself is held back,
    with what follows, until something below it is kept or all of it has gone by.
    """
    held: list[Member] = []
    doubtful: list[str] = []
    dropped: set[str] = set()
    for member in members:
        path = member.entry.path
        if doubtful:
            dropped.update(each for each in doubtful if not _may_be_above(each, path))
            doubtful = [each for each in doubtful if each not in dropped]
        if filters.keeps(path):
            doubtful = [each for each in doubtful if not path.startswith(f"{each}/")]
            held.append(member)
        elif member.entry.kind is Kind.FOLDER:
            doubtful.append(path)
            held.append(member)
        if not doubtful:
            yield from (each for each in held if each.entry.path not in dropped)
            held.clear()
            dropped.clear()
    dropped.update(doubtful)
    yield from (each for each in held if each.entry.path not in dropped)


def _may_be_above(folder: str, path: str) -> bool:
    """Tell whether, in canonical order, something below `folder` may be `path` or come after it."""
    return path.startswith(folder) and path[len(folder)] <= "/"


def added(roots: Roots) -> Iterable[Entry]:
    """Yield what the steps added: entries whose path the builder's root does not have.

    A changed file is not new, a deleted one leaves nothing, as luet has it.
    """
    fresh = set()  # folders that the builder does not have, so nothing below them is there either
    for entry in sorted(roots.changes(), key=_order):
        if entry.kind is Kind.WHITEOUT:
            continue
        if entry.path.rpartition("/")[0] in fresh or not roots.in_builder(entry.path):
            if entry.kind is Kind.FOLDER:
                fresh.add(entry.path)
            yield entry


def cut(parent: Selection, *, includes: Sequence[str], excludes: Sequence[str]) -> Selection:
    """Cut a subpackage out of its parent's members; the parent keeps all of them."""
    everything = {member.entry.path: member for member in parent.members}
    filters = compile_filters(includes, excludes)
    return choose(parent.members, filters, parent=everything.get)


def choose(
    candidates: Iterable[Member], filters: Filters, *, parent: Callable[[str], Member | None]
) -> Selection:
    """Apply `filters`, add the parents that are missing, and put hard links right."""
    everything = {m.entry.path: m for m in candidates if m.entry.kind is not Kind.WHITEOUT}
    kept = {path: member for path, member in everything.items() if filters.keeps(path)}
    for path in list(kept):
        _add_parents(path, kept, parent)
    ordered = sorted(kept.values(), key=lambda member: _order(member.entry))
    return Selection(tuple(_linked(ordered, everything, parent)))


def _add_parents(
    path: str, kept: dict[str, Member], parent: Callable[[str], Member | None]
) -> None:
    """Add the folders above `path` as they are in the root, with their mode, owner and xattrs."""
    while "/" in path:
        path = path.rpartition("/")[0]
        if path in kept:
            return
        member = parent(path)
        if member is None or member.entry.kind is not Kind.FOLDER:
            raise ArchiveError(f"{path!r} is no folder in the root of the package")
        kept[path] = member


def _linked(
    ordered: Iterable[Member],
    everything: Mapping[str, Member],
    parent: Callable[[str], Member | None],
) -> Iterator[Member]:
    """Make the first kept name of a file the file, and the others hard links to that name."""
    first: dict[str, str] = {}
    for member in ordered:
        path = member.entry.path
        origin = _origin(member, everything, parent)
        if origin.entry.kind is not Kind.FILE:
            yield origin if origin is member else Member(renamed(origin.entry, path), path)
        elif origin.source in first:
            yield Member(_link(origin.entry, path, first[origin.source]), origin.source)
        else:
            first[origin.source] = path
            same = origin.entry.path == path
            yield origin if same else Member(renamed(origin.entry, path), origin.source)


def _origin(
    member: Member, everything: Mapping[str, Member], parent: Callable[[str], Member | None]
) -> Member:
    """Find what a hard link names, even when that name itself is left out."""
    if member.entry.kind is not Kind.HARDLINK:
        return member
    target = everything.get(member.entry.target) or parent(member.entry.target)
    if target is None or target.entry.kind in (Kind.HARDLINK, Kind.FOLDER):
        raise ArchiveError(f"{member.entry.path!r} is a hard link to nothing")
    return target


def _link(file: Entry, path: str, target: str) -> Entry:
    """Make the entry of a further name of `file`."""
    return file._replace(path=path, kind=Kind.HARDLINK, target=target, size=0, digest="", xattrs={})


def _folder(package_dir: str, filters: Filters, roots: Roots) -> Selection:
    """Take what lies below `package_dir`, with paths relative to it, on which filters act."""
    folder = "/".join(part for part in package_dir.split("/") if part not in ("", "."))
    if ".." in folder.split("/"):
        raise SpecError(f"package_dir {package_dir!r} leads out with '..'")
    warnings = []
    if not package_dir.startswith("/"):
        warnings.append(f"package_dir {package_dir!r} is taken as '/{folder}'")
    place = roots.entry(folder) if folder else None
    if folder and (place is None or place.kind is not Kind.FOLDER):
        warnings.append(f"package_dir '/{folder}' is no folder in the root: the artifact is empty")
        return Selection((), tuple(warnings))
    return replace(_below(folder, filters, roots), warnings=tuple(warnings))


def _parents_of(roots: Roots, base: str = "") -> Callable[[str], Member | None]:
    """Return the lookup of a path of the package in its root."""

    def find(path: str) -> Member | None:
        entry = roots.entry(base + path)
        return None if entry is None else Member(renamed(entry, path), base + path)

    return find


def _as_it_is(entry: Entry) -> Member:
    """Pack an entry under the path that it has in the root."""
    return Member(entry, entry.path)


def _order(entry: Entry) -> bytes:
    """Sort by the bytes of the path, as canonical archives are."""
    return os.fsencode(entry.path)
