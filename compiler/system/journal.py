"""What a transaction is about to do, written down before it begins, so that anyone can end it.

A transaction prepares everything in staging folders (`disk.STAGING`), where it harms nobody, and
syncs them. Then it commits the journal (`READY`) and moves what is new into place, one rename for
each path, syncs again, and commits that the new packages count (`DONE`). Only then it removes what
is old. Every step can be repeated. After a crash `READY` is carried on or, if that fails, taken
back (`UNDO`), after which only what is staged is left to be removed, as before `READY` (`STAGING`);
`DONE` is carried on.

Before the first move, packages that go for good have something run, and each that ran is struck
out of `parting`: so nothing runs for a change that could not be staged, and nothing runs twice
unless it was stopped in the middle.

Why each sync: without the first, a committed journal would name files that are not on the disk;
without the second, packages would count whose files are still in staging; without the last, files
would come back that no journal names any more.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import Enum

from compiler.system.disk import STAGING, Disk, Look
from compiler.system.lookup import Lookup


class State(Enum):
    """How far a transaction is."""

    STAGING = "staging"
    READY = "ready"
    UNDO = "undo"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Move:
    """A staged path that goes to its place.

    `backup` is a second name for what it replaces: a link to it that is there already, or, if it
    is `away`, the name under which that is put aside first. Without one, the place is free.
    """

    source: str
    target: str
    backup: str = ""
    away: bool = False


@dataclass(frozen=True, slots=True)
class Redescribed:
    """A folder that gets another mode and owner."""

    place: str
    new: Look
    old: Look


@dataclass(frozen=True, slots=True)
class Standing:
    """A folder that was there before anything was run, and that what comes needs."""

    place: str
    look: Look


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """All that has to be done, and, in `came` and `left`, what changes in the database by it.

    `staging` are the tops of file systems with a staging folder, `tops` those where moves happen,
    `cleaned` those where something is removed at the end: `unlinks`, and `folders`, deepest first.
    `parting` are the packages that still have to be told that they go, before anything moves, and
    `parted` those that were. `standing` are folders that are made again if they were removed
    by that, outer ones first.
    """

    state: State
    staging: tuple[str, ...] = ()
    tops: tuple[str, ...] = ()
    cleaned: tuple[str, ...] = ()
    moves: tuple[Move, ...] = ()
    redescribed: tuple[Redescribed, ...] = ()
    unlinks: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    came: tuple[tuple[str, str, str], ...] = ()
    left: tuple[tuple[str, str, str], ...] = ()
    parting: tuple[tuple[str, str, str], ...] = ()
    parted: tuple[tuple[str, str, str], ...] = ()
    standing: tuple[Standing, ...] = ()

    def text(self) -> str:
        """Write it as JSON; bytes of names that are not UTF-8 become lone surrogates' escapes."""
        return json.dumps({**asdict(self), "state": self.state.value}, separators=(",", ":"))


def parse_journal(text: str) -> Journal:
    """Read what `Journal.text` wrote; raises `ValueError`, `KeyError` or `TypeError` if damaged."""
    value = json.loads(text)
    return Journal(
        state=State(value["state"]),
        staging=tuple(value["staging"]),
        tops=tuple(value["tops"]),
        cleaned=tuple(value["cleaned"]),
        moves=tuple(Move(**each) for each in value["moves"]),
        redescribed=tuple(
            Redescribed(each["place"], Look(**each["new"]), Look(**each["old"]))
            for each in value["redescribed"]
        ),
        unlinks=tuple(value["unlinks"]),
        folders=tuple(value["folders"]),
        came=tuple((one, two, three) for one, two, three in value["came"]),
        left=tuple((one, two, three) for one, two, three in value["left"]),
        parting=tuple((one, two, three) for one, two, three in value.get("parting", ())),
        parted=tuple((one, two, three) for one, two, three in value.get("parted", ())),
        standing=tuple(
            Standing(each["place"], Look(**each["look"])) for each in value.get("standing", ())
        ),
    )


def carry_on(journal: Journal, disk: Disk, lookup: Lookup) -> None:
    """Bring everything new to its place, and sync it; may begin anywhere, any number of times."""
    _make_again(journal, disk, lookup)
    for move in journal.moves:
        if move.away and lookup.status(move.backup) is None:
            with suppress(FileNotFoundError):
                disk.rename(move.target, move.backup, replace=False)
        if lookup.status(move.source) is not None:
            disk.rename(move.source, move.target, replace=bool(move.backup) and not move.away)
    for folder in journal.redescribed:
        with suppress(FileNotFoundError):
            disk.describe(folder.place, folder.new)
    for top in journal.tops:
        disk.sync(top)


def take_back(journal: Journal, disk: Disk, lookup: Lookup) -> None:
    """Bring everything old back to its place, and sync it; may be repeated like `carry_on`."""
    _make_again(journal, disk, lookup)
    for folder in reversed(journal.redescribed):
        with suppress(FileNotFoundError):
            disk.describe(folder.place, folder.old)
    for move in reversed(journal.moves):
        _take_back(move, disk, lookup)
    for top in journal.tops:
        disk.sync(top)


def clean_up(journal: Journal, disk: Disk) -> list[str]:
    """Remove what is old, then the staging folders, and sync that.

    Returns the places that must not be removed (read-only attribute, foreign folder): they stay,
    since the change counts already, and nobody would gain from trying again and again.
    """
    stayed = []
    if journal.state is State.DONE:
        for place in journal.unlinks:
            try:
                disk.remove(place)
            except PermissionError:
                stayed.append(place)
        for place in journal.folders:
            with suppress(PermissionError):
                disk.remove_folder(place)
    for top in journal.staging:
        disk.remove_staging(top)
    for top in sorted({*journal.cleaned, *journal.staging}):
        disk.sync(top)
    return stayed


def missing_staging(journal: Journal, lookup: Lookup) -> Sequence[str]:
    """Name the tops whose staging folder is not there although it is needed: not mounted, then."""
    needed = {_staging_of(move) for move in journal.moves}
    return sorted(folder for folder in needed if not lookup.is_folder(folder))


def _make_again(journal: Journal, disk: Disk, lookup: Lookup) -> None:
    """Make folders that are no longer there, as they were."""
    for folder in journal.standing:
        if lookup.status(folder.place) is None:
            disk.make_folder(folder.place, folder.look)


def _take_back(move: Move, disk: Disk, lookup: Lookup) -> None:
    """Undo one move: a replaced file comes back by one rename, over the new one, or in its place.

    That is free where what was run before the moves has removed it.
    """
    moved = lookup.status(move.source) is None
    kept = bool(move.backup) and lookup.status(move.backup) is not None
    if kept and not move.away and (moved or lookup.status(move.target) is None):
        disk.rename(move.backup, move.target, replace=True)
        return
    if moved and (kept or not move.backup):
        with suppress(FileNotFoundError):
            disk.rename(move.target, move.source, replace=False)
    if kept and move.away:
        disk.rename(move.backup, move.target, replace=False)


def _staging_of(move: Move) -> str:
    """Return the staging folder that a move comes from."""
    parts = move.source.split("/")
    return "/".join(parts[: parts.index(STAGING) + 1])
