"""Which files belong to the artifact of a package, and whether they lie in the destination."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from compiler.archive import Compression
from compiler.artifact import archive_name
from compiler.fingerprint import NodeKeys
from compiler.keys import ArtifactKey
from compiler.sbom import KINDS
from compiler.spec.package import PackageId, PackageSpec
from compiler.store import ArtifactRecord, Store

_METADATA = ".metadata.yaml"


@dataclass(frozen=True, slots=True)
class ArtifactForm:
    """How artifacts are written: compressed how, and with documents beside them or without."""

    compression: Compression = Compression.NONE
    documents: bool = False


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
        if not is_there(store.artifact(key), destination, name):
            what = "description or values" if name.endswith(_METADATA) else "archive"
            what = "document" if _is_document(name) else what
            return f"the {what} in the destination is of another build, or was changed"
    return None


def _is_document(name: str) -> bool:
    """Tell the documents of an artifact from its archive and metadata."""
    return not name.endswith(_METADATA) and ".package.tar" not in name


def files_of(
    spec: PackageSpec, keys: NodeKeys, form: ArtifactForm
) -> Iterator[tuple[str, ArtifactKey]]:
    """Name every file that belongs to an artifact, with the key of its record."""
    for package in (spec.id, *_parts(spec)):
        archive, metadata = keys_of(package, spec, keys)
        yield f"{package.fingerprint}{_METADATA}", metadata
        yield archive_name(package, form.compression), archive
    if form.documents:
        yield from document_files(spec, keys)


def _parts(spec: PackageSpec) -> tuple[PackageId, ...]:
    """Name the subpackages of a package."""
    return tuple(part.id for part in spec.build.subpackages) if spec.build is not None else ()


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
    for package in (spec.id, *_parts(spec)):
        for kind in KINDS:
            name = f"{package.fingerprint}{kind.suffix}"
            digest = hashlib.sha256(f"{keys.artifact} {name}".encode()).hexdigest()
            yield name, ArtifactKey(digest)
