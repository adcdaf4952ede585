"""What the archives of a package hold: one archive, or the layers of an image laid over another."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from compiler.archive import Entry, Kind
from compiler.archive.ahead import Unpacked, unpacked_ahead
from compiler.archive.members import Limits, Member, members_of, naming, short
from compiler.archive.safety import safe_parts
from compiler.archive.unpack import entry_of
from compiler.errors import ArchiveError
from compiler.system.change import Incoming

_MARK = ".wh."
_OPAQUE = ".wh..wh..opq"
_RESERVED = ".wh..wh."


@contextmanager
def naming_package(incoming: Incoming) -> Iterator[None]:
    """Name a package, and where it comes from, before what is wrong with its archives.

    Where they lie in a cache is left out: nobody can put that right there.
    """
    where = f" ({incoming.metadata.archive or 'image'} of {incoming.repository})"
    with naming(f"{incoming.id}{where if incoming.repository else ''}"):
        try:
            yield
        except ArchiveError as error:
            message = error.message
            for layer in incoming.layers if incoming.repository else ():
                message = message.removeprefix(f"{layer}: ")
            raise ArchiveError(message, hint=error.hint) from error


def entries_in(
    incoming: Incoming, limits: Limits | None, unpacked: bytes | None = None
) -> Iterator[tuple[Entry, Member]]:
    """Give what a package brings, in order, paths cleaned; `ArchiveError` names what is refused.

    Of several layers only what the upper ones leave is given. `unpacked` is the tar of a package
    of one archive, if it is known already.
    """
    if isinstance(incoming.archive, Path):
        yield from _plain(incoming.archive, limits, unpacked)
        return
    hidden = _hidden(incoming.archive, limits)
    for number, layer in enumerate(incoming.archive):
        for index, (entry, member) in enumerate(_plain(layer, limits)):
            if (number, index) not in hidden:
                yield entry, member


def unpacked_in(packages: Iterable[Incoming]) -> Unpacked:
    """Give the tars of packages, decompressed ahead, where they are small (see `archive.ahead`)."""
    archives = (each.archive if isinstance(each.archive, Path) else None for each in packages)
    return unpacked_ahead(archives)


def paths_in(incoming: Incoming, limits: Limits | None) -> tuple[str, ...]:
    """List the paths that a package brings and that are no folders.

    So its metadata says, or, where that has no list, its archives.
    """
    if incoming.metadata.files:
        parts = (safe_parts(path) for path in incoming.metadata.files)
        return tuple("/".join(each) for each in parts)
    found = entries_in(incoming, limits)
    return tuple(entry.path for entry, _ in found if entry.kind is not Kind.FOLDER)


def _plain(
    archive: Path, limits: Limits | None, unpacked: bytes | None = None
) -> Iterator[tuple[Entry, Member]]:
    """Give the members of one archive; its root, which belongs to nobody, is left out."""
    with members_of(archive, limits, unpacked=unpacked) as members:
        for member in members:
            try:
                path = "/".join(safe_parts(member.info.name))
                entry = entry_of(member)
            except ArchiveError as error:
                name = short(member.info.name)
                raise ArchiveError(f"{name}: {error.message}", hint=error.hint) from error
            if path:
                yield entry_at(entry, path), member
            elif entry.kind is not Kind.FOLDER:
                name = short(member.info.name)
                raise ArchiveError(f"{name}: the root can be nothing but a folder")


def entry_at(entry: Entry, path: str) -> Entry:
    """Return the entry at another path; most have it already."""
    return entry if entry.path == path else entry._replace(path=path)


class _Above:
    """What the upper layers of an image have and hide."""

    def __init__(self) -> None:
        self.paths: dict[str, Kind] = {}
        self.deleted: set[str] = set()
        self.opaque: set[str] = set()

    def hides(self, entry: Entry) -> bool:
        """Whether an entry of a lower layer does not show."""
        there = self.paths.get(entry.path)
        if there is not None and not (there is Kind.FOLDER and entry.kind is Kind.FOLDER):
            return True
        if entry.path in self.deleted:
            return True
        folder = entry.path
        while folder:
            folder = folder.rpartition("/")[0]
            if folder in self.opaque or folder in self.deleted or self._covers(folder):
                return True
        return False

    def _covers(self, folder: str) -> bool:
        return self.paths.get(folder, Kind.FOLDER) is not Kind.FOLDER

    def add(self, layer: list[Entry]) -> None:
        """Lay a layer below; what it deletes goes for the next ones."""
        for entry in layer:
            folder, _, name = entry.path.rpartition("/")
            if name == _OPAQUE:
                self.opaque.add(folder)
            elif not name.startswith(_MARK):
                self.paths.setdefault(entry.path, entry.kind)
            elif not name.startswith(_RESERVED):
                hidden = _hidden_name(name)
                self.deleted.add(f"{folder}/{hidden}" if folder else hidden)


def _hidden(layers: tuple[Path, ...], limits: Limits | None) -> set[tuple[int, int]]:
    """Find the members (number of the layer, number in it) that do not show, or only mark."""
    above = _Above()
    hidden = set()
    for number in range(len(layers) - 1, -1, -1):
        layer = [entry for entry, _ in _plain(layers[number], limits)]
        for index, entry in enumerate(layer):
            if entry.path.rpartition("/")[2].startswith(_MARK) or above.hides(entry):
                hidden.add((number, index))
        above.add(layer)
    return hidden


def _hidden_name(name: str) -> str:
    hidden = name.removeprefix(_MARK)
    if hidden in {"", ".", ".."}:
        raise ArchiveError(f"{name}: a deletion of nothing")
    return hidden
