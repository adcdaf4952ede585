"""The records of a cache in a registry, as they are read: everything in them is from outside."""

import base64
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

from compiler.errors import ImageError, RegistryError
from compiler.keys import ArtifactKey, LayerKey
from compiler.marks import Mark
from compiler.oci import (
    Descriptor,
    Digest,
    Image,
    Platform,
    Reference,
    digest_of,
    hex_of,
    json_object,
    parse_digest,
    parse_reference,
)
from compiler.store import ArtifactFile, ArtifactRecord, NodeRecord
from compiler.store.records import node_from_json, texts

NODE = "application/vnd.cos-toolkit.node.v1+json"
"""The media type of the record of a node."""

ARTIFACT = "application/vnd.cos-toolkit.artifact.v1+json"
"""The media type of the record of an archive and the files that belong to it."""

IMAGE = "application/vnd.cos-toolkit.image.v1+json"
"""The media type of the record of a base image: what its layers are once they are unpacked."""

DAMAGED = "`cos build --push` pushes it again from where it was built"
"""What helps against a record or a content that is not what it should be."""

_NAME = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedFile:
    """One file of an artifact: its name in the destination, and what the store keeps of it."""

    name: str
    record: ArtifactRecord


@dataclass(frozen=True, slots=True)
class Found:
    """A record that was found, and where its contents are."""

    repository: Reference
    record: Mapping[str, object]
    blobs: tuple[Descriptor, ...]


def _archives_first(pair: tuple[PackedFile, Descriptor]) -> tuple[bool, str]:
    """Order files so that metadata, which says that an archive is there, comes after it."""
    return pair[0].name.endswith(".yaml"), pair[0].name


def embedded(entry: object, config: Descriptor) -> bytes | None:
    """Read a content that its descriptor holds (OCI Image Specification, Embedded Content)."""
    text = json_object(entry).get("data")
    if not isinstance(text, str):
        return None
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ImageError("a descriptor's data is not base64") from error
    if digest_of(data) != config.digest:
        raise ImageError("a descriptor's data is not what its digest says")
    return data


def _node_record(value: Mapping[str, object], key: LayerKey) -> NodeRecord:
    """Read the record of a node; raises `RegistryError` for one of another key."""
    try:
        record = node_from_json(value)
    except (TypeError, ValueError, ImageError) as error:
        raise RegistryError(f"the record of {key} cannot be read", hint=DAMAGED) from error
    if record.key != key:
        raise RegistryError(f"the record of {key} is that of {record.key}", hint=DAMAGED)
    return record


def node_in(found: Found, key: LayerKey) -> NodeRecord:
    """Return the node that was found; raises `RegistryError` unless it fits its key and layers."""
    record = _node_record(found.record, key)
    digests = [blob.digest for blob in found.blobs]
    if digests != found.record.get("blobs") or len(digests) != len(record.layers):
        message = f"{found.repository}: its layers are not those of its record"
        raise RegistryError(message, hint=DAMAGED)
    return record


def files_in(found: Found, key: ArtifactKey) -> list[tuple[PackedFile, Descriptor]]:
    """Return the files that were found, archives first; raises `RegistryError`, as above."""
    files = _file_records(found.record, key)
    if len(files) != len(found.blobs):
        message = f"{found.repository}: its files are not those of its record"
        raise RegistryError(message, hint=DAMAGED)
    pairs = sorted(zip(files, found.blobs, strict=True), key=_archives_first)
    for file, blob in pairs:
        if hex_of(blob.digest) != file.record.sha256 or blob.size != file.record.size:
            message = f"{found.repository}: {file.name} is not what its record says"
            raise RegistryError(message, hint=DAMAGED)
    return pairs


def own_files_in(
    found: Found, key: ArtifactKey, files: Mapping[str, ArtifactFile]
) -> list[tuple[PackedFile, Descriptor]]:
    """Return the files that were found, as above, if they are those that the artifact has.

    Else a record could write over whatever lies in the destination, or over the store's record of
    another artifact. Raises `RegistryError` for a file that is of another artifact, is there twice,
    or is missing.
    """
    pairs = files_in(found, key)
    names = [file.name for file, _ in pairs]
    for file, _ in pairs:
        own = files.get(file.name)
        if own is None or own.key != file.record.key or names.count(file.name) > 1:
            message = f"the record of an artifact names {file.name}, which is no file of it"
            hint = "somebody who may push there did that; --verify-key takes only what a key signed"
            raise RegistryError(f"{found.repository}: {message}", hint=hint)
    for name, each in files.items():
        if not each.optional and name not in names:
            raise RegistryError(f"{found.repository}: the record of an artifact lacks {name}")
    return pairs


def lacking_documents(
    packed: Iterable[PackedFile], files: Mapping[str, ArtifactFile]
) -> frozenset[str]:
    """Name the documents that an artifact may have, and does not."""
    return frozenset(name for name, each in files.items() if each.optional) - {
        file.name for file in packed
    }


def marks_of(
    packed: Iterable[PackedFile], files: Mapping[str, ArtifactFile], source: str
) -> dict[str, Mark]:
    """Make the mark of each package that one of the files is of."""
    digests: dict[str, dict[str, str]] = {}
    for file in packed:
        digests.setdefault(files[file.name].package, {})[file.name] = file.record.sha256
    return {name: Mark(source=source, files=own) for name, own in digests.items()}


def image_key(source: Digest) -> str:
    """Name the record of a base image."""
    return f"image-{hex_of(source)}"


def image_to_json(image: Image) -> dict[str, object]:
    """Write the record of a base image as JSON values."""
    platform = image.platform
    return {
        "source": image.source,
        "layers": list(image.layers),
        "env": [list(pair) for pair in image.env],
        "user": image.user,
        "shell": list(image.shell),
        "platform": [platform.os, platform.architecture, platform.variant],
    }


def image_record(value: Mapping[str, object], source: Digest, name: str) -> Image | None:
    """Read the record of a base image; None for that of another. May raise `TypeError`."""
    if value.get("source") != source:
        return None
    env = value.get("env")
    pairs = env if isinstance(env, list) else []
    return Image(
        name=str(parse_reference(name)),
        digest=source,
        layers=tuple(map(parse_digest, texts(value, "layers"))),
        env=tuple((str(key), str(text)) for key, text in pairs),
        user=str(value.get("user") or ""),
        shell=texts(value, "shell"),
        platform=Platform(*texts(value, "platform")),
        source=source,
    )


def _file_records(value: Mapping[str, object], key: ArtifactKey) -> tuple[PackedFile, ...]:
    """Read the record of an artifact; raises `RegistryError` for one of another key."""
    rows = value.get("files")
    if value.get("key") != key or not isinstance(rows, list):
        raise RegistryError(f"the record of {key} is that of another artifact", hint=DAMAGED)
    return tuple(_file(json_object(row)) for row in rows)


def _file(row: Mapping[str, object]) -> PackedFile:
    """Read one file of an artifact's record; its name must be that of a plain file."""
    name, size, sha256 = str(row.get("name")), row.get("size"), str(row.get("sha256"))
    if "/" in name or "\0" in name or name in {"", ".", ".."} or len(name) > _NAME:
        message = f"{name[:80]!r} cannot be the name of an artifact's file"
        raise RegistryError(message, hint=DAMAGED)
    if not isinstance(size, int) or size < 0:
        raise RegistryError(f"{name}: has no size in its record", hint=DAMAGED)
    parse_digest(f"sha256:{sha256}")
    record = ArtifactRecord(key=ArtifactKey(str(row.get("key"))), sha256=sha256, size=size)
    return PackedFile(name=name, record=record)


def fits(found: Found, key: str, kind: str, files: Set[str]) -> bool:
    """Tell whether what was found is what its key asks for, with these files."""
    try:
        if kind == NODE:
            node_in(found, LayerKey(key))
        elif kind == ARTIFACT:
            return files <= {file.name for file, _ in files_in(found, ArtifactKey(key))}
        else:
            return image_key(parse_digest(str(found.record.get("source")))) == key
    except (ImageError, RegistryError):
        return False
    return True
