"""Copies files into a root as `COPY` and `ADD` of a Dockerfile do (Dockerfile reference, COPY)."""

import errno
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from compiler.archive.members import members_of
from compiler.archive.safety import Devices
from compiler.archive.unpack import unpack_tar
from compiler.engine import CopyFiles
from compiler.engine.confine import is_folder, make_folders, mode_of, settle, settle_parent
from compiler.engine.metadata import copy_metadata
from compiler.errors import ArchiveError, EngineError, room_hint

_BLOCK = 1 << 30


def copy_files(action: CopyFiles, source_root: Path, root: Path) -> None:
    """Do what `action` says, from `source_root` into `root`; raises `EngineError`."""
    try:
        sources = [path for source in action.sources for path in _matches(source_root, source)]
        Copier(root).copy(sources, action)
    except EngineError as error:
        raise EngineError(error.message, step=action.text, hint=error.hint) from error
    except ArchiveError as error:
        raise EngineError(f"cannot copy: {error}", step=action.text) from error
    except OSError as error:
        hint = room_hint(error)
        raise EngineError(f"cannot copy: {error}", step=action.text, hint=hint) from error


def _matches(root: Path, pattern: str) -> list[tuple[str, Path]]:
    """Find what a shell pattern names, sorted, with its name; raises `EngineError` for none."""
    found = [("", root)]
    for part in pattern.split("/"):
        if part not in {"", "."}:
            found = [hit for path, _ in found for hit in _children(root, path, part)]
    if not found:
        raise EngineError(f"nothing to copy at {pattern!r}")
    return [(Path(path).name, settle(root, path)) for path, _ in found]


def _children(root: Path, path: str, part: str) -> Iterator[tuple[str, Path]]:
    """Yield the entries of one folder that one part of a pattern names."""
    folder = settle(root, path)
    names = [part]
    if re.search(r"[*?\[\\]", part):
        expression = re.compile(_expression(part), re.DOTALL)
        listed = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        names = [name for name in listed if expression.fullmatch(name)]
    for name in names:
        there = settle_parent(root, f"{path}/{name}")
        if mode_of(there) is not None and mode_of(settle(root, f"{path}/{name}")) is not None:
            yield f"{path}/{name}", there


def _expression(part: str) -> str:
    """Turn one part of a shell pattern into a regular expression (Go's path/filepath, Match)."""
    pieces = re.findall(r"\\.|\[\^?(?:\\.|[^\]\\])+\]|.", part, re.DOTALL)
    known = {"*": "[^/]*", "?": "[^/]"}
    return "".join(
        piece if len(piece) > 1 and piece[0] == "[" else known.get(piece, re.escape(piece[-1]))
        for piece in pieces
    )


@dataclass(slots=True)
class Copier:
    """Copies trees into one root; remembers files by inode, so that hard links stay links."""

    root: Path
    seen: dict[tuple[int, int], Path] = field(default_factory=dict)

    def copy(self, sources: list[tuple[str, Path]], action: CopyFiles) -> None:
        """Copy all sources of one action to its destination."""
        destination = action.destination
        wants_folder = destination.endswith(("/", "/.")) or destination in {"", "."}
        is_there = settle(self.root, destination).is_dir()
        if len(sources) > 1 and not (wants_folder or is_there):
            raise EngineError(
                f"several sources cannot become the one file {destination!r}",
                hint="end the destination with / to make it a folder",
            )
        for name, source in sources:
            if action.extract and _is_archive(source):
                unpack_tar(source, make_folders(self.root, destination), devices=Devices.MAKE)
            elif is_folder(source):
                self.content(source, make_folders(self.root, destination))
            elif wants_folder or is_there:
                self.entry(source, make_folders(self.root, destination) / name)
            else:
                parent = destination.rpartition("/")[0]
                make_folders(self.root, parent)
                self.entry(source, settle_parent(self.root, destination))

    def content(self, source: Path, target: Path) -> None:
        """Copy what is in a folder into another one."""
        for entry in sorted(os.scandir(source), key=lambda entry: entry.name):
            self.entry(Path(entry.path), target / entry.name)

    def entry(self, source: Path, target: Path) -> None:
        """Copy one file, link, device or folder to `target`, over what is there."""
        status = source.lstat()
        if stat.S_ISDIR(status.st_mode):
            self._folder(source, target)
            return
        if is_folder(target):
            raise EngineError(f"cannot copy a file over the folder {self._shown(target)}")
        target.unlink(missing_ok=True)
        identity = status.st_dev, status.st_ino
        if status.st_nlink > 1 and identity in self.seen:
            os.link(self.seen[identity], target, follow_symlinks=False)
            return
        _make(source, target, status)
        copy_metadata(source, target)
        if status.st_nlink > 1:
            self.seen[identity] = target

    def _folder(self, source: Path, target: Path) -> None:
        """Merge a folder into what is there; a link to a folder is followed, inside the root."""
        there = settle(self.root, self._shown(target))
        mode = mode_of(there)
        if mode is None:
            there = target
            target.unlink(missing_ok=True)
            target.mkdir()
        elif not stat.S_ISDIR(mode):
            raise EngineError(f"cannot copy a folder over the file {self._shown(target)}")
        self.content(source, there)
        copy_metadata(source, there)

    def _shown(self, target: Path) -> str:
        return f"/{target.relative_to(self.root)}"


def _is_archive(path: Path) -> bool:
    """Tell whether a file is a tar, of any compression, with something in it."""
    try:
        with members_of(path) as members:
            return next(members, None) is not None
    except (ArchiveError, OSError):
        return False


def _make(source: Path, target: Path, status: os.stat_result) -> None:
    """Make a copy of one file, link or device, without its metadata."""
    if stat.S_ISREG(status.st_mode):
        _copy_content(source, target, status.st_size)
    elif stat.S_ISLNK(status.st_mode):
        target.symlink_to(source.readlink())
    elif stat.S_ISSOCK(status.st_mode):
        raise EngineError(f"cannot copy the socket {source.name!r}")
    else:
        os.mknod(target, status.st_mode, status.st_rdev)


def _copy_content(source: Path, target: Path, size: int) -> None:
    """Copy the data of a file and leave its holes as holes."""
    with source.open("rb", buffering=0) as reader, target.open("xb", buffering=0) as writer:
        writer.truncate(size)
        for start, end in _extents(reader.fileno(), size):
            offset = start
            while offset < end:
                count = min(end - offset, _BLOCK)
                done = _copy_range(reader.fileno(), writer.fileno(), count, offset)
                if done == 0:
                    break
                offset += done


def _copy_range(source: int, target: int, count: int, offset: int) -> int:
    """Copy inside the kernel: by sharing blocks where one disk has both, else through its cache."""
    try:
        return os.copy_file_range(source, target, count, offset, offset)
    except OSError as error:
        if error.errno not in {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}:
            raise
    os.lseek(target, offset, os.SEEK_SET)
    return os.sendfile(target, source, offset, count)


def _extents(handle: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield where a file has data: (start, end) in bytes."""
    offset = 0
    while offset < size:
        try:
            start = os.lseek(handle, offset, os.SEEK_DATA)
        except OSError:
            return
        offset = os.lseek(handle, start, os.SEEK_HOLE)
        yield start, offset
