"""Unpacks tar archives, plain ones and container layers, and copies folders, into a folder."""

import tarfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from compiler.archive import Clamp, Entry, Kind
from compiler.archive.members import Limits, Member, members_of, naming, short
from compiler.archive.place import Placer
from compiler.archive.safety import Devices, safe_parts
from compiler.archive.scan import entries_of
from compiler.archive.tar import Content, folder_content
from compiler.errors import ArchiveError

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_RESERVED = ".wh..wh."
_AS_THEY_ARE = Clamp(epoch=0, after=2**62)
_LINKS = (Kind.SYMLINK, Kind.HARDLINK)
_KINDS = {
    tarfile.REGTYPE: Kind.FILE,
    tarfile.AREGTYPE: Kind.FILE,
    tarfile.CONTTYPE: Kind.FILE,
    tarfile.GNUTYPE_SPARSE: Kind.FILE,
    tarfile.LNKTYPE: Kind.HARDLINK,
    tarfile.SYMTYPE: Kind.SYMLINK,
    tarfile.CHRTYPE: Kind.CHARACTER,
    tarfile.BLKTYPE: Kind.BLOCK,
    tarfile.DIRTYPE: Kind.FOLDER,
    tarfile.FIFOTYPE: Kind.FIFO,
}


def unpack_tar(
    archive: Path, target: Path, *, devices: Devices = Devices.REFUSE, limits: Limits | None = None
) -> None:
    """Unpack a tar of any compression into a folder; what is there already stays or is replaced.

    Raises `ArchiveError`, which names archive and member: for paths that lead out of `target`,
    links on the way, damage, more than the limits allow. Whatever happens, nothing outside of
    `target` is touched.
    """
    with _placing(archive, target, devices, limits) as (placer, members):
        for member in members:
            with naming(short(member.info.name)):
                placer.place(entry_of(member), member.content)


def unpack_layer(
    archive: Path, target: Path, *, devices: Devices = Devices.REFUSE, limits: Limits | None = None
) -> None:
    """Unpack a container layer into an empty folder, in overlay form; raises as `unpack_tar` does.

    Deletions become overlayfs's (OCI Image Layer specification, Whiteouts).
    """
    with _placing(archive, target, devices, limits) as (placer, members):
        for member in members:
            with naming(short(member.info.name)):
                _place_in_layer(placer, member)


def apply_layer(
    archive: Path, target: Path, *, devices: Devices = Devices.REFUSE, limits: Limits | None = None
) -> None:
    """Unpack a container layer over the layers below it; raises as `unpack_tar` does.

    What it deletes is deleted before anything of it is placed: a deletion is of layers below alone
    (OCI Image Layer specification, Whiteouts).
    """
    if any(target.iterdir()):
        with _placing(archive, target, devices, limits) as (placer, members):
            for member in members:
                with naming(short(member.info.name)):
                    _delete_below(placer, member)
    with _placing(archive, target, devices, limits) as (placer, members):
        for member in members:
            with naming(short(member.info.name)):
                if not member.info.name.rpartition("/")[2].startswith(_WHITEOUT):
                    placer.place(entry_of(member), member.content)


def _delete_below(placer: Placer, member: Member) -> None:
    """Delete what the marker of a layer names; what is no marker deletes nothing."""
    parts = safe_parts(member.info.name)
    name = parts[-1] if parts else ""
    if name == _OPAQUE:
        placer.remove("/".join(parts[:-1]), itself=False)
    elif name.startswith(_WHITEOUT) and not name.startswith(_RESERVED):
        placer.remove("/".join((*parts[:-1], _hidden(name))))


def _hidden(name: str) -> str:
    """Return what a marker says was deleted."""
    hidden = name.removeprefix(_WHITEOUT)
    if hidden in {"", ".", ".."}:
        raise ArchiveError("a deletion of nothing")
    return hidden


def copy_folder(source: Path, target: Path, *, devices: Devices = Devices.REFUSE) -> None:
    """Copy a folder's content with all that entries hold, sharing blocks where the disk can."""
    found = (each for each in entries_of(source, _AS_THEY_ARE) if each.kind is not Kind.WHITEOUT)
    place_entries(found, folder_content(source), target, devices=devices, name=str(source))


def place_entries(
    entries: Iterable[Entry],
    read: Content,
    target: Path,
    *,
    devices: Devices = Devices.REFUSE,
    name: str = "",
) -> None:
    """Make entries in a folder; `read` has the content of files, `name` is where they come from.

    Raises as `unpack_tar` does.
    """
    with closing(Placer(target, devices)) as placer:
        for entry in entries:
            with naming(f"{name}/{short(entry.path)}"):
                data = read(entry) if entry.kind is Kind.FILE else b""
                with closing(_Bytes(data) if isinstance(data, bytes) else data) as content:
                    placer.place(entry, content)
        placer.finish()


class _Bytes:
    """A small content as a source."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, _size: int, /) -> bytes:
        """Return all of it, once."""
        data, self._data = self._data, b""
        return data

    def close(self) -> None:
        """Do nothing."""


@contextmanager
def _placing(
    archive: Path, target: Path, devices: Devices, limits: Limits | None
) -> Iterator[tuple[Placer, Iterator[Member]]]:
    """Open both ends, and finish the folders when all members are placed."""
    with members_of(archive, limits) as members, closing(Placer(target, devices)) as placer:
        yield placer, members
        placer.finish()


def _place_in_layer(placer: Placer, member: Member) -> None:
    """Place a member of a layer, or delete what its marker names."""
    parts = safe_parts(member.info.name)
    name = parts[-1] if parts else ""
    if not name.startswith(_WHITEOUT):
        placer.place(entry_of(member), member.content)
    elif name == _OPAQUE:
        placer.hide("/".join(parts[:-1]))
    elif not name.startswith(_RESERVED):
        placer.place(Entry(path="/".join((*parts[:-1], _hidden(name))), kind=Kind.WHITEOUT))


def entry_of(member: Member) -> Entry:
    """Make an entry of a header; its path is checked when it is placed."""
    info = member.info
    kind = _KINDS.get(info.type)
    if kind is None:
        raise ArchiveError(f"its type {info.type!r} is unknown")
    return Entry(
        path=info.name,
        kind=kind,
        mode=info.mode & 0o7777,
        uid=info.uid,
        gid=info.gid,
        size=info.size,
        mtime=max(0, int(info.mtime)),
        target=info.linkname if kind in _LINKS else "",
        device=(info.devmajor, info.devminor),
        xattrs=member.xattrs,
    )
