"""Sources of images → layers of a tree: packages, images of registries, folders and files."""

import hashlib
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from compiler.archive import Clamp, Entry, Kind
from compiler.errors import CompilerError, ImageError
from compiler.events import Noted, Reporter, silent
from compiler.image.finalized import is_run
from compiler.image.layers import (
    ArchiveLayer,
    FolderLayer,
    FoldersLayer,
    ImageLayer,
    TreeLayer,
)
from compiler.image.record import Origin
from compiler.image.tree import Indexed, Layer, Tree
from compiler.image.unpacked import file_system_of
from compiler.spec.source import ImageSource, SourceKind
from compiler.system.change import Incoming
from compiler.system.client import Client, in_order
from compiler.system.content import entries_in
from compiler.system.database import Installed
from compiler.system.solve import InstallOptions

_COMMON = ("boot", "dev", "oem", "proc", "run", "sys", "tmp", "usr", "usr/local")
"""What a running system mounts on; a root need not have all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """Where packages and images come from; each is asked for only if a source needs it."""

    packages: Callable[[Sequence[str]], Sequence[Incoming]]
    image: Callable[[str], ImageLayer]
    unpacked: Callable[[Path], Path]
    """Unpacks a file that holds a file system; returns the folder."""
    finalized: Callable[[Tree, Sequence[Installed], Clamp], Tree]
    """Runs the finalizers of packages in a root, in order; returns what it is then."""
    report: Reporter = silent


class PackageLayer:
    """What a package brings, straight out of its archives."""

    def __init__(self, package: Incoming, clamp: Clamp) -> None:
        self.package = package
        self._clamp = clamp
        self._found: Sequence[Entry] | None = None

    @property
    def name(self) -> str:
        """Return the package's identity."""
        return str(self.package.id)

    def entries(self) -> Sequence[Entry]:
        """List what its archives show."""
        if self._found is None:
            shown = entries_in(self.package, None)
            self._found = [
                entry._replace(target=_cleaned(entry), mtime=self._clamp.apply(entry.mtime))
                for entry, _ in shown
            ]
        return self._found

    @contextmanager
    def read(self, wanted: Container[int]) -> Iterator[Iterator[Indexed]]:
        """Read the archives once more."""
        shown = enumerate(entries_in(self.package, None))
        yield ((index, member.content) for index, (_, member) in shown if index in wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A source that was opened, as layers; of a package, what it needs comes before it."""

    source: ImageSource
    layers: Sequence[Layer]

    @property
    def packages(self) -> Sequence[Installed]:
        """The packages that it is made of."""
        layers = (each for each in self.layers if isinstance(each, PackageLayer))
        return [each.package.installed for each in layers]

    def has(self, path: str) -> bool:
        """Whether one of the layers has a path."""
        return any(each.path == path for layer in self.layers for each in layer.entries())

    def origin(self) -> Origin:
        """Say where it comes from; the digest of a file is that of all its bytes."""
        last = self.layers[-1]
        if isinstance(last, PackageLayer):
            digest = last.package.metadata.sha256
            source = f"{self.source.kind.value}:{last.package.id}"
            return Origin(source=source, digest=f"sha256:{digest}" if digest else "")
        if isinstance(last, ImageLayer):
            return Origin(source=str(self.source), digest=last.digest)
        if self.source.kind is not SourceKind.FILE:
            return Origin(source=str(self.source))
        with Path(self.source.value).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Origin(source=str(self.source), digest=f"sha256:{digest}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What sources show together, and they themselves in their order."""

    tree: Tree
    parts: Sequence[Part]

    def origin(self) -> Origin:
        """Say where all of it comes from; several sources have no digest together."""
        origins = [each.origin() for each in self.parts]
        if len(origins) == 1:
            return origins[0]
        return Origin(source=", ".join(each.source for each in origins))

    def origin_of(self, path: str) -> Origin | None:
        """Say where a file comes from; None if no source has it."""
        return next((each.origin() for each in self.parts[::-1] if each.has(path)), None)


def open_sources(
    sources: Sequence[ImageSource], shop: Shop, clamp: Clamp, first: Sequence[Layer] = ()
) -> Opened:
    """Open sources as one tree, later ones over earlier ones, and all over the layers `first`.

    It is no root: finalizers of packages are not run, which is told. Raises what is wrong with
    sources, at the place where they were written.
    """
    parts = _parts(sources, shop, clamp)
    for each in _with_finalizer(parts):
        message = f"{each.id}: its finalizer is not run: only those of the root are"
        shop.report(Noted(message, warning=True))
    return Opened(tree=Tree.of([*first, *_layers(parts)], epoch=clamp.epoch), parts=parts)


def open_root(
    sources: Sequence[ImageSource], overlays: Sequence[ImageSource], shop: Shop, clamp: Clamp
) -> Opened:
    """Open the root of a system, with folders to mount on; overlays are none of its parts.

    If packages have finalizers, these are run before the overlays are laid over what comes of it.
    Raises as `open_sources`, and `ImageError` for finalizers that fail or cannot be run here.
    """
    parts = _parts(sources, shop, clamp)
    first: list[Layer] = [FoldersLayer(_COMMON, clamp.epoch), *_layers(parts)]
    above = list(_layers(_parts(overlays, shop, clamp)))
    if packages := [each for each in _with_finalizer(parts) if is_run(each)]:
        for layer in above:
            layer.entries()  # owners are others in the namespace that finalizers may need
        root = shop.finalized(Tree.of(first, epoch=clamp.epoch), packages, clamp)
        first = [TreeLayer(root)]
    return Opened(tree=Tree.of([*first, *above], epoch=clamp.epoch), parts=parts)


def _parts(sources: Sequence[ImageSource], shop: Shop, clamp: Clamp) -> Sequence[Part]:
    """Open every source; raises what is wrong with one, at the place where it was written."""
    parts = []
    for source in sources:
        try:
            parts.append(Part(source=source, layers=open_layers(source, shop, clamp)))
        except CompilerError as error:
            if error.location is None:
                error.location = source.location
            raise
    return parts


def _layers(parts: Sequence[Part]) -> Iterator[Layer]:
    return (layer for part in parts for layer in part.layers)


def _with_finalizer(parts: Sequence[Part]) -> Sequence[Installed]:
    """List the packages that have a finalizer, each once and after those that it needs."""
    packages = in_order(package for part in parts for package in part.packages)
    return [each for each in packages if each.finalizer]


def open_layers(source: ImageSource, shop: Shop, clamp: Clamp) -> Sequence[Layer]:
    """Open one source; raises `CompilerError` if it is not there, or is something else."""
    path = Path(source.value)
    match source.kind:
        case SourceKind.CHANNEL:
            return [PackageLayer(each, clamp) for each in shop.packages([source.value])]
        case SourceKind.IMAGE:
            return [shop.image(source.value)]
        case SourceKind.FOLDER:
            if not path.is_dir():
                raise ImageError(f"{source}: there is no such folder")
            return [FolderLayer(path, clamp)]
        case SourceKind.FILE:
            if not path.is_file():
                raise ImageError(f"{source}: there is no such file")
            if file_system_of(path):
                return [FolderLayer(shop.unpacked(path), clamp)]
            return [ArchiveLayer(path, clamp)]


def packages_of(client: Client, names: Sequence[str]) -> Sequence[Incoming]:
    """Fetch packages and what they need from a client's repositories, each after its needs.

    Raises `ResolutionError` for what no repository has.
    """
    wanted = [client.solver.named(name) for name in names]
    return client.fetch(client.solver.install(wanted, InstallOptions())).install


def _cleaned(entry: Entry) -> str:
    """Write the target of a hard link as paths of entries are written."""
    if entry.kind is not Kind.HARDLINK:
        return entry.target
    return "/".join(part for part in entry.target.split("/") if part not in {"", "."})
