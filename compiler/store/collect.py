"""Garbage collection and checking of the store: what is needed, and what is missing."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from compiler.errors import CompilerError
from compiler.keys import LayerKey
from compiler.oci import Digest, digest_of, hex_of, parse_digest
from compiler.store import NodeRecord, Removed
from compiler.store.files import (
    file_name,
    mounts_below,
    read_record,
    remove_tree,
    size_of,
    stale_workspaces,
)
from compiler.store.images import Images
from compiler.store.layers import Layers
from compiler.store.records import needed_nodes, node_from_json, texts

_UNUSED = 90 * 86400
"""Records that name no node (artifacts, overlaps) go when nobody has used them for so long, in
seconds: they cannot be traced to what needs them, and they are small."""


@dataclass(frozen=True, slots=True)
class _Needed:
    """What must stay."""

    nodes: dict[LayerKey, NodeRecord]
    layers: frozenset[Digest]
    blobs: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Garbage:
    """A path that goes, and what is said about it."""

    path: Path
    removed: Removed


def collect(
    root: Path, layers: Layers, images: Images, *, work: Path, dry_run: bool
) -> Sequence[Removed]:
    """Remove what nothing needs: names first, contents after, so that a stop harms nobody."""
    needed = _mark(root, layers, images)
    garbage = list(_garbage(root, layers, needed))
    for item in garbage:
        if not dry_run:
            _remove(item.path, work)
    return [item.removed for item in garbage]


def _remove(path: Path, work: Path) -> None:
    """Take a thing's name away at once, and its content then."""
    if path.parent.name == "scratch":
        remove_tree(path)
        path.with_suffix(".lock").unlink(missing_ok=True)
    elif path.is_dir() and not path.is_symlink():
        path.rename(work / path.name)
        remove_tree(work / path.name)
    else:
        path.unlink()


def _mark(root: Path, layers: Layers, images: Images) -> _Needed:
    """Find everything that images and kept nodes need."""
    kept = [LayerKey(key) for mark in _marks(root) for key in mark]
    nodes = needed_nodes(kept, _nodes(root))
    used = {layer for node in nodes.values() for layer in (*node.layers, *node.root)}
    used |= {layer for image in images.all() for layer in image.layers}
    blobs = {digest for each in images.manifests().values() for digest in images.blobs_of(each)}
    blobs |= {blob.digest for layer in used if (blob := layers.blob_named(layer)) is not None}
    return _Needed(nodes, frozenset(used), frozenset(hex_of(digest) for digest in blobs))


def _marks(root: Path) -> Iterator[tuple[str, ...]]:
    """Read the keys of every run's mark."""
    for file in _files(root / "keep"):
        value = read_record(file)
        if value is not None:
            yield texts(value, "keys")


def _nodes(root: Path) -> dict[LayerKey, NodeRecord]:
    """Read every node."""
    found = {}
    for file in _files(root / "nodes"):
        node = _node(file)
        if node is not None:
            found[node.key] = node
    return found


def _node(file: Path) -> NodeRecord | None:
    """Read a node's record; None if it is damaged."""
    value = read_record(file)
    try:
        return None if value is None else node_from_json(value)
    except (TypeError, ValueError, CompilerError):
        return None


def _files(folder: Path) -> list[Path]:
    """List a folder of the store, sorted; a missing one is empty."""
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _garbage(root: Path, layers: Layers, needed: _Needed) -> Iterator[_Garbage]:
    """Find what is not needed, names before contents."""
    yield from _unneeded_pointers(root, needed)
    yield from _unneeded_nodes(root, needed)
    yield from _old_records(root)
    yield from _unneeded_contents(root, layers, needed)
    yield from _left_over(root)


def _unneeded_pointers(root: Path, needed: _Needed) -> Iterator[_Garbage]:
    """Find pointers to nodes that go or are gone."""
    for folder, what in (("content", "content"), ("latest", "latest of")):
        for file in _files(root / folder):
            value = read_record(file) or {}
            if value.get("key") not in needed.nodes:
                yield _file(file, f"{what} {value.get('of', file.stem)}", "its node is not needed")


def _unneeded_nodes(root: Path, needed: _Needed) -> Iterator[_Garbage]:
    """Find nodes that no run keeps, and the logs of such."""
    names = {file_name(key) for key in needed.nodes}
    for file in _files(root / "nodes"):
        if file.stem not in names:
            node = _node(file)
            what = f"node {node.package} {node.key[:12]}" if node else f"node {file.stem[:12]}"
            yield _file(file, what, "no kept node needs it" if node else "damaged")
    for file in _files(root / "logs"):
        if file.stem not in names:
            yield _file(file, f"log {file.stem[:12]}", "no kept node has it")


def _old_records(root: Path) -> Iterator[_Garbage]:
    """Find records of artifacts and overlaps that have not been used for long."""
    oldest = time.time() - _UNUSED
    for folder, what in (("artifacts", "artifact"), ("overlaps", "overlaps of")):
        for file in _files(root / folder):
            if file.stat().st_mtime < oldest:
                yield _file(file, f"{what} {file.stem[:12]}", "unused for 90 days")


def _unneeded_contents(root: Path, layers: Layers, needed: _Needed) -> Iterator[_Garbage]:
    """Find layers and blobs that neither an image nor a kept node has."""
    names = {hex_of(layer) for layer in needed.layers}
    for folder in _files(root / "layers"):
        if folder.name not in names:
            size = layers.size(Digest(f"sha256:{folder.name}"))
            what = f"layer {folder.name[:12]}"
            yield _Garbage(folder, Removed(what=what, size=size, reason="nothing needs it"))
    for file in _files(root / "blobs" / "sha256"):
        if file.name not in needed.blobs:
            yield _file(file, f"blob {file.name[:12]}", "nothing needs it")


def _left_over(root: Path) -> Iterator[_Garbage]:
    """Find what runs that were killed left behind."""
    for path, lock in stale_workspaces(root / "scratch"):
        if lock is not None:
            lock.close()
        if not mounts_below(path):
            yield _file(path, f"scratch {path.name[:12]}", "left by a run that was killed")


def _file(path: Path, what: str, reason: str) -> _Garbage:
    """Describe a path that goes."""
    return _Garbage(path, Removed(what=what, size=size_of(path), reason=reason))


def find_faults(root: Path, layers: Layers, images: Images) -> Sequence[str]:
    """Name every record that says something that is not there, and every blob that is damaged."""
    return [
        *_node_faults(root, layers),
        *_image_faults(root, layers, images),
        *_blob_faults(root / "blobs" / "sha256"),
    ]


def _node_faults(root: Path, layers: Layers) -> Iterator[str]:
    """Find nodes without their layers, and pointers without their node."""
    nodes = _nodes(root)
    for node in nodes.values():
        for layer in node.layers:
            if not layers.has(layer):
                yield f"node {node.key}: layer {layer} is missing"
    for folder in ("content", "latest"):
        for file in _files(root / folder):
            key = (read_record(file) or {}).get("key")
            if key not in nodes:
                yield f"{folder}/{file.name}: node {key} is missing"


def _image_faults(root: Path, layers: Layers, images: Images) -> Iterator[str]:
    """Find images without their layers or blobs."""
    for image in images.all():
        for layer in image.layers:
            if not layers.has(layer):
                yield f"image {image.name}: layer {layer} is missing"
    for name, manifest in images.manifests().items():
        for digest in images.blobs_of(manifest):
            if not (root / "blobs" / "sha256" / hex_of(digest)).exists():
                yield f"image {name}: blob {digest} is missing"


def _blob_faults(blobs: Path) -> Iterator[str]:
    """Find blobs whose content is not what their name says."""
    for file in _files(blobs):
        name = parse_digest(f"sha256:{file.name}")
        if digest_of(file.read_bytes()) != name:
            yield f"blob {name} is damaged"
