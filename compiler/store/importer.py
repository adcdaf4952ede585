"""Takes images into the store: from OCI layouts, `docker save` archives, root tars and folders.

Nothing in them is trusted: digests are checked before use, and no path leads out of its place.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from compiler.archive import Clamp
from compiler.archive.compress import decompressed
from compiler.archive.members import naming
from compiler.archive.safety import Devices
from compiler.archive.tar import CHUNK
from compiler.archive.unpack import copy_folder, unpack_layer, unpack_tar
from compiler.errors import ArchiveError, ImageError
from compiler.oci import (
    INDEXES,
    SOURCE,
    Descriptor,
    Digest,
    Image,
    Platform,
    hex_of,
    image_for,
    parse_descriptor,
    parse_object,
    parse_reference,
    platforms_of,
)
from compiler.store.images import (
    ImageConfig,
    host_platform,
    parse_config,
    read_blob,
)
from compiler.store.loose import ImageStore

_AS_THEY_ARE = Clamp(epoch=0, after=2**62)
_NAME = "org.opencontainers.image.ref.name"
_LARGEST_JSON = 16 << 20
_NESTED = 4


def import_image(
    store: ImageStore,
    name: str,
    source: str,
    platform: Platform | None = None,
    *,
    labels: Mapping[str, str] | None = None,
) -> Image:
    """Bring an image into the store under `name`.

    `source` is `oci:DIR[:TAG]`, `docker-archive:FILE`, `tar:FILE` or `dir:DIR`; of an image for
    several platforms, `platform` (default: this machine's) is taken. `labels` are added to the
    config's own. Raises `ImageError` for what
    is wrong with the source, `StoreError` for what is wrong with the store.
    """
    parse_reference(name)
    kind, _, rest = source.partition(":")
    read = _SOURCES.get(kind)
    if read is None or not rest:
        raise ImageError(
            f"{source!r} is not a source of an image",
            hint="oci:DIR[:TAG], docker-archive:FILE, tar:FILE or dir:DIR",
        )
    try:
        config, layers = read(store, name, rest, platform or host_platform())
    except ArchiveError as error:
        raise ImageError(error.message, hint=error.hint) from error
    own = {name: text for name, text in config.labels if name != SOURCE}
    added = tuple(sorted({**own, **(labels or {})}.items()))
    return store.put_image(name, layers, replace(config, labels=added))


_Read = Callable[[ImageStore, str, str, Platform], tuple[ImageConfig, list[Digest]]]


def _from_tar(
    store: ImageStore, _name: str, rest: str, platform: Platform
) -> tuple[ImageConfig, list[Digest]]:
    """Take a root file system from a tar of any compression."""
    file = _existing(rest)
    layer = _layer(store, lambda target: unpack_tar(file, target, devices=Devices.allowed()))
    return ImageConfig(platform=platform), [layer]


def _from_folder(
    store: ImageStore, _name: str, rest: str, platform: Platform
) -> tuple[ImageConfig, list[Digest]]:
    """Take a root file system from a folder, which is copied."""
    folder = _existing(rest)
    if not folder.is_dir():
        raise ImageError(f"{rest}: not a folder")
    if store.root.resolve().is_relative_to(folder.resolve()):
        raise ImageError(f"{rest}: the store itself lies in this folder")
    with _reading(rest):
        layer = _layer(store, lambda target: copy_folder(folder, target, devices=Devices.allowed()))
    return ImageConfig(platform=platform), [layer]


def _from_layout(
    store: ImageStore, _name: str, rest: str, platform: Platform
) -> tuple[ImageConfig, list[Digest]]:
    """Take an image from an OCI image layout."""
    path, tag = (rest, "") if Path(rest).is_dir() else _split(rest)
    folder = _existing(path)
    blobs = folder / "blobs" / "sha256"
    with _reading(path):
        index = parse_object(_small_file(folder / "index.json"), f"{path}/index.json")
        named = _choose(_list(index, "manifests"), tag, rest)
        manifest = _manifest(blobs, named, platform)
        config, diff_ids = parse_config(
            read_blob(blobs, parse_descriptor(manifest.get("config")), "the image's config")
        )
        layers = [parse_descriptor(layer) for layer in _list(manifest, "layers")]
        if len(layers) != len(diff_ids):
            raise ImageError("its config and its manifest have different numbers of layers")
        return config, [_from_blob(store, blobs, layer) for layer in layers]


def _from_docker_archive(
    store: ImageStore, name: str, rest: str, _platform: Platform
) -> tuple[ImageConfig, list[Digest]]:
    """Take an image from what `docker save` wrote (Docker Image Specification 1.2)."""
    file = _existing(rest)
    with store.scratch() as folder, _reading(rest):
        with store.guarded():
            unpack_tar(file, folder)
        saved = _saved(folder, name)
        config, diff_ids = parse_config(_small_file(_inside(folder, str(saved.get("Config")))))
        files = [_inside(folder, str(layer)) for layer in _list(saved, "Layers")]
        if len(files) != len(diff_ids):
            raise ImageError("its config and its manifest have different numbers of layers")
        for layer, diff_id in zip(files, diff_ids, strict=True):
            _check_content(layer, diff_id)
        return config, [_unpacked(store, layer) for layer in files]


_SOURCES: Mapping[str, _Read] = {
    "oci": _from_layout,
    "docker-archive": _from_docker_archive,
    "tar": _from_tar,
    "dir": _from_folder,
}


@contextmanager
def _reading(source: str) -> Iterator[None]:
    """Name the source before what is wrong with it."""
    try:
        yield
    except ImageError as error:
        raise ImageError(f"{source}: {error.message}", hint=error.hint) from error
    except OSError as error:
        raise ImageError(f"{source}: {(error.strerror or str(error)).lower()}") from error


def _existing(text: str) -> Path:
    """Return a path that is there; raises `ImageError`."""
    path = Path(text)
    if not path.exists():
        raise ImageError(f"{text}: no such file or folder")
    return path


def _split(text: str) -> tuple[str, str]:
    """Split `DIR:TAG`; tags may have colons, as full names of images do."""
    folder, _, tag = text.partition(":")
    return folder, tag


def _layer(store: ImageStore, fill: Callable[[Path], None]) -> Digest:
    """Make a layer of what `fill` puts into a folder."""
    with store.scratch() as scratch:
        folder = scratch / "layer"
        folder.mkdir()
        with store.guarded():
            fill(folder)
        return store.add_layer(folder, _AS_THEY_ARE)


def _unpacked(store: ImageStore, archive: Path) -> Digest:
    """Make a layer of a layer's archive."""
    return _layer(store, lambda folder: unpack_layer(archive, folder, devices=Devices.allowed()))


def _from_blob(store: ImageStore, blobs: Path, layer: Descriptor) -> Digest:
    """Make a layer of a blob, once its digest is right."""
    file = blobs / hex_of(layer.digest)
    with file.open("rb") as stream:
        if os.fstat(stream.fileno()).st_size != layer.size:
            raise ImageError(f"the layer {layer.digest} has not the size that its manifest says")
        if hashlib.file_digest(stream, "sha256").hexdigest() != hex_of(layer.digest):
            raise ImageError(f"the layer {layer.digest} is damaged")
    return _unpacked(store, file)


def _check_content(archive: Path, diff_id: Digest) -> None:
    """Compare an uncompressed layer with the digest that the image's config has for it."""
    found = hashlib.sha256()
    with archive.open("rb") as file, naming(archive.name), decompressed(file) as stream:
        while data := stream.read(CHUNK):
            found.update(data)
    if found.hexdigest() != hex_of(diff_id):
        raise ImageError(f"the layer {diff_id} is damaged")


def _small_file(path: Path) -> bytes:
    """Read a JSON file of sane size."""
    with path.open("rb") as file:
        data = file.read(_LARGEST_JSON + 1)
    if len(data) > _LARGEST_JSON:
        raise ImageError(f"{path.name} is larger than {_LARGEST_JSON} bytes")
    return data


def _list(value: Mapping[str, object], name: str) -> Sequence[object]:
    """Return a list of a JSON object; raises `ImageError` for anything else."""
    found = value.get(name)
    if not isinstance(found, list):
        raise ImageError(f"it has no list of {name.lower()}")
    return found


def _annotation(entry: object) -> str:
    """Return the name that an index gives to a manifest."""
    annotations = entry.get("annotations") if isinstance(entry, dict) else None
    return str(annotations.get(_NAME, "")) if isinstance(annotations, dict) else ""


def _choose(entries: Sequence[object], tag: str, source: str) -> Descriptor:
    """Find the manifest or index of a tag; without one, there must be one only."""
    found = [entry for entry in entries if not tag or _annotation(entry) == tag]
    if len(found) == 1:
        return parse_descriptor(found[0])
    names = ", ".join(sorted(filter(None, map(_annotation, entries))))
    if found:
        raise ImageError("it holds several images", hint=f"oci:{source}:TAG, one of {names}")
    raise ImageError(f"it has no image {tag!r}", hint=f"it has {names}" if names else None)


def _manifest(blobs: Path, descriptor: Descriptor, platform: Platform) -> dict[str, object]:
    """Read a manifest, through indexes of platforms if need be."""
    for _ in range(_NESTED):
        data = read_blob(blobs, descriptor, "the image's manifest")
        value = parse_object(data, "the image's manifest")
        if descriptor.media_type not in INDEXES and "manifests" not in value:
            return value
        chosen = image_for(platforms_of(data, "the image's index"), platform)
        if chosen is None:
            raise ImageError(f"it has no image for {platform}")
        descriptor = chosen
    raise ImageError("its indexes are nested too deeply")


def _saved(folder: Path, name: str) -> Mapping[str, object]:
    """Find the one image of a `docker save` archive, or the one that has the wanted name."""
    data = b'{"images":' + _small_file(_inside(folder, "manifest.json")) + b"}"
    images = _list(parse_object(data, "manifest.json"), "images")
    saved = [image for image in images if isinstance(image, dict)]
    if len(saved) > 1:
        saved = [image for image in saved if name in (image.get("RepoTags") or [])]
    if len(saved) != 1:
        raise ImageError("it holds several images", hint="save one at a time")
    return saved[0]


def _inside(folder: Path, path: str) -> Path:
    """Resolve a path of an archive, links included, within the folder it was unpacked to."""
    found = Path(os.path.realpath(folder / path.lstrip("/")))
    if not found.is_relative_to(folder.resolve()) or not found.is_file():
        raise ImageError(f"it has no file {path[:100]!r}")
    return found
