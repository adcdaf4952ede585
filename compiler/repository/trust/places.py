"""Where TUF files lie: in a folder beside luet's files, or in a registry under their own tags."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from compiler.archive import DEFAULT_EPOCH
from compiler.archive.compress import atomic_file, remove_stale
from compiler.errors import NotFoundError, OutsideError, RegistryError, TrustError, unwritable
from compiler.oci import Digest, Platform, Reference
from compiler.registry import Registry
from compiler.repository.oci import ImageParts, image_of, layer_of_file
from compiler.repository.sources import Source
from compiler.repository.sources.registry import RegistrySource
from compiler.repository.trust import (
    FOLDER,
    ROOT,
    SCRATCH,
    SNAPSHOT,
    TIMESTAMP,
    Fetch,
    Files,
    limit_of,
    name_in,
    place,
    role_of,
    split_image,
    superseded,
    tag,
    version_of,
)

_AT_ONCE = 8
_LOST = "bring it back from a copy; else `cos repo rotate --restart` begins anew with other keys"
_BEGIN = "`cos repo init-trust` begins to sign it"
_SPOILED = "somebody who may push has overwritten it"


class Place(Protocol):
    """Reads and writes the TUF files of one repository; raises `OutsideError`."""

    def read(self, name: str) -> bytes | None:
        """Return a file, asked for as `in_image` says; None if it is not there."""

    @property
    def image_of(self) -> Callable[[str, bytes], Digest] | None:
        """What names the image that will hold a file; None where files are not in images."""

    def write(self, files: Files) -> None:
        """Make files visible, in their order."""

    def unsigned(self) -> TrustError:
        """Say of a repository without signed metadata what was looked for, and what to do."""

    def names(self) -> Iterable[str]:
        """Name the files that tell of a state which is newer than the one that is named."""


class FolderPlace:
    """The TUF files of a repository in a folder."""

    image_of = None

    def __init__(self, repository: Path) -> None:
        self._folder = repository / FOLDER

    def read(self, name: str) -> bytes | None:
        """Return a file; None if it is not there."""
        path = self._folder / name
        try:
            with path.open("rb") as file:
                data = file.read(limit_of(name) + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise OutsideError(f"{path}: cannot be read: {error.strerror}") from error
        if len(data) > limit_of(name):
            raise OutsideError(f"{path}: is too large")
        return data

    def write(self, files: Files) -> None:
        """Make files visible, in their order; those that nobody needs any more are removed."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            remove_stale(self._folder)
            for name, data in files.items():
                with atomic_file(self._folder / name) as file:
                    file.write(data)
            there = [path.name for path in self._folder.iterdir()]
            for name in superseded(there, {role_of(name): version_of(name) for name in files}):
                (self._folder / name).unlink(missing_ok=True)
        except OSError as error:
            path = error.filename or self._folder
            raise unwritable(path, error) from error

    def unsigned(self) -> TrustError:
        """Say what is not there; where there is no folder, the name may be a registry's."""
        repository = self._folder.parent
        if not repository.is_dir():
            hint = "is the name right? a repository in a registry needs --type docker"
            return TrustError(f"{repository}: is not signed: there is no such folder", hint=hint)
        missing = self._folder / f"{TIMESTAMP}.json"
        if any(self._folder.glob("*.json")):
            what = f"its signed metadata has lost its timestamp, {missing}"
            return TrustError(f"{repository}: {what}", hint=_LOST)
        return TrustError(f"{repository}: is not signed: there is no {missing}", hint=_BEGIN)

    def names(self) -> Iterable[str]:
        """Name none: who can put an older file back in a folder can remove the newer ones, too."""
        return ()


class RegistryPlace:
    """The TUF files of a docker repository: images of one file each, as luet has its own files.

    `folder` is for what is being made; all images are marked with `platform`.
    """

    def __init__(
        self, registry: Registry, repository: Reference, platform: Platform, folder: Path
    ) -> None:
        self._registry = registry
        self._repository = repository
        self._platform = platform
        self._folder = folder
        self._fetch = fetch_from(RegistrySource(registry, repository, platform), folder)

    def read(self, name: str) -> bytes | None:
        """Return a file, asked for as `in_image` says; None if it is not there."""
        try:
            return b"".join(self._fetch(name, limit_of(split_image(name)[0])))
        except NotFoundError:
            return None

    def write(self, files: Files) -> None:
        """Make files visible: targets and bins at the same time, then what names them.

        So a snapshot that is there is whole, wherever somebody was stopped.
        """
        last = {name for name in files if role_of(name) in {ROOT, SNAPSHOT, TIMESTAMP}}
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="trust") as pool:
            named = [(name, data) for name, data in files.items() if name not in last]
            list(pool.map(lambda pair: self._put(*pair), named))
        for name, data in files.items():
            if name in last:
                self._put(name, data)

    def unsigned(self) -> TrustError:
        """Say what the registry does not have: the repository, or its signed metadata."""
        where, name = self._repository, tag(f"{TIMESTAMP}.json")
        if not self._registry.tags(where):
            hint = f"is the name right? {_BEGIN}"
            said = "the registry has nothing of this name"
            return TrustError(f"{where}: is not signed: {said}", hint=hint)
        if any(True for _ in self.names()):
            what = f"its signed metadata has lost its timestamp, the tag {name}"
            return TrustError(f"{where}: {what}", hint=_LOST)
        return TrustError(f"{where}: is not signed: it has no tag {name}", hint=_BEGIN)

    def names(self) -> Iterable[str]:
        """Name all files that are there: in a registry, files of a state stay when it is replaced.

        Whoever may push can make up others.
        """
        tags = self._registry.tags(self._repository, after=tag(""))
        return [name for name in map(name_in, tags) if name]

    def image_of(self, name: str, data: bytes) -> Digest:
        """Name the image that will hold a file: equal contents give equal images."""
        image = self._image(name, data)
        image.layers[0].path.unlink()
        return image.descriptor.digest

    def _put(self, name: str, data: bytes) -> None:
        """Bring up the image of one file."""
        tagged = Reference(self._repository.registry, self._repository.repository, tag(name))
        image = self._image(name, data)
        (layer,) = image.layers
        self._registry.put_blob(tagged, layer.path, layer.blob)
        self._registry.put_blob(tagged, image.config, image.config_blob)
        self._registry.put_manifest(tagged, image.manifest, image.descriptor.media_type)
        layer.path.unlink()

    def _image(self, name: str, data: bytes) -> ImageParts:
        """Make the image of one file, whose layer lies in the folder."""
        layer = layer_of_file((tag(name),), data, folder=self._folder, epoch=DEFAULT_EPOCH)
        return image_of((layer,), self._platform)


def fetch_from(source: Source, folder: Path) -> Fetch:
    """Fetch TUF files from a source of a repository; `folder` is for what is on its way.

    In a registry a file comes out of the image that metadata names for it, whatever its tag names;
    by its tag only where nothing names one, or that image is gone. A tag that is there, and leads
    to nothing, is no file that is not there: somebody hides it.
    """

    def fetch(asked: str, limit: int) -> tuple[bytes]:
        name, image = split_image(asked)
        with TemporaryDirectory(dir=folder, prefix=SCRATCH) as scratch:
            path = Path(scratch) / "file"
            if image is not None and isinstance(source, RegistrySource):
                with suppress(NotFoundError):
                    source.bring(place(name), path, limit, image)
                    return (path.read_bytes(),)
            try:
                source.bring(place(name), path, limit)
            except NotFoundError as error:
                if isinstance(source, RegistrySource) and source.has(place(name)):
                    message = f"{source.address}:{tag(name)}: cannot be read: {error.message}"
                    raise RegistryError(message, hint=_SPOILED) from error
                raise
            return (path.read_bytes(),)

    return fetch
