"""Which files belong to the artifact of a package, and whether they lie in the destination."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from compiler.archive import Compression
from compiler.artifact import MTREE, archive_name
from compiler.fingerprint import NodeKeys
from compiler.keys import ArtifactKey
from compiler.marks import marked_source
from compiler.sbom import KINDS
from compiler.spec.package import PackageId, PackageSpec
from compiler.store import ArtifactFile, ArtifactRecord, Store

_METADATA = ".metadata.yaml"

UNVERIFIED = "it came from others, or is made of what did, and no signature was checked"
"""Why something is made anew although it is there."""


@dataclass(frozen=True, slots=True)
class ArtifactForm:
    """How artifacts are wanted: compressed how, and with what besides.

    `documents` lie beside the archives, an `mtree` is in each metadata file.
    """

    compression: Compression = Compression.NONE
    documents: bool = False
    mtree: bool = False
    verified: bool = False
    """Whether what came from others, with no signature checked, is to be made anew."""


def artifact_fault(
    spec: PackageSpec, keys: NodeKeys, *, store: Store, destination: Path, form: ArtifactForm
) -> str | None:
    """Say why packing `spec` again would write something else to the destination; None if not.

    Archives are known by their size and by the metadata beside them, since each is checked against
    its digest when a repository is made of it; metadata files by their content.
    """
    folder = f"{destination}/"
    for name, key in files_of(spec, keys, form):
        if not os.path.exists(f"{folder}{name}"):  # noqa: PTH110  (a plan asks for thousands)
            what = f"its document {name} is " if _is_document(name) else ""
            return f"{what}not in the destination"
        record = store.artifact(key)
        if not is_there(record, destination, name):
            what = "description or values" if name.endswith(_METADATA) else "archive"
            what = "document" if _is_document(name) else what
            return f"the {what} in the destination is of another build, or was changed"
        if form.verified and record is not None and record.unverified:
            return UNVERIFIED
    packages = packages_of(spec)
    if form.verified and any(marked_source(destination, each.fingerprint) for each in packages):
        return UNVERIFIED
    files = (destination / f"{each.fingerprint}{_METADATA}" for each in packages)
    if form.mtree and not all(map(has_mtree, files)):
        return "the metadata in the destination has no mtree"
    return None


def has_mtree(metadata: Path) -> bool:
    """Tell whether a metadata file has an mtree; raises `OSError` if it cannot be read."""
    return f"\n{MTREE}".encode() in metadata.read_bytes()


def _is_document(name: str) -> bool:
    """Tell the documents of an artifact from its archive and metadata."""
    return not name.endswith(_METADATA) and ".package.tar" not in name


def files_of(
    spec: PackageSpec, keys: NodeKeys, form: ArtifactForm
) -> Iterator[tuple[str, ArtifactKey]]:
    """Name every file that belongs to an artifact, with the key of its record."""
    for package in packages_of(spec):
        archive, metadata = keys_of(package, spec, keys)
        yield f"{package.fingerprint}{_METADATA}", metadata
        yield archive_name(package, form.compression), archive
    if form.documents:
        yield from document_files(spec, keys)


def shared_files(
    spec: PackageSpec, keys: NodeKeys, compression: Compression
) -> dict[str, ArtifactFile]:
    """Name every file that an artifact may have where it is shared; documents may be lacking."""
    found: dict[str, ArtifactFile] = {}
    for package in packages_of(spec):
        own, (archive, metadata) = package.fingerprint, keys_of(package, spec, keys)
        found[f"{own}{_METADATA}"] = ArtifactFile(key=metadata, package=own)
        found[archive_name(package, compression)] = ArtifactFile(key=archive, package=own)
        for name, key in _documents(package, keys):
            found[name] = ArtifactFile(key=key, package=own, optional=True)
    return found


def packages_of(spec: PackageSpec) -> tuple[PackageId, ...]:
    """Name a package and its subpackages."""
    parts = spec.build.subpackages if spec.build is not None else ()
    return (spec.id, *(part.id for part in parts))


def keys_of(
    package: PackageId, spec: PackageSpec, keys: NodeKeys
) -> tuple[ArtifactKey, ArtifactKey]:
    """Name the archive and the metadata of a package or one of its subpackages."""
    if package == spec.id:
        return keys.archive, keys.artifact
    archive = hashlib.sha256(f"{keys.archive} {package.fingerprint}".encode()).hexdigest()
    metadata = hashlib.sha256(f"{keys.artifact} {package.fingerprint}".encode()).hexdigest()
    return ArtifactKey(archive), ArtifactKey(metadata)


def is_there(record: ArtifactRecord | None, folder: Path, name: str) -> bool:
    """Compare a file with its record: by size, and what is no archive by content."""
    if record is None:
        return False
    path = folder / name
    try:
        if path.stat().st_size != record.size:
            return False
        return (
            path.suffix != ".yaml" or hashlib.sha256(path.read_bytes()).hexdigest() == record.sha256
        )
    except OSError:
        return False


def document_files(spec: PackageSpec, keys: NodeKeys) -> Iterator[tuple[str, ArtifactKey]]:
    """Name the documents of a package and its subpackages, each with the key of its record."""
    for package in packages_of(spec):
        yield from _documents(package, keys)


def _documents(package: PackageId, keys: NodeKeys) -> Iterator[tuple[str, ArtifactKey]]:
    """Name the documents of one package."""
    for kind in KINDS:
        name = f"{package.fingerprint}{kind.suffix}"
        digest = hashlib.sha256(f"{keys.artifact} {name}".encode()).hexdigest()
        yield name, ArtifactKey(digest)
