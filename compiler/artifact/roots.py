"""The roots of a built node as folders: what a selection asks about them, answered by the disk."""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from compiler.archive import Clamp, Entry, Kind
from compiler.archive.scan import stream_entries
from compiler.errors import OutsideError

_KINDS = {stat.S_IFDIR: Kind.FOLDER, stat.S_IFREG: Kind.FILE}


class MountedRoots:
    """Shows two stacks of layers, mounted read-only, to a selection; no link is ever followed.

    `root` holds the package's layers, `builder` those that its steps started from, `changes` are
    the entries of the steps' layer. `builder` and `changes` are only asked for by a delta.
    """

    def __init__(
        self,
        root: Path,
        builder: Path,
        *,
        changes: Sequence[Entry] = (),
        clamp: Clamp | None = None,
    ) -> None:
        self.root = root
        self._builder = os.fspath(builder)
        self._changes = changes
        self._clamp = clamp or Clamp()
        self._folders: dict[tuple[str, str], bool] = {}

    def changes(self) -> Sequence[Entry]:
        """List what the steps changed."""
        return self._changes

    def in_builder(self, path: str) -> bool:
        """Tell whether the builder's root has `path`."""
        return self._status(self._builder, path) is not None

    def entry(self, path: str) -> Entry | None:
        """Describe the folder or file `path` of the package's root; None for anything else."""
        root = os.fspath(self.root)
        status = self._status(root, path)
        kind = _KINDS.get(stat.S_IFMT(status.st_mode)) if status else None
        if status is None or kind is None:
            return None
        return Entry(
            path=path,
            kind=kind,
            mode=stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            size=status.st_size if kind is Kind.FILE else 0,
            mtime=max(0, self._clamp.apply(int(status.st_mtime))),
            xattrs=_xattrs(f"{root}/{path}"),
        )

    def below(self, folder: str) -> Iterator[Entry]:
        """Go through everything below `folder` of the package's root; raises `OutsideError`."""
        try:
            yield from stream_entries(self.root / folder, self._clamp)
        except OSError as error:
            raise OutsideError(f"/{folder}: cannot be read: {error.strerror}") from error

    def _status(self, root: str, path: str) -> os.stat_result | None:
        """Ask for the status of a path all of whose parents are real folders."""
        if not self._is_folder(root, path.rpartition("/")[0]):
            return None
        try:
            return os.lstat(f"{root}/{path}")
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _is_folder(self, root: str, path: str) -> bool:
        """Tell whether `path` is reached through folders only, remembering the answer."""
        if not path:
            return True
        known = self._folders.get((root, path))
        if known is None:
            status = self._status(root, path)
            known = status is not None and stat.S_ISDIR(status.st_mode)
            self._folders[root, path] = known
        return known


def _xattrs(path: str) -> dict[str, bytes]:
    """Read the xattrs of a path, without those that overlayfs keeps for itself."""
    names = (n for n in os.listxattr(path, follow_symlinks=False) if ".overlay." not in n)
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in sorted(names)}
