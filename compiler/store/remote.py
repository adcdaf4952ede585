"""A cache of layers and archives in a registry: what one machine built, the others fetch.

Every node is an image of its own under the tag that is its layer key, every archive under its
artifact key. The config of such an image is the *record*: which digests belong to the key. With a
key configured, records are signed and nothing else is trusted; what a record names is compared with
its digest before it is used, so it does not matter who holds the contents.
"""

import base64
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from compiler.archive import Clamp
from compiler.archive.safety import Devices
from compiler.archive.unpack import unpack_layer
from compiler.errors import ArchiveError, ImageError, NotFoundError, RegistryError, TrustError
from compiler.events import Noted, Reporter, silent
from compiler.keys import ArtifactKey, LayerKey
from compiler.marks import put_mark, remove_files, remove_mark
from compiler.oci import (
    LAYER_ZSTD,
    MANIFEST,
    Descriptor,
    Digest,
    Image,
    Reference,
    canonical_json,
    descriptor_json,
    digest_of,
    json_object,
    parse_descriptor,
    parse_object,
)
from compiler.registry import Registry
from compiler.store import ArtifactFile, ArtifactRecord, NodeRecord
from compiler.store.local import LocalStore
from compiler.store.records import node_to_json
from compiler.store.remote_records import (
    ARTIFACT,
    DAMAGED,
    IMAGE,
    NODE,
    Found,
    embedded,
    fits,
    image_key,
    image_record,
    image_to_json,
    lacking_documents,
    marks_of,
    node_in,
    own_files_in,
)

_AGAIN = "run the same command again"
ARCHIVE = "application/vnd.cos-toolkit.file.v1"
"""The media type of such a file."""

SIGNATURE = "io.cos-toolkit.signature"
"""The annotation that holds the signature of the record."""

_AT_ONCE = 16
_AS_THEY_ARE = Clamp(epoch=0, after=2**62)
_LARGEST_RECORD = 8 << 20
_EMBEDDED = 64 << 10

Key = TypeVar("Key", bound=str)

Seal = Callable[[bytes], str]
"""Signs a record."""

Check = Callable[[bytes, str], None]
"""Checks the signature of a record; raises `TrustError`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealing:
    """How records are signed, and how their signatures are checked; None: not at all.

    With `ours` a record that is there already, and does not pass, is pushed again.
    """

    seal: Seal | None = None
    check: Check | None = None
    ours: Check | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The repositories that are looked into, in order, and the one that is pushed to."""

    sources: Sequence[Reference] = ()
    target: Reference | None = None


class RemoteCache:
    """Layers and archives by key, in one or several repositories; any thread may use it."""

    def __init__(
        self,
        registry: Registry,
        store: LocalStore,
        places: Places,
        *,
        sealing: Sealing | None = None,
        report: Reporter = silent,
    ) -> None:
        self._registry = registry
        self._store = store
        self._sources = tuple(places.sources)
        self._sealing = sealing or Sealing()
        self._found: dict[str, Found | None] = {}
        self._report = report
        self._silent: set[Reference] = set()
        self._distrusted: set[Reference] = set()
        self._refused: set[str] = set()
        self.pushed: set[str] = set()
        """The keys of all records that were pushed so far."""
        self.withheld: set[str] = set()
        """The keys of those that were not, since they cannot be signed: see `_withholds`."""
        self._guard = threading.Lock()
        self.target = places.target

    def nodes(self, keys: Iterable[LayerKey]) -> Set[LayerKey]:
        """Tell which nodes can be fetched; all are asked for at the same time."""
        return frozenset(LayerKey(key) for key in self._known(keys, NODE))

    def artifacts(self, keys: Iterable[ArtifactKey]) -> Set[ArtifactKey]:
        """Tell which archives can be fetched."""
        return frozenset(ArtifactKey(key) for key in self._known(keys, ARTIFACT))

    def lacking(
        self, keys: Iterable[Key], kind: str, files: Mapping[Key, Set[str]] | None = None
    ) -> Sequence[Key]:
        """Tell which keys the repository that is pushed to does not have a record of that kind for.

        `files` are those that the record of a key has to have. Where records are signed, one that
        others signed, or that does not fit its key, is none: it is of no use to those who verify,
        and would be in the way of a good one.
        """
        asked = tuple(keys)
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="cache") as pool:
            there = list(pool.map(lambda key: self._has(key, kind, (files or {}).get(key)), asked))
        return [key for key, is_there in zip(asked, there, strict=True) if not is_there]

    def _has(self, key: str, kind: str, files: Set[str] | None) -> bool:
        """Tell whether the repository that is pushed to has a record that need not be replaced."""
        place = replace(self._target(), tag=key, digest="")
        ours = self._sealing.ours
        if ours is None and not files:
            return self._registry.head(place) is not None
        try:
            found = self._read(place, self._registry.manifest(place).data, kind, ours)
        except NotFoundError:
            return False
        except (ImageError, TrustError) as error:
            self._tell_once(place, f"counts as not there: {error}")
            return False
        return fits(found, key, kind, files or frozenset())

    def refuse(self, key: str) -> None:
        """Treat a key as if it were not there: what was found for it is of no use."""
        with self._guard:
            self._refused.add(key)

    def forget(self) -> None:
        """Ask again for what was not there."""
        with self._guard:
            self._found = {key: found for key, found in self._found.items() if found is not None}

    def fetch_node(self, key: LayerKey) -> NodeRecord:
        """Bring the layers of a node into the store, and its record.

        Raises `RegistryError` for layers that are not what the record says.
        """
        found = self._of(key)
        record = replace(node_in(found, key), unverified=self._doubt(found))
        for layer, blob in zip(record.layers, found.blobs, strict=True):
            if not self._store.has_layer(layer):
                self._fetch_layer(found.repository, layer, blob)
        self._store.put_node(record)
        return record

    def fetch_artifact(
        self, key: ArtifactKey, files: Mapping[str, ArtifactFile], destination: Path
    ) -> None:
        """Bring an archive and what belongs to it into the destination; metadata comes last.

        Marks come before what they are about, and go after that. Raises `RegistryError` for a
        record that is not that of these files.
        """
        found = self._of(key)
        pairs = own_files_in(found, key, files)
        destination.mkdir(parents=True, exist_ok=True)
        source = self._doubt(found)
        marks = marks_of([file for file, _ in pairs], files, source)
        if source:
            for name, mark in marks.items():
                put_mark(destination, name, mark)
        # documents that are there, and not in the record, are about another archive
        remove_files(destination, lacking_documents([file for file, _ in pairs], files))
        for file, blob in pairs:
            self._registry.fetch_blob(found.repository, blob, destination / file.name)
        for file, _ in pairs:
            self._store.put_artifact(replace(file.record, unverified=source))
        if not source:
            for name, mark in marks.items():
                remove_mark(destination, name, mark.files)

    def _doubt(self, found: Found) -> str:
        """Say where something came from if no signature of it was checked, else ""."""
        place = replace(found.repository, tag="", digest="")
        return str(place) if self._sealing.check is None else ""

    def image(self, source: Digest, name: str) -> Image | None:
        """Return a base image by its manifest's digest, so that its layers need not be here yet."""
        key = image_key(source)
        if not self._known((key,), IMAGE):
            return None
        try:
            return image_record(self._of(key).record, source, name)
        except (TypeError, ValueError, ImageError):
            return None

    def push_image(self, image: Image) -> None:
        """Tell others what a base image from a registry is made of, unless somebody has already."""
        key = image_key(Digest(image.source))
        if image.source and self.lacking((key,), IMAGE):
            self._put(key, IMAGE, image_to_json(image), ())

    def push_node(self, record: NodeRecord) -> None:
        """Bring a node's layers up, then its record under its key; unless `_withholds`."""
        if self._withholds(record.key, record):
            return
        blobs = []
        for layer in record.layers:
            blob = self._store.blob(layer)
            self._bring_up(record.key, self._store.blob_path(blob.digest), blob)
            blobs.append(blob)
        ours = replace(record, log="", unverified="")
        value = {**node_to_json(ours), "blobs": [each.digest for each in blobs]}
        self._put(record.key, NODE, value, [replace(each, media_type=LAYER_ZSTD) for each in blobs])

    def push_artifact(
        self, key: ArtifactKey, names: Mapping[str, ArtifactKey], folder: Path
    ) -> None:
        """Bring the files of an artifact up, those of `folder` with these names and keys."""
        records = {name: self._packed(name, own) for name, own in names.items()}
        if self._withholds(key, *records.values()):
            return
        blobs, rows = [], []
        for name, record in records.items():
            blob = Descriptor(ARCHIVE, Digest(f"sha256:{record.sha256}"), record.size)
            self._bring_up(key, folder / name, blob)
            blobs.append(blob)
            row = {"key": record.key, "sha256": record.sha256, "size": record.size}
            rows.append({"name": name, **row})
        self._put(key, ARTIFACT, {"key": key, "files": rows}, blobs)

    def _packed(self, name: str, key: ArtifactKey) -> ArtifactRecord:
        """Return the record of a packed file."""
        record = self._store.artifact(key)
        if record is None:
            raise RegistryError(f"{name}: the store does not know it", hint=_AGAIN)
        return record

    def _withholds(self, key: str, *records: NodeRecord | ArtifactRecord) -> bool:
        """Tell whether records must not be signed: others made them, unverified."""
        if self._sealing.seal is None or not any(each.unverified for each in records):
            return False
        with self._guard:
            self.withheld.add(key)
        return True

    def _bring_up(self, key: str, source: Path, blob: Descriptor) -> None:
        """Bring a content of a key up; where another repository there has it, nothing is sent."""
        target, found = self._target(), self._found.get(key)
        if found is not None and any(each.digest == blob.digest for each in found.blobs):
            origin = found.repository
            is_other = origin.repository != target.repository
            if is_other and self._registry.mount_blob(target, blob.digest, origin=origin):
                return
        self._registry.put_blob(target, source, blob)

    def _target(self) -> Reference:
        """Return the repository that is pushed to."""
        if self.target is None:
            raise RegistryError("nothing to push layers to", hint="name it: --image-repository")
        return self.target

    def _put(self, key: str, media_type: str, value: object, blobs: Sequence[Descriptor]) -> None:
        """Write a record, once what it names is there."""
        data = canonical_json(value)
        config = Descriptor(media_type, digest_of(data), len(data))
        self._registry.put_blob(self._target(), data, config)
        described = descriptor_json(config)
        if len(data) <= _EMBEDDED:
            described["data"] = base64.b64encode(data).decode()
        manifest: dict[str, object] = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": media_type,
            "config": described,
            "layers": [descriptor_json(blob) for blob in blobs],
        }
        if self._sealing.seal is not None:
            manifest["annotations"] = {SIGNATURE: self._sealing.seal(data)}
        place = replace(self._target(), tag=key, digest="")
        self._registry.put_manifest(place, canonical_json(manifest), MANIFEST)
        self.pushed.add(key)

    def _known(self, keys: Iterable[str], media_type: str) -> list[str]:
        """Look up keys, those that were not looked up before, many at the same time."""
        asked = tuple(dict.fromkeys(keys))
        new = [key for key in asked if key not in self._found]
        if new and self._sources:
            with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="cache") as pool:
                answers = pool.map(lambda key: self._look_up(key, media_type), new)
                found = dict(zip(new, answers, strict=True))
            with self._guard:
                self._found.update(found)
        return [key for key in asked if self._found.get(key) and key not in self._refused]

    def _of(self, key: str) -> Found:
        """Return what was found for a key."""
        found = self._found.get(key)
        if found is None:
            raise RegistryError(f"nothing was found for the key {key}", hint=_AGAIN)
        return found

    def _look_up(self, key: str, media_type: str) -> Found | None:
        """Find the record of a key in the first repository that has a good one."""
        for repository in self._sources:
            if repository in self._silent:
                continue
            place = replace(repository, tag=key, digest="")
            try:
                manifest = self._registry.manifest(place)
                return self._read(place, manifest.data, media_type, self._sealing.check)
            except (NotFoundError, ImageError):
                continue
            except TrustError as error:
                self._tell_once(place, f"is not taken: {error}")
            except RegistryError as error:
                self._leave_out(repository, error)
        return None

    def _tell_once(self, place: Reference, what: str) -> None:
        """Warn of a record, once."""
        with self._guard:
            first = place not in self._distrusted
            self._distrusted.add(place)
        if first:
            self._report(Noted(f"{place}: {what}", warning=True))

    def _leave_out(self, repository: Reference, error: RegistryError) -> None:
        """Do without a repository that does not answer: what it may have is built here."""
        with self._guard:
            first = repository not in self._silent
            self._silent.add(repository)
        if first:
            self._report(Noted(f"layers are not taken from {repository}: {error}", warning=True))

    def _read(
        self, place: Reference, manifest: bytes, media_type: str, check: Check | None
    ) -> Found:
        """Read a record and check it; raises `ImageError` or `TrustError`."""
        value = parse_object(manifest, str(place))
        config = parse_descriptor(value.get("config"))
        if config.media_type != media_type or config.size > _LARGEST_RECORD:
            raise ImageError(f"{place}: is no record of the kind that its key asks for")
        data = embedded(value.get("config"), config)
        if data is None:
            data = self._registry.read_blob(place, config)
        if check is not None:
            signature = json_object(value.get("annotations")).get(SIGNATURE)
            check(data, str(signature or ""))
        layers = value.get("layers")
        blobs = tuple(map(parse_descriptor, layers if isinstance(layers, list) else ()))
        return Found(place, parse_object(data, str(place)), blobs)

    def _fetch_layer(self, repository: Reference, layer: Digest, blob: Descriptor) -> None:
        """Bring one layer into the store; raises `RegistryError` if it is not that one."""
        with self._store.scratch() as scratch:
            packed, folder = scratch / "blob", scratch / "layer"
            folder.mkdir()
            self._registry.fetch_blob(repository, blob, packed)
            try:
                unpack_layer(packed, folder, devices=Devices.allowed())
            except ArchiveError as error:
                message = f"{repository}: a layer of it is damaged: {error.message}"
                raise RegistryError(message, hint=DAMAGED) from error
            if self._store.add_layer(folder, _AS_THEY_ARE) != layer:
                message = f"{repository}: a layer of it is not what its record says"
                raise RegistryError(message, hint=DAMAGED)
