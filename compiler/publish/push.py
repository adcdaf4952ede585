"""Brings images into a registry: blobs before what names them, many at the same time."""

import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from compiler.errors import ImageError
from compiler.oci import (
    INDEX,
    INDEXES,
    MANIFEST,
    Descriptor,
    Digest,
    Platform,
    Reference,
    canonical_json,
    descriptor_json,
    digest_of,
    platforms_of,
)
from compiler.publish.state import tagged
from compiler.registry import Progress, Registry
from compiler.registry.transfer import transfer
from compiler.repository.oci import (
    ImageParts,
    image_of,
    index_of,
    layer_of_file,
    tag_of,
)
from compiler.spec.package import PackageId

_EMPTY = "application/vnd.oci.empty.v1+json"
_AT_ONCE = 8
"""Packages that are brought up at the same time: most of the time is waiting for answers."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def each_at_once(work: Callable[[Item], Result], items: Iterable[Item]) -> Sequence[Result]:
    """Do `work` for every item, several at a time; the first error ends the rest."""

    def job(item: Item, _tell: Progress) -> Result:
        return work(item)

    return transfer([partial(job, item) for item in items], threads=_AT_ONCE)


Images = Mapping[Platform, Descriptor]
Keeps = Callable[[PackageId, str, Digest, Images], Images]
"""Tells of a package, its tag, the digest of the index there and its images which of them stay."""


def _keep_all(_package: PackageId, _tag: str, _index: Digest, images: Images) -> Images:
    """Let all images stay, as nobody signs anything."""
    return images


@dataclass(slots=True)
class Traffic:
    """What a publication sent: how many images, and how many bytes of layers."""

    images: int = 0
    sent: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, size: int) -> None:
        """Count bytes that were sent; any thread may call it."""
        with self._lock:
            self.sent += size

    def count_image(self) -> None:
        """Count an image."""
        with self._lock:
            self.images += 1


@dataclass(frozen=True, slots=True)
class Words:
    """What an image says besides what it holds: in its config, and in its manifest."""

    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


_SILENT = Words()


@dataclass(frozen=True, slots=True)
class PushedIndex:
    """An index of platforms that is up and has no tag yet; `before` is what its tag named.

    `is_alone` tells that it has an image for no other platform.
    """

    tag: str
    before: Descriptor | None
    data: bytes
    descriptor: Descriptor
    is_alone: bool


class Pusher:
    """Pushes images into one repository of a registry."""

    def __init__(  # noqa: PLR0913  (where to, and what is said of images)
        self,
        registry: Registry,
        target: Reference,
        traffic: Traffic,
        *,
        platform: Platform,
        epoch: int,
        keeps: Keeps = _keep_all,
    ) -> None:
        """Push as of `platform` and `epoch`; `keeps` tells what stays in an index that is there."""
        self._registry = registry
        self._target = target
        self._traffic = traffic
        self._platform = platform
        self._epoch = epoch
        self._keeps = keeps
        self.named: dict[str, Descriptor] = {}
        """What tags were given so far."""

    def contents(self, image: ImageParts) -> None:
        """Bring up what an image is made of, and its manifest by digest only."""
        for layer in image.layers:
            self._blob(layer.path, layer.blob)
        self._blob(image.config, image.config_blob)
        untagged = Reference(
            self._target.registry, self._target.repository, digest=image.descriptor.digest
        )
        media_type = image.descriptor.media_type
        self._registry.put_manifest(untagged, image.manifest, media_type)
        self._traffic.count_image()

    def file(self, names: Sequence[str], data: bytes, *, folder: Path) -> None:
        """Bring up the image of one file that has several names, and give it their tags in turn."""
        image = self.file_image(names, data, folder=folder)
        for name in names:
            self.name(image, tag_of(name))

    def file_image(
        self, names: Sequence[str], data: bytes, *, folder: Path, words: Words = _SILENT
    ) -> ImageParts:
        """Bring up what the image of a file is made of; `folder` is for what is being made."""
        layer = layer_of_file(names, data, folder=folder, epoch=self._epoch)
        image = image_of(
            (layer,), self._platform, labels=words.labels, annotations=words.annotations
        )
        self.contents(image)
        layer.path.unlink()
        return image

    def name(self, image: ImageParts, tag: str) -> Descriptor:
        """Give an image whose contents are there a tag."""
        place = tagged(self._target, tag)
        found = self._registry.put_manifest(place, image.manifest, image.descriptor.media_type)
        self.named[tag] = found
        return found

    def index(self, image: ImageParts, platform: Platform, package: PackageId) -> PushedIndex:
        """Bring up, by digest only, the index of a package with this image for its platform.

        The images of other platforms that its tag names already stay, as far as `keeps` says so.
        """
        tag = tag_of(package.fingerprint)
        before, others = self._others(tagged(self._target, tag), platform, package)
        data = index_of({**others, platform: image.descriptor}.items())
        untagged = replace(self._target, tag="", digest=digest_of(data))
        pushed = self._registry.put_manifest(untagged, data, INDEX)
        return PushedIndex(tag, before, data, pushed, is_alone=not others)

    def name_index(self, index: PushedIndex) -> bool:
        """Give an index its tag; False if that names something else than it did meanwhile."""
        place = tagged(self._target, index.tag)
        now = self._registry.head(place)
        if (now and now.digest) != (index.before and index.before.digest):
            return False
        self._registry.put_manifest(place, index.data, INDEX)
        return True

    def attach(self, subject: Descriptor, document: Path, media_type: str) -> None:
        """Make a document a referrer of an image (OCI Image Specification 1.1, Artifacts)."""
        with document.open("rb") as file:
            digest = Digest(f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}")
        blob = Descriptor(media_type, digest, document.stat().st_size)
        config = Descriptor(_EMPTY, digest_of(b"{}"), 2)
        self._blob(document, blob)
        self._blob(b"{}", config)
        manifest: dict[str, object] = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": media_type,
            "config": descriptor_json(config),
            "layers": [descriptor_json(blob)],
            "subject": descriptor_json(subject),
            "annotations": {"org.opencontainers.image.title": document.name},
        }
        about = Reference(self._target.registry, self._target.repository, digest=subject.digest)
        self._registry.put_referrer(about, canonical_json(manifest), MANIFEST)

    def _others(
        self, place: Reference, platform: Platform, package: PackageId
    ) -> tuple[Descriptor | None, Images]:
        """Read what a tag names, and what that has for other platforms and may keep.

        Nothing may be kept of what is no index of ours. The index is read by the digest that is
        then asked about: its tag may be moved meanwhile.
        """
        known = self._registry.head(place)
        if known is None or known.media_type not in INDEXES:
            return known, {}
        try:
            index = self._registry.manifest(replace(place, tag="", digest=known.digest))
            images = platforms_of(index.data, str(place))
        except ImageError:
            return known, {}
        images.pop(platform, None)
        return known, self._keeps(package, place.tag, known.digest, images)

    def _blob(self, source: Path | bytes, blob: Descriptor) -> None:
        """Bring up a blob, unless it is there."""
        if self._registry.put_blob(self._target, source, blob):
            self._traffic.count(blob.size)
