"""A place to try engines in: layers in plain folders, and requests in one line."""

import itertools
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from compiler.engine import CacheMount, CopyFiles, Engine, LayerRequest, Network, Run
from compiler.engine.docker import DockerEngine
from compiler.engine.memory import MemoryEngine
from compiler.engine.overlay import OverlayEngine
from compiler.events import Event, StepOutput
from compiler.oci import Digest, digest_of

COUNT = itertools.count()


@dataclass(frozen=True)
class Built:
    """What came out of a request."""

    layer: Digest
    changes: Path
    workspace: Path
    log: Path
    events: list[Event]

    def paths(self) -> dict[str, str]:
        """What changed: path to kind, `!` for a deleted one and `/!` for an opaque folder."""
        found = {}
        for path in sorted(self.changes.rglob("*")):
            found[str(path.relative_to(self.changes))] = kind_of(path)
        return found


def said(built: Built) -> list[str]:
    """What the steps printed."""
    return [event.line for event in built.events if isinstance(event, StepOutput)]


def kind_of(path: Path) -> str:
    """Tell what is at a path of a layer in overlay form, in one word."""
    status = path.lstat()
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
        return "!"
    if stat.S_ISDIR(status.st_mode):
        marks = ("trusted.overlay.opaque", "user.overlay.opaque")
        return "/!" if any(name in marks for name in os.listxattr(path)) else "/"
    return {stat.S_IFREG: "file", stat.S_IFLNK: "link"}.get(stat.S_IFMT(status.st_mode), "special")


@dataclass
class Lab:
    """Builds layers in `folder`; `base` is the root that requests start from."""

    folder: Path
    base: tuple[Digest, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    layers: dict[Digest, Path] = field(default_factory=dict)
    engine: Engine = field(init=False)

    def use_overlay(self, base: Path) -> None:
        """Work with containers, in a real base system."""
        self.base = (self.add(base),)
        caches = self.folder / "caches"
        self.engine = OverlayEngine(self.find, self.scratch, caches, environ=self.environ)

    def use_docker(self, base: Path, environ: Mapping[str, str]) -> None:
        """Work with containers of the Docker engine that `environ` leads to."""
        self.base = (self.add(base),)
        environ = {**self.environ, **environ}
        self.engine = DockerEngine(self.find, self.scratch, self.folder / "caches", environ=environ)

    def use_memory(self) -> None:
        """Work with the engine for tests, in an empty root."""
        self.engine = MemoryEngine(self.find, self.scratch)

    def add(self, folder: Path) -> Digest:
        """Take a folder in as a layer."""
        layer = digest_of(str(folder).encode())
        self.layers[layer] = folder
        return layer

    def find(self, layer: Digest) -> Path:
        """Find the folder of a layer."""
        return self.layers[layer]

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Lend an empty folder."""
        place = Path(tempfile.mkdtemp(dir=self.new("scratch")))
        try:
            yield place
        finally:
            shutil.rmtree(place)

    def new(self, name: str) -> Path:
        """Make a folder."""
        folder = self.folder / f"{next(COUNT)}-{name}"
        folder.mkdir()
        return folder

    def request(
        self,
        *actions: str | Run | CopyFiles,
        root: tuple[Digest, ...] | None = None,
        network: Network = Network.HOST,
    ) -> LayerRequest:
        """Ask for a layer on `root`; a text is a shell's."""
        return LayerRequest(
            name="a/b",
            root=self.base if root is None else root,
            actions=tuple(step(each) if isinstance(each, str) else each for each in actions),
            changes=self.new("changes"),
            workspace=self.new("workspace"),
            log=self.new("log") / "log",
            network=network,
        )

    def build(
        self, *actions: str | Run | CopyFiles, root: tuple[Digest, ...] | None = None
    ) -> Built:
        """Build a layer on `root`."""
        return self.done(self.request(*actions, root=root))

    def done(self, request: LayerRequest) -> Built:
        """Build what was asked for."""
        events: list[Event] = []
        self.engine.build(request, events.append)
        layer = self.add(request.changes)
        return Built(layer, request.changes, request.workspace, request.log, events)

    def tree(self, files: Mapping[str, str]) -> Digest:
        """Make a layer of files: path to text; `-> x` makes a link, a path ending in / a folder."""
        folder = self.new("tree")
        for path, text in files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.endswith("/"):
                target.mkdir(exist_ok=True)
            elif text.startswith("-> "):
                target.symlink_to(text[3:])
            else:
                target.write_text(text)
        return self.add(folder)


def step(text: str, *, user: str = "", mounts: tuple[CacheMount, ...] = ()) -> Run:
    """A shell's command, as a step of a spec becomes one."""
    return Run(argv=("/bin/sh", "-c", text), text=text, user=user, mounts=mounts)


def copy(
    *sources: str, to: str, stack: tuple[Digest, ...] = (), folder: Path | None = None
) -> CopyFiles:
    """A copy, from a stack of layers or a folder."""
    return CopyFiles(
        sources=sources,
        destination=to,
        stack=stack,
        folder=folder,
        text=f"copy {' '.join(sources)}",
    )
