"""Changes a system as a whole or not at all, whenever the power fails or the process is killed.

How that works is told in `journal`. Start every command that changes a system with `recover`.
"""

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial

from compiler.archive.scan import collector_paused
from compiler.errors import CompilerError, OutsideError
from compiler.events import Noted, Reporter, silent
from compiler.spec.package import PackageId
from compiler.system.change import Change, Incoming, Options
from compiler.system.conflicts import Conflict, find_conflicts
from compiler.system.content import paths_in, unpacked_in
from compiler.system.database import Entered
from compiler.system.disk import Disk, RootDisk
from compiler.system.journal import (
    Journal,
    Move,
    State,
    carry_on,
    clean_up,
    missing_staging,
    parse_journal,
    take_back,
)
from compiler.system.lookup import Lookup, Settled, mount_points
from compiler.system.plan import Leaving, Planner, leaving_packages
from compiler.system.root import System
from compiler.system.staging import Stage

__all__ = [
    "Change",
    "Conflict",
    "Incoming",
    "Options",
    "Recovered",
    "System",
    "apply",
    "check",
    "recover",
]

Farewell = Callable[[PackageId], None]
"""Runs what a package of `Change.parting` wants to have run before it goes; does not fail."""

_NO_LINKS = {errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What was made of a transaction that had been stopped: `finished`, or undone."""

    finished: bool
    came: tuple[PackageId, ...]
    left: tuple[PackageId, ...]

    def __str__(self) -> str:
        """Say it in one line."""
        verb = "finished" if self.finished else "undid"
        coming = [f"installing {package}" for package in self.came]
        going = [f"removing {package}" for package in self.left]
        return f"{verb} what had been stopped: {', '.join(coming + going) or 'an installation'}"


def check(change: Change, system: System, options: Options | None = None) -> tuple[Conflict, ...]:
    """Name the file conflicts of a change, sorted, before anything is touched or unpacked.

    It goes by the lists of the metadata; `apply` looks once more at what is really unpacked.
    """
    limits = (options or Options()).limits
    leaving = leaving_packages(change, system.database)
    with _looking(system) as lookup, _words(system):
        gone = _vanishing(change, leaving, options)
        settled = Settled(lambda place: None if place in gone else lookup.link(place))
        wanted = [
            (each.id, [settled.place(path) for path in paths_in(each, limits)])
            for each in change.install
        ]
        owners = system.database.owners({place for _, places in wanted for place in places})
    return find_conflicts(wanted, owners, frozenset(change.remove))


def no_farewell(_package: PackageId) -> None:
    """Let a package go as it is."""


def apply(  # noqa: PLR0913  (what a change is, where, and what it is given of the outside)
    change: Change,
    system: System,
    options: Options | None = None,
    reporter: Reporter = silent,
    *,
    disk: Disk | None = None,
    farewell: Farewell = no_farewell,
) -> None:
    """Make a change, all of it or nothing.

    `farewell` is called for each package of `parting` once everything is staged and checked; one
    that had it and stays, since a later step failed, counts as not finalized.
    Raises `ConflictError` for files that two packages want (see `Options.force`), `ArchiveError`
    for what is hostile or damaged, `OutsideError` when the disk is full or fails; the system is as
    before then. If that cannot be reached at once, the error says so, and `recover` does it.
    """
    options = options or Options()
    with system.lock(), _words(system), collector_paused():
        recovered = recover(system, reporter, disk=disk, farewell=farewell)
        if recovered is not None:
            reporter(Noted(str(recovered)))
        with _disk(system, options, disk) as used, _looking(system) as lookup:
            work = _Work(system, used, lookup, options, reporter, farewell)
            with _or_back(work):
                journal = _part(_prepare(change, work), work)
                _finish(journal, work)
            _clean(journal, work)


def recover(
    system: System,
    reporter: Reporter = silent,
    *,
    disk: Disk | None = None,
    farewell: Farewell = no_farewell,
) -> Recovered | None:
    """Finish the transaction that a kill or a power failure has stopped, or else undo it.

    `farewell` is called for the packages that had not come to it, or not to the end of it.
    Returns None if there was none. Raises `OutsideError` if neither is possible yet: when a file
    system is not mounted, say, or still is full.
    """
    if system.database.journal() is None:
        return None
    with system.lock(), _words(system):
        journal = _journal(system)
        if journal is None:
            return None
        with _disk(system, Options(), disk) as used, _looking(system) as lookup:
            work = _Work(system, used, lookup, Options(), reporter, farewell)
            finished = _recover(journal, work)
    return Recovered(
        finished=finished,
        came=tuple(PackageId(*each) for each in journal.came),
        left=tuple(PackageId(*each) for each in journal.left),
    )


@dataclass(frozen=True, slots=True)
class _Work:
    """What all steps of a transaction need."""

    system: System
    disk: Disk
    lookup: Lookup
    options: Options
    reporter: Reporter
    farewell: Farewell

    def commit(self, write: Callable[[], None]) -> None:
        """Change the database for good."""
        self.disk.commit(write)

    def look_anew(self) -> None:
        """Take nothing of the root for granted: something was moved, or something else has run."""
        self.lookup.forget()
        self.disk.forget()


def _prepare(change: Change, work: _Work) -> Journal:
    """Stage everything, decide, sync, and commit the journal."""
    database = work.system.database
    leaving = leaving_packages(change, database)
    mounts = mount_points(work.system.root)
    stage = Stage(work.system, work.disk, work.lookup, options=work.options, mounts=mounts)
    stage.vanishing = _vanishing(change, leaving, work.options)
    stage.passing = _passing(change, leaving)
    with closing(unpacked_in(change.install)) as unpacked:
        for incoming, data in zip(change.install, unpacked, strict=True):
            work.reporter(Noted(f"unpacking {incoming.id}"))
            stage.add(incoming, data)
    stage.finish()
    planner = Planner(stage, work.lookup, database, options=work.options, change=change)
    journal, notes = planner.plan(leaving, mounts)
    moves = tuple(_backed_up(move, work.disk) for move in journal.moves)
    parting = tuple((each.category, each.name, each.version) for each in change.parting)
    journal = replace(journal, moves=moves, parting=parting)
    for top in journal.staging:
        work.disk.sync(top)
    entered = _entered(change, stage, leaving)
    work.commit(lambda: database.prepare(journal.text(), entered))
    for note in notes:
        work.reporter(Noted(note, warning=True))
    return journal


def _vanishing(
    change: Change, leaving: Sequence[Leaving], options: Options | None
) -> frozenset[str]:
    """Find what the packages that go have, no folders, and those that come do not list."""
    if not leaving:
        return frozenset()
    limits = (options or Options()).limits
    listed = {path for each in change.install for path in paths_in(each, limits)}
    return frozenset(
        owned.place
        for each in leaving
        for owned in each.paths
        if not owned.is_folder and not listed & {owned.path, owned.place}
    )


def _passing(change: Change, leaving: Sequence[Leaving]) -> frozenset[str]:
    """Find what packages have that run something before they go, which may remove it."""
    parting = [each for each in leaving if each.package.id in change.parting]
    return frozenset(owned.place for each in parting for owned in each.paths)


def _backed_up(move: Move, disk: Disk) -> Move:
    """Give what is replaced a second name; where that cannot be, it will be put aside instead."""
    if not move.backup or move.away:
        return move
    try:
        disk.link(move.target, move.backup)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return replace(move, away=True)
    return move


def _entered(change: Change, stage: Stage, leaving: Sequence[Leaving]) -> list[Entered]:
    """Make what enters the database; who asked for the old version has asked for the new one."""
    asked = {each.package.id.title for each in leaving if each.package.requested}
    return [
        Entered(
            package=replace(
                incoming.installed, requested=incoming.requested or incoming.id.title in asked
            ),
            paths=owned,
        )
        for incoming, owned in zip(change.install, stage.owned, strict=True)
    ]


def _part(journal: Journal, work: _Work) -> Journal:
    """Let each package say farewell, and note that it did: it is not asked again after a kill.

    One that was interrupted may have done part of it, and is noted as well.
    """
    while journal.parting:
        first, *rest = journal.parting
        try:
            work.farewell(PackageId(*first))
        finally:
            journal = replace(journal, parting=tuple(rest), parted=(*journal.parted, first))
            work.commit(partial(work.system.database.note, journal.text()))
    return journal


def _finish(journal: Journal, work: _Work) -> None:
    """Bring everything to its place, and let the new packages count."""
    work.look_anew()
    carry_on(journal, work.disk, work.lookup)
    leaving = [PackageId(*each) for each in journal.left]
    text = replace(journal, state=State.DONE).text()
    work.commit(lambda: work.system.database.switch(text, leaving))


def _clean(journal: Journal, work: _Work) -> None:
    """Remove what is old; what fails here is done by the next command."""
    for place in clean_up(replace(journal, state=State.DONE), work.disk):
        work.reporter(Noted(f"/{place}: may not be removed, and stays", warning=True))
    work.commit(work.system.database.settle)


@contextmanager
def _or_back(work: _Work) -> Iterator[None]:
    """Undo everything when a step fails, unless the change counts already."""
    try:
        yield
    except BaseException as error:
        try:
            done = _back_out(work)
        except (OSError, CompilerError) as again:
            hint = "make room, then run any command that changes the system: it ends this first"
            message = f"{error}; what was begun could not be undone yet: {again}"
            raise OutsideError(message, hint=hint) from error
        if not (done and isinstance(error, OSError | CompilerError)):
            raise


def _back_out(work: _Work) -> bool:
    """Undo what is written down; returns True if it is too late, since it counts already."""
    journal = _journal(work.system)
    if journal is None:
        return False
    if journal.state is State.DONE:
        return True
    if journal.state is State.READY:
        journal = _noted(journal, State.UNDO, work)
    work.look_anew()
    if journal.state is State.UNDO:
        _need_staging(journal, work)
        take_back(journal, work.disk, work.lookup)
        journal = _noted(journal, State.STAGING, work)
    clean_up(journal, work.disk)
    parted = [PackageId(*each) for each in journal.parted]
    work.commit(partial(work.system.database.settle, parted))
    for package in parted:
        words = "stays, but did already what it does before it goes: its finalizer runs again"
        work.reporter(Noted(f"{package}: {words}", warning=True))
    return False


def _noted(journal: Journal, state: State, work: _Work) -> Journal:
    """Commit how far a transaction is."""
    journal = replace(journal, state=state)
    work.commit(partial(work.system.database.note, journal.text()))
    return journal


def _recover(journal: Journal, work: _Work) -> bool:
    """Bring a stopped transaction to an end; returns whether that is the new state."""
    if journal.state is State.READY:
        _need_staging(journal, work)
        try:
            _finish(_part(journal, work), work)
        except OSError:
            if not _back_out(work):
                return False
        journal = replace(journal, state=State.DONE)
    if journal.state is State.DONE:
        _clean(journal, work)
        return True
    _back_out(work)
    return False


def _need_staging(journal: Journal, work: _Work) -> None:
    for folder in missing_staging(journal, work.lookup):
        hint = "mount what was mounted there when the last command was stopped"
        raise OutsideError(f"/{folder}: is not there, but needed", hint=hint)


def _journal(system: System) -> Journal | None:
    """Read the journal; raises `CompilerError` if it is damaged."""
    text = system.database.journal()
    if text is None:
        return None
    try:
        return parse_journal(text)
    except (ValueError, KeyError, TypeError) as error:
        raise CompilerError(f"{system.database.path}: its journal is damaged") from error


@contextmanager
def _disk(system: System, options: Options, disk: Disk | None) -> Iterator[Disk]:
    """Use the disk that was given, or that of the root."""
    if disk is not None:
        yield disk
        return
    own = RootDisk(system.root, options.devices)
    try:
        yield own
    finally:
        own.close()


@contextmanager
def _looking(system: System) -> Iterator[Lookup]:
    lookup = Lookup(system.root)
    try:
        yield lookup
    finally:
        lookup.close()


@contextmanager
def _words(system: System) -> Iterator[None]:
    """Say in words what the operating system refused."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            message, hint = "no space left on the disk", "make room, then try again"
            raise OutsideError(f"{system.root}: {message}", hint=hint) from error
        reason = (error.strerror or str(error)).lower()
        place = f" ({error.filename})" if error.filename else ""
        raise OutsideError(f"{system.root}: {reason}{place}") from error
