"""Compares what the tags of a docker repository name with what its index lists.

A publication asks about what has changed only, so that it costs the same however large a repository
is. A tag that somebody moved, or an image that was damaged or removed, shows here.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from compiler.artifact.metadata import SUFFIX, ArtifactMetadata, index_entry, parse_metadata
from compiler.errors import CompilerError, DeniedError, ImageError, Interrupted
from compiler.events import Noted, Reporter
from compiler.oci import Descriptor, Digest, Reference, json_object, parse_object
from compiler.publish.packages import labels_of
from compiler.publish.push import each_at_once
from compiler.publish.state import tagged
from compiler.registry import Manifest, Registry
from compiler.registry.manifests import read_links
from compiler.repository.index import RepositoryIndex
from compiler.repository.oci import tags_of
from compiler.repository.sources.registry import RegistrySource
from compiler.spec.package import PackageId
from compiler.store.images import host_platform

_LARGEST = 64 << 20
"""How many bytes the metadata of a package may have."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A tag of a listed package that does not name what it should, and why not."""

    package: PackageId
    tag: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """Where tags are checked; `folder` is for what is fetched.

    `signed` is what the signed metadata has of all tags; None where there is none.
    """

    registry: Registry
    target: Reference
    folder: Path
    signed: Mapping[str, Digest] | None = None


def find_faults(index: RepositoryIndex, checked: Checked) -> tuple[Fault, ...]:
    """Check both tags of every package, several at a time.

    Where there is no signed metadata, an image is right if it is whole and says that it holds its
    package; its metadata is compared with what the index says of it.
    """
    found = each_at_once(lambda artifact: _faults_of(artifact, checked), index.artifacts)
    return tuple(fault for faults in found for fault in faults)


def find_broken(
    index: RepositoryIndex, checked: Checked, here: Collection[str], report: Reporter
) -> frozenset[PackageId]:
    """Name the packages with faults, and say what these are; `here` are metadata files here."""
    faults = find_faults(index, checked)
    for fault in faults:
        is_here = f"{fault.package.fingerprint}{SUFFIX}" in here
        then = "" if is_here else "; it is not among those that are published here"
        report(Noted(f"{fault.tag}: {fault.reason}{then}", warning=True))
    return frozenset(fault.package for fault in faults)


def _faults_of(artifact: ArtifactMetadata, checked: Checked) -> list[Fault]:
    """Check the tags of one package."""
    found = []
    for tag, look in zip(tags_of(artifact.id), (_look_at_image, _look_at_metadata), strict=True):
        try:
            _compare_with_signed(tag, checked)
            look(artifact, tag, checked)
        except (Interrupted, DeniedError):
            raise
        except CompilerError as error:
            found.append(Fault(artifact.id, tag, error.message))
    return found


def _compare_with_signed(tag: str, checked: Checked) -> None:
    """Raise `ImageError` for a tag that names something else than was signed."""
    if checked.signed is None:
        return
    wanted, named = checked.signed.get(tag), checked.registry.head(tagged(checked.target, tag))
    if wanted is None:
        raise ImageError("is not in the signed metadata")
    if named is not None and named.digest != wanted:
        raise ImageError(f"names {named.digest}, and {wanted} was signed")


def _look_at_image(artifact: ArtifactMetadata, tag: str, checked: Checked) -> None:
    """Raise unless a tag names whole images of a package."""
    place = tagged(checked.target, tag)
    for image in _images_at(checked.registry, place):
        _look_at_parts(image, place, checked)
        _compare_labels(checked.registry, image, place, artifact.id)


def compare_labels(registry: Registry, place: Reference, package: PackageId) -> None:
    """Raise `ImageError` if what `place` names says that it holds another package, or is none."""
    for image in _images_at(registry, place):
        if not read_links(image.data).blobs:
            raise ImageError("names no image")
        _compare_labels(registry, image, place, package)


def _images_at(registry: Registry, place: Reference) -> Sequence[Manifest]:
    """Fetch the image at a place, or those of an index that is there."""
    named = registry.manifest(place)
    links = read_links(named.data)
    images = [
        registry.manifest(replace(place, tag="", digest=each.digest)) for each in links.manifests
    ]
    return images or [named]


def _look_at_parts(image: Manifest, place: Reference, checked: Checked) -> None:
    """Raise `ImageError` for an image that lacks something."""
    blobs = read_links(image.data).blobs
    if not blobs:
        raise ImageError("names no image")
    for blob in blobs:
        if not checked.registry.has_blob(place, blob.digest):
            raise ImageError(f"a part of its image is missing: {blob.digest}")


def _compare_labels(
    registry: Registry, image: Manifest, place: Reference, package: PackageId
) -> None:
    """Raise `ImageError` for an image that says it holds another package; luet's say nothing."""
    config = json_object(parse_object(image.data, str(package)).get("config"))
    blob = next(each for each in read_links(image.data).blobs if each.digest == config["digest"])
    said = _labels(registry.read_blob(place, blob), blob)
    for name, wanted in labels_of(package).items():
        if said.get(name, wanted) != wanted:
            raise ImageError(f"its image says {name}={str(said[name])[:100]!r}, not {wanted!r}")


def _labels(config: bytes, blob: Descriptor) -> dict[str, object]:
    """Read the labels of an image's config."""
    described = json_object(parse_object(config, str(blob.digest)).get("config"))
    return dict(json_object(described.get("Labels")))


def _look_at_metadata(artifact: ArtifactMetadata, tag: str, checked: Checked) -> None:
    """Raise `ImageError` unless a tag names the metadata that the index has of a package."""
    name = artifact.id.fingerprint + SUFFIX
    source = RegistrySource(checked.registry, checked.target, host_platform())
    with TemporaryDirectory(dir=checked.folder, prefix=".check-") as scratch:
        path = Path(scratch) / "metadata"
        source.bring(name, path, _LARGEST)
        text = path.read_text(encoding="utf-8", errors="replace")
    if index_entry(parse_metadata(text, f"{checked.target}:{tag}")) != index_entry(artifact):
        raise ImageError("holds other metadata than the index lists")
