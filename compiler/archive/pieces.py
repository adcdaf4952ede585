"""Plain tar archives given as pieces of bytes, for who reads them while they are made."""

import json
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from compiler.archive.tar import BLOCK, CHUNK

END = bytes(2 * BLOCK)
"""What follows the last member."""


def member(name: str, size: int, data: Iterable[bytes]) -> Iterator[bytes]:
    """Give the bytes of one file of an archive."""
    info = tarfile.TarInfo(name)
    info.size = size
    yield info.tobuf(tarfile.GNU_FORMAT)
    yield from data
    yield bytes(-size % BLOCK)


def file_member(name: str, file: Path) -> Iterator[bytes]:
    """Give a file of the disk as a member."""
    return member(name, file.stat().st_size, _read(file))


def json_member(name: str, value: object) -> Iterator[bytes]:
    """Give a value as a member that holds its JSON."""
    data = json.dumps(value).encode()
    return member(name, len(data), (data,))


def _read(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while data := stream.read(CHUNK):
            yield data
