"""The values of the container world: digests, platforms, descriptors, image names and configs."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NewType

from compiler.errors import ImageError

Digest = NewType("Digest", str)
"""`sha256:` and 64 hexadecimal digits (OCI Image Specification, Descriptors, Digests)."""

_LONGEST_NAME = 512

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")  # OCI Distribution Specification, Pulling
_NAME = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._:/-]*?)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
SOURCE = "io.cos-toolkit.source"
"""The label of an image in a store that has its digest in the registry from which it came."""

UNVERIFIED = "io.cos-toolkit.unverified"
"""The label of an image in a store that names places from which something in it came unverified."""

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
INDEXES = (INDEX, DOCKER_INDEX)
"""What names one manifest for each of several platforms."""


def digest_of(data: bytes) -> Digest:
    """Name `data` by its SHA-256 digest."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def parse_digest(text: str) -> Digest:
    """Check that `text` is a SHA-256 digest, so that it is safe in a path; raises `ImageError`."""
    if not _DIGEST.fullmatch(text):
        raise ImageError(f"{text[:80]!r} is not a sha256 digest")
    return Digest(text)


def hex_of(digest: Digest) -> str:
    """Return the 64 hexadecimal digits of `digest`, as they stand in file names."""
    return digest.removeprefix("sha256:")


@dataclass(frozen=True, slots=True)
class Platform:
    """What a machine must be to run a content, in the words of Go's GOOS and GOARCH."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        """Print as registries do: `linux/arm64/v8`."""
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A content by type, digest and size in bytes (OCI Image Specification, Descriptors)."""

    media_type: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class Reference:
    """The full name of an image: registry, repository, and tag or digest."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        """Print the full form, `docker.io/library/debian:trixie`."""
        name = f"{self.registry}/{self.repository}"
        if self.tag:
            name += f":{self.tag}"
        return f"{name}@{self.digest}" if self.digest else name


def parse_reference(text: str) -> Reference:
    """Complete an image name as container tools do: `debian` is `docker.io/library/debian:latest`.

    Raises `ImageError` for a text that is no image name.
    """
    match = _NAME.fullmatch(text)
    if match is None or len(text) > _LONGEST_NAME or ".." in text or "//" in text:
        raise ImageError(f"{text[:120]!r} is not an image name")
    name, tag, digest = match["name"], match["tag"] or "", match["digest"] or ""
    first, _, rest = name.partition("/")
    if rest and ("." in first or ":" in first or first == "localhost"):
        registry, repository = first, rest
    else:
        registry, repository = "docker.io", name if rest else f"library/{name}"
    if not _REPOSITORY.fullmatch(repository):
        hint = "names of repositories are of a-z, 0-9, and . _ - between them"
        raise ImageError(f"{text[:120]!r} is not an image name", hint=hint)
    if not tag and not digest:
        tag = "latest"
    return Reference(registry, repository, tag, digest)


def parse_repository(text: str) -> Reference:
    """Read the name of a repository, which has neither tag nor digest; raises `ImageError`."""
    reference = parse_reference(text)
    last = text.rpartition("/")[2]
    if ":" in last or "@" in last:
        raise ImageError(f"{text!r} is to be a repository, without tag or digest")
    return replace(reference, tag="", digest="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A root file system by its layers, bottom first, and what its config says about running in it.

    `digest` names the whole: it changes exactly when a layer or the config changes. `source` is the
    digest that the image has in the registry from which it came. `unverified` names places from
    which something in it came with no signature checked.
    """

    name: str
    digest: Digest
    layers: tuple[Digest, ...]
    env: tuple[tuple[str, str], ...] = ()
    user: str = ""
    shell: tuple[str, ...] = ("/bin/sh", "-c")
    platform: Platform
    source: str = ""
    unverified: str = ""

    @property
    def content(self) -> Digest:
        """What steps can see of the image, as a digest: it does not change with its compression."""
        seen = (self.layers, self.env, self.user, self.shell, str(self.platform))
        return digest_of(repr(seen).encode())


SCRATCH = "scratch"
"""What Dockerfiles call the image with nothing in it."""


def scratch_image(platform: Platform) -> Image:
    """Return the image with nothing in it, which no store needs to hold."""
    return Image(name=SCRATCH, digest=digest_of(b""), layers=(), platform=platform)


def image_hint(name: str) -> str:
    """Say how an image that is missing can be brought into the store."""
    taken = f"`cos image import {name} SOURCE` takes it from a file or folder"
    if re.fullmatch(r"(?:docker\.io/)?(?:library/)?(?:debian|ubuntu):[a-z]+", name):
        return f"`cos image bootstrap {name}` makes it from the distribution's packages, {taken}"
    return taken


def json_object(value: object) -> Mapping[str, object]:
    """Return a JSON object as it is, and an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def canonical_json(value: object) -> bytes:
    """Write JSON in the one form that digests are made of."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def parse_object(data: bytes, what: str) -> dict[str, object]:
    """Read a JSON object; raises `ImageError` that names `what` it should have been."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ImageError(f"{what} is not JSON") from error
    if not isinstance(value, dict):
        raise ImageError(f"{what} is not a JSON object")
    return value


def descriptor_json(descriptor: Descriptor) -> dict[str, object]:
    """Write a descriptor."""
    return {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
    }


def parse_descriptor(value: object) -> Descriptor:
    """Read a descriptor; raises `ImageError`."""
    fields = json_object(value)
    size = fields.get("size")
    if not isinstance(size, int) or size < 0:
        raise ImageError("a descriptor of the image has no size")
    media_type = str(fields.get("mediaType") or "")
    return Descriptor(media_type, parse_digest(str(fields.get("digest"))), size)


def platforms_of(index: bytes, what: str) -> dict[Platform, Descriptor]:
    """Read which image an index has for which platform; raises `ImageError` naming `what`."""
    entries = parse_object(index, what).get("manifests")
    found: dict[Platform, Descriptor] = {}
    for entry in entries if isinstance(entries, list) else []:
        wanted = json_object(json_object(entry).get("platform"))
        platform = Platform(
            str(wanted.get("os") or ""),
            str(wanted.get("architecture") or ""),
            str(wanted.get("variant") or ""),
        )
        found.setdefault(platform, parse_descriptor(entry))
    return found


def image_for(images: Mapping[Platform, Descriptor], platform: Platform) -> Descriptor | None:
    """Choose the image for a platform; a variant decides only if the platform names one."""
    for offered, image in images.items():
        if (offered.os, offered.architecture) == (platform.os, platform.architecture) and (
            platform.variant in {"", offered.variant}
        ):
            return image
    return None
