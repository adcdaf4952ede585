"""Sources of root trees: folders, archives, and images of registries that are in the store."""

import os
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from compiler.archive import Clamp, Entry, Kind
from compiler.archive.members import Member, members_of, short
from compiler.archive.safety import safe_parts
from compiler.archive.scan import entries_of
from compiler.archive.tar import Content, folder_content
from compiler.archive.unpack import entry_of
from compiler.artifact.layered import LayeredRoot
from compiler.errors import ArchiveError
from compiler.image.tree import Indexed, Tree


class FolderLayer:
    """A folder of this machine; what belongs to the user who runs this belongs to root in it.

    Unless that user is root: then owners are as they stand.
    """

    def __init__(self, folder: Path, clamp: Clamp) -> None:
        self._folder = folder
        self._clamp = clamp
        self._found: Sequence[Entry] | None = None

    @property
    def name(self) -> str:
        """Return the path."""
        return str(self._folder)

    def entries(self) -> Sequence[Entry]:
        """List the folder; nothing of it is followed."""
        if self._found is None:
            found = entries_of(self._folder, self._clamp)
            shown = (each for each in found if each.kind is not Kind.WHITEOUT)
            self._found = [_rooted(each) for each in shown]
        return self._found

    @contextmanager
    def read(self, wanted: Container[int]) -> Iterator[Iterator[Indexed]]:
        """Give the contents of its files."""
        yield _contents(self.entries(), wanted, folder_content(self._folder))


class ArchiveLayer:
    """A tar archive of any compression, from which nobody has to unpack anything."""

    def __init__(self, archive: Path, clamp: Clamp) -> None:
        self._archive = archive
        self._clamp = clamp
        self._version: object = None
        self._found: Sequence[Entry] | None = None

    @property
    def name(self) -> str:
        """Return the path."""
        return str(self._archive)

    def entries(self) -> Sequence[Entry]:
        """List the members; raises `ArchiveError` for what is no plain archive of a tree."""
        if self._found is None:
            self._version = _version(self._archive)
            with members_of(self._archive) as members:
                self._found = [self._entry(each) for each in members]
        return self._found

    @contextmanager
    def read(self, wanted: Container[int]) -> Iterator[Iterator[Indexed]]:
        """Read the archive once more, from its start."""
        if _version(self._archive) != self._version:
            hint = "run the same command again"
            raise ArchiveError(f"{self._archive}: the file was changed meanwhile", hint=hint)
        with members_of(self._archive) as members:
            yield (
                (index, member.content) for index, member in enumerate(members) if index in wanted
            )

    def _entry(self, member: Member) -> Entry:
        try:
            entry = entry_of(member)
            path = "/".join(safe_parts(entry.path))
            target = entry.target
            if entry.kind is Kind.HARDLINK:
                target = "/".join(safe_parts(target))
        except ArchiveError as error:
            raise ArchiveError(
                f"{self.name}: {short(member.info.name)}: {error.message}"
            ) from error
        if not path and entry.kind is not Kind.FOLDER:
            raise ArchiveError(f"{self.name}: the root can be nothing but a folder")
        return entry._replace(path=path, target=target, mtime=self._clamp.apply(entry.mtime))


class ImageLayer:
    """An image of a registry, as its layers lie in the store.

    `digest` is the one that the image has in its registry; empty for one that came from a file.
    """

    def __init__(self, name: str, root: LayeredRoot, digest: str = "") -> None:
        self.digest = digest
        self._name = name
        self._root = root
        self._found: Sequence[Entry] | None = None

    @property
    def name(self) -> str:
        """Return the image's name."""
        return self._name

    def entries(self) -> Sequence[Entry]:
        """List what the layers show together."""
        if self._found is None:
            self._found = list(self._root.below(""))
        return self._found

    @contextmanager
    def read(self, wanted: Container[int]) -> Iterator[Iterator[Indexed]]:
        """Give the contents, each from the layer that has it."""
        yield _contents(self.entries(), wanted, self._root.content())


class TreeLayer:
    """A whole tree as one source of another."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._found = list(tree.entries)

    @property
    def name(self) -> str:
        """Return the names of its sources."""
        return self._tree.name

    def entries(self) -> Sequence[Entry]:
        """List all that it shows."""
        return self._found

    @contextmanager
    def read(self, wanted: Container[int]) -> Iterator[Iterator[Indexed]]:
        """Give the contents."""
        numbers = {each.path: index for index, each in enumerate(self._found) if index in wanted}
        yield ((numbers[entry.path], data) for entry, data in self._tree.stream(numbers))


class FoldersLayer:
    """Empty folders; `tmp` may be written to by everybody, as everywhere."""

    def __init__(self, paths: Sequence[str], epoch: int) -> None:
        self._paths = paths
        self._epoch = epoch

    @property
    def name(self) -> str:
        """Return nothing: nobody named them."""
        return ""

    def entries(self) -> Sequence[Entry]:
        """List the folders."""
        modes = {"tmp": 0o1777}
        return [
            Entry(path=path, kind=Kind.FOLDER, mode=modes.get(path, 0o755), mtime=self._epoch)
            for path in self._paths
        ]

    @contextmanager
    def read(self, wanted: Container[int]) -> Iterator[Iterator[Indexed]]:
        """Give nothing: folders have no content."""
        del wanted
        yield iter(())


class MemoryLayer:
    """Files that are made here, by path; all belong to root."""

    def __init__(self, name: str, files: Mapping[str, bytes], epoch: int) -> None:
        self._name = name
        self._files = {path: files[path] for path in sorted(files)}
        self._epoch = epoch

    @property
    def name(self) -> str:
        """Return what it was given."""
        return self._name

    def entries(self) -> Sequence[Entry]:
        """List the files, and the folders that they are in."""
        folders = {
            "/".join(parts[:count])
            for parts in (path.split("/") for path in self._files)
            for count in range(1, len(parts))
        }
        made = [
            Entry(path=path, kind=Kind.FOLDER, mode=0o755, mtime=self._epoch)
            for path in sorted(folders)
        ]
        made += [
            Entry(path=path, kind=Kind.FILE, mode=0o644, size=len(data), mtime=self._epoch)
            for path, data in self._files.items()
        ]
        return made

    @contextmanager
    def read(self, wanted: Container[int]) -> Iterator[Iterator[Indexed]]:
        """Give the contents."""
        yield (
            (index, self._files.get(each.path))
            for index, each in enumerate(self.entries())
            if index in wanted
        )


def _contents(
    entries: Sequence[Entry], wanted: Container[int], content: Content
) -> Iterator[Indexed]:
    """Open every file that is wanted as its turn comes."""
    for index, entry in enumerate(entries):
        if index in wanted:
            yield index, content(entry) if entry.kind is Kind.FILE else None


def _version(path: Path) -> object:
    """Tell the versions of a file apart."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _rooted(entry: Entry) -> Entry:
    """Give root what is ours, if we are somebody else."""
    uid, gid = os.geteuid(), os.getegid()
    if not uid or (entry.uid != uid and entry.gid != gid):
        return entry
    return entry._replace(
        uid=0 if entry.uid == uid else entry.uid, gid=0 if entry.gid == gid else entry.gid
    )
