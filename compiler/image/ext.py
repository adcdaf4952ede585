"""File systems of the ext family, filled without a mount, without root, and always the same.

`mke2fs` makes them and `debugfs` fills them. `mke2fs -d` would do both, but takes owners from a
folder, its order from the disk that this lies on, and times of change that nobody can set.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from compiler.archive import Entry, Kind
from compiler.archive.tar import CHUNK, Source
from compiler.errors import ImageError, OutsideError
from compiler.image.tools import run_tool
from compiler.image.tree import Tree
from compiler.process import Command, run

BLOCK = 4096
_INODE = 256
_DIRECT = 12
"""Blocks of a file that its inode names itself."""

_FAST_LINK = 60
"""Bytes of a symbolic link's target that fit into its inode."""

_SILENCE = ("debugfs", "Allocated inode:")
"""What lines begin with that debugfs prints although all is well."""

_FEATURES = {
    "ext2": "none,ext_attr,filetype,sparse_super,large_file",
    "ext4": (
        "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,"
        "sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum"
    ),
}
"""What a file system can, whatever the configuration of this machine says; GRUB reads all of it."""

_TYPES = {
    Kind.FILE: 0o100000,
    Kind.FOLDER: 0o040000,
    Kind.SYMLINK: 0o120000,
    Kind.CHARACTER: 0o020000,
    Kind.BLOCK: 0o060000,
    Kind.FIFO: 0o010000,
}
"""The bits of a mode that say what a file is (inode(7))."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ext:
    """A file system to be made: type, label, size and offset in bytes (whole blocks), identity."""

    type: str
    label: str
    size: int
    uuid: UUID
    offset: int = 0
    inodes: int = 0


Item = tuple[Entry, Path | None]
"""What is put into a file system; a file comes with the path of its content."""


def make_ext(ext: Ext, target: Path, items: Iterable[Item], scratch: Path, *, epoch: int) -> None:
    """Make a file system in a file, from `offset` on, and fill it, parents first.

    Raises `ImageError` for names that cannot be, `OutsideError` if a program fails.
    """
    env = {
        **os.environ,
        "E2FSPROGS_FAKE_TIME": str(epoch),
        "MKE2FS_CONFIG": os.devnull,
        "TZ": "UTC",
    }
    extended = f"hash_seed={ext.uuid},lazy_itable_init=1,lazy_journal_init=1,nodiscard"
    extended += f",root_owner=0:0,offset={ext.offset}"
    inodes = ("-N", str(ext.inodes)) if ext.inodes else ()
    argv = (
        "mke2fs", "-q", "-F", "-t", ext.type, "-b", str(BLOCK), "-I", str(_INODE), "-m", "0",
        "-O", _FEATURES[ext.type], "-U", str(ext.uuid), "-L", ext.label, *inodes, "-E", extended,
        str(target), str(ext.size // BLOCK),
    )  # fmt: skip
    run_tool(Command(argv=argv, env=env))
    script = scratch / f"{ext.label}.debugfs"
    with script.open("w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        for line in _commands(items, scratch):
            file.write(f"{line}\n")
    device = f"{target}?offset={ext.offset}" if ext.offset else str(target)
    _run_debugfs(Command(argv=("debugfs", "-w", "-f", str(script), device), env=env), target)
    script.unlink()


def tree_items(tree: Tree, scratch: Path) -> Iterator[Item]:
    """Give what a tree has, its contents as files of a scratch folder."""
    scratch.mkdir()
    for number, (entry, data) in enumerate(tree.stream()):
        content = None
        if entry.kind is Kind.FILE:
            content = scratch / str(number)
            _write_content(content, data if data is not None else b"")
        yield entry, content


def content_size(entries: Iterable[Entry]) -> tuple[int, int]:
    """Say how many bytes a file system without a journal needs for entries, and how many inodes."""
    blocks, inodes = 0, 32
    names: dict[str, int] = {}
    for entry in entries:
        folder, _, name = entry.path.rpartition("/")
        names[folder] = names.get(folder, 0) + len(os.fsencode(name)) + 12
        inodes += entry.kind is not Kind.HARDLINK
        data = -(-entry.size // BLOCK) if entry.kind is Kind.FILE else 0
        blocks += data + data // 512 + (data > _DIRECT)  # indirect blocks
        blocks += entry.kind is Kind.SYMLINK and len(os.fsencode(entry.target)) >= _FAST_LINK
        blocks += bool(entry.xattrs) + (entry.kind is Kind.FOLDER)
    blocks += sum(size // (BLOCK // 2) for size in names.values())
    inodes += inodes // 8
    tables = inodes * _INODE // BLOCK + blocks // 1024 + 1024
    return (blocks + tables) * BLOCK, inodes


def _write_content(target: Path, data: bytes | Source) -> None:
    """Write a content, with holes where it has many zeros."""
    with target.open("wb") as file:
        if isinstance(data, bytes):
            file.write(data)
            return
        try:
            while piece := data.read(CHUNK):
                if piece.count(0) == len(piece):
                    file.seek(len(piece), os.SEEK_CUR)
                else:
                    file.write(piece)
        finally:
            data.close()
        file.truncate(file.tell())


def _commands(items: Iterable[Item], scratch: Path) -> Iterator[str]:
    """Write the commands of debugfs(8) that make everything."""
    links: dict[str, int] = {}
    for entry, content in items:
        path = _quoted(f"/{entry.path}")
        if entry.kind is Kind.HARDLINK:
            links[entry.target] = links.get(entry.target, 1) + 1
            yield f"ln {_quoted(f'/{entry.target}')} {path}"
            continue
        yield _creation(entry, path, content)
        yield from _attributes(entry, path)
        yield from _extended(entry, path, scratch)
    for target, count in sorted(links.items()):
        yield f"sif {_quoted(f'/{target}')} links_count {count}"


def _creation(entry: Entry, path: str, content: Path | None) -> str:
    match entry.kind:
        case Kind.FILE:
            return f"write {_quoted(str(content))} {path}"
        case Kind.FOLDER:
            return f"mkdir {path}"
        case Kind.SYMLINK:
            return f"symlink {path} {_quoted(entry.target)}"
        case Kind.FIFO:
            return f"mknod {path} p"
        case Kind.CHARACTER | Kind.BLOCK:
            letter = "c" if entry.kind is Kind.CHARACTER else "b"
            return f"mknod {path} {letter} {entry.device[0]} {entry.device[1]}"
    raise ImageError(f"{entry.path}: a {entry.kind.name.lower()} cannot be in a file system")


def _attributes(entry: Entry, path: str) -> Iterator[str]:
    yield f"sif {path} mode 0{_TYPES[entry.kind] | entry.mode:o}"
    yield f"sif {path} mtime @{entry.mtime}"
    if entry.uid:
        yield f"sif {path} uid {entry.uid}"
    if entry.gid:
        yield f"sif {path} gid {entry.gid}"


def _extended(entry: Entry, path: str, scratch: Path) -> Iterator[str]:
    """Set extended attributes; their values, which may be anything, are read from files."""
    for name, value in sorted(entry.xattrs.items()):
        file = scratch / f"xattr-{hashlib.sha256(value).hexdigest()}"
        file.write_bytes(value)
        yield f"ea_set -f {_quoted(str(file))} {path} {_quoted(name)}"


def _quoted(text: str) -> str:
    """Quote a word as debugfs reads it; raises `ImageError` for what it cannot read."""
    if "\n" in text:
        raise ImageError(f"{text!r}: a name with a line end cannot be in an image")
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


def relabel(image: Path, label: str, uuid: UUID, *, epoch: int) -> None:
    """Give a file system another label and identity."""
    env = {**os.environ, "E2FSPROGS_FAKE_TIME": str(epoch)}
    argv = ("tune2fs", "-L", label, "-U", str(uuid), str(image))
    run_tool(Command(argv=argv, env=env))


def _run_debugfs(command: Command, target: Path) -> None:
    """Run debugfs, which succeeds whatever happens: what it says tells."""
    said: list[str] = []

    def hear(line: str) -> None:
        if line and not line.startswith(_SILENCE):
            said.append(line)

    run(command, on_line=hear).check()
    if said:
        raise OutsideError(f"{target}: debugfs cannot fill the file system: {said[0]}")
