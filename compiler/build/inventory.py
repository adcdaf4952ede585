"""Writes beside an artifact what is in it and how it was made: CycloneDX, SPDX and provenance.

The files are read from the archive itself, so what the documents say is what was packed; the
distribution's packages are read from the layers that the package was built in.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tarfile import TarInfo
from typing import BinaryIO

from compiler.archive.compress import atomic_file
from compiler.archive.members import Member, members_of
from compiler.artifact.pack import Artifact
from compiler.artifact.selection import Strategy, strategy_of
from compiler.build.settings import BuildSettings
from compiler.engine.lookup import Lowers
from compiler.errors import OutsideError, unwritable
from compiler.events import Noted, Reporter
from compiler.keys import ArtifactKey, LayerKey
from compiler.oci import Digest, hex_of, parse_reference
from compiler.packed import document_files
from compiler.plan import PlanNode
from compiler.retrieve import SCHEMES
from compiler.sbom import (
    CYCLONEDX,
    KINDS,
    PROVENANCE,
    SPDX,
    Contents,
    DocumentKind,
    Found,
    Input,
    InputKind,
    Inputs,
    Resource,
    SbomFile,
    Subject,
    contents_of,
)
from compiler.sbom.cyclonedx import cyclonedx_pieces
from compiler.sbom.dpkg import STATUS, STATUS_FOLDER
from compiler.sbom.packages import read_packages
from compiler.sbom.provenance import provenance_text
from compiler.sbom.rpm import DATABASES
from compiler.sbom.spdx import spdx_pieces
from compiler.spec.package import BuildSpec, PackageId, PackageSpec
from compiler.store import ArtifactRecord, NodeRecord, Store

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where specs come from and who builds: what only the caller of a build knows.

    `tree` are the trees by address and digest, the last one first in effect; `builder` is a URI
    that names this builder to those who verify.
    """

    tree: tuple[Resource, ...] = ()
    builder: str = Inputs().builder


class StackRoot:
    """A stack of layers as the root that the databases of distributions are read from."""

    def __init__(self, layers: Sequence[Path], *, below: str = "") -> None:
        """Show the layers, topmost first; with `below`, that folder of them is the root."""
        self._lowers = Lowers(layers)
        self._layers = layers
        self._prefix = f"{below.strip('/')}/" if below.strip("/") else ""

    def open(self, path: str) -> BinaryIO | None:
        """Open a plain file, links followed inside the stack; None if there is none."""
        found = self._find(path)
        if found is None or not found.is_file() or found.is_symlink():
            return None
        try:
            return found.open("rb")
        except OSError as error:
            raise OutsideError(f"{found}: cannot be read: {error.strerror}") from error

    def names(self, folder: str) -> Sequence[str]:
        """List the names in a folder of the stack; nothing if there is none."""
        place = self._lowers.resolve(self._prefix + folder)
        names = {
            each.name
            for layer in self._layers
            if (layer / place).is_dir() and not (layer / place).is_symlink()
            for each in (layer / place).iterdir()
        }
        return sorted(each for each in names if self._lowers.find(f"{place}/{each}") is not None)

    def _find(self, path: str) -> Path | None:
        return self._lowers.followed(self._prefix + path)


class Inventory:
    """Writes the documents of the artifacts of one run."""

    def __init__(
        self, store: Store, settings: BuildSettings, origin: Origin, report: Reporter
    ) -> None:
        self._store = store
        self._settings = settings
        self._origin = origin
        self._report = report

    def write(
        self, node: PlanNode, record: NodeRecord, artifacts: Iterable[Artifact]
    ) -> tuple[Path, ...]:
        """Write the documents of a node's artifacts, its own and its subpackages'."""
        found = self._found(node.node.spec, record)
        inputs = self.inputs(node, record)
        written: list[Path] = []
        for artifact in artifacts:
            contents = contents_of(archive_files(artifact.path), found)
            subject = subject_of(node.node.spec, artifact)
            documents = documents_of(subject, contents, inputs, self._settings.epoch)
            written += write_documents(self._settings.destination, artifact.package, documents)
        self._remember(node, written, unverified=record.unverified)
        return tuple(written)

    def _remember(self, node: PlanNode, written: Iterable[Path], *, unverified: str) -> None:
        """Keep the records of documents, by which they can be given to others."""
        paths = {path.name: path for path in written}
        for name, key in document_files(node.node.spec, node.keys):
            if name in paths:
                with paths[name].open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                size = paths[name].stat().st_size
                self._store.put_artifact(
                    ArtifactRecord(key=key, sha256=digest, size=size, unverified=unverified)
                )

    def inputs(self, node: PlanNode, record: NodeRecord) -> Inputs:
        """Name everything that a node was built from, by digest."""
        values = node.node.spec.given(self._settings.values)
        digests = {"sha256": _hash_of(values)}
        return Inputs(
            tree=self._origin.tree,
            values=(Resource(name="values", digests=digests),) if values else (),
            used=tuple(self._used(node, record)),
            settings=_settings(node, self._settings),
            builder=self._origin.builder,
        )

    def _found(self, spec: PackageSpec, record: NodeRecord) -> Found:
        """Read the databases of the root that a package was packed from."""
        build = spec.build or BuildSpec()
        strategy = strategy_of(build)
        if strategy is Strategy.EMPTY:
            return Found()
        if strategy is Strategy.DELTA and not self._has_database(record):
            return Found()  # no package was installed, so none owns what the steps added
        layers = self._folders((*record.root, *record.layers))
        below = build.package_dir if strategy is Strategy.FOLDER else ""
        found = read_packages(StackRoot(layers, below=below))
        for text in found.unread:
            self._report(Noted(f"{spec.id}: {text}", warning=True))
        return found

    def _has_database(self, record: NodeRecord) -> bool:
        """Tell whether the layers of a node changed a database of packages."""
        own = Lowers(self._folders(record.layers))
        return any(own.find(path) is not None for path in (STATUS, STATUS_FOLDER, *DATABASES))

    def _folders(self, layers: Sequence[Digest]) -> list[Path]:
        """Find the folders of layers, topmost first."""
        return [self._store.layer_path(each) for each in dict.fromkeys(reversed(layers))]

    def _used(self, node: PlanNode, record: NodeRecord) -> Iterator[Input]:
        """Go through the inputs that the keys of a node were made of, and the layers below it."""
        seen: set[str] = set()
        for each in self._named(node):
            seen.update(each.resource.digests.values())
            yield each
        for url in (node.node.spec.build or BuildSpec()).retrieve:
            if url.startswith(SCHEMES):
                yield Input(InputKind.SOURCE, Resource(name=url, uri=url))
        for layer in record.root:
            if hex_of(layer) not in seen:
                seen.add(hex_of(layer))
                resource = Resource(name=f"layer {hex_of(layer)[:12]}", digests=_sha256(layer))
                yield Input(InputKind.REQUIREMENT, resource)

    def _named(self, node: PlanNode) -> Iterator[Input]:
        """Go through the inputs that have names: files, images, and other packages."""
        for key, value in node.keys.inputs.items():
            kind, _, name = key.partition(" ")
            if kind == "file":
                yield from _file(name, value)
            elif kind == "retrieved":
                resource = Resource(name=name, digests={"sha256": value})
                yield Input(InputKind.SOURCE, resource)
            elif kind in {"image", "source"}:
                base = kind == "image" and name == node.node.image
                used_as = InputKind.BASE_IMAGE if base else InputKind.IMAGE
                yield Input(used_as, self._image(name, value))
            elif kind in {"joins", "retrieves"}:
                yield Input(InputKind.ARTIFACT, self._archive(name, ArtifactKey(value)))
            elif kind in {"requires", "copies"}:
                title = name if kind == "requires" else name.partition(" ")[2]
                yield from self._layers(title, LayerKey(value))

    def _image(self, name: str, content: str) -> Resource:
        """Describe an image: by its digest in a registry, if it came from one, and its content."""
        image = self._settings.images.get(name)
        digest = content if image is None else image.source or image.digest
        uri = f"docker://{parse_reference(name)}" if image is not None and image.source else ""
        return Resource(name=name, uri=uri, digests=_sha256(digest), notes={"content": content})

    def _archive(self, title: str, key: ArtifactKey) -> Resource:
        """Describe the archive of another package."""
        record = self._store.artifact(key)
        digests = {"sha256": record.sha256} if record is not None else {}
        return Resource(name=title, uri=f"cos:artifact/{key}", digests=digests)

    def _layers(self, title: str, key: LayerKey) -> Iterator[Input]:
        """Describe the layers of another package."""
        record = self._store.node(key)
        for layer in record.layers if record is not None else ():
            resource = Resource(name=title, uri=f"cos:layer/{key}", digests=_sha256(layer))
            yield Input(InputKind.REQUIREMENT, resource)


def documents_of(
    subject: Subject, contents: Contents, inputs: Inputs, epoch: int
) -> Mapping[DocumentKind, Iterable[bytes]]:
    """Write the documents of an artifact, each in pieces."""
    return {
        CYCLONEDX: cyclonedx_pieces(subject, contents, inputs, epoch),
        SPDX: spdx_pieces(subject, contents, inputs, epoch),
        PROVENANCE: (provenance_text(subject, inputs, epoch),),
    }


def write_documents(
    folder: Path, package: PackageId, documents: Mapping[DocumentKind, Iterable[bytes]]
) -> tuple[Path, ...]:
    """Write the documents of an artifact into `folder`, each whole or not at all."""
    written = []
    for kind, pieces in documents.items():
        path = folder / f"{package.fingerprint}{kind.suffix}"
        try:
            with atomic_file(path) as file:
                file.writelines(pieces)
        except OSError as error:
            raise unwritable(path, error) from error
        written.append(path)
    return tuple(written)


def remove_documents(folder: Path, packages: Iterable[PackageId]) -> None:
    """Remove documents of archives that were packed anew: what they say is of others."""
    for package in packages:
        for kind in KINDS:
            (folder / f"{package.fingerprint}{kind.suffix}").unlink(missing_ok=True)


def subject_of(spec: PackageSpec, artifact: Artifact) -> Subject:
    """Describe the artifact of a package, or of one of its subpackages."""
    parts = {part.id: part for part in (spec.build.subpackages if spec.build is not None else ())}
    definition = parts.get(artifact.package, spec.definition)
    return Subject(
        category=definition.category,
        name=definition.name,
        version=definition.version,
        file_name=artifact.path.name,
        sha256=artifact.sha256,
        license=definition.license,
        description=definition.description,
        home=tuple(definition.uri),
    )


def archive_files(archive: Path) -> Iterator[SbomFile]:
    """Go through the plain files of an archive; raises `ArchiveError` for a damaged one.

    A further name of a file has the digests of the first.
    """
    first: dict[str, SbomFile] = {}
    with members_of(archive) as members:
        for member in members:
            file = _hashed(member, first)
            if file is not None:
                yield file


def _hashed(member: Member, first: dict[str, SbomFile]) -> SbomFile | None:
    """Hash the content of a member; None for what is no plain file."""
    info: TarInfo = member.info
    path = info.name.removeprefix("./")
    if info.islnk():
        linked = first.get(info.linkname.removeprefix("./"))
        return linked._replace(path=path) if linked is not None else None
    if member.content is None:
        return None
    one, other = hashlib.sha256(), hashlib.sha1(usedforsecurity=False)
    while data := member.content.read(_PIECE):
        one.update(data)
        other.update(data)
    file = SbomFile(path, info.size, one.hexdigest(), other.hexdigest())
    first[path] = file
    return file


def _file(path: str, value: str) -> Iterator[Input]:
    """Describe a file of the package's folder: mode in octal, and digest unless it is a folder."""
    mode, _, digest = value.partition(" ")
    if digest:
        resource = Resource(name=path, digests={"sha256": digest}, notes={"mode": mode})
        yield Input(InputKind.FILE, resource)


def _settings(node: PlanNode, settings: BuildSettings) -> Mapping[str, str]:
    """Name what the builder chose, and the keys that hold the rest of the spec."""
    return {
        "SOURCE_DATE_EPOCH": str(settings.epoch),
        "archiveKey": node.keys.archive,
        "artifactKey": node.keys.artifact,
        "compression": settings.compression.value,
        "layerKey": node.keys.layer,
        "network": settings.network.value,
        "platform": node.keys.inputs.get("platform", ""),
    }


def _sha256(digest: str) -> Mapping[str, str]:
    """Write a digest as the documents do; nothing for what is none."""
    algorithm, _, text = digest.partition(":")
    return {"sha256": text} if algorithm == "sha256" else {}


def _hash_of(values: Mapping[str, object]) -> str:
    """Name the values of a run by what they hold, as the keys do."""
    text = json.dumps(values, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
