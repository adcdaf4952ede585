"""What makes two builds the same: the keys of every node, made of all its inputs and no more."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from compiler.context import ContextFile
from compiler.graph import BuildGraph, BuildNode, NodeId
from compiler.keys import ArtifactKey, LayerKey
from compiler.oci import Digest, Platform
from compiler.spec.package import BuildSpec, PackageId, PackageSpec

FORMAT = "1"
"""Raised whenever layers would change while their inputs stay; a rise rebuilds everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What the specs only name: the files of their folders, and the images by digest.

    `retrieved` holds, for a package with `retrieve`, the files that match, by name and digest.
    `sources` holds, for a package whose instructions take files from further images (stages of a
    Dockerfile, `COPY --from`), their names. An image that is missing has no entry in `images`; its
    name then stands for it.
    """

    platform: Platform
    images: Mapping[str, Digest] = field(default_factory=dict)
    contexts: Mapping[PackageId, Sequence[ContextFile]] = field(default_factory=dict)
    retrieved: Mapping[PackageId, Mapping[str, str]] = field(default_factory=dict)
    sources: Mapping[PackageId, Sequence[str]] = field(default_factory=dict)
    epoch: int | None = None
    network: str = "host"
    compression: str = "none"
    values: str = ""
    """A hash of the values files, which the metadata of an artifact records."""
    recorded: Mapping[PackageId, str] = field(default_factory=dict)
    """The same, for packages that come with values of their own from where they were published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeKeys:
    """The keys of one node, and its inputs by name, each as text or hash, in hashing order.

    `archive` names the bytes of the package archive, `artifact` these and the metadata beside it.
    """

    layer: LayerKey
    archive: ArtifactKey
    artifact: ArtifactKey
    inputs: Mapping[str, str]


def fingerprints(graph: BuildGraph, sources: Sources) -> dict[NodeId, NodeKeys]:
    """Compute the keys of every node of `graph`, those of its needs included in its own."""
    keys: dict[NodeId, NodeKeys] = {}
    shared = _shared(sources)
    for id_, node in graph.nodes.items():
        inputs = dict(shared)
        inputs.update(_own(node, sources))
        inputs.update(_below(node, keys, sources))
        layer = LayerKey(_hash(inputs))
        archive = ArtifactKey(_hash({"layer": layer, **_packing(node.spec, sources)}))
        described = {"archive": archive, **_described(node.spec, sources)}
        keys[id_] = NodeKeys(
            layer=layer, archive=archive, artifact=ArtifactKey(_hash(described)), inputs=inputs
        )
    return keys


def content_key(inputs: Mapping[str, str], below: Sequence[str]) -> str:
    """Name a node by the *digests* of what it stands on instead of their keys.

    Two nodes with one content key have the same layers, although something further down was built
    from other inputs: a rebuilt requirement that came out the same rebuilds nothing.
    """
    own = {name: value for name, value in inputs.items() if not _is_below(name)}
    return _hash({**own, "below": "\n".join(below)})


def stack_key(parents: Sequence[LayerKey]) -> str:
    """Name a stack of layers by the keys of the nodes on top of it, in order."""
    return _hash({"stack": "\n".join(parents)})


def clash_key(stack: str) -> str:
    """Name the record of which packages clash in a stack, beside that of the paths."""
    return _hash({"clashing in": stack})


def _is_below(name: str) -> bool:
    """Tell an input that speaks of another node or image from one of the package's own."""
    return name.startswith(("requires ", "joins ", "retrieves ", "copies ", "image "))


def _shared(sources: Sources) -> dict[str, str]:
    """Name what all nodes of a run have in common."""
    shared = {"format": FORMAT, "platform": str(sources.platform)}
    if sources.epoch is not None:
        shared["SOURCE_DATE_EPOCH"] = str(sources.epoch)
    if sources.network != "host":
        shared["network"] = sources.network
    return shared


def _own(node: BuildNode, sources: Sources) -> Iterator[tuple[str, str]]:
    """Name what the package itself brings into its layers."""
    package = node.id.package
    yield "identity", "\n".join((package.name, package.version, package.category))
    build = node.spec.build
    if build is not None:
        for name, value in _written(build):
            if value:
                yield name, _text(value)
    for file in sources.contexts.get(package, ()):
        yield f"file {file.path}", f"{file.mode:o} {file.digest}"
    for name, digest in sources.retrieved.get(package, {}).items():
        yield f"retrieved {name}", digest
    for name in sources.sources.get(package, ()):
        yield f"source {name}", sources.images.get(name, name)


def _written(build: BuildSpec) -> Iterator[tuple[str, object]]:
    """Go through the fields of a build spec that reach the layers."""
    yield "prelude", build.prelude
    yield "steps", build.steps
    yield "env", build.env
    yield "retrieve", build.retrieve
    yield "dockerfile", build.dockerfile
    yield "copy", [(each.image, each.source, each.destination) for each in build.copy_]


def _below(
    node: BuildNode, keys: Mapping[NodeId, NodeKeys], sources: Sources
) -> Iterator[tuple[str, str]]:
    """Name what the package's layers stand on, in order."""
    if node.image:
        yield f"image {node.image}", sources.images.get(node.image, node.image)
    for need in node.parents:
        yield f"requires {need.package.title}", keys[need].layer
    for need in node.joined:
        yield f"joins {need.package.title}", keys[need].archive
    for need in node.retrieved:
        yield f"retrieves {need.package.title}", keys[need].archive
    for number, edge in enumerate(node.copies):
        if edge.node is not None:
            yield f"copies {number} {edge.node.package.title}", keys[edge.node].layer
        elif edge.source.image:
            image = edge.source.image
            yield f"image {image}", sources.images.get(image, image)


def _packing(spec: PackageSpec, sources: Sources) -> dict[str, str]:
    """Name what makes the archive out of the layers."""
    packing = {"compression": sources.compression}
    if spec.build is not None:
        packing["includes"] = _listed(spec.build.includes)
        packing["excludes"] = _listed(spec.build.excludes)
        packing["package_dir"] = spec.build.package_dir
        packing["unpack"] = str(spec.build.unpack)
        packing["virtual"] = str(spec.build.is_virtual)
        packing["subpackages"] = _listed([each.model_dump() for each in spec.build.subpackages])
    return packing


def _described(spec: PackageSpec, sources: Sources) -> dict[str, str]:
    """Name what the metadata beside the archive says besides."""
    build = spec.build.model_dump() if spec.build is not None else None
    return {
        "values": sources.recorded.get(spec.id, sources.values),
        "definition": _text(spec.definition.model_dump()),
        "build": _text(build),
    }


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def _text(value: object) -> str:
    """Write a value so that different values give different texts."""
    return _ENCODER.encode(value)


def _listed(values: Sequence[object]) -> str:
    """Write a list, which is empty for most packages."""
    return _text(values) if values else "[]"


def _hash(inputs: Mapping[str, str]) -> str:
    """Hash named inputs in their order, each with its length, so that none can pass for two."""
    text = "".join([f"{len(key)} {len(value)} {key}{value}\n" for key, value in inputs.items()])
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
