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
from compiler.sbom import KINDS
from compiler.spec.package import PackageId, PackageSpec
from compiler.store import ArtifactRecord, Store

_METADATA = ".metadata.yaml"


@dataclass(frozen=True, slots=True)
class ArtifactForm:
    """How artifacts are written: compressed how, and with what besides.

    `documents` lie beside the archives, an `mtree` is in each metadata file.
    """

    compression: Compression = Compression.NONE
    documents: bool = False
    mtree: bool = False


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
            return "not in the destination"
        if not is_there(store.artifact(key), destination, name):
            what = "description or values" if name.endswith(_METADATA) else "archive"
            what = what if name.endswith(_METADATA) or ".package.tar" in name else "document"
            return f"the {what} in the destination is of another build, or was changed"
        if form.mtree and name.endswith(_METADATA) and not has_mtree(destination / name):
            return "the metadata in the destination has no mtree"
    return None


def has_mtree(metadata: Path) -> bool:
    """Tell whether a metadata file has an mtree; raises `OSError` if it cannot be read."""
    return f"\n{MTREE}".encode() in metadata.read_bytes()


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
        for kind in KINDS:
            name = f"{package.fingerprint}{kind.suffix}"
            digest = hashlib.sha256(f"{keys.artifact} {name}".encode()).hexdigest()
            yield name, ArtifactKey(digest)
