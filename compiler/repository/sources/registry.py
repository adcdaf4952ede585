"""A repository in a container registry: one image for each package and each file (luet's layout).

`<url>:<fingerprint>` holds a package, `<url>:<name>` the file of that name, `+` being `-` in tags.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import BoundedSemaphore
from typing import BinaryIO, Protocol, cast

from compiler.archive.members import Limits, Member, members_of
from compiler.artifact.metadata import ArtifactMetadata
from compiler.errors import (
    ArchiveError,
    CompilerError,
    DeniedError,
    ImageError,
    NotFoundError,
    OutsideError,
    RegistryError,
)
from compiler.events import Noted, Reporter, silent
from compiler.oci import (
    INDEXES,
    Descriptor,
    Digest,
    Platform,
    Reference,
    hex_of,
    image_for,
    parse_descriptor,
    parse_object,
    platforms_of,
)
from compiler.registry import Manifest, Progress
from compiler.registry.transfer import transfer
from compiler.repository.cache import Cache
from compiler.repository.oci import tag_of
from compiler.repository.sources import LARGEST_ARCHIVE
from compiler.repository.sources.checks import check_name, saving

_NESTED = 4
_MOST_LAYERS = 500
_AT_ONCE = 8
"""How many layers are fetched at the same time, of all packages together."""
_PUBLISH = "something else may have been pushed under this name: publish the repository again"
_ROOM = 1 << 20
"""Bytes that the archive of one file may have beside the file."""


class Images(Protocol):
    """What a source asks of a registry: see `compiler.registry.Registry`, which is one."""

    def manifest(self, reference: Reference) -> Manifest:
        """Fetch a manifest or index; raises `RegistryError`."""

    def fetch_blob(
        self,
        repository: Reference,
        blob: Descriptor,
        target: Path,
        progress: Progress | None = None,
    ) -> None:
        """Fetch a blob into a file; raises `RegistryError`."""


class RegistrySource:
    """Reads images of one repository of a registry, for one platform."""

    def __init__(  # noqa: PLR0913  (what is read, and under which signatures)
        self,
        images: Images,
        repository: Reference,
        platform: Platform,
        report: Reporter = silent,
        *,
        seal: str = "",
        vouch: Callable[[str], object] = str,
    ) -> None:
        """Read as the public, or under a root: see `Opening` for `seal` and `vouch`."""
        self._images = images
        self._seal = seal
        self._vouch = vouch
        self._room = BoundedSemaphore(_AT_ONCE)
        self._repository = replace(repository, tag="", digest="")
        self._platform = platform
        self._report = report
        self._is_silent = False
        """Whether the registry did not answer before: the cache is looked at first, then."""

    @property
    def address(self) -> str:
        """The name of the repository."""
        return str(self._repository)

    def bring(self, name: str, target: Path, limit: int, image: Digest | None = None) -> None:
        """Write the one file that an image holds: the one that its tag names, unless `image` is."""
        name = check_name(name, self.address).replace("/", "-")
        place = self._tagged(name) if image is None else replace(self._repository, digest=image)
        layers = self._layers(place, self.manifest(place))
        if len(layers) != 1:
            raise RegistryError(f"{place}: is not the image of one file", hint=_PUBLISH)
        if layers[0].size > limit + _ROOM:
            raise RegistryError(f"{place}: is larger than {limit} bytes", hint=_PUBLISH)
        with TemporaryDirectory(dir=target.parent, prefix=".layer-") as folder:
            packed = Path(folder) / "layer"
            self._images.fetch_blob(place, layers[0], packed)
            try:
                _take_out(packed, name, target, limit)
            except ArchiveError as error:
                hint = error.hint or _PUBLISH
                raise RegistryError(f"{place}: {error.message}", hint=hint) from error

    def has(self, name: str) -> bool:
        """Tell whether a file's tag is there, whatever it leads to; raises `RegistryError`."""
        try:
            self._images.manifest(self._tagged(check_name(name, self.address).replace("/", "-")))
        except NotFoundError:
            return False
        return True

    def fetch(
        self, artifact: ArtifactMetadata, cache: Cache, limit: int = LARGEST_ARCHIVE
    ) -> tuple[Path, ...]:
        """Fetch the layers of a package's image; without a network, those that it last had."""
        place = self._tagged(artifact.id.fingerprint)
        key = f"{place} {self._platform} {artifact.sha256} {artifact.timestamp} {self._seal}"
        known = self._kept(place, key, cache) if self._is_silent else None
        if known is not None:
            return known
        try:
            manifest = self.manifest(place)
        except (NotFoundError, DeniedError):
            raise
        except RegistryError as error:
            known = cache.noted(key)
            if known is None:
                raise
            self._is_silent = True
            message = f"{error}; {artifact.id} is taken from the cache"
            self._report(Noted(message, warning=True))
            cache.expect([(path.name, 0) for path in known])
            return known
        layers = self._layers(place, manifest, limit)
        cache.expect([(hex_of(layer.digest), layer.size) for layer in layers])
        wanted = {layer.digest: layer for layer in layers}
        brought = transfer([partial(self._blob, place, each, cache) for each in wanted.values()])
        by_digest = dict(zip(wanted, brought, strict=True))
        found = tuple(by_digest[layer.digest] for layer in layers)
        cache.note(key, [hex_of(layer.digest) for layer in layers])
        return found

    def _kept(self, place: Reference, key: str, cache: Cache) -> tuple[Path, ...] | None:
        """Return what the cache has of an image that is still signed, without asking for it."""
        known = cache.noted(key)
        if known is not None:
            with suppress(RegistryError):  # it does not answer, as was known
                self._vouch(place.tag)
            cache.expect([(path.name, 0) for path in known])
        return known

    def manifest(self, place: Reference) -> Manifest:
        """Fetch the manifest of an image for the platform, through indexes if need be."""
        manifest = self._images.manifest(place)
        for _ in range(_NESTED):
            if manifest.descriptor.media_type not in INDEXES:
                return manifest
            chosen = image_for(_platforms(manifest, place), self._platform)
            if chosen is None:
                hint = f"publish it from a machine for {self._platform}, too"
                message = f"{place}: has no image for {self._platform}"
                raise NotFoundError(message, hint=hint)
            manifest = self._images.manifest(replace(place, tag="", digest=chosen.digest))
        raise RegistryError(f"{place}: its indexes are nested too deeply", hint=_PUBLISH)

    def _tagged(self, name: str) -> Reference:
        try:
            return replace(self._repository, tag=tag_of(name))
        except CompilerError as error:
            raise OutsideError(f"{self.address}: {error.message}", hint=error.hint) from error

    def _layers(
        self, place: Reference, manifest: Manifest, limit: int = LARGEST_ARCHIVE
    ) -> list[Descriptor]:
        try:
            layers = parse_object(manifest.data, str(place)).get("layers")
            found = [
                parse_descriptor(each) for each in (layers if isinstance(layers, list) else [])
            ]
        except ImageError as error:
            raise RegistryError(f"{place}: {error.message}", hint=_PUBLISH) from error
        if not 0 < len(found) <= _MOST_LAYERS or sum(each.size for each in found) > limit:
            raise RegistryError(f"{place}: has no layers, or too many", hint=_PUBLISH)
        return found

    def _blob(self, place: Reference, layer: Descriptor, cache: Cache, progress: Progress) -> Path:
        """Return a layer out of the cache, fetched if need be; `progress` ends it."""
        sha256 = hex_of(layer.digest)
        known = cache.find(sha256)
        if known is not None:
            return known
        with cache.adding(sha256) as part, self._room:
            self._images.fetch_blob(place, layer, part, progress)
            return cache.keep(part, sha256)


def _platforms(manifest: Manifest, place: Reference) -> dict[Platform, Descriptor]:
    try:
        return platforms_of(manifest.data, str(place))
    except ImageError as error:
        raise RegistryError(f"{place}: {error.message}", hint=_PUBLISH) from error


def _take_out(packed: Path, name: str, target: Path, limit: int) -> None:
    """Write the file `name` of a layer to `target`; raises `ArchiveError` if it is not there.

    A snapshot's file is there under several names, as links to one.
    """
    with members_of(packed, Limits(size=limit + _ROOM)) as members:
        found = _find(members, name, target)
    if not found:
        raise ArchiveError(f"does not hold {name}")


def _find(members: Iterator[Member], name: str, target: Path) -> bool:
    """Write the first regular file, or that of this name; tells whether the name is its own."""
    written = ""
    for member in members:
        path = member.info.name.removeprefix("./").strip("/")
        if member.content is not None and (path == name or not written):
            with closing(member.content) as content, saving(target) as file:
                shutil.copyfileobj(cast("BinaryIO", content), file, _ROOM)
            written = path
        is_link = member.info.islnk() and member.info.linkname.removeprefix("./") == written
        if written and path == name and (is_link or written == name):
            return True
    return False
