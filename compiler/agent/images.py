"""Unpacks the files of a container image from a registry, without an engine.

Layers are checked by their digests before anything of them is unpacked.
"""

import hashlib
import json
import re
import tempfile
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from compiler.agent import web
from compiler.agent.cloudconfig.facts import architecture
from compiler.agent.cloudconfig.machine import Machine
from compiler.agent.layers import unpack_layer
from compiler.errors import ImageError, OutsideError
from compiler.oci import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    INDEX,
    INDEXES,
    MANIFEST,
    Descriptor,
    Platform,
    Reference,
    image_for,
    json_object,
    parse_descriptor,
    parse_object,
    parse_reference,
    platforms_of,
)

_ACCEPT = ", ".join((MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX))
_MANIFEST_LIMIT = 4 << 20
_MOST_LAYERS = 500
_HUB = {"docker.io": "registry-1.docker.io"}
_LOCAL = re.compile(r"(?:localhost|127\.[0-9.]+|\[::1\])(?::[0-9]+)?")
_FIELD = re.compile(r'([a-z]+)="([^"]*)"')
_WORK = "/var/tmp"  # noqa: S108  (below the root, and only for names nobody can guess)


def unpack_image(image: str, target: str, platform: str, machine: Machine) -> None:
    """Unpack an image below a folder of the root; raises `CompilerError`."""
    registry = _Registry(parse_reference(image))
    layers = registry.layers(_platform(platform))
    machine.root.make_folder(target, 0o755, keep=True)
    with machine.root.below(target) as folder:
        for layer in layers:
            with registry.blob(layer, machine.root.path) as path:
                unpack_layer(path, folder)


def _platform(text: str) -> Platform:
    """Read `os/architecture/variant`; ours unless it says another."""
    if not text:
        return Platform("linux", architecture())
    parts = text.split("/")
    if len(parts) not in (2, 3) or not all(parts):
        raise ImageError(f"{text!r} is no platform", hint="write linux/arm64, say")
    return Platform(*parts)


@dataclass
class _Registry:
    """A repository of a registry, as the OCI Distribution Specification describes it."""

    reference: Reference
    _headers: dict[str, str] = field(default_factory=dict)

    @property
    def _base(self) -> str:
        host = _HUB.get(self.reference.registry, self.reference.registry)
        scheme = "http" if _LOCAL.fullmatch(host) else "https"
        return f"{scheme}://{host}/v2/{self.reference.repository}"

    def layers(self, platform: Platform) -> tuple[Descriptor, ...]:
        """Read the manifest for a platform: its layers, the lowest first."""
        name = self.reference.digest or self.reference.tag
        manifest = self._manifest(name)
        if parse_object(manifest, "the manifest").get("mediaType") in INDEXES or (
            b'"manifests"' in manifest
        ):
            chosen = image_for(platforms_of(manifest, "the index"), platform)
            if chosen is None:
                raise ImageError(f"{self.reference}: has no image for {platform}")
            manifest = self._manifest(chosen.digest)
        layers = parse_object(manifest, "the manifest").get("layers")
        if not isinstance(layers, list) or len(layers) > _MOST_LAYERS:
            raise ImageError(f"{self.reference}: its manifest has no list of layers")
        return tuple(parse_descriptor(each) for each in layers)

    def _manifest(self, name: str) -> bytes:
        url = f"{self._base}/manifests/{name}"
        data = self._ask(url, {"Accept": _ACCEPT})
        if name.startswith("sha256:"):
            self._check(hashlib.sha256(data).hexdigest(), name)
        return data

    @contextmanager
    def blob(self, layer: Descriptor, beside: Path) -> Iterator[Path]:
        """Fetch a layer to a file that is gone after the block."""
        request = self._request(f"{self._base}/blobs/{layer.digest}", {})
        folder = beside / _WORK.lstrip("/")
        where = folder if folder.is_dir() and not folder.is_symlink() else None
        with tempfile.NamedTemporaryFile(dir=where) as file:
            digest = hashlib.sha256()
            for piece in web.stream(request, layer.size):
                digest.update(piece)
                file.write(piece)
            file.flush()
            self._check(digest.hexdigest(), layer.digest)
            yield Path(file.name)

    def _check(self, got: str, wanted: str) -> None:
        if got != wanted.removeprefix("sha256:"):
            raise ImageError(f"{self.reference}: the content is not {wanted}")

    def _ask(self, url: str, headers: Mapping[str, str]) -> bytes:
        """Ask the registry, with a token for everybody if it wants one."""
        try:
            return web.ask(self._request(url, headers), _MANIFEST_LIMIT)
        except web.Refused as error:
            challenge = error.challenge
            if self._headers or not challenge.lower().startswith("bearer "):
                raise
        self._headers["Authorization"] = f"Bearer {self._token(challenge)}"
        return web.ask(self._request(url, headers), _MANIFEST_LIMIT)

    def _request(self, url: str, headers: Mapping[str, str]) -> web.Request:
        return web.Request(url=url, headers={**self._headers, **headers}, whole=web.SLOWEST)

    def _token(self, challenge: str) -> str:
        fields = dict(_FIELD.findall(challenge))
        query = {"service": fields.get("service", "")}
        query["scope"] = fields.get("scope") or f"repository:{self.reference.repository}:pull"
        url = f"{fields.get('realm', '')}?{urllib.parse.urlencode(query)}"
        answer = json_object(_json(web.ask(web.Request(url=url), _MANIFEST_LIMIT)))
        token = answer.get("token") or answer.get("access_token")
        if not isinstance(token, str) or not token.isprintable():
            raise OutsideError(f"{url}: gives no token")
        return token


def _json(data: bytes) -> object:
    try:
        value: object = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value
