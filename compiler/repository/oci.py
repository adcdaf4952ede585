"""The images of a docker repository: layers with a package's files, or one with one file.

Tags are those of luet; layers are gzip, which every engine and every luet can read. Equal contents
give equal digests: nothing says who made an image, or when.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from compiler.archive import Compression, Entry, Kind
from compiler.archive.compress import CompressedFile, compressed_file, decompressed
from compiler.archive.members import naming
from compiler.archive.split import parts_of, write_parts
from compiler.archive.tar import CHUNK, Sink, write_tar
from compiler.artifact.metadata import SUFFIX
from compiler.errors import CompilerError, InputError
from compiler.oci import (
    CONFIG,
    INDEX,
    LAYER_GZIP,
    MANIFEST,
    Descriptor,
    Digest,
    Platform,
    canonical_json,
    descriptor_json,
    digest_of,
)
from compiler.repository.trust import name_in
from compiler.spec.package import PackageId

_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_FILE_MODE = 0o644


def tag_of(name: str) -> str:
    """Return the tag for a file or package: `+` becomes `-`, as luet writes it.

    Raises `CompilerError` for a name that cannot be a tag (OCI Distribution Specification, Pulling
    Manifests).
    """
    tag = name.replace("+", "-")
    if not _TAG.fullmatch(tag):
        raise CompilerError(
            f"{name[:150]!r} cannot be the tag of an image",
            hint="tags have up to 128 letters, digits, dots, dashes and underscores",
        )
    return tag


def tags_of(package: PackageId) -> tuple[str, str]:
    """Return the tags of a package's image, and of the image of its metadata."""
    return tag_of(package.fingerprint), tag_of(package.fingerprint + SUFFIX)


def check_tags(new: Iterable[PackageId], listed: Iterable[PackageId]) -> None:
    """Raise `InputError` for a new package whose tags another one that is listed has.

    Tags have no `+`, so `1.0+1` and `1.0-1` are called alike: who installs the one would get the
    other. Tags of signed metadata are taken as well.
    """
    owners: dict[str, set[PackageId]] = {}
    for package in listed:
        for tag in tags_of(package):
            owners.setdefault(tag, set()).add(package)
    for package in new:
        for tag in tags_of(package):
            others = sorted(map(str, owners.get(tag, set()) - {package}))
            if others or name_in(tag):
                whose = f"{others[0]} has" if others else "signed metadata has"
                raise InputError(
                    f"{package}: its tag in a registry would be {tag}, as {whose}",
                    hint="give one of them another version, or publish it to another repository",
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFile:
    """A compressed layer on the disk; `diff_id` is the digest of its archive before that."""

    path: Path
    blob: Descriptor
    diff_id: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageParts:
    """An image that is ready to be pushed: its layers, and the texts that make it one."""

    layers: tuple[LayerFile, ...]
    config: bytes
    manifest: bytes

    @property
    def descriptor(self) -> Descriptor:
        """Name the image."""
        return Descriptor(MANIFEST, digest_of(self.manifest), len(self.manifest))

    @property
    def config_blob(self) -> Descriptor:
        """Name its config."""
        return Descriptor(CONFIG, digest_of(self.config), len(self.config))


class _Hashing:
    """A sink that hashes what it passes on: the DiffID of a layer (OCI Image Configuration)."""

    def __init__(self, sink: CompressedFile) -> None:
        self._sink = sink
        self._hash = hashlib.sha256()

    @property
    def digest(self) -> Digest:
        """The digest of everything that was written."""
        return Digest(f"sha256:{self._hash.hexdigest()}")

    def write(self, data: bytes | bytearray, /) -> None:
        """Take `data`."""
        self._hash.update(data)
        self._sink.write(data)


def _layer(folder: Path, fill: Callable[[Sink], None]) -> LayerFile:
    """Write a layer's file into `folder`; `fill` gives its archive."""
    path = folder / uuid4().hex
    with compressed_file(path, Compression.GZIP, sync=False) as packed:
        sink = _Hashing(packed)
        fill(sink)
    blob = Descriptor(LAYER_GZIP, Digest(f"sha256:{packed.sha256}"), packed.size)
    return LayerFile(path=path, blob=blob, diff_id=sink.digest)


def layer_of_file(names: Sequence[str], data: bytes, *, folder: Path, epoch: int) -> LayerFile:
    """Make a layer that holds one file under one or several names, in `folder`."""
    name, *others = names
    entries = [Entry(path=name, kind=Kind.FILE, mode=_FILE_MODE, size=len(data), mtime=epoch)]
    entries += [Entry(path=other, kind=Kind.HARDLINK, target=name, mtime=epoch) for other in others]
    return _layer(folder, lambda sink: write_tar(entries, lambda _entry: data, sink))


def layers_of_archive(archive: Path, *, folder: Path) -> tuple[LayerFile, ...]:
    """Make layers of an artifact's archive, whatever it is compressed with, in `folder`.

    A small one is one layer, as it is; a large one is several, so that who has another version of
    it fetches those that differ. Raises `ArchiveError` for an archive that is damaged.
    """
    parts = parts_of(archive)
    if parts:
        return write_parts(archive, parts, lambda fill: _layer(folder, fill))
    with archive.open("rb") as packed, naming(str(archive)), decompressed(packed) as stream:

        def copy(sink: Sink) -> None:
            while data := stream.read(CHUNK):
                sink.write(data)

        return (_layer(folder, copy),)


def image_of(
    layers: Sequence[LayerFile],
    platform: Platform,
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> ImageParts:
    """Make an image of layers (OCI Image Specification 1.0, Manifest and Configuration)."""
    config: dict[str, object] = {
        "architecture": platform.architecture,
        "os": platform.os,
        "config": {"Labels": dict(labels)} if labels else {},
        "rootfs": {"type": "layers", "diff_ids": [each.diff_id for each in layers]},
        "history": [{"created_by": "cos"} for _ in layers],
    }
    if platform.variant:
        config["variant"] = platform.variant
    config_data = canonical_json(config)
    manifest: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor_json(Descriptor(CONFIG, digest_of(config_data), len(config_data))),
        "layers": [descriptor_json(each.blob) for each in layers],
    }
    if annotations:
        manifest["annotations"] = dict(annotations)
    return ImageParts(layers=tuple(layers), config=config_data, manifest=canonical_json(manifest))


def index_of(images: Iterable[tuple[Platform, Descriptor]]) -> bytes:
    """Write the index of one image for each platform (OCI Image Specification, Image Index)."""
    manifests = []
    for platform, image in sorted(images, key=lambda pair: str(pair[0])):
        names = {"os": platform.os, "architecture": platform.architecture}
        if platform.variant:
            names["variant"] = platform.variant
        manifests.append({**descriptor_json(image), "platform": names})
    return canonical_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})
