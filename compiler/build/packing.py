"""Packs the artifact of a node: its archive, its subpackages', and the metadata beside each."""

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

from compiler.archive import Entry
from compiler.archive.scan import collector_paused
from compiler.archive.tar import Content, folder_content
from compiler.artifact import archive_name
from compiler.artifact.layered import LayeredRoot
from compiler.artifact.metadata import SUFFIX
from compiler.artifact.mtree import Digests, archive_mtree, mtree_of
from compiler.artifact.pack import Artifact, Origin, add_mtree, describe, pack, write_metadata
from compiler.artifact.roots import MountedRoots
from compiler.artifact.selection import Selection, cut, select
from compiler.build.settings import BuildSettings, Tools
from compiler.errors import ArchiveError
from compiler.events import Noted
from compiler.graph import BuildGraph
from compiler.keys import ArtifactKey
from compiler.marks import Mark, put_mark, remove_mark
from compiler.oci import Digest
from compiler.packed import has_mtree, is_there, keys_of, packages_of
from compiler.plan import Action, PlanNode
from compiler.sbom import KINDS
from compiler.spec.package import BuildSpec, PackageId, PackageSpec
from compiler.store import ArtifactRecord, NodeRecord
from compiler.store.records import doubts


def _once(layers: Sequence[Digest]) -> Sequence[Digest]:
    """Keep of equal layers the topmost, which shows all that the others would."""
    return tuple(reversed(dict.fromkeys(reversed(layers))))


class Packer:
    """Packs nodes of one run into its destination."""

    def __init__(
        self, graph: BuildGraph, tools: Tools, settings: BuildSettings, *, remembers: bool = True
    ) -> None:
        self._graph = graph
        self._tools = tools
        self._remembers = remembers
        self._settings = settings

    def pack(self, node: PlanNode, record: NodeRecord) -> tuple[Artifact, ...]:
        """Write a node's archive and metadata, and its subpackages'; its own artifact is first."""
        spec = node.node.spec
        with ExitStack() as context, collector_paused():
            root, selection = self._select(spec, record, context)
            seed = self._graph.base_image(node.id)
            artifacts = [self._write(node, spec.id, selection, root, seed)]
            for part in spec.build.subpackages if spec.build is not None else ():
                members = cut(selection, includes=part.includes, excludes=part.excludes)
                artifacts.append(self._write(node, part.id, members, root, seed))
        return tuple(artifacts)

    def checked_archive(self, node: PlanNode) -> Path:
        """Find the archive that an earlier run packed; raises `ArchiveError` if it was changed."""
        settings = self._settings
        path = settings.destination / archive_name(node.id.package, settings.compression)
        record = self._tools.store.artifact(node.keys.archive)
        if record is None or _sha256(path) != record.sha256:
            raise ArchiveError(
                f"{path} is not what was packed from {node.id}",
                hint="remove it, and it is packed again",
            )
        return path

    def _select(
        self, spec: PackageSpec, record: NodeRecord, context: ExitStack
    ) -> tuple[Path | Content, Selection]:
        """Decide the members of an archive, and where they are read."""
        build = spec.build or BuildSpec()
        full = (*record.root, *record.layers)
        if build.is_virtual or not full:
            return Path(), Selection()
        if build.unpack or build.package_dir:
            store, clamp = self._tools.store, self._settings.packed
            layers = [(store.layer_path(each), store.entries(each)) for each in _once(full)]
            whole = LayeredRoot(layers, clamp=clamp)
            return whole.content(), self._told(spec, select(build, whole))
        root = context.enter_context(self._tools.engine.mounted(full))
        below = full[: len(record.root) + record.builder]
        roots = MountedRoots(
            root,
            self._builder_root(below, context),
            changes=self._changes(record),
            clamp=self._settings.packed,
        )
        return root, self._told(spec, select(build, roots))

    def _told(self, spec: PackageSpec, selection: Selection) -> Selection:
        """Say what is odd about a selection."""
        for warning in selection.warnings:
            self._tools.report(Noted(f"{spec.id}: {warning}", warning=True))
        if spec.build is not None and spec.build.includes and not selection.members:
            message = "its includes match nothing; the expressions are matched against /path"
            self._tools.report(Noted(f"{spec.id}: {message}", warning=True))
        return selection

    def _builder_root(self, below: tuple[Digest, ...], context: ExitStack) -> Path:
        """Mount what the steps started from, or an empty folder if that was nothing."""
        if below:
            return context.enter_context(self._tools.engine.mounted(below))
        return context.enter_context(self._tools.store.scratch())

    def _changes(self, record: NodeRecord) -> Sequence[Entry]:
        """List what the steps changed; of several layers the last one decides."""
        layers = record.layers[record.builder :]
        found = {each.path: each for layer in layers for each in self._tools.store.entries(layer)}
        return [found[path] for path in sorted(found)]

    def _write(
        self,
        node: PlanNode,
        package: PackageId,
        selection: Selection,
        root: Path | Content,
        seed: str,
    ) -> Artifact:
        """Write one archive and its metadata, metadata last, and remember both."""
        settings = self._settings
        archive_key, metadata_key = keys_of(package, node.node.spec, node.keys)
        kept = self._kept(node, package, selection)
        digests = Digests(folder_content(root) if isinstance(root, Path) else root)
        artifact = kept or pack(
            selection,
            digests.read if settings.mtree else root,
            destination=settings.destination,
            package=package,
            compression=settings.compression,
        )
        image = settings.images.get(seed)
        described = describe(
            node.node.spec,
            artifact,
            epoch=settings.epoch,
            origin=Origin(seed, image.platform if image is not None else None),
            values=node.node.spec.given(settings.values),
        )
        doubted = self._doubts(node, archive_key if kept else None)
        if doubted and self._remembers:  # before the metadata, which says that an archive is there
            files = {artifact.path.name: artifact.sha256}
            put_mark(settings.destination, package.fingerprint, Mark(source=doubted, files=files))
        mtree = self._mtree(kept, selection, digests)
        metadata = write_metadata(described, settings.destination, mtree)
        if self._remembers:
            text = metadata.read_bytes()
            sha256 = hashlib.sha256(text).hexdigest()
            self._remember(archive_key, artifact.sha256, artifact.size, unverified=doubted)
            self._remember(metadata_key, sha256, len(text), unverified=doubted)
        return artifact

    def _mtree(self, kept: Artifact | None, selection: Selection, digests: Digests) -> str:
        """List an archive that was packed just now, or read one that lay there, if asked to."""
        if not self._settings.mtree:
            return ""
        if kept is not None:
            return archive_mtree(kept.path)
        read = {each.entry.path: digests.found.get(each.source) for each in selection.members}
        found = {path: digest for path, digest in read.items() if digest is not None}
        return mtree_of((each.entry for each in selection.members), found)

    def add_mtrees(self, node: PlanNode) -> None:
        """Complete the metadata of archives that others packed, and shared without an mtree."""
        spec, folder = node.node.spec, self._settings.destination
        for package in packages_of(spec):
            path = folder / f"{package.fingerprint}{SUFFIX}"
            _, key = keys_of(package, spec, node.keys)
            record = self._tools.store.artifact(key)
            if record is not None and not has_mtree(path):
                archive = folder / archive_name(package, self._settings.compression)
                text = add_mtree(path, archive)
                sha256 = hashlib.sha256(text).hexdigest()
                if record.unverified:
                    mark = Mark(source=record.unverified, files={path.name: sha256})
                    put_mark(folder, package.fingerprint, mark)
                self._remember(key, sha256, len(text), unverified=record.unverified)

    def unmark(self, node: PlanNode, artifacts: Iterable[Artifact]) -> None:
        """Take the marks away of what others had made before; of what is in doubt they stay."""
        for artifact in artifacts:
            key, _ = keys_of(artifact.package, node.node.spec, node.keys)
            record = self._tools.store.artifact(key)
            if record is not None and not record.unverified:
                name = artifact.package.fingerprint
                remove_mark(self._settings.destination, name, _fresh_files(artifact))

    def _doubts(self, node: PlanNode, kept: ArtifactKey | None) -> str:
        """Say from where layers or a kept archive came, with no signature checked."""
        store = self._tools.store
        return doubts((store.node(node.keys.layer), store.artifact(kept) if kept else None))

    def _kept(self, node: PlanNode, package: PackageId, selection: Selection) -> Artifact | None:
        """Return the archive that lies there already, when only its description has changed."""
        settings = self._settings
        name = archive_name(package, settings.compression)
        key, _ = keys_of(package, node.node.spec, node.keys)
        record = self._tools.store.artifact(key)
        if (
            node.action is not Action.PACK
            or record is None
            or (settings.verified and record.unverified)
            or not is_there(record, settings.destination, name)
            or _sha256(settings.destination / name) != record.sha256
        ):
            return None
        return Artifact(
            package=package,
            path=settings.destination / name,
            sha256=record.sha256,
            size=record.size,
            compression=settings.compression,
            files=selection.files,
        )

    def _remember(self, key: ArtifactKey, sha256: str, size: int, *, unverified: str) -> None:
        self._tools.store.put_artifact(
            ArtifactRecord(key=key, sha256=sha256, size=size, unverified=unverified)
        )


def _fresh_files(artifact: Artifact) -> frozenset[str]:
    """Name what was written for an artifact: its archive, its metadata, and maybe documents."""
    name = artifact.package.fingerprint
    documents = (f"{name}{kind.suffix}" for kind in KINDS)
    return frozenset((artifact.path.name, f"{name}{SUFFIX}", *documents))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
