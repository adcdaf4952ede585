"""File systems in files, as folders: for sources that nothing lists with all that it has."""

import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from compiler.archive import Clamp, Kind
from compiler.archive.scan import stream_entries
from compiler.errors import ImageError, OutsideError
from compiler.image.squashfs import MAGIC
from compiler.image.tools import run_tool
from compiler.process import Command, ask, run

_EXT_PLACE, _EXT_MAGIC = 1080, b"\x53\xef"
"""Where an ext file system has its magic number (Linux, Documentation/filesystems/ext4)."""

_ATTRIBUTE = "  "
_ROW = 8
_AS_THEY_ARE = Clamp(epoch=0, after=2**62)


def file_system_of(file: Path) -> str:
    """Tell what a file is: `squashfs`, `ext`, or empty for anything else; raises `OSError`."""
    with file.open("rb") as opened:
        start = opened.read(_EXT_PLACE + len(_EXT_MAGIC))
    if start.startswith(MAGIC):
        return "squashfs"
    return "ext" if start[_EXT_PLACE:] == _EXT_MAGIC else ""


def unpack_file_system(file: Path, folder: Path) -> None:
    """Unpack a file system into a new folder, with owners and attributes: for root, of a namespace.

    Raises `OutsideError` if that fails, `ImageError` for what is no file system that is known.
    """
    match file_system_of(file):
        case "squashfs":
            argv = (
                "unsquashfs",
                "-no-progress",
                "-quiet",
                "-force",
                "-dest",
                str(folder),
                str(file),
            )
            run_tool(Command(argv=argv))
        case "ext":
            folder.mkdir()
            _dump(file, folder)
        case _:
            raise ImageError(f"{file}: is no file system that is known here")


def _dump(file: Path, folder: Path) -> None:
    """Unpack an ext file system, and then set what debugfs leaves out."""
    said: list[str] = []
    argv = ("debugfs", "-R", f'rdump / "{folder}"', str(file))
    run(Command(argv=argv), on_line=said.append).check()
    faults = [line for line in said if line and not line.startswith("debugfs")]
    if faults:
        raise OutsideError(f"{file}: debugfs cannot read it: {faults[0]}")
    shutil.rmtree(folder / "lost+found", ignore_errors=True)
    found = list(stream_entries(folder, _AS_THEY_ARE))
    folders = ["", *(each.path for each in found if each.kind is Kind.FOLDER)]
    for path, mode in _special_modes(file, folder, folders):
        (folder / path).chmod(mode)
    paths = [each.path for each in found if each.kind in {Kind.FILE, Kind.FOLDER}]
    for path, name, value in _attributes(file, folder, paths):
        os.setxattr(folder / path, name, value, follow_symlinks=False)


def _special_modes(file: Path, folder: Path, folders: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Find the modes with a bit that the kernel takes away when debugfs sets the owner.

    Rows of `ls -p` are `/inode/mode/uid/gid/name/size/`.
    """
    for parent, line in _answers(file, folder, "ls -p", folders):
        parts = line.split("/")
        if len(parts) == _ROW and parts[5] not in {".", "..", "lost+found"}:
            mode = int(parts[2], 8)
            if mode & 0o7000 and not stat.S_ISLNK(mode):
                yield f"{parent}/{parts[5]}".lstrip("/"), mode & 0o7777


def _attributes(file: Path, folder: Path, paths: Sequence[str]) -> Iterator[tuple[str, str, bytes]]:
    """Find all extended attributes; their values are read one by one."""
    value = folder.with_name("xattr")
    for path, line in _answers(file, folder, "ea_list", paths):
        if line.startswith(_ATTRIBUTE) and " (" in line:
            name = line.strip().partition(" ")[0]
            argv = ("debugfs", "-R", f'ea_get -f "{value}" {_quoted(path)} {name}', str(file))
            run_tool(Command(argv=argv))
            yield path, name, value.read_bytes()
            value.unlink()


def _answers(
    file: Path, folder: Path, command: str, paths: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Run a command of debugfs for many paths; gives its lines with the path that they are about.

    It repeats each command before its answer.
    """
    script = folder.with_name("script.debugfs")
    text = "".join(f"{command} {_quoted(path)}\n" for path in paths)
    script.write_text(text, encoding="utf-8", errors="surrogateescape")
    finished, answer = ask(Command(argv=("debugfs", "-f", str(script), str(file))), b"")
    finished.check()
    at = -1
    for line in answer.decode("utf-8", "surrogateescape").splitlines():
        if line.startswith(f"debugfs: {command} "):
            at += 1
        elif at >= 0:
            yield paths[at], line


def _quoted(path: str) -> str:
    doubled = path.replace('"', '""')
    return f'"/{doubled}"'
