"""Base images of the store, as an OCI image layout (OCI Image Specification 1.0) keeps them."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from compiler.archive.compress import sync_folder
from compiler.errors import ImageError, StoreError
from compiler.oci import (
    CONFIG,
    INDEX,
    MANIFEST,
    SOURCE,
    UNVERIFIED,
    Descriptor,
    Digest,
    Image,
    Platform,
    canonical_json,
    descriptor_json,
    digest_of,
    hex_of,
    json_object,
    parse_descriptor,
    parse_digest,
    parse_object,
)
from compiler.store.files import Lock, write_file

LAYOUT = b'{"imageLayoutVersion": "1.0.0"}'
_NAME = "org.opencontainers.image.ref.name"
_LARGEST = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """What an image says about running in it; `env` in order, as `docker run` would set it."""

    platform: Platform
    env: tuple[tuple[str, str], ...] = ()
    user: str = ""
    shell: tuple[str, ...] = ("/bin/sh", "-c")
    labels: tuple[tuple[str, str], ...] = ()


_MACHINES = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "i686": ("386", ""),
    "i386": ("386", ""),
    "loongarch64": ("loong64", ""),
}
"""What uname(2) calls a machine, in the words of GOARCH; the others have the same name in both."""


def host_platform() -> Platform:
    """Return the platform of this machine."""
    machine = os.uname().machine
    architecture, variant = _MACHINES.get(machine, (machine, ""))
    return Platform("linux", architecture, variant)


def config_json(config: ImageConfig, layers: Sequence[Digest]) -> bytes:
    """Write an image config; without a time, so that equal images have equal digests.

    `Shell` stands where Docker has it; the OCI Image Configuration does not know it.
    """
    inner: dict[str, object] = {
        "Env": [f"{name}={value}" for name, value in config.env],
        "Shell": list(config.shell),
    }
    if config.user:
        inner["User"] = config.user
    if config.labels:
        inner["Labels"] = dict(config.labels)
    value: dict[str, object] = {
        "architecture": config.platform.architecture,
        "os": config.platform.os,
        "config": inner,
        "rootfs": {"type": "layers", "diff_ids": list(layers)},
        "history": [{"created_by": "cos"} for _ in layers],
    }
    if config.platform.variant:
        value["variant"] = config.platform.variant
    return canonical_json(value)


def parse_config(data: bytes) -> tuple[ImageConfig, tuple[Digest, ...]]:
    """Read an image config and the DiffIDs of its layers; raises `ImageError`."""
    value = parse_object(data, "the image's config")
    inner = json_object(value.get("config"))
    pairs = [text.partition("=") for text in _strings(inner.get("Env"))]
    platform = Platform(
        str(value.get("os") or "linux"),
        str(value.get("architecture") or ""),
        str(value.get("variant") or ""),
    )
    config = ImageConfig(
        platform=platform,
        env=tuple((name, text) for name, _, text in pairs if name),
        user=str(inner.get("User") or ""),
        shell=_strings(inner.get("Shell")) or ("/bin/sh", "-c"),
        labels=tuple(
            (str(name), str(text)) for name, text in json_object(inner.get("Labels")).items()
        ),
    )
    layers = _strings(json_object(value.get("rootfs")).get("diff_ids"))
    return config, tuple(parse_digest(layer) for layer in layers)


def _strings(value: object) -> tuple[str, ...]:
    """Return a JSON list of texts, nothing for null."""
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ImageError("the image's config has a list of something else than texts")
    return tuple(value)


def read_blob(blobs: Path, descriptor: Descriptor, what: str) -> bytes:
    """Read a small blob and check its digest and size; raises `ImageError`."""
    file = blobs / hex_of(descriptor.digest)
    try:
        with file.open("rb") as stream:
            data = stream.read(_LARGEST + 1)
    except OSError as error:
        raise ImageError(f"{what} is missing: {descriptor.digest}") from error
    if len(data) > _LARGEST or digest_of(data) != descriptor.digest:
        raise ImageError(f"{what} is damaged: {descriptor.digest}")
    return data


class Images:
    """The names in `index.json`, each for one manifest."""

    def __init__(self, root: Path) -> None:
        self._index = root / "index.json"
        self._lock = root / "index.lock"
        self._blobs = root / "blobs" / "sha256"

    def manifests(self) -> dict[str, Descriptor]:
        """Return the manifest of every name."""
        try:
            data = self._index.read_bytes()
        except FileNotFoundError:
            return {}
        try:
            return _named(data)
        except ImageError as error:
            raise StoreError(f"{self._index}: {error.message}") from error

    def get(self, name: str) -> Image | None:
        """Return the image of a full name."""
        manifest = self.manifests().get(name)
        return None if manifest is None else self._load(name, manifest)

    def all(self) -> tuple[Image, ...]:
        """Return all images, sorted by name."""
        named = sorted(self.manifests().items())
        return tuple(self._load(name, manifest) for name, manifest in named)

    def blobs_of(self, manifest: Descriptor) -> tuple[Digest, ...]:
        """Return the blobs of an image: its manifest, its config, and its compressed layers."""
        value = parse_object(read_blob(self._blobs, manifest, "the image's manifest"), "manifest")
        layers = value.get("layers")
        parts = [value.get("config"), *(layers if isinstance(layers, list) else [])]
        return (manifest.digest, *(parse_descriptor(part).digest for part in parts))

    def put(
        self, name: str, config: bytes, blobs: Sequence[Descriptor], *, beside: Path
    ) -> Descriptor:
        """Name an image: contents first, the name last, all on the disk before this returns."""
        stored = Descriptor(CONFIG, digest_of(config), len(config))
        manifest = canonical_json(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": descriptor_json(stored),
                "layers": [descriptor_json(blob) for blob in blobs],
            }
        )
        descriptor = Descriptor(MANIFEST, digest_of(manifest), len(manifest))
        for digest, data in ((stored.digest, config), (descriptor.digest, manifest)):
            write_file(self._blobs / hex_of(digest), data, beside=beside, sync=True)
        self._change(name, descriptor, beside)
        return descriptor

    def remove(self, name: str, *, beside: Path) -> bool:
        """Forget a name; says whether it was there."""
        return self._change(name, None, beside)

    def _load(self, name: str, manifest: Descriptor) -> Image:
        """Read an image's manifest and config."""
        try:
            data = read_blob(self._blobs, manifest, f"the manifest of {name}")
            value = parse_object(data, f"the manifest of {name}")
            stored = parse_descriptor(value.get("config"))
            config, layers = parse_config(read_blob(self._blobs, stored, f"the config of {name}"))
        except ImageError as error:
            hint = f"bring it again after `cos image rm {name}`"
            raise StoreError(f"{self._index.parent}: {error.message}", hint=hint) from error
        return Image(
            name=name,
            digest=manifest.digest,
            layers=layers,
            env=config.env,
            user=config.user,
            shell=config.shell,
            platform=config.platform,
            source=dict(config.labels).get(SOURCE, ""),
            unverified=dict(config.labels).get(UNVERIFIED, ""),
        )

    def _change(self, name: str, manifest: Descriptor | None, beside: Path) -> bool:
        """Give a name to a manifest, or take it away, while no other process does the same."""
        lock = Lock(self._lock)
        try:
            lock.take()
            named = self.manifests()
            known = named.pop(name, None) is not None
            if manifest is not None:
                named[name] = manifest
            data = _index_json(named)
            write_file(self._index, data, beside=beside, sync=True)
            sync_folder(self._index.parent)
        finally:
            lock.close()
        return known


def _named(data: bytes) -> dict[str, Descriptor]:
    """Read the names out of an index."""
    entries = parse_object(data, "the index of images").get("manifests")
    found = {}
    for entry in entries if isinstance(entries, list) else []:
        name = json_object(json_object(entry).get("annotations")).get(_NAME)
        if isinstance(name, str):
            found[name] = parse_descriptor(entry)
    return found


def _index_json(named: Mapping[str, Descriptor]) -> bytes:
    """Write the index, sorted by name."""
    manifests = [
        {**descriptor_json(manifest), "annotations": {_NAME: name}}
        for name, manifest in sorted(named.items())
    ]
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}
    return json.dumps(index, indent=2, sort_keys=True).encode()
