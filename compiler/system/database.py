"""What is installed in a root, and what a transaction is in the middle of: one SQLite file.

The file is in WAL mode with full sync: what was committed survives a power failure (SQLite, PRAGMA
synchronous).
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from compiler.archive import Kind
from compiler.errors import CompilerError, OutsideError
from compiler.spec.package import PackageId
from compiler.system.tables import (
    Entered,
    Installed,
    OwnedPath,
    activate,
    drop,
    id_of,
    ids,
    insert,
    installed,
    note,
    open_to_read,
    open_to_write,
    owned,
    waiting,
)

__all__ = ["FILE_NAME", "Database", "Entered", "Installed", "OwnedPath"]

FILE_NAME = "cos.db"
"""The name of the file in the database's folder."""

_MANY = 500
_INSTALLED = (
    "SELECT definition, repository, timestamp, sha256, finalizer, requested, finalized"
    " FROM installed"
)
_OWNERS = (
    "SELECT place, category, name, version"  # noqa: S608  (only question marks)
    " FROM files f JOIN installed i ON f.package = i.id"
    f" WHERE place IN ({','.join('?' * _MANY)}) ORDER BY package, number"
)


class Database:
    """The packages of one root. Close it, or use it as a context.

    A file that is not there yet is an empty system; it is made by the first write. Every reading
    sees the last committed state, also while another process installs.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self._connection: sqlite3.Connection | None = None
        self._writable = False
        self._is_imagined = False  # an empty system, until somebody makes it

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self._writable = self._is_imagined = False

    def installed(self) -> tuple[Installed, ...]:
        """List the installed packages, sorted by identity."""
        with self._reading() as read:
            rows = read.execute(_INSTALLED).fetchall()
        return tuple(sorted((installed(row) for row in rows), key=lambda each: each.id))

    def find(self, name: str, category: str) -> Installed | None:
        """Return the package of this name, whatever its version is."""
        query = f"{_INSTALLED} WHERE name = ? AND category = ?"
        with self._reading() as read:
            row = read.execute(query, (name, category)).fetchone()
        return None if row is None else installed(row)

    def files(self, package: PackageId) -> tuple[str, ...]:
        """List the paths of a package that are no folders, in the order of its archive."""
        owned = self.paths(package)
        return tuple(each.path for each in owned if not each.is_folder)

    def paths(self, package: PackageId) -> tuple[OwnedPath, ...]:
        """List all paths of a package, in the order of its archive."""
        query = (
            "SELECT path, place, kind, digest, made FROM installed i JOIN files f"
            " ON f.package = i.id WHERE name = ? AND category = ? AND version = ? ORDER BY number"
        )
        with self._reading() as read:
            rows = read.execute(query, (package.name, package.category, package.version))
            return tuple(owned(row) for row in rows)

    def owners(self, paths: Iterable[str]) -> Mapping[str, tuple[PackageId, ...]]:
        """Tell whose these places in the root are; the last of several owners put its file there.

        Folders are owned by all packages that bring them. Places that nobody owns are left out.
        """
        found: dict[str, tuple[PackageId, ...]] = {}
        left = iter(paths)
        with self._reading() as read:
            while some := [os.fsencode(path) for path in islice(left, _MANY)]:
                some += [b""] * (_MANY - len(some))
                for place, *identity in read.execute(_OWNERS, some):
                    path = os.fsdecode(place)
                    found[path] = (*found.get(path, ()), PackageId(*identity))
        return found

    def detours(self) -> Iterator[tuple[PackageId, str]]:
        """Give the paths, of no folders, that lead through links to where they are."""
        query = (
            "SELECT category, name, version, path FROM installed i JOIN files f"
            " ON f.package = i.id WHERE path != place AND kind != '5' ORDER BY package, number"
        )
        with self._reading() as read:
            for *identity, path in read.execute(query):
                yield PackageId(*identity), os.fsdecode(path)

    def journal(self) -> str | None:
        """Return what a transaction has written down and not yet taken away."""
        with self._reading() as read:
            row = read.execute("SELECT text FROM journal").fetchone()
        return None if row is None else str(row[0])

    def register(
        self, package: Installed, files: Iterable[str], folders: Iterable[str] = ()
    ) -> None:
        """Enter a package without touching its files; one of the same name gives way to it."""
        paths = [OwnedPath(path=path, place=path, kind=Kind.FOLDER) for path in folders]
        paths += [OwnedPath(path=path, place=path, kind=Kind.FILE) for path in files]
        with self._writing() as write:
            old = ids(write, package.id.name, package.id.category)
            (new,) = insert(write, [Entered(package=package, paths=paths)])
            activate(write, [new])
            drop(write, old)

    def unregister(self, package: PackageId) -> None:
        """Forget a package without touching its files; raises `CompilerError` if unknown."""
        with self._writing() as write:
            drop(write, [id_of(write, package)])

    def mark_finalized(self, packages: Iterable[PackageId]) -> None:
        """Note that finalizers have run."""
        with self._writing() as write:
            for package in packages:
                query = "UPDATE active SET finalized = 1 WHERE package = ?"
                write.execute(query, (id_of(write, package),))

    def mark_requested(self, package: PackageId, *, requested: bool) -> None:
        """Note whether somebody asked for a package by name."""
        with self._writing() as write:
            query = "UPDATE packages SET requested = ? WHERE id = ?"
            write.execute(query, (requested, id_of(write, package)))

    def note(self, text: str) -> None:
        """Write the journal of a transaction that begins, or goes on."""
        with self._writing() as write:
            note(write, text)

    def prepare(self, text: str, packages: Sequence[Entered]) -> None:
        """Write the journal, and packages that do not yet count, in one step."""
        with self._writing() as write:
            insert(write, packages)
            note(write, text)
        with self._writable_connection() as connection:  # later commits need no room on the disk
            connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()

    def switch(self, text: str, leaving: Iterable[PackageId]) -> None:
        """Let the prepared packages count and the leaving ones not, and write the journal."""
        with self._writing() as write:
            gone = [id_of(write, package) for package in leaving]
            write.executemany("DELETE FROM active WHERE package = ?", [(each,) for each in gone])
            activate(write, [new for new in waiting(write) if new not in gone])
            note(write, text)

    def settle(self, unfinished: Iterable[PackageId] = ()) -> None:
        """Forget the journal, and the packages that do not count.

        The finalizers of those that are `unfinished` have to run again.
        """
        with self._writing() as write:
            again = [(id_of(write, package),) for package in unfinished]
            write.executemany("UPDATE active SET finalized = 0 WHERE package = ?", again)
            drop(write, waiting(write))
            write.execute("DELETE FROM journal")

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """Open the file if need be, and say in words what is wrong with it."""
        with self._words():
            is_there = self._writable or self.path.exists()
            if self._is_imagined == is_there:
                self.close()
            if self._connection is None:
                self._is_imagined = not is_there
                self._connection = open_to_read(self.path)
            yield self._connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Do all that is done with the connection in one transaction of SQLite."""
        with self._writable_connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _writable_connection(self) -> Iterator[sqlite3.Connection]:
        with self._words():
            if not self._writable or self._connection is None:
                self.close()
                self._connection = open_to_write(self.path)
                self._writable = True
            yield self._connection

    @contextmanager
    def _words(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            hint = "make room, then run the command again" if "full" in str(error) else None
            raise OutsideError(f"{self.path}: {error}", hint=hint) from error
        except sqlite3.DatabaseError as error:
            raise CompilerError(f"{self.path}: is damaged: {error}") from error
