"""Unpacks the layers of a container image into a folder, one over the other.

The folder is a root of its own: no link of an image leads to anything beside it.
"""

import os
import shutil
import stat
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from compiler.agent.root import Owner, Root, Spot
from compiler.errors import ArchiveError
from compiler.process import Command, run

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_ZSTD = b"\x28\xb5\x2f\xfd"
_MOST = 2_000_000
_LARGEST = 256 << 30
_MODE = 0o7777


def unpack_layer(path: Path, target: Root) -> None:
    """Unpack a layer of any compression; raises `CompilerError`."""
    try:
        with _opened(path) as archive:
            _unpack(archive, target)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ArchiveError(f"the layer cannot be unpacked: {error}") from error


def _unpack(archive: tarfile.TarFile, target: Root) -> None:
    size = 0
    folders: dict[str, tarfile.TarInfo] = {}
    for count, member in enumerate(_members(archive)):
        size += member.size
        if count > _MOST or size > _LARGEST:
            raise ArchiveError("the layer holds more than any image")
        name = _name(member)
        if name:
            _place(archive, member, target, name)
        if member.isdir():
            folders[name] = member
    for name, member in sorted(folders.items(), reverse=True):
        if target.is_folder(name):
            target.change(name, member.mode & _MODE, _owner(member))


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Give the members; an archive may end right after the last one, which need fill no block."""
    member = archive.next()
    while member is not None:
        yield member
        member = _after(archive, member)


def _after(archive: tarfile.TarFile, member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    try:
        return archive.next()
    except tarfile.ReadError:
        if not _ends_after(archive, member):
            raise
        return None


def _ends_after(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bool:
    """Whether an archive ends after the content of a member, and before the next block."""
    file, end = archive.fileobj, member.offset_data + member.size
    if file is None or not member.isreg() or member.issparse():
        return False
    file.seek(end - 1)
    return bool(file.read(1)) and not file.read(1)


def _name(member: tarfile.TarInfo) -> str:
    parts = [part for part in member.name.split("/") if part not in {"", "."}]
    if ".." in parts or "\0" in member.name:
        raise ArchiveError(f"{member.name[:100]!r} leads out of the image")
    return "/".join(parts)


def _place(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Root, name: str) -> None:
    """Make one member, or remove what it says was deleted."""
    folder, _, last = name.rpartition("/")
    with target.spot(f"{folder}/x", parents=0o755) as spot:
        if last == _OPAQUE:
            for each in Path(f"/proc/self/fd/{spot.folder}").iterdir():
                _clear(Spot(spot.folder, each.name, spot.names))
        elif last.startswith(_WHITEOUT):
            _clear(Spot(spot.folder, _hidden(last), spot.names))
        else:
            _make(archive, member, Spot(spot.folder, last, spot.names), target)


def _hidden(last: str) -> str:
    name = last.removeprefix(_WHITEOUT)
    if name in {"", ".", ".."}:
        raise ArchiveError("a deletion of nothing")
    return name


class _StrictInfo(tarfile.TarInfo):
    """A header that says so when it is damaged; the library would take it for the end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_StrictInfo":
        """Parse a header; no byte at all is the end of an archive that has no blocks of zeros."""
        if 0 < len(buf) < tarfile.BLOCKSIZE:
            raise tarfile.ReadError("unexpected end of data")
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.InvalidHeaderError as error:  # type: ignore[attr-defined]  # missing stub
            raise tarfile.ReadError(f"a header is damaged: {error}") from error


def _make(archive: tarfile.TarFile, member: tarfile.TarInfo, spot: Spot, target: Root) -> None:
    if member.isdir():
        _make_folder(spot)
        return
    _clear(spot)
    if member.isreg():
        _make_file(archive, member, spot)
    elif member.issym():
        os.symlink(member.linkname, spot.name, dir_fd=spot.folder)
        _own_link(spot, member)
    elif member.islnk():
        _make_link(member, spot, target)
    else:
        _make_special(member, spot)


def _make_folder(spot: Spot) -> None:
    status = spot.status()
    if status is None or not stat.S_ISDIR(status.st_mode):
        _clear(spot)
        os.mkdir(spot.name, 0o700, dir_fd=spot.folder)


def _make_file(archive: tarfile.TarFile, member: tarfile.TarInfo, spot: Spot) -> None:
    source = archive.extractfile(member)
    if source is None:
        raise ArchiveError(f"{member.name[:100]!r} has no content")
    handle = spot.open(os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    with source, os.fdopen(handle, "wb") as file:
        shutil.copyfileobj(source, file)
        file.flush()
        _describe(handle, member)


def _describe(handle: int, member: tarfile.TarInfo) -> None:
    if os.geteuid() == 0:
        os.fchown(handle, member.uid, member.gid)
    os.fchmod(handle, member.mode & _MODE)
    for name, value in _xattrs(member.pax_headers):
        with suppress(OSError):
            os.setxattr(handle, name, value)
    os.utime(handle, (member.mtime, member.mtime))


def _xattrs(headers: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    prefix = "SCHILY.xattr."
    for name, value in headers.items():
        if name.startswith((f"{prefix}security.capability", f"{prefix}user.")):
            yield name.removeprefix(prefix), value.encode("utf-8", "surrogateescape")


def _make_link(member: tarfile.TarInfo, spot: Spot, target: Root) -> None:
    if ".." in member.linkname.split("/"):
        raise ArchiveError(f"{member.name[:100]!r} links out of the image")
    with target.spot(member.linkname) as source:
        os.link(source.name, spot.name, src_dir_fd=source.folder, dst_dir_fd=spot.folder,
                follow_symlinks=False)  # fmt: skip


def _make_special(member: tarfile.TarInfo, spot: Spot) -> None:
    """Make a pipe; devices are left out, since systems make their own."""
    if member.isfifo():
        os.mkfifo(spot.name, member.mode & _MODE, dir_fd=spot.folder)
        _own_link(spot, member)


def _own_link(spot: Spot, member: tarfile.TarInfo) -> None:
    if os.geteuid() == 0:
        os.chown(spot.name, member.uid, member.gid, dir_fd=spot.folder, follow_symlinks=False)


def _owner(member: tarfile.TarInfo) -> Owner:
    return Owner(member.uid, member.gid) if os.geteuid() == 0 else Owner()


def _clear(spot: Spot) -> None:
    """Remove what has a name."""
    status = spot.status()
    if status is None:
        return
    if stat.S_ISDIR(status.st_mode):
        shutil.rmtree(spot.name, dir_fd=spot.folder)
    else:
        os.unlink(spot.name, dir_fd=spot.folder)


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    """Open a tar; Python before 3.14 leaves zstd to its program."""
    with path.open("rb") as file:
        head = file.read(len(_ZSTD))
    if head != _ZSTD:
        with tarfile.open(path, "r:*", tarinfo=_StrictInfo) as archive:
            yield archive
        return
    plain = path.with_name(f"{path.name}.tar")
    try:
        run(Command(argv=("zstd", "-dqf", "-o", str(plain), "--", str(path)))).check()
        with tarfile.open(plain, "r:", tarinfo=_StrictInfo) as archive:
            yield archive
    finally:
        plain.unlink(missing_ok=True)
