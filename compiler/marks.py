"""Marks beside artifacts that came from others, or are made of such, with no signature checked.

A mark is the file `NAME.unverified` beside the archive and the metadata of `NAME`. It says where
they came from, and which digests they had: files that were made anew are not meant by an old mark.
Who signs vouches for what is signed, so nothing that is marked is signed unless that is asked for.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from compiler.archive.compress import atomic_file
from compiler.errors import unreadable, unwritable

SUFFIX = ".unverified"
"""What the names of marks end with, after the name of the artifact."""

_UNKNOWN = "an unknown place"
"""Where the files of a mark come from that cannot be read: it counts all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Where files of an artifact came from, and the SHA-256 of each by its name."""

    source: str
    files: Mapping[str, str]


def put_mark(folder: Path, name: str, mark: Mark) -> None:
    """Mark the artifact `name`; what an earlier mark is about, and is there, stays marked.

    Raises `OutsideError` where nothing can be written.
    """
    path = _path(folder, name)
    known = _read(path) if path.exists() else None
    older = dict(_left(folder, known, mark.files)) if known is not None else {}
    sources = {*mark.source.split(", "), *(known.source.split(", ") if known and older else ())}
    value = {"from": ", ".join(sorted(sources)), "files": {**older, **mark.files}}
    try:
        with atomic_file(path) as file:
            file.write(json.dumps(value, indent=2, sort_keys=True).encode() + b"\n")
    except OSError as error:
        raise unwritable(path, error) from error


def remove_mark(folder: Path, name: str, fresh: Collection[str]) -> None:
    """Take the mark of the artifact `name` away, if it has one, since `fresh` files were made anew.

    What else it is about goes as well: an archive with another compression, say, which nobody
    would tell from a good one. Raises as `put_mark` does.
    """
    path = _path(folder, name)
    if not path.exists():
        return
    mark = _read(path)
    left = [] if mark is None else [each for each, _ in _left(folder, mark, fresh)]
    remove_files(folder, (*left, path.name))


def remove_files(folder: Path, names: Iterable[str]) -> None:
    """Remove files that belong to an artifact, as far as they are there; raises as `put_mark`."""
    for name in names:
        try:
            (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(folder / name, error) from error


def marked_source(folder: Path, name: str) -> str:
    """Say where an artifact came from that is marked; "" for one that is not.

    A mark counts while one of its files is there as it was, and if it cannot be understood. Raises
    `CompilerError` for a mark or a file that cannot be read.
    """
    path = _path(folder, name)
    if not path.exists():
        return ""
    mark = _read(path)
    if mark is None:
        return _UNKNOWN
    files = ((folder / each, digest) for each, digest in mark.files.items())
    return mark.source if any(_is_there(file, digest) for file, digest in files) else ""


def marked_sources(files: Iterable[Path]) -> Iterator[str]:
    """Go through the places from which some of `files` came; raises as `marked_source` does."""
    for file in files:
        for path in sorted(file.parent.glob(f"*{SUFFIX}")):
            mark = _read(path)
            if mark is None:
                if file.name.startswith(f"{path.name.removesuffix(SUFFIX)}."):
                    yield _UNKNOWN
            elif file.name in mark.files and _is_there(file, mark.files[file.name]):
                yield mark.source


def is_mark(path: Path) -> bool:
    """Tell a mark from what belongs to an artifact, by its name."""
    return path.name.endswith(SUFFIX)


def _left(folder: Path, mark: Mark, fresh: Collection[str]) -> Iterator[tuple[str, str]]:
    """Go through the files of a mark that are there as they were, and were not made anew."""
    for name, digest in mark.files.items():
        if name not in fresh and _is_there(folder / name, digest):
            yield name, digest


def _path(folder: Path, name: str) -> Path:
    return folder / f"{name}{SUFFIX}"


def _read(path: Path) -> Mark | None:
    """Read a mark; None for what is none."""
    try:
        value = json.loads(path.read_bytes())
        files = {Path(name).name: str(digest) for name, digest in value["files"].items()}
        return Mark(source=str(value["from"]) or _UNKNOWN, files=files)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    except OSError as error:
        raise unreadable(path, error) from error


def _is_there(path: Path, sha256: str) -> bool:
    """Tell whether a file is there and has that content."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except FileNotFoundError:
        return False
    except OSError as error:
        raise unreadable(path, error) from error
