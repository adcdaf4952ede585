"""The images of packages: one with a package's files, and one with its metadata.

Nobody is to see an image under its tag that is not signed yet, so all contents go up first, then
the manifests by their digests, then what is said of these, and the tags at the end.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from compiler.artifact.metadata import ArtifactMetadata
from compiler.errors import RegistryError
from compiler.events import Noted, Reporter
from compiler.oci import Descriptor, Digest, Platform
from compiler.publish.push import PushedIndex, Pusher, each_at_once
from compiler.publish.state import WHOLE, Pushed
from compiler.repository.oci import ImageParts, image_of, layers_of_archive, tags_of
from compiler.sbom import KINDS, DocumentKind
from compiler.spec.package import PackageId

_ROUNDS = 16


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
    """What the tags of a package and of its metadata name, or are about to.

    `own` is the image for one platform that was pushed, by that; others may be in the index, too.
    `documents` are those that lie beside its artifact, and `described` are the images that they are
    about: the one for its platform, and its index as well if that has no other.
    """

    package: PackageId
    image: Descriptor
    metadata: Descriptor
    own: tuple[Platform, Digest]
    documents: Mapping[DocumentKind, Path]
    described: Sequence[Descriptor]

    @property
    def images(self) -> Mapping[str, Descriptor]:
        """Both images by their tags."""
        return dict(zip(tags_of(self.package), (self.image, self.metadata), strict=True))

    @property
    def pushed(self) -> Pushed:
        """What was pushed of it."""
        image, metadata = tags_of(self.package)
        platform, own = self.own
        return {image: {str(platform): own}, metadata: {WHOLE: self.metadata.digest}}


@dataclass(frozen=True, slots=True)
class Uploaded:
    """Images whose contents are up, and which only lack their tags."""

    package: PackageId
    platform: Platform
    image: ImageParts
    metadata: ImageParts
    documents: Mapping[DocumentKind, Path]


@dataclass(frozen=True, slots=True)
class _Ready:
    """A package whose index is up by its digest, with the documents about it."""

    uploaded: Uploaded
    index: PushedIndex

    @property
    def pushed(self) -> PushedPackage:
        """What the tags are about to name."""
        up, index = self.uploaded, self.index.descriptor
        return PushedPackage(
            up.package,
            index,
            up.metadata.descriptor,
            (up.platform, up.image.descriptor.digest),
            up.documents,
            self.described,
        )

    @property
    def described(self) -> Sequence[Descriptor]:
        """The images that the documents are about."""
        own = self.uploaded.image.descriptor
        return (own, self.index.descriptor) if self.index.is_alone else (own,)


Vouch = Callable[[Sequence[PushedPackage]], None]
"""Has said of packages what is to be said; called before they get their tags."""


def upload_packages(
    packages: Sequence[Packed],
    pusher: Pusher,
    platform: Platform,
    *,
    folder: Path,
    report: Reporter,
) -> Sequence[Uploaded]:
    """Bring up the contents of packages, several at a time, under no name but their digests.

    `platform` is that of packages which do not say what they are for; `folder` is for what is
    being made.
    """

    def contents(packed: Packed) -> Uploaded:
        uploaded = _contents(packed, pusher, platform, folder)
        report(Noted(f"{packed.metadata.id} is uploaded"))
        return uploaded

    return each_at_once(contents, packages)


def name_packages(
    uploaded: Sequence[Uploaded], pusher: Pusher, vouch: Vouch | None = None
) -> Sequence[PushedPackage]:
    """Give packages their tags, once `vouch` has said what there is to say of their images.

    Where somebody adds an image for another platform under the same tag meanwhile, that is taken
    in, and the index of both is vouched for. Raises `RegistryError` if that goes on and on.
    """
    waiting, pushed = uploaded, list[PushedPackage]()
    for _ in range(_ROUNDS):
        ready = each_at_once(lambda each: _index(each, pusher), waiting)
        if vouch is not None and ready:
            vouch([each.pushed for each in ready])
        named = each_at_once(lambda each: _name(each, pusher), ready)
        waiting = [each.uploaded for each, done in zip(ready, named, strict=True) if not done]
        pushed += [each.pushed for each, done in zip(ready, named, strict=True) if done]
        if not waiting:
            return pushed
    raise RegistryError(
        f"{waiting[0].package}: others kept publishing it meanwhile", hint="run the command again"
    )


def documents_of(package: PackageId, file: Path) -> Mapping[DocumentKind, Path]:
    """Find the documents about a package beside its metadata file: those that somebody wrote."""
    paths = {kind: file.with_name(package.fingerprint + kind.suffix) for kind in KINDS}
    return {kind: path for kind, path in paths.items() if path.exists()}


def _contents(packed: Packed, pusher: Pusher, platform: Platform, folder: Path) -> Uploaded:
    """Bring up what the images of a package and of its metadata are made of."""
    package = packed.metadata.id
    layers = layers_of_archive(packed.archive, folder=folder)
    own = packed.metadata.platform or platform
    image = image_of(layers, own, labels=labels_of(package))
    pusher.contents(image)
    for layer in layers:
        layer.path.unlink()
    beside = pusher.file_image((packed.file.name,), packed.file.read_bytes(), folder=folder)
    return Uploaded(package, own, image, beside, documents_of(package, packed.file))


def _index(uploaded: Uploaded, pusher: Pusher) -> _Ready:
    """Bring up the index of a package, and attach the documents beside the artifact.

    Somebody may have published the package for another platform: what is said of this one is not
    said of that, so it is about the index only while that has nothing else.
    """
    ready = _Ready(uploaded, pusher.index(uploaded.image, uploaded.platform, uploaded.package))
    for kind, document in uploaded.documents.items():
        for image in ready.described:
            pusher.attach(image, document, kind.media_type)
    return ready


def _name(ready: _Ready, pusher: Pusher) -> bool:
    """Give the images of a package their tags; False if the index lacks something by now."""
    _, metadata = tags_of(ready.uploaded.package)
    if not pusher.name_index(ready.index):
        return False
    pusher.name(ready.uploaded.metadata, metadata)
    return True


def labels_of(package: PackageId) -> dict[str, str]:
    """Say in an image what it holds (OCI Image Specification, Annotations)."""
    return {
        "org.opencontainers.image.title": package.title,
        "org.opencontainers.image.version": package.version,
    }
