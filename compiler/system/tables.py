"""The tables of the database, and rows as values.

Paths are kept as bytes, since not all are UTF-8. A package counts as installed when `active` names
it; what else is there belongs to a transaction that is under way.
"""

import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from compiler.archive import Kind
from compiler.errors import CompilerError
from compiler.spec.package import Definition, PackageId
from compiler.system.kernel import sync_path

_FORMAT = 1
_BUSY = 30.0  # seconds
_CACHE = 64 << 10  # KiB: what does not fit is written before the commit, and read again
_TABLES = """
CREATE TABLE packages (
    id INTEGER PRIMARY KEY, category TEXT NOT NULL, name TEXT NOT NULL, version TEXT NOT NULL,
    repository TEXT NOT NULL, timestamp TEXT NOT NULL, sha256 TEXT NOT NULL,
    definition TEXT NOT NULL, finalizer TEXT, requested INTEGER NOT NULL);
CREATE INDEX package_names ON packages (name, category);
CREATE TABLE active (package INTEGER PRIMARY KEY, finalized INTEGER NOT NULL);
CREATE TABLE files (
    package INTEGER NOT NULL, number INTEGER NOT NULL, path BLOB NOT NULL, place BLOB NOT NULL,
    kind TEXT NOT NULL, digest BLOB NOT NULL, made INTEGER NOT NULL,
    PRIMARY KEY (package, number)) WITHOUT ROWID;
CREATE VIEW installed AS SELECT p.*, a.finalized FROM packages p JOIN active a ON a.package = p.id;
CREATE INDEX file_places ON files (place);
CREATE TABLE journal (id INTEGER PRIMARY KEY CHECK (id = 1), text TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A package that is installed.

    `timestamp` is the build time of its artifact (its build revision) and `sha256` its checksum: a
    package that was rebuilt differs in them. `finalized` says whether its finalizer has run since
    it came, or needs not to.
    """

    definition: Definition
    repository: str = ""
    timestamp: str = ""
    sha256: str = ""
    finalizer: str | None = None
    requested: bool = False
    finalized: bool = True

    @property
    def id(self) -> PackageId:
        """The identity of the package."""
        return self.definition.id


class OwnedPath(NamedTuple):
    """A path of an installed package.

    `path` is what its archive says, `place` where that is in the root, links followed. `digest` is
    the SHA-256 of a regular file as it was shipped. `made` is a folder that was not there before.
    A tuple, since systems have many.
    """

    path: str
    place: str
    kind: Kind
    digest: bytes = b""
    made: bool = False

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.kind is Kind.FOLDER


@dataclass(frozen=True, slots=True, kw_only=True)
class Entered:
    """A package and its paths, as they enter the database."""

    package: Installed
    paths: Sequence[OwnedPath] = field(default_factory=tuple)


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open a file to read it; where we may not write, SQLite can only do that without its log."""
    if not path.exists():
        connection = sqlite3.connect(":memory:", isolation_level=None)
        connection.executescript(_TABLES)
        return connection
    quoted = path.absolute().as_uri()
    log = path.with_name(f"{path.name}-wal")
    alone = not os.access(path.parent, os.W_OK) and not log.exists()
    uri = f"{quoted}?immutable=1" if alone else f"{quoted}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_BUSY)
    return _checked(connection, path)


def open_to_write(path: Path) -> sqlite3.Connection:
    """Open a file to write it; a new one gets its tables whole or not at all."""
    if not path.exists():
        make_file(path)
    connection = sqlite3.connect(path, isolation_level=None, timeout=_BUSY)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA cache_size = {-_CACHE}")
    return _checked(connection, path)


def make_file(path: Path, sync: Callable[[Path], None] = sync_path) -> None:
    """Make a file beside its name, and rename it once its content is on the disk."""
    part = path.with_name(f".{path.name}.part")
    for each in (part, part.with_name(f"{part.name}-wal"), part.with_name(f"{part.name}-shm")):
        each.unlink(missing_ok=True)
    with closing(sqlite3.connect(part, isolation_level=None)) as connection:
        connection.executescript(_TABLES)
        connection.execute(f"PRAGMA user_version = {_FORMAT}")
        connection.execute("PRAGMA journal_mode = WAL")
    part.chmod(0o644)
    sync(part)
    part.rename(path)
    sync(path.parent)


def _checked(connection: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    """Refuse a file of a later version."""
    try:
        (found,) = connection.execute("PRAGMA user_version").fetchone()
    except BaseException:
        connection.close()
        raise
    if found != _FORMAT:
        connection.close()
        raise CompilerError(
            f"{path}: has format {found}, and this cos reads {_FORMAT}",
            hint="use the cos that wrote it",
        )
    return connection


def note(write: sqlite3.Connection, text: str) -> None:
    """Write the journal."""
    write.execute("INSERT OR REPLACE INTO journal VALUES (1, ?)", (text,))


def insert(write: sqlite3.Connection, packages: Sequence[Entered]) -> list[int]:
    """Enter packages that do not yet count; returns their numbers."""
    return [__insert_one(write, each) for each in packages]


def __insert_one(write: sqlite3.Connection, entered: Entered) -> int:
    package = entered.package
    cursor = write.execute(
        "INSERT INTO packages VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *package.id,
            package.repository,
            package.timestamp,
            package.sha256,
            package.definition.model_dump_json(exclude_defaults=True),
            package.finalizer,
            package.requested,
        ),
    )
    number = cursor.lastrowid or 0
    rows = ((number, index, *_row(each)) for index, each in enumerate(entered.paths))
    write.executemany("INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    return number


def _row(owned: OwnedPath) -> tuple[bytes, bytes, str, bytes, bool]:
    """Lay a path out."""
    path = owned.path.encode("utf-8", "surrogateescape")
    same = owned.place == owned.path
    place = path if same else owned.place.encode("utf-8", "surrogateescape")
    return path, place, owned.kind.value, owned.digest, owned.made


def activate(write: sqlite3.Connection, numbers: Iterable[int]) -> None:
    """Let packages count; those with a finalizer still have to run it."""
    write.executemany(
        "INSERT INTO active SELECT id, finalizer IS NULL FROM packages WHERE id = ?",
        [(number,) for number in numbers],
    )


def drop(write: sqlite3.Connection, numbers: Iterable[int]) -> None:
    """Remove packages; folders that they made are from now on those of who still has them."""
    for number in numbers:
        write.execute(
            "UPDATE files SET made = 1 WHERE kind = '5' AND place IN"
            " (SELECT place FROM files WHERE package = ? AND made) AND package != ?",
            (number, number),
        )
        write.execute("DELETE FROM files WHERE package = ?", (number,))
        write.execute("DELETE FROM active WHERE package = ?", (number,))
        write.execute("DELETE FROM packages WHERE id = ?", (number,))


def waiting(write: sqlite3.Connection) -> list[int]:
    """List the packages that do not count."""
    query = "SELECT id FROM packages WHERE id NOT IN (SELECT package FROM active) ORDER BY id"
    return [number for (number,) in write.execute(query)]


def ids(write: sqlite3.Connection, name: str, category: str) -> list[int]:
    """Return the numbers of the installed packages of a name."""
    query = "SELECT id FROM installed WHERE name = ? AND category = ?"
    return [number for (number,) in write.execute(query, (name, category))]


def id_of(write: sqlite3.Connection, package: PackageId) -> int:
    """Return the number of an installed package; raises `CompilerError` if it is not."""
    query = "SELECT id FROM installed WHERE name = ? AND category = ? AND version = ?"
    row = write.execute(query, (package.name, package.category, package.version)).fetchone()
    if row is None:
        raise CompilerError(f"{package} is not installed")
    return int(row[0])


def installed(row: tuple[object, ...]) -> Installed:
    """Make a value of a row."""
    definition, repository, timestamp, sha256, finalizer, requested, finalized = row
    return Installed(
        definition=Definition.model_validate_json(str(definition)),
        repository=str(repository),
        timestamp=str(timestamp),
        sha256=str(sha256),
        finalizer=None if finalizer is None else str(finalizer),
        requested=bool(requested),
        finalized=bool(finalized),
    )


def owned(row: tuple[bytes, bytes, str, bytes, int]) -> OwnedPath:
    """Make a value of a row."""
    path, place, kind, digest, made = row
    return OwnedPath(
        path=os.fsdecode(path),
        place=os.fsdecode(place),
        kind=Kind(kind),
        digest=digest,
        made=bool(made),
    )
