"""The mtree of an artifact: what each of its paths is, and its SHA-256, as mtree(5) writes it.

Machines that run luet's plugin `luet-mtree` compare with it what they unpacked. The plugin stops at
keywords that it does not know (`device`), and compares values letter by letter: so there are none
but these, in its spelling. It takes `./name` for a name in the folder before it: so names stand
below their folders, the older of the two forms of mtree(5), which all programs read alike. Times
are left out (archives have whole seconds), and the number of links (others may link to a file).
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from compiler.archive import Entry, Kind
from compiler.archive.members import members_of
from compiler.archive.tar import CHUNK, Content, Source
from compiler.archive.unpack import entry_of

_KINDS = {
    Kind.FILE: "file",
    Kind.HARDLINK: "file",
    Kind.SYMLINK: "link",
    Kind.CHARACTER: "char",
    Kind.BLOCK: "block",
    Kind.FOLDER: "dir",
    Kind.FIFO: "fifo",
}
_FOLDER = "type=dir"
_LINK_MODE = 0o777
"""The mode that Linux shows of every symbolic link."""
_EMPTY = hashlib.sha256().hexdigest()
# vis(3) with VIS_WHITE, VIS_OCTAL and VIS_GLOB, of bytes: what is no plain letter is octal
_PLAIN = re.compile(r"[!\"$-)+->@-Z\]-~]+")
_ESCAPED = tuple(
    chr(byte) if _PLAIN.fullmatch(chr(byte)) else f"\\{byte:03o}" for byte in range(256)
)
_BACKSLASH = ord("\\")


class Digests:
    """Gives the contents of files to who packs them, and hashes them on the way.

    `found` has the SHA-256 of each content that was read, in hexadecimal, by its path.
    """

    def __init__(self, content: Content) -> None:
        self._content = content
        self.found: dict[str, str] = {}

    def read(self, entry: Entry) -> bytes | Source:
        """Give the content of a file, as a `Content` does."""
        data = self._content(entry)
        if isinstance(data, bytes):
            self.found[entry.path] = hashlib.sha256(data).hexdigest()
            return data
        return _Hashed(data, entry.path, self.found)


class _Hashed:
    """The content of a large file, which is hashed while it is read."""

    def __init__(self, source: Source, path: str, found: dict[str, str]) -> None:
        self._source, self._path, self._found = source, path, found
        self._hash = hashlib.sha256()

    def read(self, size: int, /) -> bytes | None:
        """Return a piece."""
        data = self._source.read(size)
        self._hash.update(data or b"")
        return data

    def close(self) -> None:
        """Let go of the file, and keep the digest of what was read."""
        self._found[self._path] = self._hash.hexdigest()
        self._source.close()


def mtree_of(entries: Iterable[Entry], digests: Mapping[str, str]) -> str:
    """Write the mtree of an archive with these entries; `digests` are those of its files.

    A further name of a file is a file as well, and like the first.
    """
    found: dict[str, str] = {}
    for entry in entries:
        path = entry.path.rstrip("/")
        if entry.kind is Kind.HARDLINK and entry.target in found:
            found[path] = found[entry.target]
        elif entry.kind is not Kind.HARDLINK and path not in {"", "."}:
            found[path] = " ".join(_words(entry, digests.get(entry.path, _EMPTY)))
    return "".join(f"{line}\n" for line in _lines(found))


def _lines(found: Mapping[str, str]) -> Iterator[str]:
    """Go through the lines: names below that of their folder, and `..` where a folder ends.

    Of the root, and of folders that an archive has no entry of, nothing but that is said.
    """
    yield "#mtree"
    yield ". type=dir"
    inside: list[bytes] = []
    for parts, words in sorted((os.fsencode(path).split(b"/"), found[path]) for path in found):
        while inside != parts[: len(inside)] or len(inside) >= len(parts):
            inside.pop()
            yield ".."
        for name in parts[len(inside) : -1]:
            inside.append(name)
            yield f"{_escaped(name)} {_FOLDER}"
        yield f"{_escaped(parts[-1])} {words}"
        if words.startswith(_FOLDER):
            inside.append(parts[-1])
    yield from [".."] * (len(inside) + 1)


def archive_mtree(archive: Path) -> str:
    """Write the mtree of an archive that lies there; raises `ArchiveError` for a damaged one."""
    entries: list[Entry] = []
    digests: dict[str, str] = {}
    with members_of(archive) as members:
        for member in members:
            entry = entry_of(member)
            entries.append(entry)
            if member.content is not None:
                digest = hashlib.sha256()
                while data := member.content.read(CHUNK):
                    digest.update(data)
                digests[entry.path] = digest.hexdigest()
    return mtree_of(entries, digests)


def _words(entry: Entry, digest: str) -> Iterator[str]:
    """Describe an entry, its type first."""
    mode = _LINK_MODE if entry.kind is Kind.SYMLINK else entry.mode & 0o7777
    yield f"type={_KINDS[entry.kind]}"
    yield f"uid={entry.uid} gid={entry.gid} mode={f'0{mode:o}' if mode else '0'}"
    if entry.kind is Kind.FILE:
        yield f"size={entry.size} sha256digest={digest}"
    if entry.kind is Kind.SYMLINK:
        yield f"link={_escaped(os.fsencode(entry.target))}"


def _escaped(name: bytes) -> str:
    """Write a name as vis(3) does: every parser reads the same bytes, and none sees two words."""
    text = name.decode("ascii", "replace")
    if _PLAIN.fullmatch(text):
        return text
    return "".join("\\\\" if byte == _BACKSLASH else _ESCAPED[byte] for byte in name)
