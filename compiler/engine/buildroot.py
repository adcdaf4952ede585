"""The root of one request: layers below, changes on top, and places for what steps get mounted."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from compiler.engine import WORKSPACE, linux
from compiler.engine.confine import make_folders, mode_of, settle
from compiler.engine.metadata import copy_metadata
from compiler.engine.stack import Stack, mount

USUAL_PLACES = (
    (WORKSPACE, True),
    ("/proc", True),
    ("/sys", True),
    ("/dev", True),
    ("/etc/resolv.conf", False),
    ("/etc/hosts", False),
    ("/etc/hostname", False),
)
"""What steps always get mounted: path, and whether it is a folder."""


@dataclass(slots=True)
class BuildRoot:
    """A stack that is mounted writable, once for all actions of a request.

    A mount needs a file or folder to be mounted on. Those that the root lacks come from layers of
    our own, so that nothing of them can get into the changes, or has to be taken out of them
    afterwards: `usual` ones from a layer at the very bottom, which nearly always suffices. Where a
    layer hides that one (it deletes /etc and makes it anew) or has a link that leads to a missing
    file, another layer comes right below the changes, with parents that look as in the root.
    """

    place: Path
    lowers: Sequence[Path]
    changes: Path
    usual: Sequence[tuple[str, bool]] = ()
    _mounts: int = 0
    _merged: Path | None = None
    _stubs: list[Path] = field(default_factory=list)

    def __enter__(self) -> "BuildRoot":
        if self.lowers:
            copy_metadata(self.lowers[0], self.changes)
        else:
            self.changes.chmod(0o755)
        self._lay_ground()
        self._mount()
        return self

    def __exit__(self, *_: object) -> None:
        self._unmount()

    @property
    def folder(self) -> Path:
        """Where the root is seen."""
        if self._merged is None:
            raise AssertionError
        return self._merged

    def provide(self, targets: Sequence[tuple[str, bool]]) -> None:
        """Make sure that every (path, is a folder) of `targets` can be mounted on."""
        missing = [target for target in targets if not self._fits(target)]
        if not missing:
            return
        stub = self.place / f"stub{self._mounts}"
        stub.mkdir()
        for path, is_folder in missing:
            make_place(stub, settle(self.folder, path).relative_to(self.folder), is_folder)
        self._disguise(stub)
        self._unmount()
        self._stubs.insert(0, stub)
        self._mount()

    @contextmanager
    def showing(self, workspace: Path) -> Iterator[None]:
        """Show the workspace in the root while the context lasts, for what is copied into it."""
        self.provide([(WORKSPACE, True)])
        target = settle(self.folder, WORKSPACE)
        linux.mount(str(workspace), str(target), flags=linux.MS_BIND)
        try:
            yield
        finally:
            linux.unmount(target)

    def _lay_ground(self) -> None:
        """Make the layer at the bottom."""
        ground = self.place / "ground"
        ground.mkdir()
        for path, is_folder in self.usual:
            make_place(ground, Path(path.lstrip("/")), is_folder)

    def _fits(self, target: tuple[str, bool]) -> bool:
        path, is_folder = target
        place = settle(self.folder, path)
        return place.is_dir() if is_folder else mode_of(place) is not None and not place.is_dir()

    def _disguise(self, stub: Path) -> None:
        """Make the folders of a layer of places look as they do in the root."""
        for name, _, _ in os.walk(stub, topdown=False):
            folder = Path(name)
            there = self.folder / folder.relative_to(stub)
            if there.is_dir():
                copy_metadata(there, folder)

    def _mount(self) -> None:
        place = self.place / f"mount{self._mounts}"
        self._mounts += 1
        place.mkdir()
        lowers = [*self._stubs, *self.lowers, self.place / "ground"]
        self._merged = mount(Stack(lowers=lowers, place=place, upper=self.changes))

    def _unmount(self) -> None:
        merged, self._merged = self._merged, None
        if merged is not None:
            linux.unmount(merged)


def make_place(layer: Path, relative: Path, is_folder: bool) -> None:  # noqa: FBT001  (a plain fact)
    """Make one path to be mounted on, and its parents, in a layer of places."""
    make_folders(layer, str(relative if is_folder else relative.parent))
    if not is_folder:
        (layer / relative).touch()
