"""Finds out whether zstd data is whole: its library takes an end in the middle for the end."""

from typing import BinaryIO

from compiler.errors import ArchiveError

_MAGIC = 0xFD2FB528
_SKIPPED, _SKIPPED_KINDS = 0x184D2A50, 16
_CHECKSUM = 4
_RLE = 1


def check_frames(file: BinaryIO) -> None:
    """Go from here through the frames of a seekable file (RFC 8878, section 3.1), to its end.

    Nothing is decompressed. Raises `ArchiveError` if the file ends within a frame.
    """
    while magic := file.read(4):
        number = int.from_bytes(magic, "little")
        if 0 <= number - _SKIPPED < _SKIPPED_KINDS:
            _skip(file, _number(file, 4))
        elif number == _MAGIC:
            _pass_frame(file)
        else:
            raise ArchiveError("what follows the compressed data is none")


def _pass_frame(file: BinaryIO) -> None:
    """Go over a frame: its header, its blocks, and the checksum if it has one."""
    descriptor = _number(file, 1)
    single = descriptor & 0x20
    sizes = (1 if single else 0, 2, 4, 8)
    _skip(file, (0 if single else 1) + (0, 1, 2, 4)[descriptor & 3] + sizes[descriptor >> 6])
    is_last = False
    while not is_last:
        block = _number(file, 3)
        is_last = bool(block & 1)
        _skip(file, 1 if block >> 1 & 3 == _RLE else block >> 3)
    if descriptor & 4:
        _skip(file, _CHECKSUM)


def _number(file: BinaryIO, size: int) -> int:
    """Read a number of `size` bytes, the lowest first."""
    data = file.read(size)
    if len(data) < size:
        raise ArchiveError("the compressed data ends too early")
    return int.from_bytes(data, "little")


def _skip(file: BinaryIO, size: int) -> None:
    """Go forward, and make sure that the last byte is there."""
    if size:
        file.seek(size - 1, 1)
        _number(file, 1)
