"""The archives of a repository: texts and folders as canonical tars, and texts back out of them."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from compiler.archive import Compression, Entry, Kind
from compiler.archive.compress import compressed_file
from compiler.archive.members import Limits, members_of
from compiler.archive.tar import CHUNK, Content, Source, write_tar

MOST_BYTES = 1 << 30
"""The largest archive of texts, unpacked, that is read."""

_FILE, _PROGRAM, _FOLDER, _LINK = 0o644, 0o755, 0o755, 0o777


@dataclass(frozen=True, slots=True)
class _Source:
    """A path of a folder that is packed: where it lies, and its name in the archive."""

    path: Path
    entry: Entry


def write_texts(
    path: Path, texts: Mapping[str, str], compression: Compression, *, epoch: int
) -> str:
    """Write an archive of text files, with the folders above them; returns its SHA-256."""
    contents = {name: text.encode("utf-8", "surrogateescape") for name, text in texts.items()}
    entries = [
        Entry(path=name, kind=Kind.FILE, mode=_FILE, size=len(data), mtime=epoch)
        for name, data in contents.items()
    ]
    folders = [
        Entry(path=name, kind=Kind.FOLDER, mode=_FOLDER, mtime=epoch)
        for name in sorted({parent for name in contents for parent in _parents(name)})
    ]
    return _write(path, [*folders, *entries], lambda entry: contents[entry.path], compression)


def write_folders(
    path: Path, folders: Iterable[Path], *, skip: Callable[[Path], bool], epoch: int
) -> str:
    """Write folders, each under its own name, as a gzip archive; returns its SHA-256.

    Later folders win over earlier ones of the same name. Owners, times and the finer points of
    modes are those of a checkout and not kept; what `skip` names is left out.
    """
    found: dict[str, _Source] = {}
    for folder in folders:
        name = folder.name  # nothing for `.`, whose content then stands at the top, as in luet
        if name:
            found[name] = _Source(folder, _entry(name, Kind.FOLDER, _FOLDER, epoch))
        for source in _walk(folder, name, skip, epoch):
            found[source.entry.path] = source

    def content(entry: Entry) -> bytes:
        return found[entry.path].path.read_bytes()

    return _write(path, [s.entry for s in found.values()], content, Compression.GZIP)


def read_texts(path: Path) -> dict[str, str]:
    """Read the text files of an archive, by name; raises `ArchiveError` for what is no archive."""
    with members_of(path, Limits(size=MOST_BYTES)) as members:
        return {member.info.name: _text(member.content) for member in members if member.content}


def _text(content: Source) -> str:
    """Read the whole of a member."""
    data = b"".join(iter(lambda: content.read(CHUNK) or b"", b""))
    return data.decode("utf-8", "surrogateescape")


def _write(path: Path, entries: list[Entry], content: Content, compression: Compression) -> str:
    """Write sorted entries; returns the SHA-256 of the file."""
    entries.sort(key=lambda entry: os.fsencode(entry.path))
    with compressed_file(path, compression) as sink:
        write_tar(entries, content, sink)
    return sink.sha256


def _parents(name: str) -> Iterator[str]:
    """Yield the folders above a path, innermost first."""
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name


def _walk(folder: Path, prefix: str, skip: Callable[[Path], bool], epoch: int) -> Iterator[_Source]:
    """Yield the files, folders and links below `folder`; nothing else belongs into a tree."""
    with os.scandir(folder) as children:
        found = sorted(children, key=lambda child: os.fsencode(child.name))
    for child in found:
        path = folder / child.name
        if skip(path):
            continue
        name = f"{prefix}/{child.name}" if prefix else child.name
        status = child.stat(follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            yield _Source(path, _entry(name, Kind.FOLDER, _FOLDER, epoch))
            yield from _walk(path, name, skip, epoch)
        elif stat.S_ISREG(status.st_mode):
            mode = _PROGRAM if status.st_mode & stat.S_IXUSR else _FILE
            yield _Source(path, _entry(name, Kind.FILE, mode, epoch, size=status.st_size))
        elif stat.S_ISLNK(status.st_mode):
            target = str(path.readlink())
            yield _Source(path, _entry(name, Kind.SYMLINK, _LINK, epoch, target=target))


def _entry(  # noqa: PLR0913  (the fields of an entry that are not always the same)
    path: str, kind: Kind, mode: int, epoch: int, *, size: int = 0, target: str = ""
) -> Entry:
    """Make an entry of a checkout."""
    return Entry(path=path, kind=kind, mode=mode, mtime=epoch, size=size, target=target)
