"""The images of packages: one with a package's files, and one with its metadata."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from compiler.artifact.metadata import ArtifactMetadata
from compiler.events import Noted, Reporter
from compiler.oci import Descriptor, Platform
from compiler.publish.push import Pusher, each_at_once
from compiler.repository.oci import ImageParts, image_of, layers_of_archive, tag_of
from compiler.sbom import KINDS, DocumentKind
from compiler.spec.package import PackageId


@dataclass(frozen=True, slots=True)
class Packed:
    """An artifact on the disk: what its metadata says, and the file that says it."""

    metadata: ArtifactMetadata
    file: Path

    @property
    def archive(self) -> Path:
        """The archive beside it."""
        return self.file.with_name(self.metadata.archive)


@dataclass(frozen=True, slots=True)
class PushedPackage:
    """What the tags of a package and of its metadata name now."""

    package: PackageId
    image: Descriptor
    metadata: Descriptor


@dataclass(frozen=True, slots=True)
class _Ready:
    """Images whose contents are up, and which only lack their tags."""

    package: PackageId
    platform: Platform
    image: ImageParts
    metadata: ImageParts
    metadata_name: str


def push_packages(
    packages: Sequence[Packed],
    pusher: Pusher,
    platform: Platform,
    *,
    folder: Path,
    report: Reporter,
) -> Sequence[PushedPackage]:
    """Bring up packages, several at a time: the contents of all of them, then their tags.

    `platform` is that of packages which do not say what they are for; `folder` is for what is
    being made.
    """

    def contents(packed: Packed) -> _Ready:
        ready = _contents(packed, pusher, platform, folder)
        report(Noted(f"{packed.metadata.id} is uploaded"))
        return ready

    ready = each_at_once(contents, packages)
    pushed = each_at_once(lambda each: _name(each, pusher), ready)
    files = {each.metadata.id: each.file for each in packages}
    each_at_once(lambda each: _attach(each, files[each.package], pusher), pushed)
    return pushed


def documents_of(package: PackageId, file: Path) -> Mapping[DocumentKind, Path]:
    """Find the documents about a package beside its metadata file: those that somebody wrote."""
    paths = {kind: file.with_name(package.fingerprint + kind.suffix) for kind in KINDS}
    return {kind: path for kind, path in paths.items() if path.exists()}


def _attach(pushed: PushedPackage, file: Path, pusher: Pusher) -> None:
    """Attach the documents that lie beside an artifact to its image."""
    for kind, document in documents_of(pushed.package, file).items():
        pusher.attach(pushed.image, document, kind.media_type)


def _contents(packed: Packed, pusher: Pusher, platform: Platform, folder: Path) -> _Ready:
    """Bring up what the images of a package and of its metadata are made of."""
    package = packed.metadata.id
    layers = layers_of_archive(packed.archive, folder=folder)
    own = packed.metadata.platform or platform
    image = image_of(layers, own, labels=labels_of(package))
    pusher.contents(image)
    for layer in layers:
        layer.path.unlink()
    name = packed.file.name
    beside = pusher.file_image((name,), packed.file.read_bytes(), folder=folder)
    return _Ready(package, own, image, beside, name)


def _name(ready: _Ready, pusher: Pusher) -> PushedPackage:
    """Give the images of a package their tags."""
    image = pusher.name_for_platform(ready.image, ready.platform, ready.package)
    metadata = pusher.name(ready.metadata, tag_of(ready.metadata_name))
    return PushedPackage(ready.package, image, metadata)


def labels_of(package: PackageId) -> dict[str, str]:
    """Say in an image what it holds (OCI Image Specification, Annotations)."""
    return {
        "org.opencontainers.image.title": package.title,
        "org.opencontainers.image.version": package.version,
    }
