"""The files of a package's folder: what steps find in the workspace, and what keys count of them.

The spec files themselves (`build.yaml` and the like) are left out of both, unless a step or a file
of the folder names them: so a changed filter or comment rebuilds nothing, and yet nothing that
steps could read is missing from the key.
"""

import hashlib
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from compiler.errors import Location, SpecError

SPEC_FILES = ("build.yaml", "collection.yaml", "definition.yaml", "finalize.yaml")
_SCAN_LIMIT = 1 << 20
_EXECUTABLE, _PLAIN = 0o755, 0o644
"""The two modes that files have, as in git: all other bits depend on the umask of a checkout."""


@dataclass(frozen=True, slots=True)
class ContextFile:
    """One file, link or folder below a package's folder; `digest` is of its content or target."""

    path: str
    mode: int
    digest: str


def context_files(folder: Path, *, texts: Iterable[str] = ()) -> tuple[ContextFile, ...]:
    """List what steps may see of `folder`, sorted by path.

    `texts` are the rendered steps: a spec file counts only if one of them names it. Raises
    `SpecError` for what cannot be read or copied.
    """
    try:
        names = [each.name for each in folder.iterdir()]
    except OSError as error:
        raise _unreadable(folder, error) from error
    if set(names) <= set(SPEC_FILES) and not _named(SPEC_FILES, texts):
        return ()
    found = sorted(_walk(folder, ""), key=lambda each: each.path)
    hidden = set(SPEC_FILES) - _named(SPEC_FILES, texts) - _named_in_files(folder, found)
    return tuple(each for each in found if each.path not in hidden)


def _named(names: Iterable[str], texts: Iterable[str]) -> set[str]:
    """Tell which of `names` occur in any of the texts."""
    held = list(texts)
    return {name for name in names if any(name in text for text in held)}


def _named_in_files(folder: Path, files: Sequence[ContextFile]) -> set[str]:
    """Tell which spec files are named by another file of the folder (a script that reads them)."""
    seen: set[str] = set()
    for each in files:
        path = folder / each.path
        if stat.S_ISREG(each.mode) and each.path not in SPEC_FILES:
            with path.open("rb") as file:
                text = file.read(_SCAN_LIMIT)
            seen |= {name for name in SPEC_FILES if name.encode() in text}
    return seen


def _walk(folder: Path, below: str) -> Iterator[ContextFile]:
    """Go through a folder, deeper ones included, without following links."""
    try:
        entries = list(os.scandir(folder / below))
    except OSError as error:
        raise _unreadable(folder / below, error) from error
    for entry in entries:
        path = f"{below}/{entry.name}" if below else entry.name
        found = _one(entry, path)
        yield found
        if stat.S_ISDIR(found.mode):
            yield from _walk(folder, path)


def _one(entry: "os.DirEntry[str]", path: str) -> ContextFile:
    """Describe one entry of a folder; sockets and devices cannot be in a package's folder."""
    mode = entry.stat(follow_symlinks=False).st_mode
    if stat.S_ISDIR(mode):
        return ContextFile(path, stat.S_IFDIR | _EXECUTABLE, "")
    try:
        if stat.S_ISLNK(mode):
            target = Path(entry.path).readlink()
            mode = stat.S_IFLNK
            return ContextFile(path, mode, hashlib.sha256(os.fsencode(target)).hexdigest())
        if stat.S_ISREG(mode):
            with open(entry.path, "rb") as file:  # noqa: PTH123  (a DirEntry path, in a hot loop)
                kept = stat.S_IFREG | (_EXECUTABLE if mode & stat.S_IXUSR else _PLAIN)
                return ContextFile(path, kept, hashlib.file_digest(file, "sha256").hexdigest())
    except OSError as error:
        raise _unreadable(Path(entry.path), error) from error
    raise SpecError(
        "is neither a file, a folder nor a link",
        location=Location(entry.path),
        hint="take it out of the package's folder",
    )


def _unreadable(path: Path, error: OSError) -> SpecError:
    """Say which file of a package cannot be read."""
    return SpecError(f"cannot be read: {error.strerror}", location=Location(str(path)))


def fill_workspace(
    folder: Path, files: Sequence[ContextFile], workspace: Path, *, epoch: int
) -> None:
    """Copy a package's files to the empty folder `workspace`, all with the time `epoch`.

    So steps that copy them on, times included, give the same layer from any checkout.
    """
    for each in files:
        source, target = folder / each.path, workspace / each.path
        if stat.S_ISDIR(each.mode):
            target.mkdir()
            target.chmod(stat.S_IMODE(each.mode))
        elif stat.S_ISLNK(each.mode):
            target.symlink_to(source.readlink())
        else:
            shutil.copyfile(source, target, follow_symlinks=False)
            target.chmod(stat.S_IMODE(each.mode))
    for each in reversed(files):
        os.utime(workspace / each.path, (epoch, epoch), follow_symlinks=False)
    os.utime(workspace, (epoch, epoch))
