r"""Environment blocks of GRUB: files of fixed size that the boot menu reads and writes in place.

Format: GRUB manual, "The GRUB environment block" (as `grub-editenv` of GRUB 2.06 writes it): a
signature line, lines `name=value` with a `\` before each `\` and line end of the value, then `#`.
"""

import errno
import os
import re
from collections.abc import Mapping
from pathlib import Path

from compiler.errors import Location, OutsideError, UsageError

SIZE = 1024  # bytes; the menu cannot make a block longer

_FULL = {errno.ENOSPC, errno.EDQUOT}
_SIGNATURE = "# GRUB Environment Block\n"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LINE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=((?:[^\\\n]|\\.)*)\n", re.DOTALL)


def parse_block(content: bytes) -> dict[str, str]:
    """Read a block; raises `ValueError` for what is none."""
    text = content.decode("utf-8", "surrogateescape")
    if not text.startswith(_SIGNATURE):
        raise ValueError("is no environment block of GRUB")
    found = _LINE.finditer(text, len(_SIGNATURE))
    return {each[1]: re.sub(r"\\(.)", r"\1", each[2], flags=re.DOTALL) for each in found}


def format_block(values: Mapping[str, str]) -> bytes:
    """Write a block, sorted by name; raises `UsageError` for a name or content that has no room."""
    for name in values:
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} is no name of a variable of GRUB")
    lines = [f"{name}={_escaped(value)}\n" for name, value in sorted(values.items())]
    block = f"{_SIGNATURE}{''.join(lines)}".encode("utf-8", "surrogateescape")
    if len(block) > SIZE:
        raise UsageError(f"the variables of GRUB take {len(block)} bytes, which is over {SIZE}")
    return block.ljust(SIZE, b"#")


def read_block(path: Path) -> dict[str, str]:
    """Read a block from a file; one that is absent or damaged holds nothing."""
    try:
        with path.open("rb") as file:
            return parse_block(file.read(1 << 16))
    except (FileNotFoundError, ValueError):
        return {}


def write_block(path: Path, values: Mapping[str, str]) -> None:
    """Write a block beside its place and rename it, on disk when this returns.

    Where a full file system has no room for a second one it is written in place, as the menu does.
    Raises `OutsideError` if the file cannot be written, `UsageError` as `format_block`.
    """
    content = format_block(values)
    try:
        try:
            _write_beside(path, content)
        except OSError as error:
            if error.errno not in _FULL or not path.is_file() or path.stat().st_size < SIZE:
                raise
            _write_in_place(path, content)
    except OSError as error:
        raise OutsideError(
            f"cannot write: {error.strerror}", location=Location(str(path))
        ) from error


def _write_beside(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}.new")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _write_in_place(path: Path, content: bytes) -> None:
    with path.open("r+b") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def change_block(path: Path, changes: Mapping[str, str | None]) -> None:
    """Set variables of a block in a file; None takes one out. What is not named stays."""
    values: dict[str, str | None] = {**read_block(path), **changes}
    write_block(path, {name: value for name, value in values.items() if value is not None})


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\\n")
