"""Roots in which finalizers of packages have run: in a copy, whose changes are taken over.

So what finalizers leave alone keeps owners, attributes and devices that the copy may be without.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from compiler.archive import Clamp, Kind
from compiler.engine.namespace import has_one_id, prepare
from compiler.errors import CompilerError, EngineError, ImageError
from compiler.events import Reporter
from compiler.image.layers import FolderLayer
from compiler.image.place import place_tree
from compiler.image.tree import Tree
from compiler.spec.finalizer import parse_finalizer
from compiler.system.database import Installed
from compiler.system.finalizer import finalize

_Mark = tuple[int, int, int, int]
"""What changes with a file: inode, size, and both times, of which nobody can set the first."""

_SLACK = 2
"""Seconds by which the times of files may lag behind the clock."""


def finalized(tree: Tree, folder: Path, run: Callable[[Path], None], clamp: Clamp) -> Tree:
    """Return a tree with all that `run` changes in a copy of it, which it is given the path of.

    The copy is made in the new folder `folder`, which has to stay as long as the tree is used. What
    `run` writes gets the time of `clamp`, and so the same changes give the same tree.
    """
    folder.mkdir()
    folder.chmod(0o755)
    place_tree(tree, folder)
    before = _marks(folder)
    started = int(time.time()) - _SLACK
    run(folder)
    after = _marks(folder)
    layer = FolderLayer(folder, Clamp(epoch=clamp.epoch, after=min(started, clamp.after)))
    taken = {path for path, mark in after.items() if before.get(path) != mark}
    folders = {"", *(each.path for each in layer.entries() if each.kind is Kind.FOLDER)}
    return tree.changed(layer, taken, _gone(tree, before, after, folders))


def is_run(package: Installed) -> bool:
    """Whether a finalizer has anything to run after its package came; raises `SpecError`."""
    source = f"{package.id}/finalize.yaml"
    return bool(parse_finalizer(package.finalizer or "", package.definition, source).install)


def run_finalizers(
    root: Path, packages: Sequence[Installed], env: Mapping[str, str], report: Reporter
) -> None:
    """Run finalizers in a root, as an installation does; raises `ImageError` if one fails."""
    for package in packages:
        try:
            finalize(root, package, env, reporter=report)
        except CompilerError as error:
            raise ImageError(f"{package.id}: its finalizer failed: {error}") from error


def need_rights(packages: Sequence[Installed]) -> None:
    """Raise `ImageError` if finalizers of packages cannot be run here, before anything is done.

    Without other users than root the files of others would be root's. This process may get a
    namespace of its own; where a user namespace is needed, no other thread may run.
    """
    reason = "no other user than root is here"
    hint = "run it as root, or give yourself subordinate ids in /etc/subuid and /etc/subgid"
    try:
        prepare()
    except EngineError as error:
        reason, hint = error.message, "run it as root, or where user namespaces are allowed"
    else:
        if not has_one_id():
            return
    names = ", ".join(str(each.id) for each in packages)
    raise ImageError(f"the finalizers of {names} cannot be run: {reason}", hint=hint)


def _gone(
    tree: Tree, before: Mapping[str, _Mark], after: Mapping[str, _Mark], folders: set[str]
) -> set[str]:
    """Find what is no more; what the copy never had is still there if its folder is."""
    return {
        each.path
        for each in tree.entries
        if each.path not in after
        and (each.path in before or each.path.rpartition("/")[0] not in folders)
    }


def _marks(folder: Path) -> dict[str, _Mark]:
    """Mark every path of a folder, so that a change shows."""
    marks = {}
    above = len(os.fspath(folder)) + 1
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = f"{parent}/{name}"
            status = os.lstat(path)
            times = (status.st_ctime_ns, status.st_mtime_ns)
            marks[path[above:]] = (status.st_ino, status.st_size, *times)
    return marks
