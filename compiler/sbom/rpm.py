"""Reads the database of rpm where it is SQLite's, and says of the older kinds that it cannot.

The database (rpm 4.16 and later) has a table `Packages` of which each row holds one header.
"""

import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from packageurl import PackageURL

from compiler.errors import CompilerError, OutsideError
from compiler.sbom import Distro, DistroPackage, Root
from compiler.sbom.dpkg import distro_words
from compiler.sbom.licences import expression_of
from compiler.sbom.rpm_header import RpmHeader, Tag, parse_header

FOLDERS = ("usr/lib/sysimage/rpm", "var/lib/rpm")
_NAME = "rpmdb.sqlite"
_OTHERS = {"Packages.db": "ndb", "Packages": "Berkeley DB"}
DATABASES = tuple(f"{folder}/{name}" for folder in FOLDERS for name in (_NAME, *_OTHERS))
"""Every path at which a database of rpm may lie."""

_LARGEST_HEADER = 256 << 20
_LARGEST_DATABASE = 8 << 30
_CHUNK = 1 << 20
_STEPS = 50_000_000
"""How many steps SQLite's machine may take for one row: a hostile view would go on for ever."""


def rpm_database(root: Root) -> str:
    """Return the path of the database that can be read; empty if there is none."""
    paths = (f"{folder}/{_NAME}" for folder in FOLDERS)
    return next((path for path in paths if _has(root, path)), "")


def unread_rpm(root: Root) -> Iterator[str]:
    """Say which databases are there in a form that cannot be read here."""
    for folder in FOLDERS:
        for name, kind in _OTHERS.items():
            path = f"{folder}/{name}"
            if _has(root, path):
                yield (
                    f"/{path} is an rpm database of the kind {kind}, which cannot be read here: "
                    f"its packages are not listed (rpmdb --rebuilddb with _db_backend sqlite "
                    f"makes one that can)"
                )
                return


def read_rpm(root: Root, distro: Distro) -> Iterator[DistroPackage]:
    """Go through the packages that are installed in `root`; none if it has no such database.

    Raises `CompilerError` for a database that is damaged.
    """
    path = rpm_database(root)
    if not path:
        return
    with TemporaryDirectory(prefix="cos-rpm-") as place:
        copy = Path(place) / _NAME
        for suffix in ("", "-wal"):  # what rpm has not yet taken over from its journal counts, too
            _copy(root, f"{path}{suffix}", copy.with_name(f"{_NAME}{suffix}"))
        try:
            for blob in _blobs(copy):
                header = parse_header(blob)
                if header.text(Tag.NAME) != "gpg-pubkey":
                    yield _package(header, distro)
        except sqlite3.Error as error:
            raise CompilerError(f"/{path}: cannot be read: {error}") from error
        except CompilerError as error:
            raise CompilerError(f"/{path}: {error.message}") from error


def _has(root: Root, path: str) -> bool:
    """Tell whether a root has a file."""
    file = root.open(path)
    if file is None:
        return False
    file.close()
    return True


def _copy(root: Root, path: str, target: Path) -> None:
    """Copy a file out of the root: SQLite reads a path only, and writes beside it."""
    source = root.open(path)
    if source is None:
        return
    try:
        with source, target.open("wb") as out:
            _check_size(source, path)
            shutil.copyfileobj(source, out, _CHUNK)
    except OSError as error:
        raise OutsideError(f"/{path}: cannot be copied: {error.strerror}") from error


def _check_size(file: BinaryIO, path: str) -> None:
    """Refuse a database that would fill the disk."""
    if file.seek(0, 2) > _LARGEST_DATABASE:
        raise CompilerError(f"/{path}: is too large for a package database")
    file.seek(0)


def _blobs(path: Path) -> Iterator[bytes]:
    """Go through the headers of a database that nobody vouches for."""
    with closing(sqlite3.connect(path)) as database:
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LARGEST_HEADER)
        database.set_progress_handler(lambda: 1, _STEPS)
        database.execute("PRAGMA trusted_schema = OFF")
        database.execute("PRAGMA cell_size_check = ON")
        kinds = database.execute("SELECT type FROM sqlite_master WHERE name = 'Packages'")
        if kinds.fetchall() != [("table",)]:
            raise CompilerError("it has no table of packages")
        for (blob,) in database.execute("SELECT blob FROM Packages ORDER BY hnum"):
            if not isinstance(blob, bytes):
                raise CompilerError("a row of it holds no header")
            yield blob


def _package(header: RpmHeader, distro: Distro) -> DistroPackage:
    """Make a package of its header."""
    name = header.text(Tag.NAME)
    if not name:
        raise CompilerError("a package in it has no name")
    plain = f"{header.text(Tag.VERSION)}-{header.text(Tag.RELEASE)}"
    epoch = header.text(Tag.EPOCH)
    source = header.text(Tag.SOURCE_PACKAGE)
    return DistroPackage(
        name=name,
        version=f"{epoch}:{plain}" if epoch else plain,
        architecture=header.text(Tag.ARCHITECTURE),
        purl=_purl(
            name,
            plain,
            (
                ("arch", header.text(Tag.ARCHITECTURE)),
                ("epoch", epoch),
                ("upstream", source),
            ),
            distro,
        ),
        license=expression_of(header.text(Tag.LICENSE)),
        supplier=header.text(Tag.VENDOR),
        source=source.removesuffix(".src.rpm"),
        files=header.files(),
    )


def _purl(name: str, version: str, qualifiers: Iterable[tuple[str, str]], distro: Distro) -> str:
    """Name a package for everybody (purl-spec, type rpm)."""
    kept = {key: value for key, value in qualifiers if value}
    words = "-".join(filter(None, distro_words(distro)))
    if words:
        kept["distro"] = words
    space = "opensuse" if distro.id.startswith("opensuse") else distro.id
    return PackageURL("rpm", space or None, name, version, kept).to_string()
